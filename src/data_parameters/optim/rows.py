"""From the entries of a sparse gradient to one sum for each touched row.

Legend: E entries, repeats included, N rows of the table.
"""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Entries", "TouchedRows", "entries", "sum_by_row"]


class Entries(NamedTuple):
    """What backward calls have left on a table, not summed.

    Attributes:
        rows: Rows, shape ``(E,)`` int64.
        grad: Gradients, shape ``(E,)``.
        occurrences: How often the row occurred, shape ``(E,)``.
    """

    rows: Tensor
    grad: Tensor
    occurrences: Tensor


class TouchedRows(NamedTuple):
    """The entries, sorted by row; those of one row all carry that row's sums.

    Attributes:
        rows: Rows, ascending, shape ``(E,)`` int64.
        grad: Sum of the gradients of the row, shape ``(E,)``.
        occurrences: How often the row occurred, shape ``(E,)``; 0 marks one that was not touched.
        first: Whether this is the row's first entry, shape ``(E,)`` bool.
    """

    rows: Tensor
    grad: Tensor
    occurrences: Tensor
    first: Tensor


def entries(table: Tensor) -> Entries:
    """Rows, gradients and occurrences that backward calls have left on a table, not summed.

    Occurrences lie beside the gradient, because PyTorch may have merged some of its entries. Of a
    sparse gradient that does not come from ``DataParameters`` lookups each entry counts once.

    Args:
        table: A parameter, shape ``(N,)``, with a sparse gradient or none.

    Returns:
        The entries.
    """
    if table.grad is None or table.grad._nnz() == 0:
        return Entries(
            table.new_empty(0, dtype=torch.int64), table.new_empty(0), table.new_empty(0)
        )
    rows, values = table.grad._indices()[0], table.grad._values()
    leaf: Tensor | None = getattr(table, "occurrences", None)
    if leaf is None or leaf.grad is None:
        return Entries(rows, values, torch.ones_like(values))
    counted, counts = leaf.grad._indices()[0], leaf.grad._values()
    # PyTorch merges both in the same way. Comparing the rows would make an accelerator wait.
    if rows.shape == counted.shape and (rows.device.type != "cpu" or torch.equal(rows, counted)):
        return Entries(rows, values, counts)
    # Somebody has put another gradient there: merged further, or of other rows.
    if set(rows.tolist()) != set(counted.tolist()):
        return Entries(rows, values, torch.ones_like(values))
    return Entries(
        torch.cat([rows, counted]),
        torch.cat([values, torch.zeros_like(counts)]),
        torch.cat([torch.zeros_like(values), counts]),
    )


def sum_by_row(
    rows: Tensor, grad: Tensor, occurrences: Tensor, *, replicated: bool = False
) -> TouchedRows:
    """Sum the entries of each row, in their order of occurrence.

    All shapes are those of the input: finding the distinct rows (``unique``, ``coalesce``) would
    make the host wait for an accelerator, and could not be captured in a CUDA graph.

    Args:
        rows: The row of each entry, shape ``(E,)`` int64.
        grad: Gradients, shape ``(E,)``.
        occurrences: Occurrences, shape ``(E,)``.
        replicated: Whether other processes compute the same sums and have to get the same bits.

    Returns:
        The touched rows.

    Example:
        >>> rows, grad = torch.tensor([7, 2, 7]), torch.tensor([1.0, 10.0, 100.0])
        >>> touched = sum_by_row(rows, grad, torch.ones(3))
        >>> touched.rows, touched.grad, touched.occurrences
        (tensor([2, 7, 7]), tensor([ 10., 101., 101.]), tensor([1., 2., 2.]))
    """
    rows, order = rows.sort(stable=True)
    first = torch.ones_like(rows, dtype=torch.bool)
    first[1:] = rows[1:] != rows[:-1]
    segment = first.cumsum(0) - 1

    def total(column: Tensor) -> Tensor:
        sums = torch.zeros_like(column)
        if replicated and column.is_cuda:
            # Adds in the order of the entries; index_add_ there adds in any order.
            sums.index_put_((segment,), column[order], accumulate=True)
        else:
            sums.index_add_(0, segment, column[order])
        return sums[segment]

    return TouchedRows(rows, total(grad), total(occurrences), first)
