"""The tables of the crossed study: gains over cross-entropy in the same way of training."""

import statistics
from collections.abc import Callable, Iterable, Sequence

from effect.grids import CROSSED_LRS, WAYS, Way
from effect.training import Record
from timing import markdown

COLUMNS = (*(f"instance lr {lr:g}" for lr in CROSSED_LRS), "default")
Gains = dict[tuple[Way, str], float]  # of a way and a column
# What a way is told apart by, in the order in which an average over the others is shown.
FACTORS: dict[str, Callable[[Way], object]] = {
    "width": lambda way: f"{way.hidden} wide",
    "schedule": lambda way: "drops" if way.drops else "constant",
    "length": lambda way: f"{way.epochs} epochs",
    "batch": lambda way: f"batch {way.batch_size}",
}


def tables(cells: Sequence[str], records: Sequence[Record]) -> str:
    """For each kind of noise the gains of each way, and their average over all but one factor."""
    last: dict[tuple[str, str], list[float]] = {}
    for record in records:
        last.setdefault((record.cell, record.method), []).append(record.last)
    mean = {row: statistics.fmean(values) for row, values in last.items()}
    parts = [
        "Points over cross-entropy that was trained in the same way, at the last epoch. The "
        "default is that of the program: a rate of 1, of B/64 at batches of B < 64, and a second "
        "phase.\n"
    ]
    for cell in cells:
        plain = {way: mean.get((cell, f"cross-entropy, {way}")) for way in WAYS}
        gains: Gains = {
            (way, column): mean[cell, f"{column}, {way}"] - base
            for way, base in plain.items()
            for column in COLUMNS
            if base is not None and (cell, f"{column}, {way}") in mean
        }
        title = cell.split("/", 1)[1].replace("/", " ")
        lines = [
            [str(way), f"{base:.1f}", *(_cell(gains.get((way, c))) for c in COLUMNS)]
            for way, base in plain.items()
            if base is not None
        ]
        parts.append(
            f"## {title}\n\n"
            + markdown(["way", "cross-entropy, %", *COLUMNS], lines)
            + "\nThe average over the ways that share a setting, and the lowest of all:\n\n"
            + markdown(["setting", *COLUMNS], [*_averages(gains), _lowest(gains)])
        )
    return "\n".join(parts)


def _averages(gains: Gains) -> Iterable[list[str]]:
    for factor in FACTORS.values():
        for level in dict.fromkeys(factor(way) for way in WAYS):
            found = [
                [gain for (way, c), gain in gains.items() if c == column and factor(way) == level]
                for column in COLUMNS
            ]
            yield [str(level), *(_cell(statistics.fmean(f) if f else None) for f in found)]


def _lowest(gains: Gains) -> list[str]:
    found = [[gain for (_, c), gain in gains.items() if c == column] for column in COLUMNS]
    return ["lowest", *(_cell(min(f, default=None)) for f in found)]


def _cell(gain: float | None) -> str:
    return "" if gain is None else f"{gain:+z.1f}"
