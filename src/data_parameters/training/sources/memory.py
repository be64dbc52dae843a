"""Small sets of images that are held in memory whole.

Legend: N instances, C channels, H and W height and width of images.
"""

import torch
from torch import Tensor

from data_parameters.training.data import DataConfig, Split
from data_parameters.training.sources.rows import kept_rows

__all__ = ["channel_statistics", "kept_split"]


def kept_split(config: DataConfig, split: str, inputs: Tensor, labels: Tensor) -> Split:
    """The part of a split that the configuration asks for.

    Args:
        config: Its limit and its classes.
        split: ``"train"`` or ``"test"``.
        inputs: All inputs, shape ``(N, ...)``.
        labels: All labels, shape ``(N,)``.

    Returns:
        Inputs and labels of the rows that are kept.
    """
    rows = kept_rows(config, split, labels)
    return Split(inputs=inputs[rows], labels=labels[rows], rows=rows)


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, of pixels in [0, 1].

    Args:
        images: Shape ``(N, C, H, W)``, uint8.

    Returns:
        C means and C standard deviations.
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    # Counts of the 256 values are exact, and take no memory of the size of the images.
    for channel in range(images.shape[1]):
        share = torch.bincount(images[:, channel].flatten(), minlength=256).double()
        share /= share.sum()
        mean = float(share @ levels)
        variance = float(share @ (levels - mean) ** 2)
        means.append(mean)
        # A channel of one value has nothing to be scaled by.
        stds.append(variance**0.5 if variance > 1e-12 else 1.0)
    return tuple(means), tuple(stds)
