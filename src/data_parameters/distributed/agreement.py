"""Do all processes hold the same tables, data and settings?

Legend: N rows, W processes.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from data_parameters.distributed.gathering import world_size

__all__ = ["check_agreement", "digest"]

CHUNK = 1 << 20
# Odd, and its multiples spread over all 64 bits: the golden ratio of 2^64, as a signed number.
SPREAD = -7046029254386353131
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def check_agreement(
    facts: Mapping[str, Any], *, process_group: dist.ProcessGroup | None = None
) -> None:
    """Refuse to go on where processes hold different things; all of them stop with one message.

    Every process of the group has to call this. The optimizers call it before their first step,
    for sizes, settings, values and state of the tables.

    Args:
        facts: Plain values by name; a tensor's :func:`digest` stands for a tensor.
        process_group: The processes; ``None`` for all.

    Raises:
        ValueError: A process has another value than process 0. The message names both.

    Example:
        >>> labels = torch.tensor([1, 0, 1])
        >>> check_agreement({"num_instances": 3, "labels": digest(labels)})
    """
    num_processes = world_size(process_group)
    if num_processes == 1:
        return
    everyone: list[dict[str, Any]] = [{} for _ in range(num_processes)]
    dist.all_gather_object(everyone, dict(facts), group=process_group)
    names = list(dict.fromkeys(name for found in everyone for name in found))
    differences = [
        f"{name}: {everyone[0].get(name)!r} in process 0, {found.get(name)!r} in process {rank}"
        for name in names
        for rank, found in enumerate(everyone)
        if found.get(name) != everyone[0].get(name)
    ]
    if differences:
        raise ValueError(
            "All processes should hold the same. Found:\n  " + "\n  ".join(differences) + "\nGive "
            "every process the same data set, labels and settings, and load a checkpoint in all."
        )


@torch.no_grad()
def digest(tensor: Tensor) -> int:
    """One number for the bits of a tensor, wherever it lives: equal tensors have equal digests.

    It finds differences that happen; it is not made against someone who seeks two tensors of one
    digest. It reads all N values once, in parts.

    Args:
        tensor: Any tensor.

    Returns:
        64 bits: the sum of all values' bits, each times a number of its place.

    Example:
        >>> digest(torch.tensor([1.0, 2.0])) == digest(torch.tensor([2.0, 1.0]))
        False
    """
    flat = tensor.detach().reshape(-1)
    bits = flat.view(INTEGERS[flat.element_size()])
    total = torch.zeros((), dtype=torch.int64, device=flat.device)
    for start in range(0, len(bits), CHUNK):
        part = bits[start : start + CHUNK].to(torch.int64)
        place = torch.arange(start, start + len(part), device=part.device)
        total += ((part + 1) * ((place * SPREAD) | 1)).sum()
    return int(total)
