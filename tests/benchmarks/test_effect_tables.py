"""The committed tables are those of the committed runs, and what is written of them is in them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import effect_summary
from effect import tables
from effect.cells import Cell
from effect.grids import ALL_METHODS, METHODS
from effect.studies import STUDIES
from effect.training import run

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
RUN = [name for name in STUDIES if (RESULTS / "effect" / f"{name}.jsonl").exists()]


@pytest.mark.parametrize("name", RUN)
def test_tables_are_made_of_the_runs(name: str) -> None:
    expected = tables.report(name, effect_summary.read(name))
    assert (RESULTS / f"effect_{name}.md").read_text(encoding="utf-8") == expected


def test_the_summary_is_made_of_the_runs() -> None:
    written = (RESULTS / "effect_summary.md").read_text(encoding="utf-8")
    assert written == effect_summary.summary()


def table_cells(file: str) -> dict[tuple[str, str], str]:
    """The first number of each cell by row and column; of a page with several tables, the first."""
    found: dict[tuple[str, str], str] = {}
    header: list[str] = []
    for line in (RESULTS / file).read_text(encoding="utf-8").splitlines():
        parts = [part.strip() for part in line.strip("|").split("|")] if "|" in line else []
        if not parts or set(line) <= set("|-: "):
            header = header if parts else []
        elif not header:
            header = parts
        else:
            for column, cell in zip(header[1:], parts[1:], strict=True):
                if number := re.match(r"[+-]?(\d+(?:\.\d+)?)", cell):
                    found.setdefault((parts[0], column), number[1])
    return found


@pytest.mark.parametrize("page", ["README.md", "docs/does_it_help.md", "docs/how_to_set.md"])
def test_numbers_in_prose_are_in_the_tables(page: str) -> None:
    """`95.4<!-- FILE | ROW | COLUMN -->`: the number is that of the cell."""
    text = (ROOT / page).read_text(encoding="utf-8")
    # A line that begins with a comment would be taken for HTML, and end its paragraph.
    assert not re.search(r"^\s*<!-- \S+\.md", text, flags=re.MULTILINE)
    text = " ".join(text.split())
    marks = re.findall(r"([\d.]+)<!-- (\S+\.md) \| (.+?) \| (.+?) -->", text)
    assert len(marks) == text.count(".md | ")
    assert marks
    for number, file, row, column in marks:
        assert number == table_cells(file).get((row, column)), f"{page}: {file} | {row} | {column}"


@pytest.mark.parametrize("page", ["docs/does_it_help.md", "docs/how_to_set.md"])
def test_accuracies_in_prose_name_their_cells(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    text = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    assert not re.findall(r"\b\d\d\.\d\b(?!<!--)", text)


@pytest.mark.parametrize("name", ["cross-entropy", "ELR", "instance lr 1, second phase"])
def test_a_short_run_of_a_method(name: str) -> None:
    method = replace(ALL_METHODS[name], budget={"epochs": 4})
    record = run(Cell.parse("digits/permute/0.4"), method, seed=0)
    assert len(record.test) == 4
    assert record.last > 60
    assert ("rate" in record.judged) == ("second phase" in name)
    if record.judged:
        assert record.judged["rate"] == pytest.approx(0.36, abs=0.12)
        assert record.judged["precision"] > 0.8


def test_every_run_belongs_to_a_method() -> None:
    for name in RUN:
        lines = (RESULTS / "effect" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        keys = [(r["cell"], r["method"], r["seed"]) for r in map(json.loads, lines)]
        assert len(keys) == len(set(keys))
        assert {method for _, method, _ in keys} <= ALL_METHODS.keys()
    assert METHODS.keys() <= ALL_METHODS.keys()
