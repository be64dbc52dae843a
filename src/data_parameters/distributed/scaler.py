"""A loss scale that all processes share."""

from typing import Any

import torch
import torch.distributed as dist

from data_parameters.distributed.gathering import world_size

__all__ = ["GradScaler"]


class GradScaler(torch.amp.GradScaler):
    """``torch.amp.GradScaler`` whose scale stays the same in all processes.

    ``DistributedDataParallel`` spreads a gradient that is not finite to every process, and with it
    the decision of torch's own scaler. A gradient of the tables is not reduced: where it overflows
    in one process alone, the tables step in none (see :class:`SparseSGD`), but only that process
    would lower its scale. This one lets :meth:`update`, which every process has to call, decide
    for all.

    Args:
        device: As in :class:`torch.amp.GradScaler`.
        process_group: The processes; ``None`` for all.
        **options: As in :class:`torch.amp.GradScaler`.

    Raises:
        AssertionError: In ``update``, no optimizer has stepped since the last one.

    Example:
        >>> scaler = GradScaler("cpu", init_scale=1024.0)
        >>> scaler.get_scale()
        1024.0
    """

    def __init__(
        self,
        device: str = "cuda",
        *,
        process_group: dist.ProcessGroup | None = None,
        **options: Any,
    ) -> None:
        super().__init__(device, **options)
        self.process_group = process_group

    def update(self, new_scale: float | torch.Tensor | None = None) -> None:
        """Update the scale, lowering it where any process has found a gradient not finite.

        Args:
            new_scale: A scale to take instead.
        """
        if self._enabled and new_scale is None and world_size(self.process_group) > 1:
            scale, _ = self._check_scale_growth_tracker("update")
            found = torch.zeros((), dtype=torch.float32, device=scale.device)
            for state in self._per_optimizer_states.values():
                for found_inf in state["found_inf_per_device"].values():
                    found = found + found_inf.to(scale.device, non_blocking=True)
            dist.all_reduce(found, group=self.process_group)
            # Where torch's own update looks; the entry counts like that of one more optimizer.
            self._per_optimizer_states[id(self)]["found_inf_per_device"] = {scale.device: found}
        super().update(new_scale)
