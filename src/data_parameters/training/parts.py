"""What a run is made of, built from its configuration."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from data_parameters import DataParameters, SparseAdamW, SparseSGD, TrainingDynamics
from data_parameters.distributed import GradScaler
from data_parameters.distributed.gathering import world_size
from data_parameters.training.chance import seed_all
from data_parameters.training.config import TrainConfig
from data_parameters.training.models import build_model
from data_parameters.training.sharding import (
    shard,
    spread_like_model,
    spread_like_optimizer,
    whole,
)

__all__ = ["Parts", "build_parts", "choose_device"]


@dataclass(kw_only=True)
class Parts:
    """Everything that learns or counts, and that a checkpoint therefore holds."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    dynamics: TrainingDynamics | None = None
    data_parameters: DataParameters | None = None
    data_optimizer: SparseSGD | SparseAdamW | None = None

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values; of a spread model, the whole.

        Returns:
            The state.
        """
        return {name: whole(part.state_dict()) for name, part in self._parts().items()}

    def weights(self) -> dict[str, Any]:
        """The weights of the model; of a spread one, the whole.

        Returns:
            Tensors by name.
        """
        weights: dict[str, Any] = whole(self.model.state_dict())
        return weights

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state.

        Args:
            state: What :meth:`state_dict` returned.
        """
        state = {
            **state,
            "model": spread_like_model(state["model"], self.model),
            "optimizer": spread_like_optimizer(state["optimizer"], self.optimizer),
        }
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    @torch.no_grad()
    def copy_instances(self, other: "Parts", rows: Tensor) -> None:
        """Take over instance temperatures; what the optimizer holds for these rows is cleared.

        Args:
            other: Where they come from; without such a table nothing happens.
            rows: Which, shape ``(K,)``.
        """
        if self.data_parameters is None or other.data_parameters is None:
            return
        table, source = self.data_parameters.log_instance, other.data_parameters.log_instance
        if table is None or source is None or self.data_optimizer is None:
            return
        rows = rows.to(table.device)
        table[rows] = source[rows]
        for value in self.data_optimizer.state.get(table, {}).values():
            if isinstance(value, Tensor) and value.shape == table.shape:
                value[rows] = 0

    def _parts(self) -> dict[str, Any]:
        return {name: part for name, part in vars(self).items() if part is not None}


def build_parts(
    config: TrainConfig,
    *,
    input_shape: tuple[int, ...],
    num_classes: int,
    num_instances: int,
    device: torch.device,
) -> Parts:
    """Build model, tables, their optimizers and the counters of a run.

    Args:
        config: The run.
        input_shape: Shape of one input.
        num_classes: Classes.
        num_instances: Training instances.
        device: Where they live.

    Returns:
        The parts, the model with weights that hang on the seed.

    Raises:
        ValueError: The model does not fit the inputs or the classes.
    """
    seed_all(config.seed)
    model = build_model(config.model, input_shape, num_classes)
    _try(model, config.model.name, input_shape, num_classes)
    model = model.to(device)
    if config.runtime.channels_last and len(input_shape) == 3:
        model = model.to(memory_format=torch.channels_last)
    if config.runtime.fsdp:
        if world_size() == 1:
            raise ValueError(
                "`runtime.fsdp` should go with several processes, over which the model is spread. "
                "Found one. Start them with torchrun, or leave it out (--runtime.no-fsdp)."
            )
        shard(model)
    parts = Parts(
        model=model,
        optimizer=_optimizer(config, model),
        scaler=GradScaler(device.type, enabled=config.precision == "float16"),
        dynamics=TrainingDynamics(num_instances, device=device) if config.dynamics else None,
    )
    classes, instances = config.classes, config.instances
    if classes.learn or instances.learn:
        init_class = 1.0 if classes.init is None else classes.init
        parts.data_parameters = DataParameters(
            num_classes=num_classes if classes.learn else None,
            num_instances=num_instances if instances.learn else None,
            init_class=init_class,
            init_instance=instances.init,
            bounds=config.tables.bounds,
            device=device,
        )
        groups = parts.data_parameters.param_groups(
            lr_class=config.lr_class,
            lr_instance=config.lr_instance,
            weight_decay_class=classes.weight_decay,
            weight_decay_instance=instances.weight_decay,
        )
        per_sample = config.tables.per_sample
        if config.tables.optimizer == "sgd":
            momentum = config.tables.momentum
            parts.data_optimizer = SparseSGD(groups, momentum=momentum, per_sample=per_sample)
        else:
            parts.data_optimizer = SparseAdamW(groups, per_sample=per_sample)
    return parts


def choose_device(name: str) -> torch.device:
    """The device of a name; ``auto`` takes CUDA, then MPS, then the CPU.

    Args:
        name: Such as ``cuda:1`` or ``auto``.

    Returns:
        The device.

    Raises:
        ValueError: There is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"`runtime.device` should be a device of this machine. Found {name!r}. Take `auto` or "
            "`cpu`."
        ) from error
    return device


def _try(model: nn.Module, name: str, input_shape: tuple[int, ...], num_classes: int) -> None:
    """Show the model two inputs of zeros, so that a misfit is heard of at once."""
    model.eval()
    try:
        with torch.no_grad():
            shape = tuple(model(torch.zeros(2, *input_shape)).shape)
    except RuntimeError as error:
        raise ValueError(
            f"The model {name!r} should take inputs of shape {input_shape}. Found: {error}. Take "
            "another model, or inputs of another size."
        ) from error
    if shape != (2, num_classes):
        raise ValueError(
            f"The model {name!r} should give one logit a class, (2, {num_classes}) for two "
            f"samples. Found {shape}. Give its last layer {num_classes} outputs."
        )
    model.train()


def _optimizer(config: TrainConfig, model: nn.Module) -> torch.optim.Optimizer:
    settings = config.optimizer
    if settings.name == "adamw":
        return torch.optim.AdamW(
            model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
        )
    return torch.optim.SGD(
        model.parameters(),
        lr=settings.lr,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
    )
