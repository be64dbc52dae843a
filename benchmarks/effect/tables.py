"""From the runs of a study to its page."""

import statistics
from collections.abc import Callable, Sequence

from effect import crossed
from effect.grids import ALL_METHODS
from effect.studies import STUDIES, Study
from effect.training import FIRST_DROP, Record
from timing import markdown

STOP = "Test accuracy four epochs after the first drop, where the authors stop, %"


def report(name: str, records: Sequence[Record]) -> str:
    """The page of a study."""
    study = STUDIES[name]
    command = name.replace("-full", " --full")
    wanted = set(study.runs())
    records = [r for r in records if (r.cell, r.method, r.seed) in wanted]
    machines = " ".join(sorted({record.machine for record in records}))
    head = (
        f"# {study.title}\n\n{machines} {len(records)} of {len(wanted)} runs; the mean over the "
        f"seeds, at most {study.num_seeds}, ± their standard deviation. "
        f"`python benchmarks/effect_study.py {command}`\n"
    )
    body = crossed.tables(study.cells, records) if name == "crossed" else _by_method(study, records)
    return f"{head}\n{body}"


def _by_method(study: Study, records: Sequence[Record]) -> str:
    """Accuracy at the end, of the selected and of the best epoch, and AUROC of the signals."""
    parts = []
    columns: dict[str, Callable[[Record], float | None]] = {
        "Test accuracy at the last epoch, %": lambda r: r.last,
        "Test accuracy of the epoch that noisy validation labels select, %": lambda r: r.selected,
        "Test accuracy of the best epoch, %, which needs clean labels to choose": lambda r: r.best,
        STOP: _at_stop,
        "Instances left out by the second phase, %": lambda r: _percent(r.judged.get("left_out")),
        # Those left out have their temperatures of the first phase: two phases do not compare.
        "AUROC of σ": lambda r: None if r.judged.get("left_out") else r.auroc.get("temperature"),
        "AUROC of the mean margin": lambda r: r.auroc.get("margin"),
    }
    if study.title != STUDIES["regimes"].title:
        del columns[STOP]
    for title, column in columns.items():
        decimals = 3 if title.startswith("AUROC") else 1
        rows = []
        for method in study.methods:
            cells = [
                _spread(
                    [column(r) for r in records if (r.cell, r.method) == (cell, method)], decimals
                )
                for cell in study.cells
            ]
            if any(cells):
                rows.append([method, *cells])
        if rows:
            names = [named(cell, study) for cell in study.cells]
            parts.append(f"## {title}\n\n" + markdown(["method", *names], rows))
    return "\n".join(parts)


def _at_stop(record: Record) -> float | None:
    """Of the schedule with drops; the others have no such moment."""
    budget = ALL_METHODS[record.method].budget
    if not budget.get("drops", True):
        return None
    return record.test[round(FIRST_DROP * len(record.test)) + 3]


def named(cell: str, study: Study) -> str:
    """The noise, and the data set where the study has several."""
    data = {each.split("/")[0] for each in study.cells}
    return (cell if len(data) > 1 else cell.split("/", 1)[1]).replace("/", " ")


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _spread(values: list[float | None], decimals: int) -> str:
    found = [value for value in values if value is not None]
    if not found:
        return ""
    if len(found) == 1:
        return f"{found[0]:.{decimals}f}"
    return f"{statistics.mean(found):.{decimals}f} ± {statistics.stdev(found):.{decimals}f}"
