"""Data parameters in the Trainer of Transformers. Needs the extra ``transformers``.

Legend: B samples in the minibatch, T tokens of a sequence, C classes, N training instances.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from data_parameters import DataParameters, TrainingDynamics, functional
from data_parameters.indexing import INDEX_KEY
from data_parameters.monitor import statistics

try:
    # Importing the Trainer needs Accelerate, too.
    from transformers import PreTrainedModel, Trainer, TrainerCallback
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
except ImportError as error:
    raise ModuleNotFoundError(
        "data_parameters.integrations.transformers needs Transformers and Accelerate, optional "
        "dependencies. Install them with: pip install 'data-parameters[transformers]'"
    ) from error

__all__ = ["TABLES_NAME", "DataParametersMixin", "DataParametersTrainer"]

TABLES_NAME = "data_parameters.pt"
"""The file in ``checkpoint-N`` that holds tables, their optimizer and the dynamics."""

IGNORE_INDEX = -100  # what Transformers gives targets that don't count
LABEL_KEYS = ("labels", "label", "label_ids", "input_ids")
# Models whose loss is the mean cross-entropy of logits (B, ..., C) and labels (B, ...).
PLAIN_LOSSES = {
    f"For{task}"
    for task in (
        "SequenceClassification",
        "TokenClassification",
        "MaskedLM",
        "ImageClassification",
        "AudioClassification",
        "VideoClassification",
    )
}

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
        self._check_support()
        _check_owners(self.model, self.optimizer, data_parameters, data_optimizer)
        self._is_causal = _is_causal(self.accelerator.unwrap_model(self.model))
        # The Trainer counts targets over the step, and knows that the loss is divided by them.
        self.compute_loss_func = self._loss_at_temperature
        self._loss_shifts_labels = self._is_causal
        self._index: Tensor | None = None
        self._digest: str | None = None
        self.add_callback(_MoveTables(self))

    @property
    def _needs_index(self) -> bool:
        return self.data_parameters.log_instance is not None or self.dynamics is not None

    def _check_support(self) -> None:
        if self.compute_loss_func is not None:
            raise ValueError(
                "`compute_loss_func` should be None, because the loss is the cross-entropy at a "
                "temperature. Found one. Leave it out, or use the tables in a Trainer of your own."
            )
        if self.model_init is not None:
            raise ValueError(
                "`model_init` should be None: a second model would start with the temperatures of "
                "the first. Give `model`, and for each trial tables and a trainer of their own."
            )
        if self.args.n_gpu > 1:
            raise ValueError(
                "There should be one process for each GPU. Found one process for "
                f"{self.args.n_gpu}. Start with `torchrun --nproc-per-node {self.args.n_gpu}`."
            )
        config = getattr(self.accelerator, "parallelism_config", None)
        sizes = [getattr(config, f"{kind}_size", 1) for kind in ("tp", "cp", "sp")]
        if self.is_deepspeed_enabled or max(*sizes, self.get_tp_size()) > 1:
            raise ValueError(
                "Processes should differ in their minibatches alone. Found DeepSpeed, or tensor, "
                "context or sequence parallelism, which are not supported. Use data parallelism."
            )

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
        _check_owners(self.model, optimizer, self.data_parameters, self.data_optimizer)
        return optimizer

    def get_train_dataloader(self) -> Any:
        """The training minibatches, each with its rows under ``"index"``.

        Returns:
            The loader.

        Raises:
            ValueError: The samples have no index, or the last minibatch would repeat samples to
                give all processes equally many.
        """
        if self._needs_index and self.train_dataset is not None:
            self._digest = _digest(self.train_dataset)
            self._check_even()
        # Of this loader alone: evaluation drops the column, as the Trainer does by itself.
        self._set_signature_columns_if_needed()
        columns, collator = self._signature_columns, self.data_collator
        self._signature_columns = [*columns, INDEX_KEY]
        self.data_collator = _IndexCollator(collator) if self._needs_index else collator
        try:
            return super().get_train_dataloader()
        finally:
            self._signature_columns, self.data_collator = columns, collator

    def _check_even(self) -> None:
        num_processes, dataset = self.args.world_size, self.train_dataset
        if num_processes == 1 or self.args.dataloader_drop_last or not hasattr(dataset, "__len__"):
            return
        batch_size = self._train_batch_size * num_processes
        if len(dataset) % batch_size:
            raise ValueError(
                "No sample should occur twice in an epoch. Found "
                f"{len(dataset)} samples for minibatches of {batch_size} over {num_processes} "
                "processes, and the last one would be filled up with samples of the first. Set "
                "`dataloader_drop_last=True`."
            )

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
            if self._needs_index and index is None:
                raise ValueError(
                    f'A minibatch should hold its rows under "{INDEX_KEY}". Found '
                    f"{sorted(inputs)}. Build loaders with the Trainer's `get_train_dataloader`, "
                    "or let your own collator keep the index."
                )
            if inputs.get("labels") is None:
                raise ValueError(
                    f'A minibatch should hold its targets under "labels". Found {sorted(inputs)}. '
                    "Rename the column, or let the collator make them."
                )
            num_samples = len(inputs["labels"])
            if index is not None and index.shape != (num_samples,):
                raise ValueError(
                    f"There should be one index for each of the {num_samples} samples of a "
                    f"minibatch. Found shape {tuple(index.shape)}. Use a collator that neither "
                    "packs, drops nor repeats samples."
                )
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
        _check_shapes(logits, labels)
        if self.model.training:
            if getattr(outputs, "aux_loss", None) is not None:
                raise ValueError(
                    "The model should have no loss besides the cross-entropy. Found an auxiliary "
                    "one. Set `output_router_logits=False` in its configuration."
                )
            temperature = self.data_parameters(labels, self._index)
        else:
            temperature = logits.new_ones(len(logits))
        # One row a target: the form in which the loss has its fast gradient.
        logits, target = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)
        if self.model.training and self.dynamics is not None and self._index is not None:
            self.dynamics.update(logits.detach(), target, _spread(self._index, labels))
        loss = functional.cross_entropy(
            logits,
            target,
            _spread(temperature, labels),
            ignore_index=IGNORE_INDEX,
            label_smoothing=self.args.label_smoothing_factor,
            reduction="mean" if num_items_in_batch is None else "sum",
        )
        return loss if num_items_in_batch is None else loss / num_items_in_batch

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
        state = {
            "data_set": self._digest,
            "data_parameters": self.data_parameters.state_dict(),
            "data_optimizer": self.data_optimizer.state_dict(),
            "dynamics": None if self.dynamics is None else self.dynamics.state_dict(),
        }
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
            digest = _digest(self.train_dataset)
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
        before = self.data_parameters.state_dict()
        before = {name: table.clone() for name, table in before.items()}
        optimizer_before = self.data_optimizer.state_dict()
        try:
            self.data_parameters.load_state_dict(state["data_parameters"])
            self.data_optimizer.load_state_dict(state["data_optimizer"])
            if self.dynamics is not None:
                self.dynamics.load_state_dict(state["dynamics"])
        except (RuntimeError, ValueError):
            self.data_parameters.load_state_dict(before)
            self.data_optimizer.load_state_dict(optimizer_before)
            raise


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


class _IndexCollator:
    """Carries the index past a collator, which may know nothing of it."""

    def __init__(self, collator: Callable[[list[Any]], Any]) -> None:
        self.collator = collator

    def __call__(self, features: Sequence[Any]) -> Any:
        index = [_row(feature) for feature in features]
        batch = self.collator(
            [{key: feature[key] for key in feature if key != INDEX_KEY} for feature in features]
        )
        batch[INDEX_KEY] = torch.tensor(index)
        return batch


def _row(sample: Any) -> int:
    if not (isinstance(sample, Mapping) and INDEX_KEY in sample):
        found = f"the keys {sorted(sample)}" if isinstance(sample, Mapping) else type(sample)
        raise ValueError(
            f'A training sample should be a mapping with its row under "{INDEX_KEY}". Found '
            f"{found}. Wrap the training set, before any subset is taken of it: "
            "`train_dataset=IndexedDataset(train_dataset)`."
        )
    return int(sample[INDEX_KEY])


def _digest(dataset: Any) -> str | None:
    """A digest of the length and of 64 samples' indices and labels; none of a stream."""
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        return None
    found: list[Any] = [len(dataset)]
    for place in range(0, len(dataset), max(len(dataset) // 64, 1)):
        sample = dataset[place]
        row = _row(sample)
        label = next((sample[key] for key in LABEL_KEYS if key in sample), None)
        found.append((row, None if label is None else torch.as_tensor(label).tolist()))
    return hashlib.sha256(repr(found).encode()).hexdigest()


def _spread(per_sample: Tensor, labels: Tensor) -> Tensor:
    """One value a target, from one a sample or one a target."""
    trailing = (1,) * (labels.ndim - per_sample.ndim)
    return per_sample.reshape(per_sample.shape + trailing).expand(labels.shape).reshape(-1)


def _check_shapes(logits: Tensor, labels: Tensor) -> None:
    if labels.is_floating_point() or labels.shape != logits.shape[:-1] or logits.shape[-1] < 2:
        raise ValueError(
            "Logits (B, ..., C) should come with one class of C >= 2 for each of (B, ...). Found "
            f"logits of shape {tuple(logits.shape)} and labels of shape {tuple(labels.shape)}, "
            f"{labels.dtype}. Regression and several labels at once are not supported."
        )


def _is_causal(model: Any) -> bool:
    """Whether the logits at a token are of the next one; a loss of another kind is refused."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model  # PEFT
    loss_type = getattr(base, "loss_type", None) if isinstance(base, PreTrainedModel) else None
    name = type(base).__name__
    if loss_type == "ForCausalLM" or name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values():
        return True
    if loss_type is not None and loss_type not in PLAIN_LOSSES:
        raise ValueError(
            "The model should classify sequences or tokens, or be a causal or masked language "
            f"model. Found {name}, whose loss is {loss_type}. Use the tables in a Trainer of your "
            "own, with a loss that divides the logits by the temperature."
        )
    return False


def _check_owners(
    model: nn.Module | None,
    optimizer: Any,
    data_parameters: DataParameters,
    data_optimizer: torch.optim.Optimizer,
) -> None:
    """One optimizer moves each table, and no model holds it."""
    tables = dict(data_parameters.named_parameters())
    if model is not None:
        held = {id(parameter) for parameter in model.parameters()}
        if inside := sorted(name for name, table in tables.items() if id(table) in held):
            raise ValueError(
                f"The tables should be outside the model. Found {inside} among its parameters, "
                "which its optimizer would move, too, and DistributedDataParallel cannot reduce. "
                "Keep DataParameters in a variable, not in an attribute of the model."
            )
    owners = [_parameters(data_optimizer), set() if optimizer is None else _parameters(optimizer)]
    if fought := sorted(name for name, table in tables.items() if id(table) in owners[1]):
        raise ValueError(
            f"One optimizer should move a table. Found {fought} in the model's optimizer, too. "
            "Give the tables to `data_optimizer` alone."
        )
    if missing := sorted(name for name, table in tables.items() if id(table) not in owners[0]):
        raise ValueError(
            f"`data_optimizer` should move all tables. Found {missing} outside it. Build it of "
            "these tables: `SparseSGD(data_parameters.param_groups(...))`."
        )


def _parameters(optimizer: Any) -> set[int]:
    return {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
