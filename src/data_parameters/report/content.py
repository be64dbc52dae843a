"""Everything that a report shows, as plain data, wherever it came from.

Legend: C classes, N training instances, E epochs, K instances in the review table, Q quantiles,
bins of the histograms.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

__all__ = [
    "Classes",
    "Curves",
    "Group",
    "Instances",
    "Noise",
    "Preview",
    "ReportContent",
    "RunFacts",
    "Spread",
]

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What was trained, and how.

    Attributes:
        name: What to call the run.
        key: Digest of the configuration; decisions are kept under it.
        dataset: Fingerprint of the data set; decisions on another one are refused.
        finished: Whether the run came to its end.
        num_instances: N.
        class_names: Names of the C classes.
        summary: Short facts for the head of the page, in order.
        result: The result in words, a line each.
        settings: The resolved configuration, nested.
        versions: Software and machine, by name.
        missing: What the page cannot show, and why; a sentence each.
    """

    name: str
    key: str
    dataset: str
    finished: bool
    num_instances: int
    class_names: Sequence[str]
    summary: Sequence[str] = ()
    result: Sequence[str] = ()
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    missing: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Values after each epoch, by name: accuracies in [0, 1], or losses in nats."""

    epochs: Sequence[int]
    series: Mapping[str, Sequence[float | None]]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Log-temperatures of some instances over the epochs.

    Attributes:
        name: Which instances.
        count: How many.
        quantiles: Of log σ, at 5, 25, 50, 75 and 95 %, shape ``(E, Q)``.
        histogram: Counts, shape ``(E, bins)``.
    """

    name: str
    count: int
    quantiles: Array
    histogram: Array


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How the instance temperatures spread over the epochs.

    Attributes:
        epochs: After how many epochs, shape ``(E,)``.
        edges: Of the bins, in log σ, shape ``(bins + 1,)``.
        groups: All trained instances first, then clean and changed ones where these are known.
    """

    epochs: Sequence[int]
    edges: Array
    groups: Sequence[Group]


@dataclass(frozen=True, kw_only=True)
class Classes:
    """What is known of each class; an absent column is ``None``.

    Attributes:
        count: Trained instances with this given label, shape ``(C,)``.
        estimated_wrong: Estimated share of wrong labels among them, shape ``(C,)``.
        known_wrong: The true share, shape ``(C,)``.
        epochs: Of the log-temperatures, shape ``(E,)``.
        log_temperature: Over the epochs, shape ``(E, C)``.
        meaning: What ``log_temperature`` is: of the class, or the mean over its instances.
    """

    count: Array
    estimated_wrong: Array | None = None
    known_wrong: Array | None = None
    epochs: Sequence[int] = ()
    log_temperature: Array | None = None
    meaning: str = ""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The estimated noise of the trained labels.

    Attributes:
        rate: Estimated share of wrong labels.
        num_issues: Instances that the threshold calls label issues.
        known_rate: The true share, where it is known.
        pairs: Counts of label issues by given and suggested label, shape ``(C, C)``.
        auroc: Of the score against the labels that are known to be wrong.
        average_precision: The same.
    """

    rate: float
    num_issues: int
    known_rate: float | None = None
    pairs: Array | None = None
    auroc: float | None = None
    average_precision: float | None = None


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a person sees of an instance.

    Attributes:
        name: File name or place in the source; empty where there is none.
        text: A text.
        image: An image file as a ``data:`` address.
    """

    name: str = ""
    text: str | None = None
    image: str | None = None


@dataclass(frozen=True, kw_only=True)
class Instances:
    """The instances to review, lowest score first; an absent column is ``None``.

    Attributes:
        index: Their rows in the tables, shape ``(K,)``.
        given_label: Class each was trained on, shape ``(K,)``.
        label_score: In [0, 1], lower is worse, shape ``(K,)``.
        is_label_issue: Shape ``(K,)``.
        source_row: Row of the source, shape ``(K,)``.
        predicted_label: Suggested class, -1 where there is none, shape ``(K,)``.
        true_label: Known class, -1 where it is unknown, shape ``(K,)``.
        temperature: σ after the last epoch, shape ``(K,)``.
        margin: Mean logit margin, shape ``(K,)``.
        epochs: Of the trajectories, shape ``(E,)``.
        log_temperature: Trajectories, shape ``(E, K)``.
        previews: At most K, those of the first rows.
    """

    index: Array
    given_label: Array
    label_score: Array
    is_label_issue: Array
    source_row: Array | None = None
    predicted_label: Array | None = None
    true_label: Array | None = None
    temperature: Array | None = None
    margin: Array | None = None
    epochs: Sequence[int] = ()
    log_temperature: Array | None = None
    previews: Sequence[Preview] = ()


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """A report; what a run did not measure is ``None``."""

    run: RunFacts
    accuracy: Curves | None = None
    loss: Curves | None = None
    spread: Spread | None = None
    classes: Classes | None = None
    noise: Noise | None = None
    instances: Instances | None = None
