"""A user's own pair of data sets, with chance in every sample; used by the test of killed runs."""

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
