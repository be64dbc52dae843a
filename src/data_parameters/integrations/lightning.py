"""Data parameters in PyTorch Lightning. Needs ``pip install 'data-parameters[lightning]'``.

Legend: B samples in the minibatch of a step, C classes, N training instances.
"""

from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data.distributed import DistributedSampler

from data_parameters import DataParameters, IndexedDataset, TrainingDynamics, functional
from data_parameters.distributed import loss_weight
from data_parameters.integrations.indexed_loader import IndexedLoader
from data_parameters.integrations.minibatch import describe, has_index
from data_parameters.integrations.owners import check_model, check_model_optimizer
from data_parameters.integrations.parts import DataParts
from data_parameters.monitor import statistics

try:
    from pytorch_lightning import Callback, LightningModule, Trainer
    from pytorch_lightning.utilities import rank_zero_warn
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "data_parameters.integrations.lightning needs PyTorch Lightning, an optional dependency. "
        "Install it with: pip install 'data-parameters[lightning]'"
    ) from error

__all__ = ["DataParametersCallback", "IndexedLoader"]


class DataParametersCallback(Callback):
    """Trains the tables beside a ``LightningModule``, and keeps them in Lightning's checkpoints.

    While ``Trainer.fit`` runs, the module has the callback as ``self.data_parameters``, and its
    ``training_step`` changes in one line::

        images, target, index = batch
        return self.data_parameters.cross_entropy(self.model(images), target, index)

    The tables step whenever an optimizer of the module does: once under accumulation, not where
    a loss scale overflows. They are no part of the module, so they enter neither its optimizer nor
    its state dict, nor what ``DistributedDataParallel`` wraps. At the end of an epoch their
    statistics go to every logger.

    Args:
        data_parameters: The tables. They move to the device of the module.
        optimizer: Their optimizer, :class:`SparseSGD` or :class:`SparseAdamW`.
        dynamics: Statistics to gather beside, from what :meth:`cross_entropy` is given.
        labels: Given labels of all instances, shape ``(N,)``. Their digest is saved, and a run
            with other labels does not resume from the checkpoint.
        name: The module's attribute, and part of the key in the checkpoint.

    Raises:
        ValueError: The optimizer does not hold the tables, and them alone, or sizes differ.

    Example:
        >>> from data_parameters import SparseSGD
        >>> tables = DataParameters(num_instances=1_000)
        >>> optimizer = SparseSGD(tables.param_groups(lr_instance=0.2), momentum=0.9)
        >>> callback = DataParametersCallback(tables, optimizer)
        >>> trainer = Trainer(callbacks=[callback], max_epochs=1)  # doctest: +SKIP
    """

    def __init__(
        self,
        data_parameters: DataParameters,
        optimizer: Optimizer,
        *,
        dynamics: TrainingDynamics | None = None,
        labels: Tensor | None = None,
        name: str = "data_parameters",
    ) -> None:
        self.parts = DataParts(data_parameters, optimizer, dynamics, labels)
        self.data_parameters, self.optimizer, self.dynamics = data_parameters, optimizer, dynamics
        self.name = name
        self._trainer: Trainer | None = None
        self._num_lookups, self._step_is_due = 0, False
        self._hooks: list[Any] = []

    def __call__(self, target: Tensor | None = None, index: Tensor | None = None) -> Tensor:
        """Temperatures of a minibatch, for a loss of your own.

        In several processes, weight its mean by :func:`data_parameters.distributed.loss_weight`
        where their minibatches differ in size.

        Args:
            target: Given labels in ``[0, C)``, shape ``(B,)``.
            index: Rows in ``[0, N)``, shape ``(B,)``.

        Returns:
            Temperatures, shape ``(B,)``.
        """
        self._num_lookups += 1
        temperature: Tensor = self.data_parameters(target, index)
        return temperature

    def cross_entropy(
        self, logits: Tensor, target: Tensor, index: Tensor | None = None, **options: Any
    ) -> Tensor:
        """The mean loss of ``training_step``, over the samples of all processes, in nats.

        Args:
            logits: Logits of the model, shape ``(B, C)``.
            target: Given labels in ``[0, C)``, shape ``(B,)``.
            index: Rows in ``[0, N)``, shape ``(B,)``; not needed at class level.
            **options: As in :func:`data_parameters.functional.cross_entropy`.

        Returns:
            A scalar. In several processes it is weighted so that their mean is the mean over all
            samples, also where minibatches differ in size.

        Raises:
            RuntimeError: It is asked for outside of training.
        """
        if self._trainer is None or not self._trainer.training:
            raise RuntimeError(
                f"`{self.name}.cross_entropy` should be called in `training_step`, because "
                "temperatures serve training alone. Found another stage. Use "
                "torch.nn.functional.cross_entropy to validate and test."
            )
        loss = functional.cross_entropy(logits, target, self(target, index), **options)
        if self.dynamics is not None and index is not None:
            self.dynamics.update(logits.detach(), target, index)
        return loss * loss_weight(len(logits)) if self._trainer.world_size > 1 else loss

    # What Lightning calls, in its order.

    @property
    def state_key(self) -> str:
        """The key in a checkpoint; tables of two names have two."""
        return self._generate_state_key(name=self.name)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Hand the callback to the module, before that is wrapped."""
        if stage != "fit":
            return
        check_model(self.data_parameters, pl_module, f"Remove it, and use `self.{self.name}`.")
        if getattr(pl_module, self.name, self) is not self:
            raise ValueError(
                f"The LightningModule should leave `{self.name}` to the callback. Found "
                f"{type(getattr(pl_module, self.name)).__name__} there. Give the callback another "
                "`name`, or remove the attribute."
            )
        tables = list(self.data_parameters.parameters())
        if any(table.is_shared() for table in tables):  # type: ignore[no-untyped-call]
            raise ValueError(
                "Every process should have tables of its own. Found shared memory, as spawned "
                'processes have it. Use Trainer(strategy="ddp").'
            )
        self.data_parameters.to(trainer.strategy.root_device)
        self._trainer = trainer
        self._num_lookups, self._step_is_due = 0, False
        setattr(pl_module, self.name, self)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Follow the optimizers of the module."""
        for optimizer in trainer.optimizers:
            remedy = "Leave them out of `configure_optimizers`."
            check_model_optimizer(self.data_parameters, optimizer, remedy)
        self._release()
        self._hooks = [o.register_step_post_hook(self._step) for o in trainer.optimizers]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the loader with the tables."""
        loader = trainer.train_dataloader
        dataset = getattr(loader, "dataset", None)
        if isinstance(dataset, IndexedDataset):
            self.parts.check_size("train_dataloader", len(dataset))
        sampler = getattr(loader, "sampler", None)
        if isinstance(sampler, DistributedSampler) and not sampler.drop_last:
            repeated = sampler.total_size - len(sampler.dataset)  # type: ignore[arg-type]
            if repeated > 0:
                rank_zero_warn(
                    f"Lightning's sampler repeats {repeated} instances an epoch, so that all "
                    "processes have equally many; their rows get two gradients. IndexedLoader "
                    "repeats none."
                )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Look for the index in the first minibatch."""
        needed = self._num_lookups == 0 and self.data_parameters.log_instance is not None
        if needed and not has_index(batch):
            raise ValueError(
                "A minibatch should hold the index of each sample, last in a tuple or under the "
                f'key "index". Found {describe(batch)}. Use IndexedLoader(train_set, ...), or '
                "wrap the training set in IndexedDataset; a collator of your own has to keep the "
                "index."
            )

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Any) -> None:
        """Forget the gradients of a step that a loss scaler has skipped."""
        if self._step_is_due:
            self.optimizer.zero_grad()
            self._step_is_due = False

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Note that a step is due; the model's optimizer takes it, or a loss scaler skips it."""
        if self._num_lookups == 0:
            raise RuntimeError(
                "The loss should depend on the temperatures. Found no lookup before the first "
                f"step. Return `self.{self.name}.cross_entropy(logits, target, index)` from "
                "`training_step`."
            )
        self._step_is_due = True

    def _step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Step the tables, after an optimizer of the module has stepped."""
        assert self._trainer is not None
        scaler = getattr(self._trainer.precision_plugin, "scaler", None)
        self.parts.step(scaler)
        self._step_is_due = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log statistics of the temperatures, as ``NAME/instance/mean`` and so on."""
        if trainer.loggers or trainer.checkpoint_callbacks:
            found = statistics(self.data_parameters)
            named = {f"{self.name}/{key}": value for key, value in found.items()}
            pl_module.log_dict(named, sync_dist=True)  # equal everywhere, but Lightning can't know

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the module's optimizers alone."""
        self._release()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave the module's optimizers alone."""
        self._release()

    def _release(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    # Checkpoints.

    def state_dict(self) -> dict[str, Any]:
        """What Lightning saves: tables, optimizer and dynamics, as plain tensors and numbers."""
        return self.parts.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint; where one part does not fit, none is changed."""
        self.parts.load_state_dict(state_dict)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Warn where a run goes on from a checkpoint that has no tables."""
        if trainer.state.fn == "fit" and self.state_key not in checkpoint.get("callbacks", {}):
            rank_zero_warn(
                f"The checkpoint has no {self.state_key}, so its tables start anew. Was it "
                "written with another `name`, or without this callback?"
            )
