"""Columns as they come in, checked; and the optional dependencies, or how to install them."""

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

__all__ = ["Column", "checked_column", "checked_labels", "import_mixture", "import_pandas"]

Column = Tensor | npt.ArrayLike


def checked_labels(
    labels: Column, name: str = "labels", size: int | None = None
) -> npt.NDArray[Any]:
    """Labels as int64, refused where they are no column of integers."""
    array = _array(labels)
    if array.ndim != 1 or array.dtype.kind not in "iu" or size not in (None, len(array)):
        expected = "(N,)" if size is None else f"({size},)"
        raise ValueError(
            f"`{name}` should be integers of shape {expected}. Found shape {array.shape} of "
            f"{array.dtype}. Map class names to integers first."
        )
    return array.astype(np.int64)


def checked_column(
    name: str, column: Column | None, size: int | None
) -> npt.NDArray[np.float64] | None:
    """A column as float64, refused where it is no column of numbers."""
    if column is None:
        return None
    array = _array(column)
    if array.ndim != 1 or array.dtype.kind not in "iuf" or size not in (None, len(array)):
        expected = "(N,)" if size is None else f"({size},), one for each label"
        raise ValueError(
            f"`{name}` should be numbers of shape {expected}. Found shape {array.shape} of "
            f"{array.dtype}."
        )
    return array.astype(np.float64)


def import_pandas() -> Any:
    """pandas, or the command that installs it."""
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise _missing("pandas", error) from error
    return pandas


def import_mixture() -> Any:
    """The mixtures of scikit-learn, or the command that installs it."""
    try:
        from sklearn import mixture
    except ModuleNotFoundError as error:
        raise _missing("scikit-learn", error) from error
    return mixture


def _array(values: Column) -> npt.NDArray[Any]:
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)


def _missing(name: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    return ModuleNotFoundError(
        f"Label issues need {name}, an optional dependency. Install it with: "
        "pip install 'data-parameters[issues]'",
        name=error.name,
    )
