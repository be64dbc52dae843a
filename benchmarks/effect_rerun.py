"""Do the tables come out again? Runs repeated against those committed.

    python benchmarks/effect_study.py regimes --results build/again  # repeat a study, or a part
    python benchmarks/effect_rerun.py build/again                    # and compare

Writes `benchmarks/results/effect_rerun.md` from all studies that the folder holds; trains nothing.
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import effect_study
from effect.studies import STUDIES
from effect.training import Record
from timing import RESULTS, markdown


@dataclass(frozen=True)
class Row:
    """A row of a table: the runs of one cell and method, and those of them that were repeated."""

    cell: str
    method: str
    first: Sequence[Record]
    again: Sequence[Record]

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds, as the table states it."""
        return statistics.stdev(r.last for r in self.first)

    @property
    def pairs(self) -> list[tuple[Record, Record]]:
        """The committed and the repeated run of each seed that was repeated."""
        first = {record.seed: record for record in self.first}
        return [(first[record.seed], record) for record in self.again]

    @property
    def differences(self) -> list[float]:
        """Of the last accuracy, repeated less committed, in points."""
        return [again.last - first.last for first, again in self.pairs]

    @property
    def is_whole(self) -> bool:
        return len(self.again) == len(self.first)

    @property
    def shift(self) -> float:
        """Of the mean over the repeated seeds."""
        return statistics.fmean(self.differences)

    @property
    def within(self) -> bool:
        """Whether the mean moved by no more than the stated spread, to the digit of the table."""
        return round(abs(self.shift), 1) <= round(self.spread, 1)


def rows(first: Sequence[Record], again: Sequence[Record]) -> list[Row]:
    """Those with a repeated run, in the order of the committed runs.

    Raises:
        ValueError: If a repeated run has no committed one.
    """
    by_row: dict[tuple[str, str], tuple[list[Record], list[Record]]] = {}
    for place, records in enumerate((first, again)):
        for record in records:
            by_row.setdefault((record.cell, record.method), ([], []))[place].append(record)
    found = [Row(*names, *runs) for names, runs in by_row.items() if runs[1]]
    for row in found:
        if unknown := {r.seed for r in row.again} - {r.seed for r in row.first}:
            raise ValueError(
                f"Repeated runs should be among those committed. Found {row.cell}, {row.method} "
                f"with seed {min(unknown)}, which is not. Finish the committed study first."
            )
    return found


def line(study: str, found: Sequence[Row], num_runs: int) -> list[str]:
    """What came of a study."""
    pairs = [pair for row in found for pair in row.pairs]
    same = sum(first.test == again.test for first, again in pairs)
    whole = [row for row in found if row.is_whole]
    elsewhere = sum(first.machine != again.machine for first, again in pairs)
    return [
        study,
        f"{len(pairs)} of {num_runs}",
        str(elsewhere),
        str(same),
        f"{max(abs(d) for row in found for d in row.differences):.1f}",
        f"{sum(row.within for row in found)} of {len(found)}",
        f"{sum(row.within for row in whole)} of {len(whole)}",
        f"{max(abs(row.shift) for row in whole):.1f}" if whole else "",
    ]


def page(again: Path) -> str:
    """The comparison of all studies that the folder holds."""
    lines, outside, machines, all_rows = [], [], set(), 0
    for name in STUDIES:
        repeated = effect_study.read(again / "effect" / f"{name}.jsonl")
        if not repeated:
            continue
        committed = effect_study.read(RESULTS / "effect" / f"{name}.jsonl")
        found = rows(committed, repeated)
        lines.append(line(name, found, len(committed)))
        machines |= {record.machine for record in repeated}
        all_rows += len(found)
        outside += [
            [
                f"{row.cell.replace('/', ' ')}",
                row.method,
                f"{len(row.again)} of {len(row.first)}",
                f"{statistics.fmean(a.last for a, _ in row.pairs):.1f}",
                f"{row.spread:.1f}",
                f"{statistics.fmean(b.last for _, b in row.pairs):.1f}",
            ]
            for row in found
            if not row.within
        ]
    header = [
        "study",
        "runs repeated",
        "on another machine",
        "the same in every epoch",
        "largest difference of a run, points",
        "rows within their spread",
        "of those with all seeds",
        "largest shift of their mean, points",
    ]
    parts = [
        "# Runs repeated\n\nThe accuracy at the last epoch of runs that were repeated from the "
        "commands of the tables, against the committed runs. A row is a method on a cell; it is "
        "within its spread where the mean over the repeated seeds moved by no more than the "
        "standard deviation over the seeds that its table states. "
        f"`python benchmarks/effect_rerun.py {again}`; repeated on: "
        f"{' '.join(sorted(machines))}\n\n{markdown(header, lines)}"
    ]
    if outside:
        names = ["data", "method", "seeds", "committed", "stated spread", "repeated"]
        parts.append(
            f"## Rows outside their spread: {len(outside)} of {all_rows}\n\n"
            + markdown(names, outside)
        )
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("again", type=Path, help="folder that --results of effect_study.py named")
    arguments = parser.parse_args()
    if arguments.again.resolve() == RESULTS:
        parser.error(f"`{arguments.again}` holds the committed runs themselves. Name another.")
    known = [arguments.again / "effect" / f"{name}.jsonl" for name in STUDIES]
    if not any(effect_study.read(path) for path in known):
        parser.error(f"`{arguments.again}/effect` holds no runs. Repeat a study into it first.")
    text = page(arguments.again)
    (RESULTS / "effect_rerun.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
