"""What a run says about its labels."""

from typing import TYPE_CHECKING

from data_parameters.issues import find_label_issues
from data_parameters.training.saved_run import SavedRun

if TYPE_CHECKING:
    import pandas

__all__ = ["run_issues"]


def run_issues(run: SavedRun) -> "pandas.DataFrame | None":
    """The label issues of a run, from whatever it kept.

    Args:
        run: The run.

    Returns:
        What :func:`find_label_issues` returns, without a score where an instance was held out or
        never seen; ``None`` where the run kept neither temperatures nor dynamics.

    Raises:
        ModuleNotFoundError: pandas or scikit-learn is missing.
    """
    columns = run.instances
    if "temperature" not in columns and "clipped_margin" not in columns:
        return None
    return find_label_issues(
        run.labels.given,
        temperature=columns.get("temperature"),
        dynamics=columns if "clipped_margin" in columns else None,
    )
