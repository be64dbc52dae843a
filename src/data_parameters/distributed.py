"""One table over many processes: what each of them must know of the others' minibatches.

Legend: E entries of a sparse gradient in this process, W processes.
"""

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["all_gather_rows", "world_size"]


def world_size(process_group: dist.ProcessGroup | None = None) -> int:
    """Number of processes that share a table: 1 where ``torch.distributed`` is not initialised.

    Args:
        process_group: The processes; ``None`` for all.

    Returns:
        The number of processes W.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return 1
    return dist.get_world_size(process_group)


def all_gather_rows(
    rows: Tensor, *columns: Tensor, process_group: dist.ProcessGroup | None = None
) -> tuple[Tensor, ...]:
    """Collect the entries of all processes, in the same order everywhere.

    Processes may bring different numbers of entries, none included. Shorter ones are padded with
    entries of row 0 whose columns are 0, which an occurrence count among the columns marks as void.

    Args:
        rows: The rows of this process, shape ``(E,)`` int64.
        *columns: Values of these rows, each of shape ``(E,)``.
        process_group: The processes; ``None`` for all.

    Returns:
        Rows and columns of all processes, each of shape ``(W * max(E),)``.
    """
    num_processes = world_size(process_group)
    if num_processes == 1:
        return (rows, *columns)
    sizes = [rows.new_empty(1) for _ in range(num_processes)]
    dist.all_gather(sizes, rows.new_tensor([len(rows)]), group=process_group)
    longest = int(torch.cat(sizes).max())
    gathered = []
    for column in (rows, *columns):
        padded = column.new_zeros(longest)
        padded[: len(column)] = column
        parts = [torch.empty_like(padded) for _ in range(num_processes)]
        dist.all_gather(parts, padded, group=process_group)
        gathered.append(torch.cat(parts))
    return tuple(gathered)
