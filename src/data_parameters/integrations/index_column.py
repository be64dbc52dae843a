"""The column of a training set that holds each sample's row: kept, read and compared."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from data_parameters.indexing import INDEX_KEY

__all__ = ["IndexCollator", "check_minibatch", "digest_of", "row_of"]

LABEL_KEYS = ("labels", "label", "label_ids", "input_ids")


class IndexCollator:
    """Carries the index past a collator, which may know nothing of it.

    Args:
        collator: Makes a mapping of tensors from a list of mappings.
    """

    def __init__(self, collator: Callable[[list[Any]], Any]) -> None:
        self.collator = collator

    def __call__(self, features: Sequence[Any]) -> Any:
        """The collator's minibatch, and the rows of its samples.

        Args:
            features: Samples, each with its row.

        Returns:
            What the collator makes of them without their rows, and these under ``"index"``.
        """
        index = [row_of(feature) for feature in features]
        batch = self.collator(
            [{key: feature[key] for key in feature if key != INDEX_KEY} for feature in features]
        )
        batch[INDEX_KEY] = torch.tensor(index)
        return batch


def check_minibatch(inputs: Mapping[str, Any], index: Any, *, needed: bool) -> None:
    """Refuse a minibatch whose samples can't be told apart, or have no target.

    Args:
        inputs: The minibatch, without its rows.
        index: Its rows, if it has some.
        needed: Whether it has to.

    Raises:
        ValueError: It has no index, or not one for each sample; or no target.
    """
    if needed and index is None:
        raise ValueError(
            f'A minibatch should hold its rows under "{INDEX_KEY}". Found '
            f"{sorted(inputs)}. Build loaders with the Trainer's `get_train_dataloader`, "
            "or let your own collator keep the index."
        )
    if inputs.get("labels") is None:
        raise ValueError(
            f'A minibatch should hold its targets under "labels". Found {sorted(inputs)}. '
            "Rename the column, or let the collator make them."
        )
    num_samples = len(inputs["labels"])
    if index is not None and index.shape != (num_samples,):
        raise ValueError(
            f"There should be one index for each of the {num_samples} samples of a "
            f"minibatch. Found shape {tuple(index.shape)}. Use a collator that neither "
            "packs, drops nor repeats samples."
        )


def row_of(sample: Any) -> int:
    """The row of a sample.

    Args:
        sample: One of the training set.

    Returns:
        What stands under ``"index"``.

    Raises:
        ValueError: It is no mapping, or holds none.
    """
    if not (isinstance(sample, Mapping) and INDEX_KEY in sample):
        found = f"the keys {sorted(sample)}" if isinstance(sample, Mapping) else type(sample)
        raise ValueError(
            f'A training sample should be a mapping with its row under "{INDEX_KEY}". Found '
            f"{found}. Wrap the training set, before any subset is taken of it: "
            "`train_dataset=IndexedDataset(train_dataset)`."
        )
    return int(sample[INDEX_KEY])


def digest_of(dataset: Any) -> str | None:
    """A digest of the length and of 64 samples' indices and labels; none of a stream.

    Args:
        dataset: A training set with an index.

    Returns:
        Hexadecimal digits, by which a checkpoint knows its data set.
    """
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        return None
    found: list[Any] = [len(dataset)]
    for place in range(0, len(dataset), max(len(dataset) // 64, 1)):
        sample = dataset[place]
        row = row_of(sample)
        label = next((sample[key] for key in LABEL_KEYS if key in sample), None)
        found.append((row, None if label is None else torch.as_tensor(label).tolist()))
    return hashlib.sha256(repr(found).encode()).hexdigest()
