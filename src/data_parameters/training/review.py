"""The loop closes: labels after what people decided about them.

Legend: N training instances.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from data_parameters.training.decisions import dataset_fingerprint, read_decisions
from data_parameters.training.labels import Labels

__all__ = ["Review", "apply_reviews"]


@dataclass(frozen=True, kw_only=True)
class Review:
    """A file of decisions that was applied.

    Attributes:
        file: The file.
        dataset: Fingerprint of the labels before it.
        relabelled: Labels it changed.
        excluded: Instances it excluded from training.
        kept: Labels it confirmed, or was not sure about.
    """

    file: str
    dataset: str
    relabelled: int
    excluded: int
    kept: int

    def __str__(self) -> str:
        """What it did, in a sentence."""
        return (
            f"Reviewed by {self.file}: {self.relabelled:,} labels changed, {self.excluded:,} "
            f"instances excluded, {self.kept:,} left as they were."
        )


def apply_reviews(
    labels: Labels, files: Sequence[Path], class_names: Sequence[str]
) -> tuple[Labels, tuple[Review, ...]]:
    """Apply files of decisions, one after the other, each to the labels that it is about.

    Args:
        labels: Labels of the training instances.
        files: CSV files (see `decisions`), in the order in which the decisions were made.
        class_names: Names of the C classes.

    Returns:
        The labels, with what was excluded; and what each file did.

    Raises:
        FileNotFoundError: A file is not there.
        ValueError: A decision does not fit the labels, or everything is excluded.
    """
    reviews = []
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(
                f"{file} should be a CSV file of decisions. Found none. Say where it is with "
                "--labels; a resume, too, takes it from another place."
            )
        dataset = dataset_fingerprint(labels.given, class_names)
        decisions = read_decisions(file, labels.given, class_names, source_rows=labels.source_rows)
        given = labels.given.clone()
        excluded = torch.zeros(len(given), dtype=torch.bool)
        if labels.excluded is not None:
            excluded |= labels.excluded
        for decision in decisions:
            if decision.label is not None:
                given[decision.index] = decision.label
            excluded[decision.index] |= decision.decision == "exclude"
        if bool(excluded.all()):
            raise ValueError(
                f"{file} should leave instances to train on. Found all {len(given):,} excluded."
            )
        counts = Counter(decision.decision for decision in decisions)
        labels = replace(labels, given=given, excluded=excluded if excluded.any() else None)
        reviews.append(
            Review(
                file=str(file),
                dataset=dataset,
                relabelled=counts["wrong"],
                excluded=counts["exclude"],
                kept=counts["fine"] + counts["unclear"],
            )
        )
    return labels, tuple(reviews)
