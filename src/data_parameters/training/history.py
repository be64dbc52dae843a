"""Tables and dynamics over the epochs, in compact files that reports read.

Each file is a sequence of numpy arrays, as repeated ``numpy.save`` into one file makes it: it can
be appended to, cut back, and read with numpy alone.

Legend: N training instances, C classes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from data_parameters import DataParameters, TrainingDynamics

__all__ = [
    "DynamicsSnapshot",
    "TableSnapshot",
    "append_dynamics",
    "append_tables",
    "read_dynamics",
    "read_tables",
]


class TableSnapshot(NamedTuple):
    """Log-temperatures after an epoch; ``None`` where there is no such table."""

    epoch: int
    log_class: npt.NDArray[np.float16] | None
    log_instance: npt.NDArray[np.float16] | None


class DynamicsSnapshot(NamedTuple):
    """What each instance did when last seen: its margin, and the class the model took it for.

    Instances that were never seen have a margin of NaN and the class -1.
    """

    epoch: int
    last_margin: npt.NDArray[np.float16]
    last_prediction: npt.NDArray[np.int32]


def append_tables(path: Path, epoch: int, data_parameters: DataParameters) -> None:
    """Append the log-temperatures in float16 (within 0.1 % of σ inside the bounds).

    An epoch is ``[epoch, C, N]``, then the tables that exist.

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


def append_dynamics(path: Path, epoch: int, dynamics: TrainingDynamics) -> None:
    """Append last margins in float16 and last predictions in int32.

    An epoch is ``[epoch, N]``, then the two columns.

    Args:
        path: The file.
        epoch: After how many epochs.
        dynamics: What each instance did.
    """
    with path.open("ab") as file:
        np.save(file, np.array([epoch, dynamics.num_instances]), allow_pickle=False)
        margin = dynamics.last_margin.clamp(-60_000, 60_000)  # what float16 holds
        np.save(file, margin.half().cpu().numpy(), allow_pickle=False)
        np.save(file, dynamics.last_prediction.int().cpu().numpy(), allow_pickle=False)


def read_tables(path: Path) -> Iterator[TableSnapshot]:
    """Read what :func:`append_tables` wrote.

    Args:
        path: The file. An epoch at its end that is not whole, which a run leaves that was killed
            while it wrote, is left out.

    Yields:
        The tables after each epoch.
    """
    with path.open("rb") as file:
        while (header := _load(file)) is not None:
            epoch, *sizes = header.tolist()
            tables = [_load(file) if size else None for size in sizes]
            if any(size and table is None for size, table in zip(sizes, tables, strict=True)):
                return
            yield TableSnapshot(epoch, *tables)


def read_dynamics(path: Path) -> Iterator[DynamicsSnapshot]:
    """Read what :func:`append_dynamics` wrote.

    Args:
        path: The file. An epoch at its end that is not whole is left out, as in
            :func:`read_tables`.

    Yields:
        The columns after each epoch.
    """
    with path.open("rb") as file:
        while (header := _load(file)) is not None:
            margin, prediction = _load(file), _load(file)
            if margin is None or prediction is None:
                return
            yield DynamicsSnapshot(int(header[0]), margin, prediction)


def _load(file: IO[bytes]) -> npt.NDArray[Any] | None:
    """The next array, or ``None`` where the file ends before or within it."""
    try:
        array: npt.NDArray[Any] = np.load(file, allow_pickle=False)
    except (EOFError, ValueError) as error:
        if not file.read(1):
            return None
        raise ValueError(
            f"{file.name} should be a sequence of numpy arrays. Found: {error}. It was changed "
            "since it was written; restore it, or start the run anew."
        ) from error
    return array
