"""IndexedDataset and check_loader."""

import copy
import pickle
from collections import namedtuple
from types import MappingProxyType
from typing import Any

import pytest
import torch
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
)

from data_parameters import IndexedDataset, check_loader

Named = namedtuple("Named", ["image", "label"])


class Batched(Dataset[Any]):
    """Fetches whole batches at once, as Subset does."""

    classes = ("cat", "dog")
    transform = None

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        return (torch.tensor(float(index)), index % 2)

    def __getitems__(self, indices: list[int]) -> list[Any]:
        return [(torch.tensor(float(i)), i % 2) for i in indices]


@pytest.mark.parametrize(
    ("sample", "indexed"),
    [
        (("x", 5), ("x", 5, 1)),
        (["x", 5], ["x", 5, 1]),
        (Named("x", 5), ("x", 5, 1)),
        ({"image": "x"}, {"image": "x", "index": 1}),
        (MappingProxyType({"image": "x"}), {"image": "x", "index": 1}),
        ("x", ("x", 1)),
        (7.5, (7.5, 1)),
    ],
)
def test_sample_gains_its_index(sample: Any, indexed: Any) -> None:
    dataset = IndexedDataset([sample, sample])
    found = dataset[1]
    assert found == indexed
    assert type(found) is type(indexed)
    assert dataset[-1] == indexed
    assert len(dataset) == 2


def test_sample_is_left_as_it_is() -> None:
    sample = {"image": "x"}
    IndexedDataset([sample])[0]
    assert sample == {"image": "x"}


def test_tensor_index() -> None:
    dataset = IndexedDataset(TensorDataset(torch.arange(3.0), torch.arange(3)))
    *_, index = dataset[torch.tensor(2)]
    assert index == 2
    assert type(index) is int


def test_other_attributes_pass_through() -> None:
    dataset = IndexedDataset(Batched())
    assert dataset.classes == ("cat", "dog")
    dataset.transform = "crop"
    assert dataset.dataset.transform == "crop"
    with pytest.raises(AttributeError, match="absent"):
        dataset.absent  # noqa: B018
    assert not hasattr(IndexedDataset([1]), "__getitems__")


@pytest.mark.parametrize("inner", [Batched(), Subset(Batched(), range(5)), [(0, 1)] * 4])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_loader_carries_indices(inner: Any, num_workers: int) -> None:
    dataset = IndexedDataset(inner)
    loader = DataLoader(dataset, batch_size=2, shuffle=True, num_workers=num_workers)
    indices = torch.cat([index for *_, index in loader])
    assert sorted(indices.tolist()) == list(range(len(inner)))
    assert check_loader(loader, dataset) == len(inner)


def test_subset_of_an_indexed_data_set_keeps_rows() -> None:
    dataset = IndexedDataset(Batched())
    rows = [5, 1, 4]
    loader = DataLoader(Subset(dataset, rows), batch_size=3)
    [(_, _, index)] = loader
    assert index.tolist() == rows
    assert check_loader(loader, dataset) == 3


def test_copies() -> None:
    dataset = IndexedDataset(Batched())
    for copied in (copy.deepcopy(dataset), pickle.loads(pickle.dumps(dataset))):
        assert copied[3] == dataset[3]


class Stream(IterableDataset[int]):
    def __iter__(self) -> Any:
        return iter(range(3))


def test_refusals() -> None:
    with pytest.raises(TypeError, match="Let a stream hand out"):
        IndexedDataset(Stream())
    with pytest.raises(TypeError, match="`__len__`"):
        IndexedDataset(Dataset())
    with pytest.raises(TypeError, match="`__getitem__`"):
        IndexedDataset(iter([1]))
    with pytest.raises(ValueError, match="Use it as it is"):
        IndexedDataset(IndexedDataset([1]))
    for several in (slice(0, 2), 1.0):
        with pytest.raises(TypeError):
            IndexedDataset(range(4))[several]
    with pytest.raises(ValueError, match="Rename or remove it"):
        IndexedDataset([{"index": 3}])[0]


def test_check_loader_finds_what_is_wrong() -> None:
    inner = TensorDataset(torch.arange(8.0), torch.arange(8) % 3)
    dataset = IndexedDataset(inner)
    repeated = ConcatDataset([dataset, dataset])
    with pytest.raises(ValueError, match="before it is repeated"):
        check_loader(DataLoader(repeated, batch_size=4), dataset)
    shifted = IndexedDataset(Subset(inner, range(1, 8)))
    with pytest.raises(ValueError, match="before it is filtered or reordered"):
        check_loader(DataLoader(shifted, batch_size=4), dataset)
    with pytest.raises(IndexError, match=r"\[0, 3\].*Found 4"):
        check_loader(DataLoader(dataset, batch_size=4), IndexedDataset(Subset(inner, range(4))))
    plain = DataLoader(TensorDataset(torch.arange(8.0), torch.arange(8)), batch_size=4)
    with pytest.raises(ValueError, match="Wrap the training set in IndexedDataset"):
        check_loader(plain, dataset)
    with pytest.raises(ValueError, match="Wrap the training set in IndexedDataset"):
        check_loader([{"label": torch.zeros(2)}], dataset)
    with pytest.raises(ValueError, match="`target_key`"):
        check_loader([{"y": torch.zeros(2), "index": torch.zeros(2)}], dataset)
    with pytest.raises(ValueError, match="which a list does not have"):
        check_loader([[torch.zeros(2), torch.zeros(2)]], dataset, target_key="y")
    with pytest.raises(ValueError, match="Wrap the training set in IndexedDataset"):
        check_loader([(torch.zeros(2),)], dataset)


def test_check_loader_on_mappings_and_text_labels() -> None:
    samples = [{"text": f"t{i}", "y": "spam" if i % 2 else "ham"} for i in range(5)]
    dataset = IndexedDataset(samples)
    loader = DataLoader(dataset, batch_size=2, shuffle=True)
    assert check_loader(loader, dataset, target_key="y") == 5
    labelled = IndexedDataset([{"label": i} for i in range(3)])
    assert check_loader(DataLoader(labelled, batch_size=2, drop_last=True), labelled) == 2
