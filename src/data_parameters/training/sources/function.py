"""The pair of data sets that a user's own function returns."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from data_parameters.training.data import DataConfig, Split, TrainingData
from data_parameters.training.sources.rows import (
    check_labels,
    first_classes,
    kept_rows,
    numbered_classes,
)
from data_parameters.training.user_function import load_function

__all__ = ["Inputs", "load_pair"]

LABEL_KEYS = ("label", "labels", "target")


class Inputs(Dataset[Any]):
    """The inputs of some rows of a data set, without their labels.

    Args:
        dataset: Its samples are ``(input, label, ...)``, or mappings with the label under
            ``"label"``, ``"labels"`` or ``"target"`` and the input under the only other key.
        rows: Which rows, shape ``(N,)``.
    """

    def __init__(self, dataset: Any, rows: Tensor) -> None:
        self.dataset, self.rows = dataset, rows

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        """An input.

        Args:
            index: Which of the rows.

        Returns:
            The input as the data set gives it.
        """
        return _entries(self.dataset[int(self.rows[index])])[0]


def load_pair(config: DataConfig) -> TrainingData:
    """Call a function of the user's for a training and a test set.

    Args:
        config: The name is ``module:function``.

    Returns:
        The inputs are those of the data sets, loaded when they are asked for. The class names are
        ``classes`` of the training set where it has them, else numbers.

    Raises:
        ValueError: The function returns something else, samples have another form, or a label is
            outside the classes.
    """
    pair = load_function(config.name)()
    if not isinstance(pair, Sequence) or len(pair) != 2:
        raise ValueError(
            f"`{config.name}` should return a pair of data sets, for training and for testing. "
            f"Found {type(pair).__name__}. Return (train_set, test_set)."
        )
    for dataset in pair:
        if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
            raise ValueError(
                f"The data sets of `{config.name}` should have `__getitem__` and `__len__`. Found "
                f"{type(dataset).__name__}. Read a stream into a map-style data set."
            )
    train_set, test_set = pair
    train_labels = _labels(train_set)
    names = getattr(train_set, "classes", numbered_classes(train_labels))
    return TrainingData(
        train=_split(config, "train", train_set, train_labels, len(names)),
        test=_split(config, "test", test_set, _labels(test_set), len(names)),
        class_names=first_classes(config, [str(name) for name in names]),
    )


def _split(config: DataConfig, split: str, dataset: Any, labels: Tensor, num_classes: int) -> Split:
    check_labels(labels, num_classes, split)
    rows = kept_rows(config, split, labels)
    # A look at a sample may draw random numbers, which are the run's.
    with torch.random.fork_rng(devices=[]):
        example, label = _entries(dataset[int(rows[0])])
    if not isinstance(example, Tensor) or not example.is_floating_point():
        found = f"a tensor of {example.dtype}" if isinstance(example, Tensor) else repr(example)
        raise ValueError(
            f"An input of the {split} set should be a float tensor, ready for the model. Found "
            f"{found}. Give the data set a transform that makes one."
        )
    if int(label) != int(labels[rows[0]]):
        raise ValueError(
            f"The labels of the {split} set should be those of its samples. Found "
            f"{int(labels[rows[0]])} in its list for row {int(rows[0])}, and {int(label)} in the "
            "sample. Change `targets` or `labels` along with the samples."
        )
    return Split(inputs=Inputs(dataset, rows), labels=labels[rows], rows=rows)


def _labels(dataset: Any) -> Tensor:
    """All labels: from ``targets`` or ``labels``, or else in one pass over the data."""
    for name in ("targets", "labels"):
        if hasattr(dataset, name):
            found = torch.as_tensor(getattr(dataset, name))
            break
    else:
        name = "labels"
        with torch.random.fork_rng(devices=[]):
            labels = [int(_entries(dataset[row])[1]) for row in range(len(dataset))]
        found = torch.tensor(labels, dtype=torch.int64)
    if found.shape != (len(dataset),) or found.is_floating_point():
        raise ValueError(
            f"`{name}` of {type(dataset).__name__} should be {len(dataset)} integers, one for each "
            f"sample. Found shape {tuple(found.shape)} of {found.dtype}. Map class names to "
            "integers first."
        )
    return found.long()


def _entries(sample: Any) -> tuple[Any, Any]:
    """Input and label of a sample."""
    if isinstance(sample, Mapping):
        labels = [key for key in LABEL_KEYS if key in sample]
        others = [key for key in sample if key not in (*labels, "index")]
        if len(labels) == len(others) == 1:
            return sample[others[0]], sample[labels[0]]
    elif isinstance(sample, (tuple, list)) and len(sample) >= 2:
        return sample[0], sample[1]
    found = f"the keys {list(sample)}" if isinstance(sample, Mapping) else type(sample).__name__
    raise ValueError(
        "A sample should be (input, label), or a mapping with one label under "
        f"{', '.join(LABEL_KEYS)} and one input. Found {found}. Wrap the data set in one whose "
        "samples are such."
    )
