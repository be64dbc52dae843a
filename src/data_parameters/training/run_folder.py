"""Where a run keeps what it found."""

import csv
import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["RunFolder", "new_run_folder"]


class RunFolder:
    """A folder with a run's configuration, metrics, tables and plots.

    Args:
        path: The folder, which should exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write_config(self, config: Any) -> None:
        """Write ``config.json``.

        Args:
            config: A dataclass of plain values.
        """
        text = json.dumps(dataclasses.asdict(config), indent=2, default=str)
        (self.path / "config.json").write_text(text + "\n", encoding="utf-8")

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Append one line to ``metrics.jsonl``.

        Args:
            metrics: Names and plain values.
        """
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics) + "\n")

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


def new_run_folder(name: str, path: Path | None) -> RunFolder:
    """Make a folder for a run; never write into one that is there.

    Args:
        name: Kind of the run: without a path the folder is ``runs/name``, or the first of
            ``runs/name-2``, ``runs/name-3``, … that is free.
        path: The folder to make.

    Returns:
        The folder, empty.

    Raises:
        FileExistsError: The path is taken.
    """
    if path is not None:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise FileExistsError(
                f"The run folder should be new or empty. Found {path}. Remove it, or name another."
            )
        path.mkdir(parents=True, exist_ok=True)
        return RunFolder(path)
    number = 1
    while True:
        free = Path("runs") / (name if number == 1 else f"{name}-{number}")
        try:
            free.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return RunFolder(free)
