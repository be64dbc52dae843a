"""A user's own pair of data sets, with chance in every sample; used by the test of killed runs."""

import os
from typing import Any

import torch
from torch.utils.data import Dataset


class Noisy(Dataset[Any]):
    """Images of 3x8x8 pixels: a stripe whose place is the label, with noise that is always new."""

    def __init__(self, num_instances: int) -> None:
        generator = torch.Generator().manual_seed(num_instances)
        self.targets = torch.randint(4, (num_instances,), generator=generator).tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = torch.rand(3, 8, 8)
        image[:, 2 * self.targets[index]] += 1.0
        return image, self.targets[index]


def data() -> tuple[Noisy, Noisy]:
    return Noisy(203), Noisy(50)


class Unreadable(Noisy):
    """One image, which a process meets in its first epoch, cannot be read by process 1."""

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if index == 50 and os.environ["RANK"] == "1":
            raise OSError("image 50 is gone")
        return super().__getitem__(index)


def unreadable_by_process_1() -> tuple[Noisy, Noisy]:
    return Unreadable(203), Noisy(50)


def labelled_by_rank() -> tuple[Noisy, Noisy]:
    train = Noisy(203)
    train.targets[7] = (train.targets[7] + int(os.environ["RANK"])) % 4
    return train, Noisy(50)
