"""The tables over the epochs, in one compact file that reports read."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from data_parameters import DataParameters

__all__ = ["TableSnapshot", "append_tables", "read_tables"]


class TableSnapshot(NamedTuple):
    """Log-temperatures after an epoch; ``None`` where there is no such table."""

    epoch: int
    log_class: npt.NDArray[np.float16] | None
    log_instance: npt.NDArray[np.float16] | None


def append_tables(path: Path, epoch: int, data_parameters: DataParameters) -> None:
    """Append the log-temperatures in float16 (within 0.1 % of σ inside the bounds).

    The file is a sequence of numpy arrays, as repeated ``numpy.save`` into one file makes it:
    ``[epoch, C, N]``, then the tables that exist.

    Args:
        path: The file.
        epoch: After how many epochs.
        data_parameters: The tables.
    """
    tables = (data_parameters.log_class, data_parameters.log_instance)
    sizes = [0 if table is None else len(table) for table in tables]
    with path.open("ab") as file:
        np.save(file, np.array([epoch, *sizes]), allow_pickle=False)
        for table in tables:
            if table is not None:
                np.save(file, table.detach().half().cpu().numpy(), allow_pickle=False)


def read_tables(path: Path) -> Iterator[TableSnapshot]:
    """Read what :func:`append_tables` wrote.

    Args:
        path: The file.

    Yields:
        The tables after each epoch.
    """
    with path.open("rb") as file:
        while file.peek(1):
            epoch, *sizes = np.load(file, allow_pickle=False).tolist()
            tables = [np.load(file, allow_pickle=False) if size else None for size in sizes]
            yield TableSnapshot(epoch, *tables)
