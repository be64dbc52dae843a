"""The labels a run trains on, and which of them are known to be wrong.

Legend: N training instances, C classes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_parameters import corrupt_labels
from data_parameters.training.config import NoiseConfig
from data_parameters.training.data import Split

__all__ = ["Labels", "label_differences", "make_labels", "read_labels"]


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Labels of the training instances.

    Attributes:
        given: What the run trains on, shape ``(N,)``.
        true: The labels before the noise, or of a clean column, shape ``(N,)``; else ``None``.
        drawn: Which instances the noise drew, shape ``(N,)``; else ``None``.
    """

    given: Tensor
    true: Tensor | None = None
    drawn: Tensor | None = None

    @property
    def changed(self) -> Tensor | None:
        """Which labels are wrong, shape ``(N,)``, where that is known."""
        return None if self.true is None else self.given != self.true

    @property
    def groups(self) -> dict[str, Tensor]:
        """The clean and the corrupted instances, where both are known and exist."""
        changed = self.changed
        if changed is None or not bool(changed.any()) or bool(changed.all()):
            return {}
        return {"clean": ~changed, "corrupted": changed}

    def write(self, path: Path) -> None:
        """Write the labels beside the run, for reports and for a resume.

        Args:
            path: The file.
        """
        named = {"given": self.given, "true": self.true, "drawn": self.drawn}
        arrays: dict[str, Any] = {
            name: value.numpy() for name, value in named.items() if value is not None
        }
        np.savez_compressed(path, **arrays)


def make_labels(train: Split, noise: NoiseConfig, num_classes: int) -> Labels:
    """Apply the noise of a run.

    Args:
        train: The training split.
        noise: Kind, fraction and seed.
        num_classes: C.

    Returns:
        The labels.

    Raises:
        ValueError: Noise is asked for where a column brings its own, or the matrix does not fit.
    """
    if noise.kind == "none":
        return Labels(given=train.labels, true=train.true_labels)
    if train.true_labels is not None:
        raise ValueError(
            "`noise` should be of kind `none` where `data.noisy_label_column` brings wrong labels. "
            f"Found kind {noise.kind}. Leave out one of the two."
        )
    matrix = None
    if noise.transition is not None:
        matrix = np.loadtxt(noise.transition, delimiter=",", ndmin=2)
    given, drawn = corrupt_labels(
        train.labels,
        noise.fraction,
        kind=noise.kind,
        transition=matrix,
        num_classes=num_classes,
        seed=noise.seed,
    )
    return Labels(given=given, true=train.labels, drawn=drawn)


def read_labels(path: Path) -> Labels:
    """Read what :meth:`Labels.write` wrote.

    Args:
        path: The file.

    Returns:
        The labels.
    """
    with np.load(path, allow_pickle=False) as arrays:
        return Labels(**{name: torch.from_numpy(arrays[name]) for name in arrays.files})


def label_differences(saved: Labels, found: Labels) -> list[str]:
    """What differs between the labels of a run and those of the data set it is to continue on.

    Args:
        saved: The labels of the run.
        found: The labels that the data set has now.

    Returns:
        One line a difference; none where they agree.
    """
    if len(saved.given) != len(found.given):
        return [f"instances: {len(saved.given):,} in the run, {len(found.given):,} now"]
    unequal = (saved.given != found.given).nonzero().flatten()
    if len(unequal) == 0:
        return []
    first = int(unequal[0])
    return [
        f"labels: {len(unequal):,} of {len(saved.given):,} differ; the first at index {first}: "
        f"{int(saved.given[first])} in the run, {int(found.given[first])} now"
    ]
