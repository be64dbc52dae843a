"""Handwritten digits: 1,797 real images of 8x8 pixels that scikit-learn brings along."""

from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

__all__ = ["Digits", "digits"]


class Digits(NamedTuple):
    """Images as rows of 64 pixels in [0, 1], and their labels, 0 to 9."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def digits(*, seed: int = 0) -> Digits:
    """Load the digits and hold out 500 of them, ten classes in equal shares.

    Args:
        seed: Of the split.

    Returns:
        1,297 training and 500 test images with their labels.
    """
    images, labels = load_digits(return_X_y=True)
    train_images, test_images, train_labels, test_labels = train_test_split(
        torch.from_numpy(images).float() / 16,
        torch.from_numpy(labels),
        test_size=500,
        stratify=labels,
        random_state=seed,
    )
    return Digits(train_images, train_labels, test_images, test_labels)
