"""The command ``issues``: which labels of a run are probably wrong.

Legend: N training instances, C classes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from data_parameters.issues import class_noise_rates, noise_rate
from data_parameters.training.findings import run_issues
from data_parameters.training.saved_run import SavedRun

if TYPE_CHECKING:
    import pandas

__all__ = ["IssuesConfig", "named_issues", "needed_issues", "show_issues", "wide_console"]

WRITERS = {".csv": "csv", ".parquet": "parquet", ".json": "json"}


@dataclass(frozen=True, kw_only=True)
class IssuesConfig:
    """Which labels of a run are probably wrong, worst first, and how many they are."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of the run, which may still be running."""

    output: Path | None = None
    """Write all instances, worst first, to this .csv, .parquet or .json file."""

    top: int = 20
    """How many to show."""

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"`top` should be at least 1. Found {self.top}.")
        if self.output is not None and self.output.suffix not in WRITERS:
            raise ValueError(
                f"`output` should end in {', '.join(WRITERS)}. Found {str(self.output)!r}."
            )


def show_issues(config: IssuesConfig) -> None:
    """Show the worst labels, and write all of them where that is asked for.

    Args:
        config: Which run, and where to.
    """
    run = SavedRun.open(config.run)
    issues = needed_issues(run)
    console = wide_console()
    if run.standing is not None:
        console.print(run.standing)
    rates = class_noise_rates(issues, num_classes=len(run.class_names))
    num_scored, num_issues = int(rates["num_instances"].sum()), int(rates["num_issues"].sum())
    unseen = len(issues) - num_scored
    left_out = f" ({unseen:,} more were held out, excluded or never seen)" if unseen else ""
    console.print(
        f"{num_issues:,} of {num_scored:,} labels are probably wrong{left_out}: an estimated noise "
        f"rate of {noise_rate(issues):.1%}."
    )
    worst = rates.sort_values("noise_rate", ascending=False, kind="stable").head(3)
    shown = [
        f"{run.class_names[int(place)]} {row.noise_rate:.1%}"
        for place, row in worst.iterrows()
        if row.noise_rate > 0
    ]
    if shown:
        console.print(f"Highest by given label: {', '.join(shown)}.", markup=False)
    named = named_issues(run, issues)
    console.print(_table(named.head(config.top)))
    if config.output is not None:
        _write(config.output, named)
        console.print(f"All {len(named):,} instances are in {config.output}.", markup=False)


def needed_issues(run: SavedRun) -> "pandas.DataFrame":
    """The label issues of a run.

    Args:
        run: The run.

    Returns:
        One row an instance, in data-set order.

    Raises:
        ValueError: The run kept neither temperatures nor dynamics.
    """
    issues = run_issues(run)
    if issues is None:
        raise ValueError(
            f"{run.path} should hold instance temperatures or dynamics. Found neither. Train with "
            "--instances.learn, or without --no-dynamics."
        )
    return issues


def named_issues(run: SavedRun, issues: "pandas.DataFrame") -> "pandas.DataFrame":
    """The issues as people read them: worst first, with names of classes.

    Args:
        run: The run.
        issues: What `needed_issues` returned.

    Returns:
        One row an instance, those without a score last, with the columns that decisions need.
    """
    names = np.array([*run.class_names, ""], dtype=object)  # -1 is the empty one
    # What the score was made of makes way for the statistics themselves, as in instances.csv.
    named = issues.drop(columns="margin", errors="ignore")
    for column in ("given_label", "predicted_label"):
        named[column] = names[issues[column]]
    for column in ("clipped_margin", "margin", "wrong_fraction", "last_loss", "count"):
        if column in run.instances:
            named[column] = run.instances[column]
    named.insert(0, "index", np.arange(len(named)))
    if run.labels.source_rows is not None:
        named.insert(1, "source_row", run.labels.source_rows.numpy())
    named["dataset"] = run.dataset
    return named.sort_values("label_score", kind="stable", na_position="last")


def wide_console() -> Console:
    """A console whose tables are as wide as they need to be where there is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=140)


def _table(issues: "pandas.DataFrame") -> Table:
    table = Table(header_style="bold")
    for name in ("index", "score", "given label", "suggested label"):
        table.add_column(name, justify="right" if name in ("index", "score") else "left")
    headers = {"temperature": "σ", "margin": "mean margin", "clipped_margin": "clipped margin"}
    numbers = {name: header for name, header in headers.items() if name in issues}
    for header in numbers.values():
        table.add_column(header, justify="right")
    for _, row in issues.iterrows():
        style = "red" if row.is_label_issue else ""
        suggestion = row.predicted_label if row.is_label_issue else ""
        # Text, not markup: a class may be called anything.
        table.add_row(
            str(row["index"]),
            Text(f"{row.label_score:.3f}", style=style),
            Text(shortened(row.given_label), style=style),
            Text(shortened(suggestion), style="green"),
            *(f"{row[name]:.3g}" for name in numbers),
        )
    return table


def shortened(text: str, length: int = 40) -> str:
    """The beginning of a text, on one line.

    Args:
        text: Any text.
        length: Highest number of characters.

    Returns:
        The text, with an ellipsis where something is left out.
    """
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def _write(path: Path, issues: "pandas.DataFrame") -> None:
    if path.suffix == ".csv":
        issues.to_csv(path, index=False)
    elif path.suffix == ".json":
        issues.to_json(path, orient="records", lines=False, force_ascii=False)
    else:
        try:
            issues.to_parquet(path, index=False)
        except ImportError as error:
            raise ModuleNotFoundError(
                "Parquet files need pyarrow, an optional dependency. Install it with: "
                "pip install 'data-parameters[datasets]'",
                name="pyarrow",
            ) from error
