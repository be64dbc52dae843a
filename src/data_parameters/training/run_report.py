"""The report of a run: from its folder to one HTML file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from data_parameters.report.page import render_page
from data_parameters.training.data import TrainingData
from data_parameters.training.report_content import report_content
from data_parameters.training.saved_run import SavedRun

__all__ = ["ReportConfig", "write_report"]


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Show a run as one HTML file, with a table to review its labels."""

    run: Annotated[Path, tyro.conf.Positional]
    """The run folder."""

    output: Path | None = None
    """The file to write. By default `report.html` in the run folder."""

    rows: int = 4000
    """Highest number of instances in the review table, those with the lowest scores."""

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise ValueError(f"`rows` should be at least 1. Found {self.rows}.")


def write_report(config: ReportConfig, data: TrainingData | None = None) -> Path:
    """Write the report of a run, whether it has ended or not.

    Args:
        config: Which run.
        data: What it trained on, where that is at hand; else it is loaded again.

    Returns:
        The file.

    Raises:
        FileNotFoundError: There is no run in the folder, or none that has finished an epoch.
        ValueError: A file of the run is damaged.
    """
    run = SavedRun.open(config.run)
    content = report_content(run, data, num_rows=config.rows)
    output = config.run / "report.html" if config.output is None else config.output
    temporary = output.with_name(f"{output.name}.tmp")
    temporary.write_text(render_page(content), encoding="utf-8")
    temporary.replace(output)
    return output
