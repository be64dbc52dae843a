"""What each process must know of the others' minibatches.

Legend: W processes, E entries of a column in this process.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["all_gather_columns", "collective_device", "world_size"]


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


def all_gather_columns(
    columns: Sequence[Tensor], *, process_group: dist.ProcessGroup | None = None
) -> list[Tensor]:
    """Concatenate the columns of all processes, by rank: the same bits everywhere.

    Processes may bring columns of different lengths, empty ones included. Two collectives serve
    any number of columns: one for the lengths, which the host has to know, and one for the entries
    of all columns, packed into one buffer.

    Args:
        columns: Tensors of one dimension, on one device; equally many, of the same types, in every
            process.
        process_group: The processes; ``None`` for all.

    Returns:
        The columns over all processes, in order of rank.

    Example:
        >>> all_gather_columns([torch.tensor([3, 1]), torch.tensor([0.5, 2.0])])
        [tensor([3, 1]), tensor([0.5000, 2.0000])]
    """
    num_processes = world_size(process_group)
    if num_processes == 1:
        return list(columns)
    lengths = _all_gather_lengths([len(column) for column in columns], process_group)
    longest = [max(of_column) for of_column in zip(*lengths, strict=True)]
    if not any(longest):
        return list(columns)
    packed = torch.cat([_bytes(*pair) for pair in zip(columns, longest, strict=True)])
    packed = packed.to(collective_device(packed.device, process_group))
    gathered = packed.new_empty(num_processes, len(packed))
    dist.all_gather(list(gathered), packed, group=process_group)
    gathered = gathered.to(columns[0].device)

    unpacked, place = [], 0
    for number, column in enumerate(columns):
        width = longest[number] * column.element_size()
        padded = gathered[:, place : place + width].contiguous().view(column.dtype)
        place += width
        parts = [padded[rank, : of_rank[number]] for rank, of_rank in enumerate(lengths)]
        even = all(len(part) == longest[number] for part in parts)
        unpacked.append(padded.reshape(-1) if even else torch.cat(parts))
    return unpacked


def collective_device(
    preferred: torch.device, process_group: dist.ProcessGroup | None
) -> torch.device:
    """Where tensors have to lie for the group's collectives.

    Args:
        preferred: A device.
        process_group: The processes; ``None`` for all.

    Returns:
        The preferred device, if the group has a backend for it; else the current accelerator.
    """
    backends = dist.get_backend_config(process_group).split(",")
    served = {backend.partition(":")[0] for backend in backends}
    if preferred.type in served or "cpu" in served:
        return preferred if preferred.type in served else torch.device("cpu")
    accelerator = torch.accelerator.current_accelerator()
    return preferred if accelerator is None else accelerator


def _all_gather_lengths(
    lengths: list[int], process_group: dist.ProcessGroup | None
) -> list[list[int]]:
    # On the CPU where a backend serves it: the host then waits for the other hosts, and not for
    # the accelerator.
    device = collective_device(torch.device("cpu"), process_group)
    mine = torch.tensor(lengths, device=device)
    everyone = mine.new_empty(world_size(process_group), len(lengths))
    dist.all_gather(list(everyone), mine, group=process_group)
    found: list[list[int]] = everyone.tolist()
    return found


def _bytes(column: Tensor, length: int) -> Tensor:
    if len(column) < length:
        column = torch.cat([column, column.new_zeros(length - len(column))])
    return column.contiguous().view(torch.uint8)
