"""Which labels a data set may have, and which of its rows are kept."""

from collections.abc import Sequence

import torch
from torch import Tensor

from data_parameters.training.data import DataConfig

__all__ = ["check_labels", "first_classes", "kept_rows", "numbered_classes"]


def check_labels(labels: Tensor, num_classes: int, split: str) -> None:
    """Refuse labels outside ``[0, C)``.

    Args:
        labels: Shape ``(N,)``.
        num_classes: C.
        split: What to call the split in the message.

    Raises:
        ValueError: A label is outside; the message names its value and row.
    """
    outside = ((labels < 0) | (labels >= num_classes)).nonzero().squeeze(1)
    if len(outside):
        row = int(outside[0])
        raise ValueError(
            f"Labels should lie in [0, {num_classes - 1}], the classes of the training set. Found "
            f"{int(labels[row])} in row {row} of the {split} split, {len(outside)} such rows in "
            "all. Correct them, or give rows without a label -1 in a Parquet file."
        )


def numbered_classes(labels: Tensor) -> tuple[str, ...]:
    """Names of classes that have none: their numbers, up to the highest label.

    Args:
        labels: Shape ``(N,)``.

    Returns:
        ``("0", "1", ...)``.
    """
    return tuple(str(label) for label in range(int(labels.max()) + 1 if len(labels) else 0))


def first_classes(config: DataConfig, names: Sequence[str]) -> tuple[str, ...]:
    """Names of the classes that the configuration asks for.

    Args:
        config: Its ``classes`` says how many; ``None`` is all.
        names: Of all classes.

    Returns:
        The first of them.

    Raises:
        ValueError: More are asked for than there are.
    """
    if config.classes is not None and config.classes > len(names):
        raise ValueError(
            f"`data.classes` should be at most {len(names)}, the classes of the data set. Found "
            f"{config.classes}."
        )
    return tuple(names[: config.classes])


def kept_rows(config: DataConfig, split: str, labels: Tensor) -> Tensor:
    """Rows that have a label, in the classes and up to the number that are asked for.

    Args:
        config: Its ``classes`` holds for each split, its ``limit`` for ``train``.
        split: ``"train"``, or what to call another split in a message.
        labels: The labels to train on, shape ``(N,)``. A negative label means none.

    Returns:
        The rows: in the order of the data set, or of a shuffle if there is a limit.

    Raises:
        ValueError: Nothing is left, or fewer rows than the limit asks for.
    """
    kept = labels >= 0
    if config.classes is not None:
        kept &= labels < config.classes
    rows = kept.nonzero().squeeze(1)
    if not len(rows):
        raise ValueError(
            f"The {split} split should have rows with a label. Found none in {len(kept)} rows. "
            "Name the column that holds the labels, or ask for more classes."
        )
    if config.limit is None or split != "train":
        return rows
    if config.limit > len(rows):
        raise ValueError(
            f"`data.limit` should be at most {len(rows)}, the instances to train on. Found "
            f"{config.limit}. Leave it out to train on all."
        )
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    return rows[order[: config.limit]]
