"""Plots of a run as PNG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

__all__ = ["plot_accuracy", "plot_temperature"]

# Told apart without colour vision too (Okabe and Ito).
BLUE, ORANGE = "#0072B2", "#D55E00"


def plot_accuracy(path: Path, curves: Mapping[str, Sequence[float]]) -> None:
    """Draw test accuracy over the epochs, one line a run.

    Args:
        path: The PNG file to write.
        curves: Accuracies in [0, 1] after each epoch, by the name of the run.
    """
    figure, axes = _figure("Accuracy (%)")
    for (name, accuracies), colour in zip(curves.items(), (ORANGE, BLUE), strict=False):
        percent = [100 * accuracy for accuracy in accuracies]
        epochs = range(1, len(percent) + 1)
        axes.plot(epochs, percent, color=colour, label=f"{name}: {percent[-1]:.1f} % at the end")
    _save(figure, axes, path)


def plot_temperature(path: Path, temperatures: Sequence[Tensor], changed: Tensor) -> None:
    """Draw the temperatures of wrong and of right labels over the epochs.

    Args:
        path: The PNG file to write.
        temperatures: Temperatures of all instances after each epoch, each of shape ``(N,)``.
        changed: Which labels are wrong, shape ``(N,)``.
    """
    figure, axes = _figure("Instance temperature σ\n(median, 10th to 90th percentile)")
    epochs = range(1, len(temperatures) + 1)
    table = torch.stack(list(temperatures))
    levels = torch.tensor([0.1, 0.5, 0.9])
    for name, mask, colour in (("wrong", changed, ORANGE), ("right", ~changed, BLUE)):
        low, middle, high = table[:, mask].quantile(levels, dim=1).tolist()
        axes.plot(epochs, middle, color=colour, label=f"{name} labels ({int(mask.sum())})")
        axes.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set_yscale("log")
    axes.set_yticks([0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20], minor=False)
    axes.set_yticks([], minor=True)
    axes.yaxis.set_major_formatter("{x:g}")
    _save(figure, axes, path)


def _figure(ylabel: str) -> tuple[Figure, Axes]:
    # A figure of its own, outside pyplot, whose state and windows belong to the user.
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel("Epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(ylabel)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, axes: Axes, path: Path) -> None:
    # Above the axes, where it hides no curve.
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), frameon=False)
    figure.savefig(path, dpi=150)
