"""The command ``explain``: what a run knows about one instance.

Legend: N training instances, C classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from data_parameters.training.data import load_data
from data_parameters.training.saved_run import SavedRun
from data_parameters.training.show_issues import needed_issues, shortened, wide_console

if TYPE_CHECKING:
    import pandas

__all__ = ["ExplainConfig", "Moment", "explain", "moments"]

NEIGHBOURS = 3


@dataclass(frozen=True, kw_only=True)
class ExplainConfig:
    """What a run knows about one instance: temperature, margin and predictions over the epochs."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of the run, which may still be running."""

    index: Annotated[int, tyro.conf.Positional]
    """The instance: `index` in instances.csv and in the table of `issues`."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One instance after one epoch; ``None`` is what the run did not keep or had not seen yet."""

    epoch: int
    temperature: float | None
    margin: float | None
    prediction: str | None


def moments(run: SavedRun, index: int) -> Iterator[Moment]:
    """One instance over the epochs.

    Args:
        run: The run.
        index: The instance.

    Yields:
        What is known after each epoch.
    """
    tables = {t.epoch: t.log_instance for t in run.tables if t.log_instance is not None}
    dynamics = {snapshot.epoch: snapshot for snapshot in run.dynamics}
    for epoch in sorted(tables.keys() | dynamics.keys()):
        log_instance, snapshot = tables.get(epoch), dynamics.get(epoch)
        seen = snapshot is not None and snapshot.last_prediction[index] >= 0
        yield Moment(
            epoch=epoch,
            temperature=None if log_instance is None else float(np.exp(float(log_instance[index]))),
            margin=float(snapshot.last_margin[index]) if snapshot and seen else None,
            prediction=run.class_names[snapshot.last_prediction[index]]
            if snapshot and seen
            else None,
        )


def explain(config: ExplainConfig) -> None:
    """Show what a run knows about one instance.

    Args:
        config: The run and the instance.

    Raises:
        ValueError: There is no such instance.
    """
    run = SavedRun.open(config.run)
    index = config.index
    if not 0 <= index < run.num_instances:
        raise ValueError(
            f"`index` should be an instance of the run, 0 to {run.num_instances - 1}. Found "
            f"{index}."
        )
    issues = needed_issues(run)
    console = wide_console()
    ranked = issues.sort_values("label_score", kind="stable", na_position="last")
    standing = [] if run.standing is None else [run.standing]
    for line in [*standing, *_facts(run, issues, ranked, index), *_seen(run, index)]:
        console.print(line, markup=False)
    _print_moments(console, run, index)
    _print_neighbours(console, run, ranked, index)


def _facts(
    run: SavedRun, issues: "pandas.DataFrame", ranked: "pandas.DataFrame", index: int
) -> Iterator[str]:
    names, row = run.class_names, issues.iloc[index]
    rows = run.labels.source_rows
    source = "" if rows is None else f", row {int(rows[index])} of the source"
    yield f"Instance {index}{source}: given label {names[int(row.given_label)]}."
    if run.labels.true is not None and int(run.labels.true[index]) >= 0:
        true = int(run.labels.true[index])
        yield f"True label, which the run knows: {names[true] if true < len(names) else true}."
    second = run.second_phase
    if np.isnan(row.label_score):
        if second.is_open and bool(second.planted[index]):
            yield "Its label is wrong on purpose as yet: nothing is known of the given one."
        else:
            yield "It was held out, excluded or never seen: nothing is known of it."
        return
    rank = int(np.flatnonzero(ranked.index == index)[0]) + 1
    verdict = "probably wrong" if row.is_label_issue else "no label issue"
    yield (
        f"Label score {row.label_score:.3f}, rank {rank:,} of {int(issues.label_score.count()):,} "
        f"from the worst: {verdict}."
    )
    if row.is_label_issue and row.predicted_label >= 0:
        yield f"Suggested label: {names[int(row.predicted_label)]}."
    judged = second.judgement
    if judged is not None and bool(second.planted[index]):
        yield (
            f"Until epoch {judged.epoch} it was trained on a wrong label on purpose, "
            f"{names[int(second.planted_labels[index])]}, to judge the others by. The margins and "
            "temperatures of those epochs are that label's."
        )
    if judged is not None and bool(judged.left_out[index]):
        yield f"It was left out of the training after epoch {judged.epoch}."
    columns = run.instances
    words = {
        "temperature": "σ {:.3g}",
        "margin": "mean margin {:.3g}",
        "clipped_margin": "clipped {:.3g}",
        "wrong_fraction": "misclassified {:.0%} of the time",
        "last_loss": "last loss {:.3g}",
    }
    known = [text.format(columns[name][index]) for name, text in words.items() if name in columns]
    yield f"{', '.join(known)}."


def _seen(run: SavedRun, index: int) -> Iterator[str]:
    """The text, or the name of the image file, where that costs no decoding of a whole data set."""
    kind = run.config.data.kind
    if kind != "imagefolder" and (kind not in ("parquet", "hub") or len(run.input_shape) != 1):
        return
    try:
        split = load_data(run.config.data).train
    except (OSError, ValueError, ModuleNotFoundError) as error:
        yield f"The data set could not be read: {error}"
        return
    if len(split.labels) != run.num_instances:
        yield (
            f"The data set has {len(split.labels):,} instances now and had {run.num_instances:,}: "
            "it is not shown."
        )
    elif split.texts is not None:
        yield f"Text: {shortened(split.texts[index], 2000)}"
    elif (images := getattr(split.inputs, "images", None)) is not None:
        yield f"File: {images.file(index)}"


def _print_moments(console: Console, run: SavedRun, index: int) -> None:
    history = list(moments(run, index))
    if not run.dynamics:
        console.print("No margins and predictions over the epochs were kept (--no-dynamics).")
    if not any(snapshot.log_instance is not None for snapshot in run.tables):
        console.print("No instance temperatures were learned (--instances.learn).")
    if not history:
        return
    table = Table(header_style="bold", title="After each epoch", title_justify="left")
    table.add_column("epoch", justify="right")
    for name in ("σ", "margin"):
        table.add_column(name, justify="right")
    table.add_column("prediction")
    given = run.class_names[int(run.labels.given[index])]
    for moment in history:
        table.add_row(
            str(moment.epoch),
            "" if moment.temperature is None else f"{moment.temperature:.3g}",
            "" if moment.margin is None else f"{moment.margin:.3g}",
            Text(
                shortened(moment.prediction or ""),
                style="" if moment.prediction == given else "green",
            ),
        )
    console.print(table)


def _print_neighbours(
    console: Console, run: SavedRun, ranked: "pandas.DataFrame", index: int
) -> None:
    ranked = ranked[ranked["label_score"].notna()]
    places = np.flatnonzero(ranked.index == index)
    if not len(places):
        return
    place = int(places[0])
    table = Table(header_style="bold", title="Neighbours in rank", title_justify="left")
    for name in ("rank", "index", "score"):
        table.add_column(name, justify="right")
    for name in ("given label", "suggested label"):
        table.add_column(name)
    for near in range(max(place - NEIGHBOURS, 0), min(place + NEIGHBOURS + 1, len(ranked))):
        row = ranked.iloc[near]
        suggested = int(row.predicted_label) if row.is_label_issue else -1
        table.add_row(
            f"{near + 1:,}",
            str(ranked.index[near]),
            f"{row.label_score:.3f}",
            Text(shortened(run.class_names[int(row.given_label)])),
            Text(shortened(run.class_names[suggested]) if suggested >= 0 else ""),
            style="bold" if near == place else "",
        )
    console.print(table)
