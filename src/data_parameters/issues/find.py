"""The table of label issues.

Legend: N instances. What is not known of an instance is NaN or -1: such a row is no issue.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from data_parameters.issues.columns import Column, checked_column, checked_labels, import_pandas
from data_parameters.issues.margins import Dynamics, dynamics_column
from data_parameters.issues.scores import Method, chosen_margin, label_quality_scores
from data_parameters.issues.threshold import score_threshold

if TYPE_CHECKING:
    import pandas

__all__ = ["find_label_issues"]


def find_label_issues(
    labels: Column,
    *,
    temperature: Column | None = None,
    margin: Column | None = None,
    dynamics: Dynamics | None = None,
    predicted_labels: Column | None = None,
    method: Method = "auto",
    threshold: float | None = None,
) -> "pandas.DataFrame":
    r"""Score the label of every instance, and say which are probably wrong.

    The first columns are those of cleanlab's Datalab. For the worst first:
    ``issues.sort_values("label_score", kind="stable")``.

    Args:
        labels: Given labels, shape ``(N,)``.
        temperature: Learned temperatures, shape ``(N,)``; NaN where never seen.
        margin: Mean margins, shape ``(N,)``, instead of ``dynamics``; NaN where never seen.
        dynamics: :class:`TrainingDynamics`, or its columns by name.
        predicted_labels: What the labels should be, shape ``(N,)``; by default the
            :attr:`~TrainingDynamics.rival` of the dynamics, if there is one. Where negative the
            given label stands. A label is no issue where its prediction agrees with it.
        method: As in :func:`label_quality_scores`.
        threshold: Issues have a score below it; by default :func:`score_threshold`.

    Returns:
        One row an instance, in data-set order: ``is_label_issue``, ``label_score`` (lower is
        worse), ``given_label``, ``predicted_label`` (-1 where none was given), and what the score
        was made of: ``temperature``, and ``margin``, that given or the :func:`trusted_margin`.

    Raises:
        ValueError: As :func:`label_quality_scores`; or the threshold lies outside [0, 1].
        ModuleNotFoundError: pandas or scikit-learn is not installed.

    Example:
        >>> issues = find_label_issues(
        ...     [0, 1, 1, 0], margin=[1.0, -2.0, 0.9, 0.8], predicted_labels=[0, 0, 1, -1]
        ... )
        >>> issues[["is_label_issue", "given_label", "predicted_label"]]
           is_label_issue  given_label  predicted_label
        0           False            0                0
        1            True            1                0
        2           False            1                1
        3           False            0                0
    """
    pandas = import_pandas()
    given = checked_labels(labels)
    if predicted_labels is None and dynamics is not None:
        predicted_labels = dynamics_column(dynamics, "rival")
    scores = label_quality_scores(
        given, temperature=temperature, margin=margin, dynamics=dynamics, method=method
    )
    margin = chosen_margin(margin, dynamics)
    if threshold is None:
        threshold = score_threshold(scores)
    if not 0 <= threshold <= 1:
        raise ValueError(f"`threshold` should lie in [0, 1], as scores do. Found {threshold}.")
    below = scores < threshold  # NaN is not
    predicted = np.full(len(given), -1)
    if predicted_labels is not None:
        predicted = checked_labels(predicted_labels, "predicted_labels", len(given))
        predicted = np.where(predicted < 0, given, predicted)
        below &= predicted != given
    columns: dict[str, Any] = {
        "is_label_issue": below,
        "label_score": scores,
        "given_label": given,
        "predicted_label": predicted,
    }
    for name, column in (("temperature", temperature), ("margin", margin)):
        if column is not None:
            columns[name] = checked_column(name, column, len(given))
    return pandas.DataFrame(columns)
