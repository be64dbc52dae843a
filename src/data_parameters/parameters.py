"""The tables of log-temperatures, and the temperature of a minibatch.

Legend: B samples in the minibatch, C classes, N training instances.
"""

import math
import operator
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook
from torch.nn.parallel import DistributedDataParallel

from data_parameters.lookup import look_up
from data_parameters.storage import default_device, lazy_zeros

__all__ = ["DataParameters"]

LogBounds = tuple[float, float]
HALF = (torch.float16, torch.bfloat16)


class DataParameters(nn.Module):
    r"""Learnable temperatures, one per class and one per training instance.

    A sample with label :math:`y` and row :math:`i` has, at class level, at instance level and
    jointly, the temperature

    .. math::
        \sigma = \exp(c_y), \qquad \sigma = \exp(s_i), \qquad \sigma = \exp(c_y) + \exp(s_i).

    The tables :math:`c` and :math:`s` hold logarithms, so every real number is a valid entry. They
    serve in training only: a trained model is evaluated without this module. Keep it outside a
    model that is wrapped in ``DistributedDataParallel``, which cannot reduce sparse gradients.

    Args:
        num_classes: Number of classes :math:`C`, or ``None`` for no class level.
        num_instances: Number of training instances :math:`N`, or ``None`` for no instance level.
        init_class: First class temperature :math:`\sigma > 0`: one number, or one a row.
        init_instance: The same for instances. ``None`` is 1.0 where the instance table stands
            alone, and 1/20 where it joins a class table, so that a joint temperature starts near 1.
        bounds: Lowest and highest temperature. :meth:`param_groups` hands them to the optimizers,
            which project a row to them after its update; an initial value outside starts on the
            bound. ``None``: no projection.
        ignore_index: A target with this value touches no class row. Its class temperature is 1.
        device: Where the tables live. Targets and indices may lie on another device.

    Shape:
        - ``target``: int64 classes in ``[0, C)``, any shape, mostly ``(B,)``
        - ``index``: int64 rows of the training set in ``[0, N)``, any shape, mostly ``(B,)``
        - output: float32 temperatures :math:`\sigma > 0`, dimensionless, shaped as what is given

    Attributes:
        log_class: :math:`c`, shape ``(C,)``, or ``None``. Its ``.grad`` is sparse.
        log_instance: :math:`s`, shape ``(N,)``, or ``None``. Its ``.grad`` is sparse.

    Raises:
        ValueError: No table is asked for, a count or an initial value is not positive and finite,
            or the bounds are not in order.

    Example:
        >>> data_parameters = DataParameters(num_instances=50_000)
        >>> data_parameters(index=torch.tensor([17, 42]))
        tensor([1., 1.], grad_fn=<ExpBackward0>)

    References:
        Saxena, Tuzel and DeCoste, "Data Parameters: A New Family of Parameters for Learning a
        Differentiable Curriculum", NeurIPS 2019.
    """

    log_class: nn.Parameter | None
    log_instance: nn.Parameter | None

    def __init__(
        self,
        *,
        num_classes: int | None = None,
        num_instances: int | None = None,
        init_class: float | Tensor = 1.0,
        init_instance: float | Tensor | None = None,
        bounds: tuple[float, float] | None = (1 / 20, 20.0),
        ignore_index: int = -100,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if num_classes is None and num_instances is None:
            raise ValueError(
                "At least one of `num_classes` and `num_instances` should be a count. Found None "
                "for both. Give the number of classes, of training instances, or both."
            )
        if bounds is not None and not (len(bounds) == 2 and 0.0 < bounds[0] < bounds[1] < math.inf):
            raise ValueError(
                f"`bounds` should satisfy 0 < low < high < inf. Found {bounds}. Give two "
                "temperatures such as (1/20, 20), or None for no projection."
            )
        if init_instance is None:
            init_instance = 1.0 if num_classes is None else 1 / 20
        self.bounds = bounds
        self.ignore_index = ignore_index
        log_bounds = self._log_bounds
        self.log_class = _table("class", num_classes, init_class, log_bounds, device)
        self.log_instance = _table("instance", num_instances, init_instance, log_bounds, device)

    def forward(self, target: Tensor | None = None, index: Tensor | None = None) -> Tensor:
        """Look up the temperature of each sample.

        An argument whose table is absent is ignored, so that one loop serves all levels. Jointly,
        the shapes may differ in trailing dimensions: an index ``(B,)`` beside a target ``(B, H,
        W)`` gives all pixels of an image one instance temperature.

        Args:
            target: Classes in ``[0, C)``, or ``ignore_index``.
            index: Rows of the training set in ``[0, N)``.

        Returns:
            The temperatures, on the device of the tables.

        Raises:
            ValueError: A table exists and its argument is missing, or shapes do not fit.
            TypeError: Classes or rows are not integers.
            IndexError: A class or row is out of range (checked where they are on the CPU).
        """
        parts = []
        if self.log_class is not None:
            parts.append(look_up("target", self.log_class, target, self.ignore_index))
        if self.log_instance is not None:
            parts.append(look_up("index", self.log_instance, index))
        parts = [part.exp() for part in parts]
        return parts[0] if len(parts) == 1 else _joint(*parts)

    @property
    def class_temperature(self) -> Tensor | None:
        """The class temperatures, detached, shape ``(C,)``; ``None`` without that table."""
        return None if self.log_class is None else self.log_class.detach().exp()

    @property
    def instance_temperature(self) -> Tensor | None:
        """The instance temperatures, detached, shape ``(N,)``; ``None`` without that table."""
        return None if self.log_instance is None else self.log_instance.detach().exp()

    def param_groups(
        self,
        *,
        lr_class: float | None = None,
        lr_instance: float | None = None,
        weight_decay_class: float = 0.0,
        weight_decay_instance: float = 0.0,
    ) -> list[dict[str, Any]]:
        """Parameter groups for :class:`SparseSGD` or :class:`SparseAdamW`.

        Settings of a table that does not exist are ignored, so that one script serves all levels.

        Args:
            lr_class: Learning rate of the class table; ``None`` leaves the optimizer's default.
            lr_instance: Learning rate of the instance table; ``None`` likewise.
            weight_decay_class: Pull of a touched class row towards temperature 1.
            weight_decay_instance: Pull of a touched instance row towards temperature 1.

        Returns:
            One group a table, with ``name``, ``params``, ``lr``, ``weight_decay``, and ``bounds``
            in the logarithmic domain.

        Example:
            >>> data_parameters = DataParameters(num_classes=10)
            >>> [group] = data_parameters.param_groups(lr_class=0.1)
            >>> group["name"], group["lr"]
            ('class', 0.1)
        """
        groups = []
        for name, table, lr, weight_decay in (
            ("class", self.log_class, lr_class, weight_decay_class),
            ("instance", self.log_instance, lr_instance, weight_decay_instance),
        ):
            if table is not None:
                group = {"name": name, "params": [table], "weight_decay": weight_decay}
                group["bounds"] = self._log_bounds
                groups.append(group if lr is None else {**group, "lr": lr})
        return groups

    def extra_repr(self) -> str:
        """Sizes and bounds, for ``print``."""
        sizes = {"num_classes": self.log_class, "num_instances": self.log_instance}
        counts = [f"{name}={len(table)}" for name, table in sizes.items() if table is not None]
        return ", ".join([*counts, f"bounds={self.bounds}"])

    @property
    def _log_bounds(self) -> LogBounds | None:
        return None if self.bounds is None else (math.log(self.bounds[0]), math.log(self.bounds[1]))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "DataParameters":
        """Follow the model to another device, but not to half precision."""

        def keep_precision(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return tensor.to(moved.device) if moved.dtype in HALF else moved

        super()._apply(keep_precision, recurse)  # type: ignore[no-untyped-call]
        return self

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load both tables or none: torch would copy the one that is there before it complains.

        Args:
            state_dict: What ``state_dict`` returned.
            strict: Whether the levels have to be the same.
            assign: As in :meth:`torch.nn.Module.load_state_dict`.

        Returns:
            The missing and the unexpected keys.

        Raises:
            RuntimeError: The levels or the sizes differ, or a value is not finite. Nothing is
                changed then.
        """
        expected = self.state_dict().keys()
        if strict and state_dict.keys() != expected:
            raise RuntimeError(
                f"The state should hold {sorted(expected)}. Found {sorted(state_dict)}. Build "
                "DataParameters with the levels (class, instance, joint) of the checkpoint."
            )
        return super().load_state_dict(state_dict, strict, assign)

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        expected = {prefix + name: table for name, table in self.named_parameters()}
        found = {key: value for key, value in state_dict.items() if key.startswith(prefix)}
        assign = bool(local_metadata.get("assign_to_params_buffers", False))
        problems = [
            f"`{key}` should have shape {tuple(table.shape)} and finite values. Found "
            f"{_describe(found[key])}. The checkpoint belongs to another data set."
            for key, table in expected.items()
            if key in found and not _fits(found[key], table, assign=assign)
        ]
        if problems:
            error_msgs.extend(problems)
            return
        keys = (missing_keys, unexpected_keys, error_msgs)
        super()._load_from_state_dict(dict(state_dict), prefix, local_metadata, strict, *keys)


def _fits(value: Any, table: Tensor, *, assign: bool) -> bool:
    return (
        isinstance(value, Tensor)
        and value.shape == table.shape
        and value.is_floating_point()
        and not (assign and value.dtype in HALF)
        and bool(value.is_meta or value.isfinite().all())
    )


def _describe(value: Any) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    finite = "finite" if value.isfinite().all() else "non-finite"
    return f"shape {tuple(value.shape)}, {value.dtype}, {finite} values"


def _table(
    name: str,
    size: int | None,
    init: float | Tensor,
    log_bounds: LogBounds | None,
    device: torch.device | str | None,
) -> nn.Parameter | None:
    """A table of log-temperatures; free of memory until touched where it starts at 1."""
    if size is None:
        return None
    size = _count(name, size)
    device = default_device() if device is None else device
    # Checked on the CPU, wherever torch makes tensors by default.
    temperature = torch.as_tensor(init, dtype=torch.float32, device="cpu").detach()
    if temperature.shape not in ((), (size,)):
        raise ValueError(
            f"`init_{name}` should be one temperature, or one for each of the {size} rows. Found "
            f"shape {tuple(temperature.shape)}."
        )
    if not bool((temperature.isfinite() & (temperature > 0)).all()):
        raise ValueError(
            f"`init_{name}` should be positive and finite. Found {init}. It is a temperature, not "
            "its logarithm: 1.0 starts at ordinary cross-entropy."
        )
    log_temperature = temperature.log()
    if log_bounds is not None:
        inside = log_temperature.clamp(*log_bounds)
        if not torch.allclose(inside, log_temperature, rtol=0.0, atol=1e-6):
            low, high = (math.exp(bound) for bound in log_bounds)
            warnings.warn(
                f"`init_{name}` holds temperatures outside the bounds [{low:g}, {high:g}]; those "
                "rows start on the bound. Widen `bounds` to start where you asked.",
                stacklevel=3,
            )
        log_temperature = inside
    if log_temperature.ndim == 0 and log_temperature == 0.0:
        return nn.Parameter(lazy_zeros(size, device=device))
    return nn.Parameter(log_temperature.to(device).expand(size).clone())


def _count(name: str, size: Any) -> int:
    """The size as an int; numpy and torch have integers of their own."""
    try:
        count = 0 if isinstance(size, bool) else operator.index(size)
    except TypeError:
        count = 0
    if count < 1:
        raise ValueError(f"The number of {name} rows should be an integer above 0. Found {size!r}.")
    return count


def _joint(class_part: Tensor, instance_part: Tensor) -> Tensor:
    """The sum; the shorter shape is spread over the trailing dimensions of the longer."""
    dims = max(class_part.ndim, instance_part.ndim)
    shared = min(class_part.ndim, instance_part.ndim)
    if class_part.shape[:shared] != instance_part.shape[:shared]:
        raise ValueError(
            "`target` and `index` should have the same shape, or one should lack trailing "
            f"dimensions only. Found {tuple(class_part.shape)} and {tuple(instance_part.shape)}."
        )
    parts = [p.reshape(p.shape + (1,) * (dims - p.ndim)) for p in (class_part, instance_part)]
    return parts[0] + parts[1]


def _refuse_in_ddp(module: nn.Module, name: str, part: nn.Module | None) -> None:
    """Refuse at construction what would fail, or hang, in the first backward pass."""
    if part is None or not isinstance(module, DistributedDataParallel):
        return
    ignored = getattr(part, "_ddp_params_and_buffers_to_ignore", ())
    for place, inner in part.named_modules():
        if not isinstance(inner, DataParameters):
            continue
        prefix = f"{place}." if place else ""
        reduced = [table for table, value in inner.named_parameters() if value.requires_grad]
        if any(prefix + table not in ignored for table in reduced):
            raise ValueError(
                "A model that is wrapped in DistributedDataParallel should not contain the tables, "
                f"whose sparse gradients it cannot reduce. Found DataParameters as "
                f"{place or 'the model'!r}. Keep it beside the model: SparseSGD and SparseAdamW "
                "exchange its rows themselves."
            )


register_module_module_registration_hook(_refuse_in_ddp)
