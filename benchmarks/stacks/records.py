"""Runs as lines of a file, and the tables made of them."""

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from timing import RESULTS, machine, markdown

Key = tuple[str, str, int]  # cell, method, seed
Record = dict[str, Any]


def path_of(study: str) -> Path:
    return RESULTS / "stacks" / f"{study}.jsonl"


def read(path: Path) -> list[Record]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run_missing(
    path: Path, keys: Iterable[Key], run: Callable[[Key], Record], packages: Sequence[str]
) -> None:
    """Run what no line of the file tells of; each run that is done is a line."""
    have = {(line["cell"], line["method"], line["seed"]) for line in read(path)}
    todo = [key for key in keys if key not in have]
    path.parent.mkdir(parents=True, exist_ok=True)
    for number, key in enumerate(todo, start=1):
        cell, method, seed = key
        found = run(key)
        versions = ", ".join(f"{name} {version(name)}" for name in packages)
        line = {"cell": cell, "method": method, "seed": seed, **found}
        line |= {"machine": machine().removesuffix("."), "versions": versions}
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{number}/{len(todo)} {cell}, {method}, seed {seed}: {found}", flush=True)


def where(records: Sequence[Record]) -> str:
    """The machines and versions of the runs."""
    found = sorted({f"{line['machine']}, {line['versions']}." for line in records})
    return " ".join(found)


def spread(values: Iterable[float | None], decimals: int) -> str:
    """Mean ± standard deviation over the seeds; nothing where a run has no such value."""
    found = [value for value in values if value is not None]
    if not found:
        return ""
    deviation = statistics.stdev(found) if len(found) > 1 else 0.0
    return f"{statistics.mean(found):.{decimals}f} ± {deviation:.{decimals}f}"


def table(
    records: Sequence[Record],
    cell: str,
    columns: dict[str, tuple[Callable[[Record], float | None], int]],
) -> str:
    """One row a method, in the order of the runs; a column is a value and its decimals."""
    of_cell = [line for line in records if line["cell"] == cell]
    rows = []
    for method in dict.fromkeys(line["method"] for line in of_cell):
        lines = [line for line in of_cell if line["method"] == method]
        cells = [spread(map(value, lines), decimals) for value, decimals in columns.values()]
        rows.append([method, *cells])
    return markdown(["method", *columns], rows)
