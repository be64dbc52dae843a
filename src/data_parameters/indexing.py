"""Which row a sample owns: data sets that hand out their index, and a check that they do."""

import operator
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

__all__ = ["IndexedDataset", "check_loader"]

INDEX_KEY = "index"


class IndexedDataset(Dataset[Any]):
    """A data set whose samples carry their index, the row an instance owns.

    Wrap the whole training set, before any subset is taken of it: the index is then that of the
    instance, whatever the order in which a loader visits it.

    A tuple or list gains the index as its last element (a named tuple becomes a plain tuple, as it
    has no name for it), a mapping gains the key ``"index"``, and any other sample becomes
    ``(sample, index)``. Every other attribute is the inner data set's.

    Args:
        dataset: A data set with ``__getitem__`` and ``__len__``.

    Raises:
        TypeError: The data set has no length, or is an ``IterableDataset``, whose samples have no
            index.
        ValueError: The data set is indexed already, or a sample has a key ``"index"``.

    Example:
        >>> dataset = IndexedDataset([("a cat", 0), ("a dog", 1)])
        >>> dataset[1]
        ('a dog', 1, 1)
    """

    def __init__(self, dataset: Any) -> None:
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
            raise TypeError(
                "`dataset` should have `__getitem__`, so that a sample has an index. Found "
                f"{type(dataset).__name__}. Let a stream hand out a stable row of its own with "
                "each sample."
            )
        if not hasattr(dataset, "__len__"):
            raise TypeError(
                "`dataset` should have `__len__`, because the length is the number of instances. "
                f"Found {type(dataset).__name__} without one. Add it."
            )
        if isinstance(dataset, IndexedDataset):
            raise ValueError(
                "`dataset` should not carry indices yet. Found an IndexedDataset. Use it as it is."
            )
        object.__setattr__(self, "dataset", dataset)

    def __getitem__(self, index: int) -> Any:
        """The sample of an index, which may be negative, with its index.

        Args:
            index: Which sample.

        Returns:
            The sample with its index.
        """
        return _with_index(self.dataset[index], self._row(index))

    def __len__(self) -> int:
        """Number of instances."""
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        """What this class lacks is the inner data set's."""
        # Copying and unpickling ask for attributes before `dataset` exists.
        if name == "dataset" or (name.startswith("__") and name.endswith("__")):
            if name == "__getitems__" and hasattr(self.dataset, name):
                return self._getitems
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set on the inner data set, which alone reads it: ``train_set.transform = ...``."""
        setattr(self.dataset, name, value)

    def __repr__(self) -> str:
        """The inner data set's, named as indexed."""
        return f"IndexedDataset({self.dataset!r})"

    def _getitems(self, indices: Sequence[int]) -> list[Any]:
        samples = self.dataset.__getitems__(indices)
        return [
            _with_index(sample, self._row(index))
            for sample, index in zip(samples, indices, strict=True)
        ]

    def _row(self, index: int) -> int:
        row = operator.index(index)
        return row + len(self) if row < 0 else row


def _with_index(sample: Any, row: int) -> Any:
    if isinstance(sample, Mapping):
        if INDEX_KEY in sample:
            raise ValueError(
                f'A sample should not have the key "{INDEX_KEY}", which this data set adds. Found '
                f"the keys {sorted(map(str, sample))}. Rename or remove it, or use it instead of "
                "IndexedDataset if it is a stable row."
            )
        if isinstance(sample, MutableMapping):
            indexed = sample.copy() if hasattr(sample, "copy") else dict(sample)
            indexed[INDEX_KEY] = row
            return indexed
        return {**sample, INDEX_KEY: row}
    if isinstance(sample, list):
        return [*sample, row]
    if isinstance(sample, tuple):
        return (*sample, row)
    return (sample, row)


def check_loader(
    loader: Iterable[Any],
    dataset: Any,
    *,
    target_key: int | str | None = None,
) -> int:
    """Check in one pass over a loader that each index leads back to its own sample.

    A wrong index trains the temperature of another instance, and nothing else would show it. Run
    this once over a new pipeline. It compares labels, so it finds a shuffled or shifted index, not
    one that is exchanged within a class.

    Args:
        loader: Yields minibatches ``(..., target, index)``, or mappings with the key ``"index"``.
        dataset: The training set; ``dataset[index]`` is a sample as in the loader, with or without
            its index.
        target_key: Where a sample and a minibatch hold the label. By default place 1 of a sequence,
            and ``"label"``, ``"labels"`` or ``"target"`` of a mapping.

    Returns:
        How many instances the loader yielded. Fewer than the data set has is no error: samplers
        and ``drop_last`` leave some out.

    Raises:
        IndexError: An index is outside the data set.
        ValueError: An index is met twice, or leads to another label; or a minibatch has no index.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> train_set = IndexedDataset([(torch.zeros(2), 0), (torch.ones(2), 1)])
        >>> check_loader(DataLoader(train_set, batch_size=2, shuffle=True), train_set)
        2
    """
    num_instances = len(dataset)
    met = torch.zeros(num_instances, dtype=torch.bool)
    for batch in loader:
        target, index = _target_and_index(batch, target_key)
        for label, row in zip(target, index.tolist(), strict=True):
            if not 0 <= row < num_instances:
                raise IndexError(
                    f"Each index should lie in [0, {num_instances - 1}], the rows of the data set. "
                    f"Found {row}. Wrap the training set itself in IndexedDataset, not a larger "
                    "set that holds it."
                )
            if met[row]:
                raise ValueError(
                    f"Each index should be met at most once in a pass. Found {row} twice. Wrap the "
                    "data set before it is repeated, concatenated or sampled with replacement."
                )
            met[row] = True
            expected = _entry(dataset[row], target_key)
            if not _same(label, expected):
                raise ValueError(
                    f"`dataset[{row}]` should have the label that the loader yields with that "
                    f"index. Found {_show(expected)} in the data set, {_show(label)} in the "
                    "loader. Wrap the data set before it is filtered or reordered."
                )
    return int(met.sum())


def _target_and_index(batch: Any, target_key: int | str | None) -> tuple[Any, Tensor]:
    target, index = None, None
    if isinstance(batch, Mapping):
        index = batch.get(INDEX_KEY)
        target = _entry(batch, target_key)
    # Without a key the label has place 1, so that an index can only follow it.
    elif isinstance(batch, (list, tuple)) and (target_key is not None or len(batch) > 2):
        index = batch[-1]
        target = _entry(batch, target_key)
    if (
        not isinstance(index, Tensor)
        or index.is_floating_point()
        or target is None
        or index.shape != (len(target),)
    ):
        raise ValueError(
            "A minibatch should end with its index, or hold it under the key "
            f'"{INDEX_KEY}": one integer for each sample. Found {_show(index)}. '
            "Wrap the training set in IndexedDataset."
        )
    return target, index


def _entry(sample: Any, target_key: int | str | None) -> Any:
    if target_key is not None:
        try:
            return sample[target_key]
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(
                f"`target_key` should name the label of a sample. Found {target_key!r}, which a "
                f"{type(sample).__name__} does not have."
            ) from error
    if not isinstance(sample, Mapping):
        return sample[1]
    for key in ("label", "labels", "target"):
        if key in sample:
            return sample[key]
    raise ValueError(
        'A sample should hold its label under "label", "labels" or "target". Found the keys '
        f"{sorted(map(str, sample))}. Name it with `target_key`."
    )


def _same(label: Any, expected: Any) -> bool:
    if not isinstance(label, Tensor) or expected is None:
        return bool(label is expected or label == expected)
    return torch.equal(label, torch.as_tensor(expected, dtype=label.dtype, device=label.device))


def _show(value: Any) -> str:
    if isinstance(value, Tensor) and value.numel() == 1:
        return str(value.item())
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
