"""Data parameters in Accelerate. Needs ``pip install 'data-parameters[accelerate]'``.

Legend: B samples in this process's minibatch, C classes, N training instances, W processes.
"""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from data_parameters import DataParameters, TrainingDynamics, functional
from data_parameters.distributed import loss_weight
from data_parameters.integrations.owners import check_model_optimizer
from data_parameters.integrations.parts import DataParts

try:
    from accelerate import Accelerator
    from accelerate.data_loader import BatchSamplerShard, DataLoaderDispatcher
    from accelerate.optimizer import AcceleratedOptimizer
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "data_parameters.integrations.accelerate needs Accelerate, an optional dependency. "
        "Install it with: pip install 'data-parameters[accelerate]'"
    ) from error

__all__ = ["AccelerateDataParameters"]


class AccelerateDataParameters:
    """Trains the tables beside a model that Accelerate prepares.

    A loop changes in two lines::

        data = AccelerateDataParameters(accelerator, optimizer, tables, data_optimizer)
        ...
        loss = data.cross_entropy(model(inputs), target, index)

    The tables step whenever ``optimizer`` does: once under ``accelerator.accumulate``, and not
    where a loss scale overflows. They are registered for ``save_state`` and ``load_state``.

    Samples that Accelerate repeats to give all processes equally many (``even_batches``) are left
    out: they train neither model nor tables, and the dynamics don't count them.

    Args:
        accelerator: The accelerator.
        optimizer: The optimizer of the model, prepared or not.
        data_parameters: The tables. They move to the accelerator's device. Not to be prepared.
        data_optimizer: Their optimizer, :class:`SparseSGD` or :class:`SparseAdamW`. Not to be
            prepared.
        dynamics: Statistics to gather beside, from what :meth:`cross_entropy` is given.
        labels: Given labels of all instances, shape ``(N,)``. Their digest is saved, and a run
            with other labels does not resume from the checkpoint.

    Raises:
        ValueError: An optimizer holds what it should not, sizes differ, or processes may get
            unequal numbers of minibatches.

    Example:
        >>> from data_parameters import SparseSGD
        >>> model, accelerator = torch.nn.Linear(4, 3), Accelerator(cpu=True)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> tables = DataParameters(num_instances=1_000)
        >>> data_optimizer = SparseSGD(tables.param_groups(lr_instance=0.2), momentum=0.9)
        >>> data = AccelerateDataParameters(accelerator, optimizer, tables, data_optimizer)
        >>> model, optimizer = accelerator.prepare(model, optimizer)
        >>> logits, target = model(torch.ones(2, 4)), torch.tensor([0, 1])
        >>> accelerator.backward(data.cross_entropy(logits, target, torch.tensor([7, 9])))
        >>> optimizer.step()
        >>> tables.log_instance.count_nonzero()
        tensor(2)
    """

    def __init__(
        self,
        accelerator: Accelerator,
        optimizer: Optimizer,
        data_parameters: DataParameters,
        data_optimizer: Optimizer,
        *,
        dynamics: TrainingDynamics | None = None,
        labels: Tensor | None = None,
    ) -> None:
        if isinstance(data_optimizer, AcceleratedOptimizer):
            raise ValueError(
                "`data_optimizer` should be as it was built. Found it prepared, which saves it "
                "twice and steps it twice. Leave tables and their optimizer out of "
                "`accelerator.prepare`."
            )
        if accelerator.num_processes > 1 and not accelerator.even_batches:
            raise ValueError(
                "Every process should take equally many steps, in which they exchange rows. Found "
                "even_batches=False. Leave it True: repeated samples are left out here."
            )
        self.parts = DataParts(data_parameters, data_optimizer, dynamics, labels)
        inner = optimizer.optimizer if isinstance(optimizer, AcceleratedOptimizer) else optimizer
        remedy = "Keep them out of the model and of its optimizer."
        check_model_optimizer(data_parameters, inner, remedy)
        self.accelerator, self.data_parameters = accelerator, data_parameters
        self.dynamics, self._num_lookups = dynamics, 0
        data_parameters.to(accelerator.device)
        self._model_optimizer = inner
        inner.register_step_post_hook(self._step)
        accelerator.register_for_checkpointing(self)

    def cross_entropy(
        self, logits: Tensor, target: Tensor, index: Tensor | None = None, **options: Any
    ) -> Tensor:
        """The mean loss over the samples of all processes, in nats, for ``accelerator.backward``.

        Args:
            logits: Logits of the model, shape ``(B, C)``.
            target: Given labels in ``[0, C)``, shape ``(B,)``.
            index: Rows in ``[0, N)``, shape ``(B,)``; not needed at class level.
            **options: As in :func:`data_parameters.functional.cross_entropy`.

        Returns:
            A scalar. In several processes it is weighted so that their mean is the mean over all
            samples, repeated ones left out.

        Raises:
            RuntimeError: Gradients are off, as in validation.
            ValueError: The loader does not say which samples it repeats.
        """
        if not torch.is_grad_enabled():
            raise RuntimeError(
                "`cross_entropy` at a temperature should be called in training alone. Found "
                "gradients switched off. Use torch.nn.functional.cross_entropy to validate."
            )
        self._forget_skipped_step()
        self._num_lookups += 1
        weight, num_samples = 1.0, self._num_without_repeats(len(logits))
        if num_samples is not None:
            weight = loss_weight(num_samples)
            everything, logits, target = logits, logits[:num_samples], target[:num_samples]
            index = None if index is None else index[:num_samples]
        if self.dynamics is not None and index is not None:
            self.dynamics.update(logits.detach(), target, index)
        if num_samples == 0:  # this process still takes part in the others' reduction
            return everything.sum() * 0.0
        temperature = self.data_parameters(target, index)
        return functional.cross_entropy(logits, target, temperature, **options) * weight

    def _num_without_repeats(self, batch_size: int) -> int | None:
        """How many samples of this process count; ``None`` where all do, in all processes."""
        state = self.accelerator.gradient_state
        num_processes = self.accelerator.num_processes
        if num_processes == 1:
            return None
        loader = state.active_dataloader
        if isinstance(loader, DataLoaderDispatcher):
            raise ValueError(
                "Every process should load its own samples. Found a loader that dispatches those "
                "of process 0. Set DataLoaderConfiguration(dispatch_batches=False)."
            )
        shard = getattr(loader, "batch_sampler", None)
        while shard is not None and not isinstance(shard, BatchSamplerShard):
            shard = getattr(shard, "batch_sampler", None)
        if shard is None:
            return batch_size  # a loader of the user's own, whose minibatches may differ in size
        if shard.drop_last or not state.end_of_dataloader:
            return None
        sampler = getattr(shard.batch_sampler, "sampler", None)
        if sampler is None or shard.batch_size is None:
            raise ValueError(
                "A prepared loader should say how many samples it repeats. Found a batch sampler "
                f"of type {type(shard.batch_sampler).__name__}, with no `sampler` or `batch_size`. "
                "Don't prepare it: give it data_parameters.distributed.GlobalBatchSampler."
            )
        # The last minibatches, one after the other, are what is left and then the repeated ones.
        num_left = len(sampler) % (num_processes * batch_size)
        if num_left == 0:
            return None
        start: int = self.accelerator.process_index * batch_size
        num_kept: int = min(max(num_left - start, 0), batch_size)
        return num_kept

    def _forget_skipped_step(self) -> None:
        """Where a loss scaler skipped a step, the loop has cleared the model's gradients alone."""
        model = (p for group in self._model_optimizer.param_groups for p in group["params"])
        if all(parameter.grad is None for parameter in model):
            self.parts.optimizer.zero_grad()

    def _step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Step the tables, after the optimizer of the model has stepped."""
        if self._num_lookups == 0:
            raise RuntimeError(
                "The loss should depend on the temperatures. Found no lookup before the first "
                "step. Compute it by `cross_entropy(logits, target, index)` of this object."
            )
        self.parts.step(self.accelerator.scaler)

    def state_dict(self) -> dict[str, Any]:
        """What ``save_state`` saves: tables, optimizer, dynamics, as plain tensors and numbers."""
        return self.parts.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint; where one part does not fit, none is changed."""
        self.parts.load_state_dict(state_dict)
