"""Data parameters in the Trainer of Transformers. Needs the extra ``transformers``.

Legend: B samples in the minibatch, T tokens of a sequence, C classes, N training instances.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from data_parameters import DataParameters, TrainingDynamics
from data_parameters.indexing import INDEX_KEY
from data_parameters.integrations.index_column import (
    IndexCollator,
    check_minibatch,
    digest_of,
)
from data_parameters.integrations.owners import (
    check_data_optimizer,
    check_model,
    check_model_optimizer,
)
from data_parameters.integrations.parts import load_together
from data_parameters.integrations.sequences import check_shapes, cross_entropy, spread
from data_parameters.monitor import statistics

try:
    # Importing the Trainer needs Accelerate, too.
    from transformers import Trainer, TrainerCallback

    from data_parameters.integrations.transformers_support import (
        check_even,
        check_settings,
        is_causal,
    )
except ImportError as error:
    raise ModuleNotFoundError(
        "data_parameters.integrations.transformers needs Transformers and Accelerate, optional "
        "dependencies. Install them with: pip install 'data-parameters[transformers]'"
    ) from error

__all__ = ["TABLES_NAME", "DataParametersMixin", "DataParametersTrainer"]

TABLES_NAME = "data_parameters.pt"
"""The file in ``checkpoint-N`` that holds tables, their optimizer and the dynamics."""

if TYPE_CHECKING:
    from transformers import Trainer as Base
else:
    Base = object  # the mixin stands in front of any Trainer


class DataParametersMixin(Base):  # type: ignore[misc]
    r"""Gives a Trainer data parameters: ``class MyTrainer(DataParametersMixin, Seq2SeqTrainer)``.

    The loss is the mean over all targets of the step, which may be spread over accumulated
    minibatches and over processes, of the cross-entropy at a temperature,

    .. math::
        \mathcal L = \frac{1}{n} \sum_{i,t} -\log \operatorname{softmax}(z_{it} / \sigma_{it})
        _{y_{it}}

    Instance temperatures are one number a sequence: all tokens of a sequence share theirs. Class
    temperatures are those of each token's target. Evaluation uses no temperature.

    Tables, their optimizer and the dynamics are saved in ``checkpoint-N`` and loaded by
    ``train(resume_from_checkpoint=...)``. Statistics of the temperatures are logged with the loss,
    under ``temperature/...``.

    Args:
        *args: As in :class:`transformers.Trainer`.
        data_parameters: The tables. Keep them outside the model. They stay on the device where
            they are.
        data_optimizer: :class:`SparseSGD` or :class:`SparseAdamW` of all tables. The learning rate
            schedule of the model leaves it alone.
        dynamics: Gathers statistics of each instance, if given: means over its tokens, where a
            sample has many targets.
        **kwargs: As in :class:`transformers.Trainer`. The training set's samples are mappings that
            hold their row under ``"index"``: wrap it in :class:`IndexedDataset`, or give a
            ``datasets.Dataset`` such a column. The column is kept through
            ``remove_unused_columns`` and any collator.

    Raises:
        ValueError: The tables are part of the model, or two optimizers would move them, or none;
            or a setting is not supported. In ``train``: samples lack their index, or the checkpoint
            belongs to other data.

    References:
        Saxena, Tuzel and DeCoste, "Data Parameters: A New Family of Parameters for Learning a
        Differentiable Curriculum", NeurIPS 2019.
    """

    _signature_columns: list[str]
    data_collator: Callable[[list[Any]], Any]

    def __init__(
        self,
        *args: Any,
        data_parameters: DataParameters,
        data_optimizer: torch.optim.Optimizer,
        dynamics: TrainingDynamics | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.data_parameters = data_parameters
        self.data_optimizer = data_optimizer
        self.dynamics = dynamics
        check_settings(self)
        self._check_owners(self.optimizer)
        self._is_causal = is_causal(self.accelerator.unwrap_model(self.model))
        # The Trainer counts targets over the step, and knows that the loss is divided by them.
        self.compute_loss_func = self._loss_at_temperature
        self._loss_shifts_labels = self._is_causal
        self._index: Tensor | None = None
        self._digest: str | None = None
        self.add_callback(_MoveTables(self))

    @property
    def _needs_index(self) -> bool:
        return self.data_parameters.log_instance is not None or self.dynamics is not None

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """Create the model's optimizer, which has to leave the tables alone.

        Args:
            *args: As in :meth:`transformers.Trainer.create_optimizer`.
            **kwargs: Likewise.

        Returns:
            The optimizer.

        Raises:
            ValueError: It holds a table, or the model does.
        """
        optimizer = super().create_optimizer(*args, **kwargs)
        self._check_owners(optimizer)
        return optimizer

    def _check_owners(self, optimizer: Any) -> None:
        if self.model is not None:
            remedy = "Keep them in a variable, not in an attribute of the model."
            check_model(self.data_parameters, self.model, remedy)
        if optimizer is not None:
            remedy = "Give them to `data_optimizer` alone."
            check_model_optimizer(self.data_parameters, optimizer, remedy)
        check_data_optimizer(self.data_parameters, self.data_optimizer)

    def get_train_dataloader(self) -> Any:
        """The training minibatches, each with its rows under ``"index"``.

        Returns:
            The loader.

        Raises:
            ValueError: The samples have no index, or the last minibatch would repeat samples to
                give all processes equally many.
        """
        if self._needs_index and self.train_dataset is not None:
            self._digest = digest_of(self.train_dataset)
            check_even(self)
        # Of this loader alone: evaluation drops the column, as the Trainer does by itself.
        self._set_signature_columns_if_needed()
        columns, collator = self._signature_columns, self.data_collator
        self._signature_columns = [*columns, INDEX_KEY]
        self.data_collator = IndexCollator(collator) if self._needs_index else collator
        try:
            return super().get_train_dataloader()
        finally:
            self._signature_columns, self.data_collator = columns, collator

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The loss at a temperature in training, the plain loss in evaluation.

        Args:
            model: The model, perhaps wrapped.
            inputs: The minibatch.
            return_outputs: Whether to return the model's outputs, too.
            num_items_in_batch: Number of targets in the step, over all processes.

        Returns:
            The loss, or the loss and the outputs.

        Raises:
            ValueError: The minibatch has no index, or not one for each sample.
        """
        inputs = dict(inputs)
        index = inputs.pop(INDEX_KEY, None)
        if model.training:
            check_minibatch(inputs, index, needed=self._needs_index)
        # The Trainer does not tell `compute_loss_func` the index.
        self._index = index
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def prediction_step(
        self, model: nn.Module, inputs: Mapping[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Evaluate a minibatch; its index, if it has one, is not the model's.

        Args:
            model: The model.
            inputs: The minibatch.
            *args: As in :meth:`transformers.Trainer.prediction_step`.
            **kwargs: Likewise.

        Returns:
            Loss, logits and labels.
        """
        inputs = {name: value for name, value in inputs.items() if name != INDEX_KEY}
        return super().prediction_step(model, inputs, *args, **kwargs)

    def _loss_at_temperature(
        self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs[0]
        if self._is_causal:
            logits, labels = logits[:, :-1], labels[:, 1:]
        check_shapes(logits, labels)
        if self.model.training:
            if getattr(outputs, "aux_loss", None) is not None:
                raise ValueError(
                    "The model should have no loss besides the cross-entropy. Found an auxiliary "
                    "one. Set `output_router_logits=False` in its configuration."
                )
            temperature = self.data_parameters(labels, self._index)
            if self.dynamics is not None and self._index is not None:
                flat = logits.detach().reshape(-1, logits.shape[-1])
                self.dynamics.update(flat, labels.reshape(-1), spread(self._index, labels))
        else:
            temperature = logits.new_ones(len(logits))
        return cross_entropy(
            logits,
            labels,
            temperature,
            label_smoothing=self.args.label_smoothing_factor,
            num_targets=num_items_in_batch,
        )

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log, with statistics of the temperatures beside the training loss.

        Args:
            logs: The values.
            *args: As in :meth:`transformers.Trainer.log`.
            **kwargs: Likewise.
        """
        if "loss" in logs and self.is_world_process_zero():
            found = statistics(self.data_parameters)
            logs.update({f"temperature/{name}": value for name, value in found.items()})
        super().log(logs, *args, **kwargs)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if not self.args.should_save:
            return
        states = {name: part.state_dict() for name, part in self._parts().items()}
        state = {"dynamics": None, **states, "data_set": self._digest}
        path = Path(output_dir, TABLES_NAME)
        unfinished = path.with_suffix(".unfinished")
        with unfinished.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        # Before the model, so that a checkpoint that does not fit changes nothing.
        self._load_tables(Path(resume_from_checkpoint, TABLES_NAME))
        super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_tables(self, path: Path) -> None:
        if not path.is_file():
            raise ValueError(
                f"The checkpoint should hold {TABLES_NAME}. Found none in {path.parent}. Resume "
                "from a checkpoint of a DataParametersTrainer without `save_only_model`."
            )
        state = torch.load(path, map_location="cpu", weights_only=True)
        if self._needs_index and self.train_dataset is not None:
            digest = digest_of(self.train_dataset)
            if digest != state["data_set"]:
                raise ValueError(
                    "`train_dataset` should be that of the checkpoint: as long, with the same "
                    "labels under the same indices. Found another. Resume with the same data, or "
                    "start anew in another `output_dir`."
                )
        if (self.dynamics is None) != (state["dynamics"] is None):
            raise ValueError(
                "`dynamics` should be given where the checkpoint has them, and only there. Found "
                f"{'none' if self.dynamics is None else 'some'}. Build the trainer as before."
            )
        load_together(self._parts(), state)

    def _parts(self) -> dict[str, Any]:
        parts = {"data_parameters": self.data_parameters, "data_optimizer": self.data_optimizer}
        return parts if self.dynamics is None else {**parts, "dynamics": self.dynamics}


class DataParametersTrainer(DataParametersMixin, Trainer):  # type: ignore[misc]
    """:class:`transformers.Trainer` with data parameters; see :class:`DataParametersMixin`.

    Example:
        >>> from data_parameters import DataParameters, SparseSGD
        >>> data_parameters = DataParameters(num_instances=1_000)
        >>> data_optimizer = SparseSGD(data_parameters.param_groups(lr_instance=0.2), momentum=0.9)
        >>> trainer = DataParametersTrainer(  # doctest: +SKIP
        ...     model,
        ...     args,
        ...     train_dataset=IndexedDataset(train_set),
        ...     data_parameters=data_parameters,
        ...     data_optimizer=data_optimizer,
        ... )
    """


class _MoveTables(TrainerCallback):  # type: ignore[misc]
    """Moves the tables whenever the Trainer moves the model."""

    def __init__(self, trainer: DataParametersMixin) -> None:
        self.trainer = trainer

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Forget gradients of a training that broke off."""
        self.trainer.data_optimizer.zero_grad()

    def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take the scale of fp16 losses out, as long as the scaler still has it."""
        scaler = self.trainer.accelerator.scaler
        if scaler is not None:
            scaler.unscale_(self.trainer.data_optimizer)

    def on_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, unless the model's step was skipped for an overflow."""
        if not self.trainer.accelerator.optimizer_step_was_skipped:
            self.trainer.data_optimizer.step()
        self.trainer.data_optimizer.zero_grad()
