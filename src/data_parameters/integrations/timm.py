"""Data parameters in timm. Needs ``pip install 'data-parameters[timm]'``.

Legend: B samples in the minibatch, C classes, N training instances.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from data_parameters import DataParameters, TrainingDynamics, functional
from data_parameters.integrations.owners import (
    check_data_optimizer,
    check_model,
    check_model_optimizer,
)
from data_parameters.integrations.parts import load_together
from data_parameters.optim.base import SparseOptimizer

try:
    from timm.task import ClassificationTask

    from data_parameters.integrations.timm_targets import (
        IndexedMixup,
        Mixed,
        check_target,
        index_targets,
    )
except ImportError as error:
    raise ModuleNotFoundError(
        "data_parameters.integrations.timm needs timm 1.0.31 or newer, an optional dependency. "
        "Install it with: pip install 'data-parameters[timm]'",
        name=error.name,
    ) from error

__all__ = ["DataParametersTask", "IndexedMixup", "index_targets"]


class DataParametersTask(ClassificationTask):
    r"""A task of :mod:`timm.task` that trains on the cross-entropy of logits over temperatures.

    Tables, their optimizer and the dynamics ride in timm's own checkpoints, as the task's state.
    The tables are no part of the model: ``task.parameters()`` are the model's alone, and
    ``DistributedDataParallel`` wraps nothing else.

    Args:
        model: A classifier that returns logits ``(B, C)``.
        data_parameters: The tables.
        data_optimizer: Their :class:`SparseSGD` or :class:`SparseAdamW`.
        dynamics: What is to watch the training, or ``None``.
        label_smoothing: As in :func:`data_parameters.functional.cross_entropy`.
        device: As in timm's tasks.
        dtype: As in timm's tasks.
        verbose: As in timm's tasks.

    Raises:
        ValueError: The model holds the tables, or the optimizer does not move them.

    Example:
        >>> from data_parameters import SparseSGD
        >>> tables = DataParameters(num_instances=50)
        >>> data_optimizer = SparseSGD(tables.param_groups(lr_instance=0.2), momentum=0.9)
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        >>> task = DataParametersTask(model, tables, data_optimizer)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> task.follow(optimizer)
        >>> label_and_index = torch.tensor([[0, 17], [2, 42]])
        >>> task(torch.rand(2, 3, 2, 2), label_and_index)["loss"].backward()
        >>> optimizer.step()  # moves the rows 17 and 42, too
        >>> tables.log_instance.nonzero().flatten().tolist()
        [17, 42]
    """

    data_parameters: DataParameters
    data_optimizer: SparseOptimizer
    dynamics: TrainingDynamics | None

    def __init__(
        self,
        model: nn.Module,
        data_parameters: DataParameters,
        data_optimizer: SparseOptimizer,
        *,
        dynamics: TrainingDynamics | None = None,
        label_smoothing: float = 0.0,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        verbose: bool = True,
    ) -> None:
        remedy = "Take them out of the model, and give them to the task."
        check_model(data_parameters, model, remedy)
        check_data_optimizer(data_parameters, data_optimizer)
        criterion = partial(functional.cross_entropy, label_smoothing=label_smoothing)
        super().__init__(model, criterion, device=device, dtype=dtype, verbose=verbose)
        # Not registered as a part of this module: whoever takes its parameters takes the model's.
        self.__dict__["data_parameters"] = data_parameters
        self.data_optimizer = data_optimizer
        self.dynamics = dynamics

    def follow(self, optimizer: Optimizer) -> None:
        """Move the tables whenever the model moves; with accumulation, that is not each minibatch.

        Args:
            optimizer: The model's. After each of its steps the tables step, and their gradients
                are cleared.

        Raises:
            ValueError: The optimizer moves the tables itself.
        """
        remedy = "Build it of the model, as in `create_optimizer_v2(model)`."
        check_model_optimizer(self.data_parameters, optimizer, remedy)
        optimizer.register_step_post_hook(self._step_tables)

    def _step_tables(self, *_: Any) -> None:
        self.data_optimizer.step()
        self.data_optimizer.zero_grad()

    def forward(self, input: Tensor, target: Tensor | Mixed) -> dict[str, Tensor]:
        """The loss of a minibatch, and the plain logits.

        Args:
            input: Images, shape ``(B, ...)``.
            target: Label and index of each sample, shape ``(B, 2)`` int64, from
                :func:`index_targets`; or what :class:`IndexedMixup` made of it. Mixed samples
                are left out of the dynamics, because their logits belong to two labels.

        Returns:
            ``loss`` and ``output``, the logits.

        Raises:
            ValueError: The target has no index, or timm's own mixup has been there; or float16
                autocast is on.
        """
        for part in target[:2] if isinstance(target, tuple) else (target,):
            check_target(part)
        kind = input.device.type
        if torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16:
            raise ValueError(
                "Autocast should be in bfloat16. Found float16, with which timm's loss scaler "
                "would scale the gradients of the tables, too. Train with `--amp-dtype bfloat16`."
            )
        output = self.trainable_module(input)
        if isinstance(target, tuple):
            own, partner, share = target
            loss = share * self._losses(output, own) + (1 - share) * self._losses(output, partner)
        else:
            loss = self._losses(output, target)
            if self.dynamics is not None:
                self.dynamics.update(output.detach(), *target.unbind(1))
        return {"loss": loss.mean(), "output": output}

    def _losses(self, output: Tensor, target: Tensor) -> Tensor:
        label, index = target.unbind(1)
        temperature = self.data_parameters(label, index).to(output.device)
        losses: Tensor = self.criterion(output, label, temperature, reduction="none")
        return losses

    def get_task_state(self, module: nn.Module | None = None, ema: bool = False) -> dict[str, Any]:
        """Tables, optimizer and dynamics, for timm's checkpoints.

        Args:
            module: Unused, as in timm.
            ema: Whether the state beside averaged weights is asked for: there is none.

        Returns:
            A state that ``torch.load(weights_only=True)`` reads.
        """
        if ema:
            return {}
        return {name: dict(part.state_dict()) for name, part in self._parts().items()}

    def load_task_state(
        self,
        state: dict[str, Any] | None,
        strict: bool = True,
        module: nn.Module | None = None,
        ema: bool = False,
    ) -> None:
        """Go on from a state; where it does not fit, tables, optimizer and dynamics stay.

        Args:
            state: What :meth:`get_task_state` returned.
            strict: Whether a checkpoint without such a state is refused.
            module: Unused, as in timm.
            ema: Whether it is the state beside averaged weights, which is empty.

        Raises:
            ValueError: There is no state, or another one; or it is of another data set.
            RuntimeError: The tables are of other sizes or levels.
        """
        if ema or (state is None and not strict):
            return
        parts = self._parts()
        if state is None or state.keys() != parts.keys():
            raise ValueError(
                f"The checkpoint's task state should hold {sorted(parts)}. Found "
                f"{sorted(state or [])}. Resume a run of the same task, with dynamics if it had "
                "them; to start from a model alone, load it before the task is made."
            )
        load_together(parts, state)

    def _parts(self) -> dict[str, Any]:
        parts = {"data_parameters": self.data_parameters, "data_optimizer": self.data_optimizer}
        return parts if self.dynamics is None else {**parts, "dynamics": self.dynamics}
