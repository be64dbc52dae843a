"""Reading rows of a table so that backward costs O(B), whatever the size of the table.

Legend: B samples in the minibatch, N rows of the table.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from data_parameters.rows import checked_rows, integers

__all__ = ["look_up"]

sparse_coo_tensor = torch.ops.aten._sparse_coo_tensor_with_dims_and_tensors.default


def look_up(
    name: str, table: nn.Parameter, given: Tensor | None, ignore_index: int | None = None
) -> Tensor:
    """Log-temperatures of rows, differentiable in the table.

    Args:
        name: What the rows are called, for errors.
        table: The table, shape ``(N,)``.
        given: Rows in ``[0, N)``, any shape.
        ignore_index: A row with this value reads 0, has no gradient and touches nothing.

    Returns:
        Values, shaped as the rows, on the device of the table.

    Raises:
        ValueError: The rows are missing.
        TypeError: They are not a tensor of integers.
        IndexError: One is out of range (checked on the CPU).
    """
    rows = integers(name, _given(name, given))
    ignored = None if ignore_index is None else rows == ignore_index
    checked = checked_rows(name, rows, len(table), table.device, ignored=ignored)
    kept = None if ignored is None else ~ignored.to(table.device, non_blocking=True)
    values: Tensor = _Rows.apply(table, _occurrences(table), checked, kept)
    return values


def _given(name: str, rows: Tensor | None) -> Tensor:
    if rows is None:
        raise ValueError(
            f"`{name}` should be given, because there is a table for it. Found None. "
            "Call data_parameters(target, index); IndexedDataset adds the index to each sample."
        )
    return rows


def _occurrences(table: nn.Parameter) -> Tensor:
    """Return the leaf whose sparse gradient counts how often each row was looked up.

    PyTorch merges entries when sparse gradients add up, so the table's own gradient cannot tell how
    often a row occurred. A second leaf, one stored number wide, receives a 1 for each occurrence,
    accumulates exactly when the table's gradient does, and starts anew when that does.
    """
    leaf: Tensor | None = getattr(table, "occurrences", None)
    if leaf is None or leaf.device != table.device or leaf.dtype != table.dtype:
        with torch.inference_mode(mode=False):  # a first look may be one that nothing learns from
            leaf = table.new_zeros(1).expand(len(table)).detach()
        table.occurrences = leaf  # type: ignore[attr-defined]
    return leaf.requires_grad_(table.requires_grad)


class _Rows(torch.autograd.Function):
    """``table[rows]`` with a gradient of one entry per occurrence: O(B), whatever N is."""

    @staticmethod
    def forward(
        ctx: Any, table: Tensor, occurrences: Tensor, rows: Tensor, kept: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(rows, kept)
        ctx.table, ctx.occurrences = table, occurrences
        values = table.index_select(0, rows.reshape(-1)).reshape(rows.shape)
        return values if kept is None else values * kept

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        rows, kept = ctx.saved_tensors
        so_far = ctx.table.grad
        if so_far is None or (so_far.is_sparse and so_far._nnz() == 0):
            ctx.occurrences.grad = None  # the gradient was cleared, and what was counted for it
        if kept is None:
            count = torch.ones_like(grad)
        else:
            # Not a product: an ignored sample may have a gradient that is not a number.
            grad, count = torch.where(kept, grad, 0.0), kept.to(grad.dtype)
        size = ctx.table.shape
        return _sparse(rows, grad, size), _sparse(rows, count, size), None, None


def _sparse(rows: Tensor, values: Tensor, size: torch.Size) -> Tensor:
    # Below `torch.sparse_coo_tensor`: it checks the rows, for which the host waits for the device,
    # or, asked not to, warns of that in some releases of torch.
    gradient: Tensor = sparse_coo_tensor(
        1,
        0,
        size,
        rows.reshape(1, -1),
        values.reshape(-1),
        dtype=values.dtype,
        layout=torch.sparse_coo,
        device=values.device,
    )
    return gradient
