"""CIFAR-10 and CIFAR-100 from the files that torchvision reads and downloads."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data_parameters.training.data import CIFAR_MEAN, CIFAR_STD, DataConfig, TrainingData
from data_parameters.training.sources.memory import kept_split
from data_parameters.training.sources.rows import first_classes

try:
    from torchvision.datasets import CIFAR10, CIFAR100
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "cifar10 and cifar100 need torchvision, an optional dependency. Install it with: "
        "pip install 'data-parameters[vision]'",
        name=error.name,
    ) from error

__all__ = ["load_cifar"]


def load_cifar(config: DataConfig) -> TrainingData:
    """Load CIFAR-10 or CIFAR-100 into memory.

    Args:
        config: The name says which; the files lie in a folder of torchvision's name in its path.

    Returns:
        50,000 training and 10,000 test images of 3x32x32, less what the configuration leaves out.

    Raises:
        FileNotFoundError: The folder is not there.
        OSError: A file in it is damaged.
    """
    source = {"cifar10": CIFAR10, "cifar100": CIFAR100}[config.name]
    root = Path("data") if config.path is None else config.path
    folder = root / source.base_folder
    if not folder.is_dir() and not config.download:
        raise FileNotFoundError(
            f"{config.name} should lie in {folder}. Found no such folder. Name the folder that "
            f"holds {source.base_folder} with --data.path, download it with --data.download, or "
            "train on Parquet files with --data.name parquet."
        )
    try:
        train = source(root, train=True, download=config.download)
        test = source(root, train=False, download=config.download)
    except RuntimeError as error:
        raise OSError(
            f"The files in {folder} should have the published checksums. Found one that is missing "
            "or damaged. Remove the folder, and download it anew with --data.download."
        ) from error
    return TrainingData(
        train=kept_split(config, "train", *_tensors(train)),
        test=kept_split(config, "test", *_tensors(test)),
        class_names=first_classes(config, train.classes),
        mean=CIFAR_MEAN,
        std=CIFAR_STD,
    )


def _tensors(dataset: Any) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()
    return images, torch.tensor(dataset.targets)
