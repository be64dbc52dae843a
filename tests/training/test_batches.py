"""Minibatches: the same ones whatever happened before."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from data_parameters.training.batches import Batch, make_batches
from data_parameters.training.config import AugmentConfig
from data_parameters.training.data import Split, TrainingData
from data_parameters.training.processes import Processes

N = 23


class Random(Dataset[Any]):
    """Draws from all three sources of chance; one item cannot be loaded."""

    def __getitem__(self, index: int) -> Any:
        if index == 7:
            return None
        chance = [*torch.rand(2).tolist(), random.random(), float(np.random.rand())]
        return torch.tensor([float(index), *chance])

    def __len__(self) -> int:
        return N


def in_memory() -> Split:
    images = torch.arange(N * 3 * 4 * 4).reshape(N, 3, 4, 4).to(torch.uint8)
    return Split(inputs=images, labels=torch.zeros(N, dtype=torch.int64))


def epoch(split: Split, number: int, start: int = 0, **options: Any) -> list[Batch]:
    data = TrainingData(
        train=split, test=split, class_names=("a",), mean=(0.5,) * 3, std=(0.2,) * 3
    )
    options = {"batch_size": 4, "shuffle": True, "seed": 3, **options}
    batches = make_batches(
        data, split, torch.arange(len(split.labels)), device=torch.device("cpu"), **options
    )
    found = list(batches.epoch(number, start))
    assert len(found) == len(batches) - start
    return found


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.index, other.index)


@pytest.mark.parametrize("kind", ["memory", "loader", "workers"])
def test_an_epoch_can_be_entered_anywhere(kind: str) -> None:
    if kind == "memory":
        split = in_memory()
        options: dict[str, Any] = {"augmentation": AugmentConfig(crop_padding=1, flip=True)}
    else:
        split = Split(inputs=Random(), labels=torch.zeros(N, dtype=torch.int64))
        options = {"num_workers": 2 if kind == "workers" else 0}
    whole = epoch(split, 2, **options)
    torch.rand(5)  # what happened before does not matter
    assert_same(whole[3:], epoch(split, 2, start=3, **options))
    other = epoch(split, 1, **options)
    assert not torch.equal(whole[0].index, other[0].index)
    if kind == "workers":
        assert_same(whole, epoch(split, 2, num_workers=0))


def test_loading_leaves_the_sources_of_chance_alone() -> None:
    split = Split(inputs=Random(), labels=torch.zeros(N, dtype=torch.int64))
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    expected = (torch.rand(1), random.random(), np.random.rand())
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    epoch(split, 0)
    epoch(split, 0, num_workers=1)
    assert (torch.rand(1), random.random(), np.random.rand()) == expected


def test_every_row_once_and_what_cannot_be_loaded_is_left_out() -> None:
    found = epoch(in_memory(), 0)
    assert sorted(torch.cat([batch.index for batch in found]).tolist()) == list(range(N))
    assert len(found[-1].index) == 3
    split = Split(inputs=Random(), labels=torch.zeros(N, dtype=torch.int64))
    rows = torch.cat([batch.index for batch in epoch(split, 0)])
    assert sorted(rows.tolist()) == [row for row in range(N) if row != 7]
    alone = epoch(split, 0, batch_size=1)
    assert sorted(len(batch.index) for batch in alone) == [0] + [1] * (N - 1)


def test_a_single_last_sample_joins_those_before_it() -> None:
    """Batch norm cannot train on one sample."""
    assert [len(batch.index) for batch in epoch(in_memory(), 0, batch_size=11)] == [11, 12]
    whole = epoch(in_memory(), 0, batch_size=11, shuffle=False)
    assert [len(batch.index) for batch in whole] == [11, 11, 1]


def test_normalisation_and_order() -> None:
    [first, *_] = epoch(in_memory(), 0, shuffle=False)
    assert first.index.tolist() == [0, 1, 2, 3]
    expected = (in_memory().inputs[:4].float() / 255 - 0.5) / 0.2
    torch.testing.assert_close(first.inputs, expected)
    assert len(epoch(in_memory(), 0, limit=2)) == 2


@pytest.mark.parametrize("num_processes", [1, 2, 3, 5])
@pytest.mark.parametrize("kind", ["memory", "loader"])
def test_the_parts_of_all_processes_make_the_minibatch(kind: str, num_processes: int) -> None:
    """With the random changes of the whole; a part may be empty, and then has a shape."""
    if kind == "memory":
        split = in_memory()
        options: dict[str, Any] = {"augmentation": AugmentConfig(crop_padding=1, flip=True)}
    else:
        split = Split(inputs=Random(), labels=torch.zeros(N, dtype=torch.int64))
        options = {"shape": (5,)}
    whole = epoch(split, 1, **options)
    parts = [
        epoch(split, 1, processes=Processes(rank, num_processes), **options)
        for rank in range(num_processes)
    ]
    for batch, *of_step in zip(whole, *parts, strict=True):
        assert torch.equal(torch.cat([part.index for part in of_step]), batch.index)
        assert torch.equal(torch.cat([part.inputs for part in of_step]), batch.inputs)
        sizes = [len(part.index) for part in of_step]
        assert max(sizes) - min(sizes) <= 1 + (7 in batch.index)
