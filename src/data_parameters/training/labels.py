"""The labels a run trains on, and which of them are known to be wrong.

Legend: N training instances, C classes.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_parameters import corrupt_labels
from data_parameters.training.batches import generator
from data_parameters.training.config import NoiseConfig, TrainConfig
from data_parameters.training.data import TrainingData

__all__ = ["Labels", "label_differences", "make_labels", "read_labels", "split_rows"]


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Labels of the training instances.

    Attributes:
        given: What the run trains on, shape ``(N,)``.
        true: The labels before the noise, or of a clean column, shape ``(N,)``; else ``None``.
        drawn: Which instances the noise drew, shape ``(N,)``; else ``None``.
        test: Labels of the test split.
        source_rows: Which row of the source each instance is, shape ``(N,)``; else ``None``.
        excluded: Which instances reviews excluded from training, shape ``(N,)``; else ``None``.
    """

    given: Tensor
    true: Tensor | None = None
    drawn: Tensor | None = None
    test: Tensor | None = None
    source_rows: Tensor | None = None
    excluded: Tensor | None = None

    @property
    def changed(self) -> Tensor | None:
        """Which labels are known to be wrong, shape ``(N,)``."""
        return None if self.true is None else (self.given != self.true) & (self.true >= 0)

    def groups(self, among: Tensor) -> dict[str, Tensor]:
        """The clean and the corrupted instances, where both exist.

        Args:
            among: Which instances to look at, shape ``(N,)``.

        Returns:
            A mask of each, shape ``(N,)``; instances without a known label are in neither.
        """
        if self.true is None:
            return {}
        groups = {
            "clean": (self.given == self.true) & among,
            "corrupted": (self.given != self.true) & (self.true >= 0) & among,
        }
        return groups if all(bool(mask.any()) for mask in groups.values()) else {}

    def write(self, path: Path) -> None:
        """Write the labels beside the run, for reports and for a resume.

        Args:
            path: The file.
        """
        named = vars(self)
        arrays: dict[str, Any] = {
            name: value.numpy() for name, value in named.items() if value is not None
        }
        # Whole or not at all: a run that finds the file is one that has begun.
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)
        temporary.replace(path)


def make_labels(data: TrainingData, noise: NoiseConfig) -> Labels:
    """Apply the noise of a run.

    Args:
        data: The data.
        noise: Kind, fraction and seed.

    Returns:
        The labels.

    Raises:
        ValueError: Noise is asked for where a column brings its own, or the matrix does not fit.
    """
    train = data.train
    unchanged = {"test": data.test.labels, "source_rows": train.rows}
    if noise.kind == "none":
        return Labels(given=train.labels, true=train.true_labels, **unchanged)
    if train.true_labels is not None:
        raise ValueError(
            "`noise` should be of kind `none` where `data.noisy_label_column` brings wrong labels. "
            f"Found kind {noise.kind}. Leave out one of the two."
        )
    matrix = None
    if noise.transition is not None:
        matrix = _read_matrix(noise.transition)
    given, drawn = corrupt_labels(
        train.labels,
        noise.fraction,
        kind=noise.kind,
        transition=matrix,
        num_classes=len(data.class_names),
        seed=noise.seed,
    )
    return Labels(given=given, true=train.labels, drawn=drawn, **unchanged)


def _read_matrix(path: Path) -> Any:
    try:
        return np.loadtxt(path, delimiter=",", ndmin=2)
    except ValueError as error:
        raise ValueError(
            f"{path} should hold a matrix of numbers, a line for each class with commas between "
            f"them and no header. Found: {error}. Write it anew."
        ) from error


def read_labels(path: Path) -> Labels:
    """Read what :meth:`Labels.write` wrote.

    Args:
        path: The file.

    Returns:
        The labels.

    Raises:
        ValueError: The file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Labels(**{name: torch.from_numpy(arrays[name]) for name in arrays.files})
    except (zipfile.BadZipFile, EOFError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} should hold the labels of the run. Found a damaged file: {error}. Start the "
            "run anew."
        ) from error


def label_differences(saved: Labels, found: Labels) -> list[str]:
    """What differs between the labels of a run and those of the data set it is to continue on.

    Args:
        saved: The labels of the run.
        found: The labels that the data set has now.

    Returns:
        One line a difference; none where they agree.
    """
    lines = []
    for name, old in vars(saved).items():
        new = getattr(found, name)
        what = {"source_rows": "source rows", "excluded": "exclusions"}.get(name, f"{name} labels")
        if (old is None) != (new is None):
            lines.append(f"{what}: {'none' if old is None else 'some'} in the run")
        elif old is not None and len(old) != len(new):
            lines.append(f"instances with {what}: {len(old):,} in the run, {len(new):,} now")
        elif old is not None and not torch.equal(old, new):
            unequal = (old != new).nonzero().flatten()
            first = int(unequal[0])
            lines.append(
                f"{what}: {len(unequal):,} of {len(old):,} differ; the first at index "
                f"{first}: {int(old[first])} in the run, {int(new[first])} now"
            )
    return lines


def split_rows(num_instances: int, config: TrainConfig) -> tuple[Tensor, Tensor]:
    """Rows to train on and rows held out; every instance keeps its own row.

    Args:
        num_instances: N.
        config: Its share of held out instances, and its seed.

    Returns:
        Rows to train on, and rows held out, both ascending.

    Raises:
        ValueError: The share is above 0 and holds out none.
    """
    num_held_out = int(config.validation_fraction * num_instances)
    if num_held_out == 0 and config.validation_fraction > 0:
        raise ValueError(
            f"`validation_fraction` should hold out at least one of {num_instances} instances. "
            f"Found {config.validation_fraction}. Hold out more."
        )
    if num_held_out == 0:
        return torch.arange(num_instances), torch.empty(0, dtype=torch.int64)
    order = torch.randperm(num_instances, generator=generator(config.seed))
    return order[num_held_out:].sort().values, order[:num_held_out].sort().values
