"""Minibatches of a split: the same ones after a resume, because chance hangs on (seed, epoch).

Legend: B samples in the minibatch, N instances.
"""

import random
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from data_parameters.indexing import IndexedDataset
from data_parameters.training.augment import augment
from data_parameters.training.config import AugmentConfig
from data_parameters.training.data import Split, TrainingData
from data_parameters.training.processes import Processes

__all__ = [
    "Batch",
    "Batches",
    "generator",
    "input_shape",
    "make_batches",
    "mixed",
    "part_sizes",
]


@dataclass(frozen=True)
class Batch:
    """Inputs, ready for the model; and the rows that the instances own, on the CPU."""

    inputs: Tensor
    index: Tensor


class Batches(Protocol):
    """All minibatches of an epoch, from a step on; of each the part of this process."""

    def __len__(self) -> int:
        """Steps of an epoch."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The minibatches of an epoch, without the first ``start``."""


def make_batches(
    data: TrainingData,
    split: Split,
    rows: Tensor,
    *,
    batch_size: int,
    device: torch.device,
    seed: int = 0,
    shuffle: bool = False,
    augmentation: AugmentConfig | None = None,
    num_workers: int = 0,
    limit: int | None = None,
    processes: Processes | None = None,
    shape: tuple[int, ...] = (),
) -> Batches:
    """Minibatches over some rows of a split, the same for any number of processes.

    Args:
        data: Whose mean and standard deviation images in memory are normalised with.
        split: The split.
        rows: The rows to visit.
        batch_size: B.
        device: Where the inputs go.
        seed: Of order and augmentation.
        shuffle: Visit the rows in a new order each epoch, and leave no sample out.
        augmentation: Random crops and flips of images in memory.
        num_workers: Processes that load what is not in memory.
        limit: Highest number of minibatches in an epoch.
        processes: Those that share each minibatch. A part may be empty.
        shape: Of one input, which an empty part has to have.

    Returns:
        The minibatches.

    Raises:
        ValueError: Augmentation is asked for where the inputs are not images in memory.
    """
    augments = augmentation is not None and augmentation != AugmentConfig()
    in_memory = isinstance(split.inputs, Tensor) and split.inputs.dtype == torch.uint8
    if augments and not in_memory:
        raise ValueError(
            "`augment` should go with images that are held in memory. Found other inputs. Leave it "
            "out: images of a folder have random crops and flips of their own."
        )
    order = _Order(rows, batch_size, seed, shuffle, limit, processes or Processes())
    if isinstance(split.inputs, Tensor):
        return MemoryBatches(split.inputs.to(device), order, data, augmentation or AugmentConfig())
    return LoaderBatches(split.inputs, order, device, num_workers, shape)


class _Order:
    """Which rows make which minibatch of an epoch, and which of them are this process's."""

    def __init__(
        self,
        rows: Tensor,
        batch_size: int,
        seed: int,
        shuffle: bool,
        limit: int | None,
        processes: Processes,
    ) -> None:
        self.rows, self.seed, self.shuffle = rows, seed, shuffle
        self.processes = processes
        self.sizes = (
            part_sizes(len(rows), batch_size)
            if shuffle
            else [len(part) for part in torch.split(rows, batch_size)]
        )
        num_batches = len(self.sizes)
        self.num_batches = num_batches if limit is None else min(limit, num_batches)

    def epoch(self, epoch: int) -> tuple[Tensor, ...]:
        rows = self.rows
        if self.shuffle:
            rows = rows[torch.randperm(len(rows), generator=generator(self.seed, epoch))]
        return torch.split(rows, self.sizes)[: self.num_batches]


class MemoryBatches:
    """Inputs held in memory: uint8 images, augmented as whole batches; or features."""

    def __init__(
        self, inputs: Tensor, order: _Order, data: TrainingData, augmentation: AugmentConfig
    ) -> None:
        self.inputs, self.order, self.augmentation = inputs, order, augmentation
        self.normalize = data.mean is not None and data.std is not None
        if self.normalize:
            shape = (1, -1, 1, 1)
            self.mean = 255 * torch.tensor(data.mean, device=inputs.device).reshape(shape)
            self.std = 255 * torch.tensor(data.std, device=inputs.device).reshape(shape)

    def __len__(self) -> int:
        """Steps of an epoch."""
        return self.order.num_batches

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The minibatches of an epoch, without the first ``start``."""
        batches = self.order.epoch(epoch)
        for step in range(start, len(batches)):
            part = self.order.processes.part(len(batches[step]))
            index = batches[step][part]
            inputs = self.inputs[index.to(self.inputs.device)]
            if inputs.dtype == torch.uint8:
                inputs = augment(
                    inputs,
                    self.augmentation,
                    generator(self.order.seed, epoch, step),
                    batch_size=len(batches[step]),
                    start=part.start,
                ).float()
            if self.normalize:
                inputs = inputs.sub(self.mean).div_(self.std)
            yield Batch(inputs, index)


class LoaderBatches:
    """Inputs that are loaded one by one, by worker processes where there are any."""

    def __init__(
        self,
        dataset: Dataset[Any],
        order: _Order,
        device: torch.device,
        num_workers: int,
        input_shape: tuple[int, ...],
    ) -> None:
        self.dataset, self.order, self.device = dataset, order, device
        self.num_workers, self.input_shape = num_workers, input_shape

    def __len__(self) -> int:
        """Steps of an epoch."""
        return self.order.num_batches

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The minibatches of an epoch, without the first ``start``."""
        loader = DataLoader(
            _Seeded(self.dataset, self.order.seed, epoch),
            batch_sampler=[
                rows[self.order.processes.part(len(rows))].tolist()
                for rows in self.order.epoch(epoch)[start:]
            ],
            num_workers=self.num_workers,
            collate_fn=_collate,
            pin_memory=self.device.type == "cuda",
            prefetch_factor=4 if self.num_workers else None,
            # A loader without a generator of its own draws from the run's.
            generator=torch.Generator(),
            worker_init_fn=_enter_worker,
        )
        try:
            for inputs, index in loader:
                if len(index) == 0:  # shaped as the model wants them, which other processes call
                    inputs = torch.empty(0, *self.input_shape)
                yield Batch(inputs.to(self.device, non_blocking=True), index)
        except OSError as error:
            if "Original Traceback" not in str(error):
                raise
            # A worker's error arrives with its traceback as text, the last line being its own.
            _, _, message = str(error).strip().splitlines()[-1].partition(": ")
            raise OSError(message) from None


def _enter_worker(worker: int) -> None:
    """Leave signals and the progress bar to the run."""
    # Ctrl-C reaches every process of a terminal; the run ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The bar stands between the run and the terminal, and may have been locked at the fork.
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__


class _Seeded(Dataset[Any]):
    """Samples whose random transforms hang on (seed, epoch, index), whatever process makes them."""

    def __init__(self, dataset: Dataset[Any], seed: int, epoch: int) -> None:
        self.indexed, self.seed, self.epoch = IndexedDataset(dataset), seed, epoch

    def __getitem__(self, index: int) -> Any:
        kept = torch.get_rng_state(), random.getstate(), np.random.get_state()
        seed = mixed(self.seed, self.epoch, index)
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            sample, row = self.indexed[index]
        finally:
            torch.set_rng_state(kept[0])
            random.setstate(kept[1])
            np.random.set_state(kept[2])
        return sample, row


def _collate(samples: list[tuple[Tensor | None, int]]) -> tuple[Tensor, Tensor]:
    """Stack what could be loaded: a corrupt image that is to be skipped arrives as None."""
    sound = [(sample, row) for sample, row in samples if sample is not None]
    if not sound:
        return torch.empty(0), torch.empty(0, dtype=torch.int64)
    return torch.stack([sample for sample, _ in sound]), torch.tensor([row for _, row in sound])


def part_sizes(number: int, size: int) -> list[int]:
    """Sizes of parts to train on one after the other.

    Args:
        number: Of samples.
        size: Of a part. The last one may be smaller; one sample alone joins the part before it,
            because batch norm cannot train on one.

    Returns:
        The sizes.
    """
    sizes = [min(size, number - start) for start in range(0, number, size)]
    if size > 1 and len(sizes) > 1 and sizes[-1] == 1:
        sizes[-2:] = [size + 1]
    return sizes


def input_shape(split: Split) -> tuple[int, ...]:
    """Shape of one input, as the model gets it.

    Args:
        split: The split.

    Returns:
        The shape, without the batch.
    """
    if isinstance(split.inputs, Tensor):
        return tuple(split.inputs.shape[1:])
    samples = (split.inputs[row] for row in range(len(split.labels)))
    return tuple(next(sample for sample in samples if sample is not None).shape)


def generator(*seeds: int) -> torch.Generator:
    """A generator of its own for each combination of seeds.

    Args:
        *seeds: Such as seed, epoch and step.

    Returns:
        The generator, on the CPU.
    """
    return torch.Generator().manual_seed(mixed(*seeds))


def mixed(*seeds: int) -> int:
    """One seed for each combination of seeds.

    Args:
        *seeds: Such as seed and rank.

    Returns:
        63 bits.
    """
    # The length comes first, because numpy takes (3,) and (3, 0) for the same seed.
    sequence = np.random.SeedSequence((len(seeds), *seeds))
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
