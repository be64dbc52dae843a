"""What a run trains on: the configuration of the data, what is loaded, and the way to it.

Legend: N instances, C classes, H and W height and width of images, D features.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor
from torch.utils.data import Dataset

__all__ = ["CorruptImageError", "DataConfig", "Split", "TrainingData", "load_data"]

CIFAR = ("cifar10", "cifar100")
NAMES = ("digits", *CIFAR, "imagefolder", "parquet")

# CIFAR-10's, which the published code uses for CIFAR-100 as well.
CIFAR_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR_STD = (0.2023, 0.1994, 0.2010)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which data to train and test on."""

    name: str = "digits"
    """`digits`, `cifar10`, `cifar100`, `imagefolder`, `parquet`, `hub:NAME`, `module:function`."""

    path: Path | None = None
    """Folder of the data. CIFAR's is `data` unless given."""

    download: bool = False
    """Download CIFAR into the folder, if it is not there."""

    input_column: str | None = None
    """Parquet and Hub: column of images or text; else the only one of images, or `text`."""

    label_column: str | None = None
    """Parquet and Hub: column of labels; else `label`, or the only one of classes or integers."""

    noisy_label_column: str | None = None
    """Train on these labels, and know those of the label column as the true ones."""

    image_size: int = 224
    """Height and width to which images of a folder, or of various sizes, are cropped."""

    corrupt: Literal["refuse", "skip"] = "refuse"
    """An image that cannot be decoded: stop and name it, or name it and go on without it."""

    statistics: Literal["own", "cifar10"] = "own"
    """Mean and deviation of images in memory: of the training set, or CIFAR-10's as published."""

    max_features: int = 5000
    """Text: highest number of TF-IDF features."""

    limit: int | None = None
    """Train on so many instances only, drawn with a fixed seed, for a quick run."""

    classes: int | None = None
    """Train and test on the first so many classes only."""

    def __post_init__(self) -> None:
        kind = self.kind  # raises where the name is unknown
        for name, lowest in {"image_size": 1, "max_features": 1, "limit": 1, "classes": 2}.items():
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise ValueError(f"`data.{name}` should be at least {lowest}. Found {value}.")
        if self.download and kind not in CIFAR:
            raise ValueError(
                f"`data.download` should go with cifar10 or cifar100. Found {self.name}. Leave it "
                "out."
            )
        if self.path is not None and kind in ("digits", "hub", "function"):
            raise ValueError(
                "`data.path` should go with cifar10, cifar100, imagefolder or parquet. Found "
                f"{self.name}. Leave it out."
            )
        for name in ("input_column", "label_column", "noisy_label_column"):
            if getattr(self, name) is not None and kind not in ("parquet", "hub"):
                raise ValueError(
                    f"`data.{name}` should go with parquet or hub:NAME. Found {self.name}. Leave "
                    "it out."
                )

    @property
    def kind(self) -> str:
        """The name, or ``"hub"`` or ``"function"`` where it says which one.

        Raises:
            ValueError: The name is none that is known.
        """
        if self.name in NAMES:
            return self.name
        if re.fullmatch("hub:.+", self.name):
            return "hub"
        if re.fullmatch(r"\w+(\.\w+)*:\w+", self.name):
            return "function"
        raise ValueError(
            f"`data.name` should be one of {', '.join(NAMES)}, hub:NAME or module:function. Found "
            f"{self.name!r}."
        )


@dataclass(frozen=True, kw_only=True)
class Split:
    """Inputs and labels, in an order that stays: instance i owns row i.

    Attributes:
        inputs: A tensor that is held in memory, uint8 images ``(N, C, H, W)`` or float32 features
            ``(N, D)``; or a data set whose item i is the input alone, ready for the model, or
            ``None`` for a corrupt image that is to be skipped.
        labels: Classes to train on in ``[0, C)``, shape ``(N,)``, int64.
        true_labels: The right ones, shape ``(N,)``, where they are known besides wrong ones; a
            negative one is unknown.
        inputs_to_evaluate: The inputs without random changes, where ``inputs`` makes them.
        texts: The texts that the inputs are features of.
        rows: Which row of the source each instance is, shape ``(N,)``: its place in the tables, or
            in the sorted files. ``None`` where the source has no such order.
    """

    inputs: Tensor | Dataset[Any]
    labels: Tensor
    true_labels: Tensor | None = None
    inputs_to_evaluate: Dataset[Any] | None = None
    texts: Sequence[str] | None = None
    rows: Tensor | None = None

    def to_evaluate(self) -> "Split":
        """The split as a model is evaluated on it.

        Returns:
            The same instances without random changes.
        """
        if self.inputs_to_evaluate is None:
            return self
        return replace(self, inputs=self.inputs_to_evaluate, inputs_to_evaluate=None)


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Everything that a run reads.

    Attributes:
        train: What the network learns.
        test: What the data set calls test, or validation where it has no test.
        class_names: Names of the C classes.
        mean: Mean of each channel in [0, 1], for uint8 images in memory, which become
            ``(x / 255 - mean) / std``.
        std: Standard deviation of each channel, likewise.
        notes: What the user should hear, such as how many rows were left out.
    """

    train: Split
    test: Split
    class_names: tuple[str, ...]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()


class CorruptImageError(OSError):
    """An image cannot be decoded. The message names it, and the option to go on without it."""


def load_data(config: DataConfig) -> TrainingData:
    """Load the data that a configuration names.

    Args:
        config: Which data.

    Returns:
        Training and test split. Small sets are in memory, images of a folder are read on demand.

    Raises:
        FileNotFoundError: A folder is not there, or holds no images or tables.
        ValueError: Labels, columns or classes are not as they should be.
        CorruptImageError: An image that goes into memory cannot be decoded.
        ModuleNotFoundError: An optional dependency is missing.

    Example:
        >>> data = load_data(DataConfig(name="digits", limit=100))
        >>> data.train.inputs.shape, data.train.labels.shape
        (torch.Size([100, 1, 8, 8]), torch.Size([100]))
    """
    data = _load(config)
    if config.statistics == "cifar10" and data.mean is not None:
        return replace(data, mean=CIFAR_MEAN, std=CIFAR_STD)
    return data


def _load(config: DataConfig) -> TrainingData:
    # A source is imported when it is asked for, because each has optional dependencies of its own.
    match config.kind:
        case "digits":
            from data_parameters.training.sources.digits import load_digits

            return load_digits(config)
        case "cifar10" | "cifar100":
            from data_parameters.training.sources.cifar import load_cifar

            return load_cifar(config)
        case "imagefolder":
            from data_parameters.training.sources.imagefolder import load_imagefolder

            return load_imagefolder(config)
        case "parquet":
            from data_parameters.training.sources.tabular import load_parquet

            return load_parquet(config)
        case "hub":
            from data_parameters.training.sources.tabular import load_hub

            return load_hub(config)
        case _:
            from data_parameters.training.sources.function import load_pair

            return load_pair(config)
