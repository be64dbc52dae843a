"""Sentences whose labels are wrong in part.

Legend: N training instances, C classes.
"""

from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet
import torch
from torch import Tensor

from data_parameters import corrupt_labels

DATA = Path(__file__).parents[3] / "shared" / "data"


@dataclass(frozen=True)
class Sentences:
    """One draw.

    Attributes:
        texts: The training sentences, N of them.
        given: The labels to train on, ``(N,)``.
        true: The right ones, ``(N,)``; nothing but reports may read them.
        test_texts, test_labels: The clean test set.
        num_classes: C.
        num_left_out: Training sentences that nothing had labelled.
    """

    texts: list[str]
    given: Tensor
    true: Tensor
    test_texts: list[str]
    test_labels: Tensor
    num_classes: int
    num_left_out: int = 0

    @property
    def changed(self) -> Tensor:
        """Whose given label is wrong, ``(N,)``."""
        return self.given != self.true


def draw(cell: str, seed: int, data: Path = DATA) -> Sentences:
    """The sentences of a cell, such as ``banking77/symmetric/0.3`` or ``trec6/weak``.

    The seed draws the symmetric noise; weak labels come with the data and are always the same.
    """
    name, noise, *fraction = cell.split("/")
    train, test = (
        pyarrow.parquet.read_table(data / name / f"{split}.parquet").to_pydict()
        for split in ("train", "test")
    )
    texts, true = train["text"], torch.tensor(train["label"])
    test_labels = torch.tensor(test["label"])
    num_classes = int(test_labels.max()) + 1
    if noise != "weak":
        given, _ = corrupt_labels(
            true, float(fraction[0]), kind=noise, num_classes=num_classes, seed=seed
        )
        return Sentences(texts, given, true, test["text"], test_labels, num_classes)
    weak = torch.tensor(train["weak_label"])
    labelled = (weak >= 0).nonzero().flatten()
    return Sentences(
        texts=[texts[row] for row in labelled.tolist()],
        given=weak[labelled],
        true=true[labelled],
        test_texts=test["text"],
        test_labels=test_labels,
        num_classes=num_classes,
        num_left_out=len(weak) - len(labelled),
    )
