"""Every instance once an epoch, the same global minibatches for any number of processes."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from data_parameters import IndexedDataset
from data_parameters.distributed import GlobalBatchSampler


def part(sampler: GlobalBatchSampler, rank: int, num_processes: int) -> list[list[int]]:
    """What the sampler of a process yields, without starting the process."""
    sampler.rank, sampler.num_processes = rank, num_processes
    return list(sampler)


@given(
    num_instances=st.integers(1, 60),
    batch_size=st.integers(1, 20),
    num_processes=st.integers(1, 5),
    shuffle=st.booleans(),
    epoch=st.integers(0, 3),
    data=st.data(),
)
def test_every_instance_once_in_even_parts(
    num_instances: int,
    batch_size: int,
    num_processes: int,
    shuffle: bool,
    epoch: int,
    data: st.DataObject,
) -> None:
    sampler = GlobalBatchSampler(range(num_instances), batch_size, shuffle=shuffle)
    sampler.set_epoch(epoch)
    whole = list(sampler)
    assert len(whole) == len(sampler) == -(-num_instances // batch_size)
    assert sorted(chain(*whole)) == list(range(num_instances))
    sizes = [len(batch) for batch in whole]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1

    parts = [part(sampler, rank, num_processes) for rank in range(num_processes)]
    for step, batch in enumerate(whole):
        of_step = [of_rank[step] for of_rank in parts]
        assert list(chain(*of_step)) == batch
        assert max(map(len, of_step)) - min(map(len, of_step)) <= 1

    start = data.draw(st.integers(0, len(whole)))
    sampler.set_epoch(epoch, start=start)
    assert len(sampler) == len(whole) - start
    assert part(sampler, 0, 1) == whole[start:]


def test_order_hangs_on_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = GlobalBatchSampler(range(50), 7, seed=seed)
        sampler.set_epoch(epoch)
        return list(chain(*sampler))

    orders = [order(seed, epoch) for seed in range(3) for epoch in range(3)]
    assert len(set(map(tuple, orders))) == len(orders)
    assert order(1, 2) == order(1, 2)


def test_in_a_loader() -> None:
    dataset = IndexedDataset([(float(row), row % 2) for row in range(10)])
    sampler = GlobalBatchSampler(dataset, batch_size=4)
    loader = DataLoader(dataset, batch_sampler=sampler)
    assert len(loader) == 3
    assert sorted(row for *_, index in loader for row in index.tolist()) == list(range(10))


@pytest.mark.parametrize(("num_instances", "batch_size"), [(0, 4), (4, 0)])
def test_sizes_that_make_no_minibatch_are_refused(num_instances: int, batch_size: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        GlobalBatchSampler(range(num_instances), batch_size)


@pytest.mark.parametrize("words", [{"epoch": -1}, {"epoch": 0, "start": 4}])
def test_places_outside_an_epoch_are_refused(words: dict[str, int]) -> None:
    sampler = GlobalBatchSampler(range(10), batch_size=4)
    with pytest.raises(ValueError, match="steps of an epoch"):
        sampler.set_epoch(**words)
