"""Handwritten digits: 1,797 real images of 8x8 pixels that scikit-learn brings along."""

from typing import NamedTuple

import sklearn.datasets
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from data_parameters.training.data import DataConfig, TrainingData
from data_parameters.training.sources.memory import channel_statistics, kept_split
from data_parameters.training.sources.rows import first_classes

__all__ = ["Digits", "digits", "load_digits"]


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
    images, labels = sklearn.datasets.load_digits(return_X_y=True)
    train_images, test_images, train_labels, test_labels = train_test_split(
        torch.from_numpy(images).float() / 16,
        torch.from_numpy(labels),
        test_size=500,
        stratify=labels,
        random_state=seed,
    )
    return Digits(train_images, train_labels, test_images, test_labels)


def load_digits(config: DataConfig) -> TrainingData:
    """Load the digits as uint8 images of 1x8x8.

    Args:
        config: Its limit and its classes.

    Returns:
        1,297 training and 500 test images, less what the configuration leaves out.
    """
    data = digits()
    class_names = first_classes(config, [str(label) for label in range(10)])
    train_images = _pixels(data.train_images)
    train = kept_split(config, "train", train_images, data.train_labels)
    test = kept_split(config, "test", _pixels(data.test_images), data.test_labels)
    mean, std = channel_statistics(train_images)
    return TrainingData(train=train, test=test, class_names=class_names, mean=mean, std=std)


def _pixels(images: Tensor) -> Tensor:
    return (255 * images).round().to(torch.uint8).reshape(-1, 1, 8, 8)
