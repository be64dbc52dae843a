"""Rows of a table, as a minibatch names them."""

import torch
from torch import Tensor

__all__ = ["checked_rows", "integers"]


def integers(name: str, rows: Tensor) -> Tensor:
    """Rows as int64, so that a comparison with a negative ``ignore_index`` means what it says.

    In uint8, torch takes -100 for 156.

    Args:
        name: What they are called, for the error.
        rows: Classes or indices, any shape.

    Returns:
        The same rows; a copy only where they are of another type.

    Raises:
        TypeError: They are not a tensor of integers.
    """
    if not isinstance(rows, Tensor):
        raise TypeError(f"`{name}` should be a tensor of integers. Found {type(rows).__name__}.")
    if rows.is_floating_point() or rows.is_complex() or rows.dtype == torch.bool:
        raise TypeError(
            f"`{name}` should hold integers. Found {rows.dtype}. Convert it with `.long()`."
        )
    return rows.to(torch.int64)


def checked_rows(
    name: str, rows: Tensor, size: int, device: torch.device, *, ignored: Tensor | None = None
) -> Tensor:
    """A copy of the rows on the device of their table.

    A copy, because a sparse gradient keeps its rows, and a loader may write the next minibatch into
    the same memory. Values are checked where that makes no host wait: on the CPU.

    Args:
        name: What they are called, for the error.
        rows: Classes or indices in int64, any shape.
        size: Number of rows of the table.
        device: Where the table lives.
        ignored: Which of them to leave out; they become row 0.

    Returns:
        Rows in ``[0, size)``, shaped as given.

    Raises:
        IndexError: One is out of range (checked on the CPU).
    """
    if ignored is not None:
        rows = rows.masked_fill(ignored, 0)
    if rows.device.type == "cpu" and rows.numel() > 0 and not torch.compiler.is_compiling():
        low, high = rows.aminmax()
        if low < 0 or high >= size:
            raise IndexError(
                f"`{name}` should lie in [0, {size - 1}], because its table has {size} rows. Found "
                f"{int(low if low < 0 else high)}. Likely causes: labels that start at 1 or mark "
                "missing ones by a negative number (see `ignore_index`), or a data set that is "
                "larger than the `num_classes` or `num_instances` given."
            )
    # A copy to the CPU must have arrived before it is read; a copy to an accelerator need not.
    non_blocking = device.type != "cpu"
    return rows.detach().to(device, non_blocking=non_blocking, copy=True)
