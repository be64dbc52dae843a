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

from data_parameters.distributed import check_agreement, digest
from data_parameters.distributed.gathering import all_gather_columns, world_size
from data_parameters.optim.rows import Entries, entries, sum_by_row
from data_parameters.storage import lazy_zeros

__all__ = ["SparseOptimizer"]


class SparseOptimizer(Optimizer, ABC):
    """Moves the rows that occur in a sparse gradient; every other row keeps its exact bits.

    A subclass says in :meth:`_move` how one row moves, from values to values.
    """

    # Tells GradScaler to call `step` on an overflow as well, because the other processes wait in
    # it; `grad_scale` and `found_inf` are what it hands over.
    _step_supports_amp_scaling = True
    grad_scale: Tensor | None
    found_inf: Tensor

    def __init__(
        self, params: ParamsT, defaults: dict[str, Any], process_group: ProcessGroup | None
    ) -> None:
        self._check_settings(defaults)
        super().__init__(params, defaults)
        # Not among the defaults: those are saved in checkpoints, and a process group cannot be.
        self.process_group = process_group
        self._warned_of_skipped_rows = False
        self._replicas_agree = False

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

        Where several processes share the tables, every one has to call this, equally often; one
        without samples has nothing to add. Before the first step they compare what they hold.
        Where a ``GradScaler`` finds a gradient that is not finite in one process, none moves.

        Args:
            closure: Clears the gradients, computes the loss anew, and calls ``backward``.

        Returns:
            The loss of the closure, if one is given.

        Raises:
            ValueError: A gradient is not sparse, or a table not one-dimensional, or the processes
                hold different tables. Nothing is changed then.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        tables = [(group, table) for group in self.param_groups for table in group["params"]]
        for _, table in tables:
            _check_gradient(table)
        found = [entries(table) for _, table in tables]
        overflow = None
        if hasattr(self, "found_inf"):
            found, overflow = self._unscaled(found)
        if world_size(self.process_group) > 1:
            if not self._replicas_agree:
                self.check_replicas()
            found, overflow = self._all_gather(found, overflow)
        for (group, table), of_table in zip(tables, found, strict=True):
            if len(of_table.rows) > 0:
                self._step_table(group, table, of_table, overflow)
        return loss

    def _unscaled(self, found: list[Entries]) -> tuple[list[Entries], Tensor]:
        """Gradients without the loss scale, and whether one was found that is not finite."""
        overflow = torch.as_tensor(self.found_inf, dtype=torch.float32)  # 0 without any gradient
        if self.grad_scale is not None:  # else GradScaler.unscale_ has been called
            factor = self.grad_scale.reciprocal()
            found = [
                entry._replace(grad=entry.grad * factor.to(entry.grad.device, non_blocking=True))
                for entry in found
            ]
        return found, overflow

    def _all_gather(
        self, found: list[Entries], overflow: Tensor | None
    ) -> tuple[list[Entries], Tensor]:
        """The entries of all processes, by rank, and whether any of them overflows."""
        device = found[0].rows.device
        mine = torch.zeros((), device=device) if overflow is None else overflow.to(device)
        columns = [column.to(device) for entry in found for column in entry]
        *gathered, overflows = all_gather_columns(
            [*columns, mine.reshape(1)], process_group=self.process_group
        )
        triples = zip(found, zip(*[iter(gathered)] * 3, strict=True), strict=True)
        everyone = [
            Entries(*(c.to(mine.rows.device) for c in columns)) for mine, columns in triples
        ]
        return everyone, overflows.sum()

    def check_replicas(self) -> None:
        """Compare sizes, settings, values and state of the tables over the processes.

        The first step does so by itself. It reads the whole tables once. Every process has to
        call it.

        Raises:
            ValueError: The processes hold different tables. The message says what differs.
        """
        facts: dict[str, Any] = {}
        for number, group in enumerate(self.param_groups):
            name = group.get("name", f"group {number}")
            for key, value in group.items():
                if key != "params":
                    facts[f"{name}: {key}"] = float(value) if isinstance(value, Tensor) else value
            for place, table in enumerate(group["params"]):
                where = name if len(group["params"]) == 1 else f"{name}[{place}]"
                facts[f"{where}: rows"] = len(table)
                facts[f"{where}: type"] = str(table.dtype)
                facts[f"{where}: digest of the log-temperatures"] = digest(table)
                for key, value in self.state[table].items():
                    facts[f"{where}: digest of {key}"] = digest(value)
        check_agreement(facts, process_group=self.process_group)
        self._replicas_agree = True

    def _step_table(
        self, group: dict[str, Any], table: Tensor, found: Entries, overflow: Tensor | None
    ) -> None:
        num_processes = world_size(self.process_group)
        rows, grad, count, first = sum_by_row(*found, replicated=num_processes > 1)
        grad = grad / num_processes  # each process takes the mean over its own samples
        if group["per_sample"]:
            grad = grad * found.occurrences.sum()

        tables = {name: self._state_table(table, name) for name in self._state_names(group)}
        old_value = table.index_select(0, rows)
        old_state = {name: state.index_select(0, rows) for name, state in tables.items()}
        value, state = self._move(group, old_value, grad, count, old_state)
        if group["bounds"] is not None:
            value = value.clamp(*group["bounds"])

        touched = count > 0
        if overflow is not None:
            touched &= overflow.to(table.device, non_blocking=True) == 0
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
        self._replicas_agree = False

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
            # torch adds "differentiable" to the defaults when a state is loaded, to no group.
            missing = self.defaults.keys() - group.keys() - {"differentiable"}
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
        own = ("process_group", "_warned_of_skipped_rows", "_replicas_agree")
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
