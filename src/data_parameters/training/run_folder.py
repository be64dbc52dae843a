"""Where a run keeps what it found.

config.json      the resolved configuration, which can be fed back
data.json        names of the classes, a fingerprint of the labels, versions, applied reviews
labels.npz       the labels it trained on, and which are known to be wrong
metrics.jsonl    a line every few steps and one after each epoch
tables.npy       the log-temperatures after each epoch (see `history`)
dynamics.npy     last margins and predictions of each instance after each epoch (likewise)
log.txt          what the terminal showed
checkpoints/     the newest two
result.json, model.pt, *.csv, *.png    at the end
"""

import csv
import json
import math
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data_parameters.training.config_file import config_to_dict

__all__ = ["RunFolder", "made_by", "new_run_folder", "refuse_taken"]

MARKER = ".data-parameters-run"
GROWING = ("metrics.jsonl", "tables.npy", "dynamics.npy", "log.txt")


class RunFolder:
    """A folder with a run's configuration, metrics, tables and plots.

    Args:
        path: The folder, which should exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints live."""
        return self.path / "checkpoints"

    def write_config(self, config: Any) -> None:
        """Write ``config.json``.

        Args:
            config: A dataclass of plain values.
        """
        self.write_json("config.json", config_to_dict(config))

    def write_json(self, name: str, values: Any) -> None:
        """Write a file of plain values, whole or not at all.

        Args:
            name: Name of the file.
            values: Plain values.
        """
        temporary = self.path / f"{name}.tmp"
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        temporary.replace(self.path / name)

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Append one line to ``metrics.jsonl``.

        Args:
            metrics: Names and plain values.
        """
        # JSON knows no infinity; a run that diverges says null.
        finite = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in metrics.items()
        }
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite, allow_nan=False) + "\n")

    def metrics(self, event: str) -> list[dict[str, Any]]:
        """Lines of ``metrics.jsonl``.

        Args:
            event: Which lines: those with this ``event``.

        Returns:
            The lines, in order.

        Raises:
            ValueError: The file is damaged.
        """
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return []
        text = path.read_text(encoding="utf-8")
        # A line without an end is one that a run is writing, or was when it was killed.
        whole = text[: text.rfind("\n") + 1]
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
        except ValueError as error:
            raise ValueError(
                f"{path} should hold a line of JSON for each event. Found: {error}. It was changed "
                "since it was written; restore it, or start the run anew."
            ) from error
        return [line for line in lines if line.get("event") == event]

    def sizes(self) -> dict[str, int]:
        """Sizes of the files that grow, which are safely on the disk.

        Returns:
            Bytes, by the name of the file.
        """
        sizes = {}
        for name in GROWING:
            path = self.path / name
            if path.exists():
                with path.open("ab") as file:
                    os.fsync(file.fileno())
                sizes[name] = path.stat().st_size
        return sizes

    def cut_back(self, sizes: Mapping[str, int]) -> None:
        """Forget what was written after a checkpoint, so that it is not logged twice.

        Args:
            sizes: What :meth:`sizes` returned at the checkpoint.

        Raises:
            ValueError: A file has lost lines since.
        """
        for name in GROWING:
            path, size = self.path / name, sizes.get(name, 0)
            found = path.stat().st_size if path.exists() else 0
            if found < size and name != "log.txt":
                raise ValueError(
                    f"{path} should have at least the {size} bytes of the checkpoint. Found "
                    f"{found}. It was changed since; restore it, or start the run anew."
                )
            if found > size:
                os.truncate(path, size)

    def write_table(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write a table as CSV.

        Args:
            name: Name of the file, without ``.csv``.
            rows: The rows, all with the same keys, which become the header.
        """
        rows = list(rows)
        with (self.path / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def new_run_folder(
    name: str, path: Path | None, *, restart: bool = False, launch: str = ""
) -> RunFolder:
    """Make a folder for a run; never write into one that is there.

    Args:
        name: Kind of the run: without a path the folder is ``runs/name``, or the first of
            ``runs/name-2``, ``runs/name-3``, … that is free.
        path: The folder to make.
        restart: Remove the folder first if a run of this program made it.
        launch: Which ``torchrun`` starts the run, if one does; see :func:`made_by`.

    Returns:
        The folder, empty but for a mark that this program made it.

    Raises:
        FileExistsError: The path is taken.
    """
    if path is None:
        path = _free_folder(name)
    if restart and (path / MARKER).is_file():
        shutil.rmtree(path)
    refuse_taken(path)
    path.mkdir(parents=True, exist_ok=True)
    words = f"The run folder of a data-parameters command.\n{launch}\n"
    (path / MARKER).write_text(words, encoding="utf-8")
    return RunFolder(path)


def refuse_taken(path: Path) -> None:
    """Refuse a folder with something in it.

    Args:
        path: Where a run is to go.

    Raises:
        FileExistsError: The path is taken.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        ours = (path / MARKER).is_file()
        remedy = (
            f"Continue it with `data-parameters train --resume {path}`, start anew with --restart"
            if ours
            else "Remove it yourself"
        )
        raise FileExistsError(
            f"The run folder should be new or empty. Found {path}, "
            f"{'a run' if ours else 'which no run of this program made'}. {remedy}, or name "
            "another folder."
        )


def made_by(path: Path, launch: str) -> bool:
    """Whether a folder was made by the ``torchrun`` that has now started its processes anew.

    Args:
        path: The folder.
        launch: Which one.

    Returns:
        Whether it was.
    """
    marker = path / MARKER
    return marker.is_file() and launch in marker.read_text(encoding="utf-8").splitlines()


def _free_folder(name: str) -> Path:
    number = 1
    while True:
        free = Path("runs") / (name if number == 1 else f"{name}-{number}")
        try:
            free.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return free
