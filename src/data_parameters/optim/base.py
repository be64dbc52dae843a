"""What the row-wise optimizers share: find the touched rows, move them, project, write back."""

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from data_parameters.distributed import all_gather_rows, world_size
from data_parameters.optim.rows import entries, sum_by_row
from data_parameters.storage import lazy_zeros

__all__ = ["SparseOptimizer"]


class SparseOptimizer(Optimizer, ABC):
    """Moves the rows that occur in a sparse gradient; every other row keeps its exact bits.

    A subclass says in :meth:`_move` how one row moves, from values to values.
    """

    def __init__(
        self, params: ParamsT, defaults: dict[str, Any], process_group: ProcessGroup | None
    ) -> None:
        self._check_settings(defaults)
        super().__init__(params, defaults)
        # Not among the defaults: those are saved in checkpoints, and a process group cannot be.
        self.process_group = process_group
        self._warned_of_skipped_rows = False

    @abstractmethod
    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Names of the tables of state that a group's settings need, each of shape ``(N,)``."""

    @abstractmethod
    def _move(
        self,
        group: dict[str, Any],
        value: Tensor,
        grad: Tensor,
        count: Tensor,
        state: dict[str, Tensor],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """New values and new state of some rows: pure, elementwise, nothing written in place."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the touched rows once.

        Args:
            closure: Clears the gradients, computes the loss anew, and calls ``backward``.

        Returns:
            The loss of the closure, if one is given.

        Raises:
            ValueError: A gradient is not sparse, or a table not one-dimensional. Nothing is
                changed then.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        tables = [(group, table) for group in self.param_groups for table in group["params"]]
        for _, table in tables:
            _check_gradient(table)
        # A process without a gradient still has to hear of the others' rows.
        alone = world_size(self.process_group) == 1
        for group, table in tables:
            if table.grad is not None or not alone:
                self._step_table(group, table)
        return loss

    def _step_table(self, group: dict[str, Any], table: Tensor) -> None:
        columns = all_gather_rows(*entries(table), process_group=self.process_group)
        if len(columns[0]) == 0:
            return
        rows, grad, count, first = sum_by_row(*columns)
        # Each process takes the mean over its own samples.
        grad = grad / world_size(self.process_group)
        if group["per_sample"]:
            grad = grad * columns[2].sum()

        tables = {name: self._state_table(table, name) for name in self._state_names(group)}
        old_value = table.index_select(0, rows)
        old_state = {name: state.index_select(0, rows) for name, state in tables.items()}
        value, state = self._move(group, old_value, grad, count, old_state)
        if group["bounds"] is not None:
            value = value.clamp(*group["bounds"])

        touched = count > 0
        sound = grad.isfinite() & value.isfinite()
        for moved in state.values():
            sound &= moved.isfinite()
        keep = touched & sound
        # The entries of a repeated row all write the same bits.
        table[rows] = torch.where(keep, value, old_value)
        for name, moved in state.items():
            tables[name][rows] = torch.where(keep, moved, old_state[name])
        self._count_skipped(table, (touched & ~sound & first).sum())

    def _state_table(self, table: Tensor, name: str) -> Tensor:
        state = self.state[table]
        if name not in state:
            state[name] = lazy_zeros(len(table), dtype=table.dtype, device=table.device)
        elif state[name].dtype != table.dtype or state[name].device != table.device:
            state[name] = state[name].to(table)  # the table was moved since
        kept: Tensor = state[name]
        return kept

    def _count_skipped(self, table: Tensor, num_rows: Tensor) -> None:
        state = self.state[table]
        if "num_skipped_rows" not in state:
            state["num_skipped_rows"] = table.new_zeros(())
        state["num_skipped_rows"] += num_rows  # in place: a captured graph keeps counting
        # Reading the count of an accelerator would make the host wait on every step.
        if table.device.type == "cpu" and not self._warned_of_skipped_rows and num_rows > 0:
            self._warn_of_skipped_rows(int(num_rows))

    @property
    def num_skipped_rows(self) -> int:
        """How many row updates were skipped since the start, because they were not finite."""
        counts = [state.get("num_skipped_rows", 0.0) for state in self.state.values()]
        total = int(sum(float(count) for count in counts))
        if total > 0 and not self._warned_of_skipped_rows:
            self._warn_of_skipped_rows(total)
        return total

    def _warn_of_skipped_rows(self, num_rows: int) -> None:
        self._warned_of_skipped_rows = True
        warnings.warn(
            f"{type(self).__name__} skipped {num_rows} rows whose update was not finite; they keep "
            "their temperature. Look for non-finite logits or a learning rate that is too high. "
            "Said once; `num_skipped_rows` counts on.",
            stacklevel=3,
        )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add tables with settings of their own.

        Args:
            param_group: ``params`` and any setting of the optimizer, such as ``lr``.

        Raises:
            ValueError: A setting is out of its range.
        """
        self._check_settings({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def _check_settings(self, group: dict[str, Any]) -> None:
        check_at_least_zero(group, "lr", "weight_decay")
        bounds = group["bounds"]
        if bounds is not None and not (
            len(bounds) == 2 and -math.inf < bounds[0] < bounds[1] < math.inf
        ):
            raise ValueError(
                f"`bounds` should be two finite log-temperatures, the lower one first. Found "
                f"{bounds}. For temperatures take their logarithms: (log(1 / 20), log(20))."
            )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; where it does not fit, nothing is changed.

        Args:
            state_dict: What :meth:`state_dict` of the same kind of optimizer returned.

        Raises:
            ValueError: The state is one of another optimizer, or of tables of another size.
        """
        for group in state_dict["param_groups"]:
            missing = self.defaults.keys() - group.keys()
            if missing:
                raise ValueError(
                    f"Each group of the state should have the settings of {type(self).__name__}. "
                    f"Found none of {sorted(missing)}. The state belongs to another optimizer."
                )
            self._check_settings(group)
        tables = [table for group in self.param_groups for table in group["params"]]
        keys = [key for group in state_dict["param_groups"] for key in group["params"]]
        for key, table in zip(keys, tables, strict=False):  # torch compares the numbers of groups
            for name, value in state_dict["state"].get(key, {}).items():
                expected = () if name == "num_skipped_rows" else tuple(table.shape)
                shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                finite = isinstance(value, Tensor) and bool(value.isfinite().all())
                if shape != expected or not finite:
                    raise ValueError(
                        f"`{name}` should have shape {expected} and finite values. Found {shape}, "
                        f"{'' if finite else 'not '}finite. The checkpoint belongs to another data "
                        "set, or is damaged."
                    )
        super().load_state_dict(state_dict)
        # torch keeps the tensors it is given, and stepping would then change the caller's.
        for table in tables:
            self.state[table].update(
                {name: value.clone() for name, value in self.state[table].items()}
            )

    def __getstate__(self) -> dict[str, Any]:
        own = ("process_group", "_warned_of_skipped_rows")
        return {**super().__getstate__(), **{name: getattr(self, name) for name in own}}


def check_at_least_zero(group: dict[str, Any], *names: str) -> None:
    """Refuse a negative setting.

    Args:
        group: Settings of a parameter group.
        *names: The settings to check.

    Raises:
        ValueError: One is negative or not a number.
    """
    for name in names:
        if not 0.0 <= group[name] < math.inf:
            raise ValueError(f"`{name}` should be at least 0 and finite. Found {group[name]}.")


def _check_gradient(table: Tensor) -> None:
    if table.grad is not None and not table.grad.is_sparse:
        raise ValueError(
            "The gradient should be sparse, as lookups in DataParameters make it. Found a dense "
            f"gradient of shape {tuple(table.grad.shape)}. Give dense parameters, such as the "
            "model's, to an optimizer of torch.optim."
        )
    if table.ndim != 1:
        raise ValueError(
            f"A table should have shape (N,). Found {tuple(table.shape)}. Give the tables of "
            "DataParameters, `data_parameters.param_groups()`."
        )
