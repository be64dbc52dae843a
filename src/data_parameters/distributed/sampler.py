"""Minibatches for processes that share a data set: no sample twice, none left out.

Legend: B samples in the global minibatch, N training instances, W processes.
"""

from collections.abc import Iterator, Sized

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import Sampler

from data_parameters.distributed.gathering import world_size

__all__ = ["GlobalBatchSampler"]


class GlobalBatchSampler(Sampler[list[int]]):
    """The part of one process in each global minibatch, as a ``batch_sampler``.

    The order of an epoch hangs on (seed, epoch) alone. It is cut into ``ceil(N / B)`` global
    minibatches whose sizes differ by one at most, and process r takes the r-th part of each. So the
    global minibatches are the same for any number of processes, every instance occurs once an
    epoch, and all processes take equally many steps. Parts may differ by one sample: weight the
    loss with :func:`loss_weight`.

    :class:`torch.utils.data.DistributedSampler` repeats samples to even out. A repeated sample
    occurs twice in an epoch, mostly in one step: its row then gets twice the gradient and decays
    twice, and its statistics count it twice.

    Args:
        dataset: The training set, or anything as long.
        batch_size: Samples B of a step over all processes.
        shuffle: Whether each epoch has an order of its own.
        seed: Of the orders.
        process_group: The processes; ``None`` for all.

    Raises:
        ValueError: There are fewer samples in a minibatch than processes.

    Example:
        >>> sampler = GlobalBatchSampler(range(10), batch_size=4, seed=1)
        >>> sorted(row for batch in sampler for row in batch)
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
        >>> sampler.set_epoch(3, start=1)  # one of the three steps of epoch 3 is done
        >>> len(sampler)
        2
    """

    def __init__(
        self,
        dataset: Sized,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        self.num_instances, self.shuffle, self.seed = len(dataset), shuffle, seed
        if batch_size < 1 or self.num_instances < 1:
            raise ValueError(
                "`batch_size` should be at least 1 and the data set not empty. Found "
                f"{batch_size} and {self.num_instances} instances."
            )
        self.num_processes = world_size(process_group)
        self.rank = dist.get_rank(process_group) if self.num_processes > 1 else 0
        self.num_batches = -(-self.num_instances // batch_size)
        smallest = self.num_instances // self.num_batches
        if smallest < self.num_processes:
            raise ValueError(
                f"A global minibatch should have a sample for each of {self.num_processes} "
                f"processes. Found {smallest}. Raise `batch_size`, or start fewer processes."
            )
        self.set_epoch(0)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Say which epoch comes next, and how many of its steps are done.

        A loader reads ahead, so only the loop knows how many that are.

        Args:
            epoch: The epoch, from 0.
            start: Steps of it that are done already.

        Raises:
            ValueError: The epoch has fewer steps.
        """
        if epoch < 0 or not 0 <= start <= self.num_batches:
            raise ValueError(
                f"`epoch` should be at least 0, and `start` lie in [0, {self.num_batches}], the "
                f"steps of an epoch. Found {epoch} and {start}."
            )
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        """Steps that are left of the epoch."""
        return self.num_batches - self.start

    def __iter__(self) -> Iterator[list[int]]:
        """The rows of this process in each step that is left of the epoch."""
        for batch in self._order().tensor_split(self.num_batches)[self.start :]:
            yield batch.tensor_split(self.num_processes)[self.rank].tolist()

    def _order(self) -> Tensor:
        if not self.shuffle:
            return torch.arange(self.num_instances)
        seeds = np.random.SeedSequence((self.seed, self.epoch))
        generator = torch.Generator().manual_seed(int(seeds.generate_state(1, np.uint64)[0]) >> 1)
        return torch.randperm(self.num_instances, generator=generator)
