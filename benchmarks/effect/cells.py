"""Data with wrong labels: what a run of the study trains, selects and tests on.

Legend: N instances, C classes, D features, K x H x W images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from sklearn.decomposition import TruncatedSVD
from torch import Tensor

from data_parameters import corrupt_labels
from data_parameters.training.data import DataConfig, TrainingData, load_data
from data_parameters.training.sources.digits import digits

DATA = Path(__file__).parents[3] / "shared" / "data"
PREPARED = Path(__file__).parents[2] / "build" / "effect"
TEXT_DIMENSIONS = 256
# The superclasses of aquatic mammals and of fish.
WATER = {
    "beaver", "dolphin", "otter", "seal", "whale",
    "aquarium_fish", "flatfish", "ray", "shark", "trout",
}  # fmt: skip
VALIDATION_FRACTION = 0.1


@dataclass(frozen=True)
class Budget:
    """What every method gets on a data set: SGD, with drops by 10 at 67 % and 84 % of the epochs.

    Attributes:
        epochs: Passes over the training rows.
        batch_size: Samples in a step.
        lr: Learning rate of the model before the drops.
        weight_decay: Of the model.
        drops: Whether the learning rate drops.
        adam: Adam in place of SGD with momentum 0.9.
        layers: Hidden layers of the perceptron; images take the small CNN.
        hidden: Their width.
    """

    epochs: int
    batch_size: int = 64
    lr: float = 0.1
    weight_decay: float = 0.0
    drops: bool = True
    adam: bool = False
    layers: int = 2
    hidden: int = 512


BUDGETS = {
    "digits": Budget(epochs=60),
    "banking77": Budget(epochs=30, batch_size=128, layers=1),
    "trec6": Budget(epochs=40, layers=1),
    "cifar100": Budget(epochs=24, batch_size=128, lr=0.05),
    "cifar100-water": Budget(epochs=24, batch_size=128, lr=0.05),
    "cifar100-full": Budget(epochs=40, batch_size=128, lr=0.05),
}


@dataclass(frozen=True)
class Cell:
    """A data set, a kind of noise and its fraction: ``digits/permute/0.4``.

    In ``digits/blurred/2`` labels are right, and inputs carry noise of twice their deviation.
    The images of ``cifar100`` have 16 pixels a side, those of ``cifar100-full`` all 32. Those of
    ``cifar100-water`` are of ten classes that people mix up, and so are all their labels.
    """

    data: str
    # A kind of `corrupt_labels`, "clean", "blurred", or "human" or "weak" where the data bring it.
    noise: str
    fraction: float = 0.0

    @classmethod
    def parse(cls, name: str) -> "Cell":
        data, noise, *fraction = name.split("/")
        return cls(data, noise, float(fraction[0]) if fraction else 0.0)

    def __str__(self) -> str:
        return f"{self.data}/{self.noise}" + (f"/{self.fraction:g}" if self.fraction else "")


@dataclass(frozen=True)
class Problem:
    """One draw of a cell. Rows of ``train`` and ``validation`` share the table of N instances.

    Attributes:
        inputs: Features ``(N, D)`` or images ``(N, K, H, W)``, float32.
        given: The labels to train on, ``(N,)``.
        true: The right ones, ``(N,)``; nothing but reports may read them.
        train: Rows to train on.
        validation: Rows held out, with their noisy labels: the only ones that select.
        test_inputs, test_labels: The clean test set.
        num_classes: C.
    """

    inputs: Tensor
    given: Tensor
    true: Tensor
    train: Tensor
    validation: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    num_classes: int


def draw(cell: Cell, seed: int) -> Problem:
    """The same draw for every method: the seed chooses the noise and the rows held out."""
    inputs, given, true, test_inputs, test_labels, num_classes = _load(cell, seed)
    if cell.noise == "blurred":
        generator = torch.Generator().manual_seed(seed)
        spread = cell.fraction * inputs.std()
        inputs, test_inputs = (
            clear + spread * torch.randn(clear.shape, generator=generator)
            for clear in (inputs, test_inputs)
        )
    elif cell.noise not in ("clean", "human", "weak"):
        given, _ = corrupt_labels(
            true, cell.fraction, kind=cell.noise, num_classes=num_classes, seed=seed
        )
    order = torch.randperm(len(given), generator=torch.Generator().manual_seed(seed))
    held_out = int(VALIDATION_FRACTION * len(given))
    return Problem(
        inputs, given, true, order[held_out:], order[:held_out], test_inputs, test_labels,
        num_classes,
    )  # fmt: skip


def moved(problem: Problem, device: str) -> Problem:
    """The same on another device."""
    parts = {
        name: value.to(device) for name, value in vars(problem).items() if name != "num_classes"
    }
    return replace(problem, **parts)


def _load(cell: Cell, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, int]:
    if cell.data == "digits":
        found = digits(seed=seed)
        labels = found.train_labels
        return found.train_images, labels, labels, found.test_images, found.test_labels, 10
    prepared = prepare(cell.data.removesuffix("-full"), cell.noise)
    train, test = prepared["train"], prepared["test"]
    if train.dtype == torch.uint8:
        mean, std = (prepared[name].reshape(1, -1, 1, 1) for name in ("mean", "std"))
        train, test = ((images / 255 - mean) / std for images in (train, test))
        if not cell.data.endswith("-full"):
            train, test = (F.avg_pool2d(images, 2) for images in (train, test))
        train, test = (i.contiguous(memory_format=torch.channels_last) for i in (train, test))
    given, true = prepared["given"], prepared["true"]
    return train, given, true, test, prepared["test_labels"], int(prepared["num_classes"])


@cache
def prepare(name: str, noise: str) -> dict[str, Tensor]:
    """Inputs and labels of a data set, read once and kept under `build/effect`."""
    people = {"human": "noisy_fine_label"}
    columns = {"trec6": {"weak": "weak_label"}, "cifar100": people, "cifar100-water": people}
    noisy = columns.get(name, {}).get(noise)
    if name == "cifar100-water":
        noisy = "noisy_fine_label"  # chooses the images, with clean labels the same
    path = PREPARED / f"{name}{'-' + noise if noise in columns.get(name, {}) else ''}.pt"
    if not path.exists():
        images = name.startswith("cifar100")
        data = load_data(
            DataConfig(
                name="parquet",
                path=DATA / name.removesuffix("-water"),
                label_column="fine_label" if images else "label",
                noisy_label_column=noisy,
                classes=10 if name == "cifar100" else None,
            )
        )
        tensors = _prepared(data)
        if name == "cifar100-water":
            tensors = _among(tensors, data.class_names, WATER)
            if noise == "clean":
                tensors["given"] = tensors["true"]
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(tensors, path)
    found: dict[str, Tensor] = torch.load(path, weights_only=True)
    return found


def _among(tensors: dict[str, Tensor], names: Sequence[str], chosen: set[str]) -> dict[str, Tensor]:
    """The rows whose labels, given and true, are of some classes, which are counted anew."""
    classes = torch.tensor([number for number, name in enumerate(names) if name in chosen])
    kept = torch.isin(tensors["given"], classes) & torch.isin(tensors["true"], classes)
    tested = torch.isin(tensors["test_labels"], classes)
    return {
        **tensors,
        "train": tensors["train"][kept],
        "given": torch.searchsorted(classes, tensors["given"][kept]),
        "true": torch.searchsorted(classes, tensors["true"][kept]),
        "test": tensors["test"][tested],
        "test_labels": torch.searchsorted(classes, tensors["test_labels"][tested]),
        "num_classes": torch.tensor(len(classes)),
    }


def _prepared(data: TrainingData) -> dict[str, Tensor]:
    train, test = data.train, data.test
    assert isinstance(train.inputs, Tensor) and isinstance(test.inputs, Tensor)
    tensors = {
        "given": train.labels,
        "true": train.labels if train.true_labels is None else train.true_labels,
        "test_labels": test.labels,
        "num_classes": torch.tensor(len(data.class_names)),
    }
    if data.mean is not None and data.std is not None:
        statistics = {"mean": torch.tensor(data.mean), "std": torch.tensor(data.std)}
        return {**tensors, **statistics, "train": train.inputs, "test": test.inputs}
    # A perceptron on thousands of word counts is slow and learns no more than on these.
    reduction = TruncatedSVD(TEXT_DIMENSIONS, random_state=0)
    train_features = torch.from_numpy(reduction.fit_transform(train.inputs.numpy())).float()
    test_features = torch.from_numpy(reduction.transform(test.inputs.numpy())).float()
    scale = train_features.std()
    return {**tensors, "train": train_features / scale, "test": test_features / scale}
