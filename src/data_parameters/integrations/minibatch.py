"""Whether a minibatch of any form may carry an index, and what it looks like if not."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from data_parameters.indexing import INDEX_KEY

__all__ = ["describe", "has_index"]


def has_index(batch: Any) -> bool:
    """Whether a minibatch may carry an index: under its key, last in a tuple, or somewhere.

    Labels alone are one row of integers, and with an index there are two.

    Args:
        batch: What a loader yields.

    Returns:
        ``False`` where there is none for certain.
    """
    if isinstance(batch, Mapping) and INDEX_KEY in batch:
        return True
    if isinstance(batch, (list, tuple)) and len(batch) > 2 and _is_row(batch[-1]):
        return True
    return sum(map(_is_row, tree_leaves(batch))) > 1


def describe(batch: Any) -> str:
    """A minibatch in a few words, for an error.

    Args:
        batch: What a loader yields.

    Returns:
        Its keys, or its length.
    """
    if isinstance(batch, Mapping):
        return f"the keys {sorted(map(str, batch))}"
    if isinstance(batch, (list, tuple)):
        return f"a {type(batch).__name__} of {len(batch)}"
    return type(batch).__name__


def _is_row(value: Any) -> bool:
    integer = isinstance(value, Tensor) and not (value.is_floating_point() or value.is_complex())
    return integer and value.ndim == 1 and value.dtype != torch.bool
