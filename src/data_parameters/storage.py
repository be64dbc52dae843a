"""Where tables live: memory that is committed only where it is touched."""

import contextlib
import mmap
import sys

import torch
from torch import Tensor

__all__ = ["default_device", "lazy_zeros"]

# Below this many bytes a mapping of its own costs more than it saves.
SMALLEST_MAPPING = 1 << 20


def lazy_zeros(
    size: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
) -> Tensor:
    """Zeros of shape ``(size,)`` that take up memory only where they are written.

    On Linux, on the CPU, a large table is an anonymous private mapping: a row that was never
    written costs nothing, reading it neither, and the first write to a page commits 4 KB. Huge
    pages are declined, because each touched row would then commit 2 MB. Elsewhere, and for small
    tables, these are plain zeros.

    Args:
        size: Number of rows.
        dtype: Type of an entry.
        device: Where the table lives; by default the CPU or torch's default device.

    Returns:
        A tensor of zeros, shape ``(size,)``.

    Example:
        >>> lazy_zeros(1_000_000_000)[123_456_789]
        tensor(0.)
    """
    device = default_device() if device is None else torch.device(device)
    num_bytes = size * dtype.itemsize
    linux_cpu = sys.platform == "linux" and device.type == "cpu"
    if not linux_cpu or num_bytes < SMALLEST_MAPPING:
        return torch.zeros(size, dtype=dtype, device=device)
    # Private: in a shared mapping even reading a page commits it.
    memory = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(AttributeError, OSError):  # a kernel without huge pages knows no such
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype)


def default_device() -> torch.device:
    """The device on which torch makes a tensor that is told none.

    Returns:
        The device; ``torch.get_default_device`` of torch 2.7 overlooks ``with torch.device(...)``.
    """
    return torch.empty(0).device
