"""Folders with one folder of images for each class, as ImageNet comes."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from data_parameters.training.data import DataConfig, Split, TrainingData
from data_parameters.training.sources.folder import existing_folder
from data_parameters.training.sources.images import Images, evaluation_transform, training_transform
from data_parameters.training.sources.rows import first_classes, kept_rows

__all__ = ["ImageFiles", "load_imagefolder"]

# Those of torchvision's ImageFolder.
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
TRAIN = ("train", "training")
TEST = ("test", "val", "validation")


class ImageFiles:
    """The image files of a folder.

    Args:
        folder: The folder.
        paths: The files, relative to it.
    """

    def __init__(self, folder: Path, paths: Sequence[bytes]) -> None:
        self.folder = folder
        # One array, which worker processes share; they would copy a million strings bit by bit.
        self.paths = np.array(paths, dtype=np.bytes_)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    def read(self, index: int) -> bytes:
        """The content of a file."""
        return self._path(index).read_bytes()

    def name(self, index: int) -> str:
        """The path of a file."""
        return str(self._path(index))

    def file(self, index: int) -> str:
        """The path of a file within the folder."""
        return os.fsdecode(bytes(self.paths[index]))

    def _path(self, index: int) -> Path:
        return self.folder / self.file(index)


def load_imagefolder(config: DataConfig) -> TrainingData:
    """List the images of a folder with training and validation images.

    Args:
        config: Its path is the folder. Training images are in ``train`` or ``training``, others in
            ``test``, ``val`` or ``validation``: the first of these that has folders of classes,
            because ImageNet's test images have no labels.

    Returns:
        Images that are read and transformed when they are asked for.

    Raises:
        FileNotFoundError: A folder is not there, holds no images, or a class is empty.
        ValueError: The two folders have other classes.
    """
    root = existing_folder(config)
    train_folder, test_folder = _subfolder(root, TRAIN), _subfolder(root, TEST)
    names, test_names = _class_folders(train_folder), _class_folders(test_folder)
    if names != test_names:
        raise ValueError(
            f"{train_folder} and {test_folder} should have the same classes. Found only in the "
            f"first: {_listed(set(names) - set(test_names))}; only in the second: "
            f"{_listed(set(test_names) - set(names))}. Move or remove these folders."
        )
    class_names = first_classes(config, names)
    return TrainingData(
        train=_split(config, "train", train_folder, names),
        test=_split(config, "test", test_folder, names),
        class_names=class_names,
    )


def _subfolder(root: Path, names: Sequence[str]) -> Path:
    folders = [root / name for name in names if (root / name).is_dir()]
    with_classes = [folder for folder in folders if _folders(folder)]
    if folders:
        return (with_classes or folders)[0]
    raise FileNotFoundError(
        f"{root} should have a folder {' or '.join(names)}. Found {_listed(_folders(root))}. "
        "Rename the folder, or name the one above it with --data.path."
    )


def _folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())


def _class_folders(folder: Path) -> list[str]:
    names = _folders(folder)
    if not names:
        raise FileNotFoundError(
            f"{folder} should have one folder of images for each class. Found no folders. Sort the "
            "images into folders, one a class."
        )
    return names


def _split(config: DataConfig, split: str, folder: Path, names: Sequence[str]) -> Split:
    paths: list[bytes] = []
    counts = []
    for name in names:
        found = _image_files(folder, name)
        paths += found
        counts.append(len(found))
    if not paths:
        raise FileNotFoundError(
            f"{folder} should hold images ({', '.join(EXTENSIONS)}). Found none in "
            f"{len(names)} folders. Name another folder with --data.path."
        )
    if 0 in counts:
        empty = [name for name, count in zip(names, counts, strict=True) if count == 0]
        raise FileNotFoundError(
            f"Each class in {folder} should have images. Found none in: {_listed(empty)}. Add "
            "images, or remove the folder of the class from training and validation."
        )
    labels = torch.arange(len(names)).repeat_interleave(torch.tensor(counts))
    rows = kept_rows(config, split, labels)
    files = ImageFiles(folder, [paths[row] for row in rows.tolist()])
    plain = Images(files, evaluation_transform(config.image_size), config.corrupt)
    if split != "train":
        return Split(inputs=plain, labels=labels[rows], rows=rows)
    changed = Images(files, training_transform(config.image_size), config.corrupt)
    return Split(inputs=changed, labels=labels[rows], inputs_to_evaluate=plain, rows=rows)


def _image_files(folder: Path, class_name: str) -> list[bytes]:
    """The images of a class in the order of torchvision's ImageFolder."""
    found = []
    for place, _, names in sorted(os.walk(folder / class_name, followlinks=True)):
        relative = Path(place).relative_to(folder)
        found += [
            os.fsencode(relative / name)
            for name in sorted(names)
            if name.lower().endswith(EXTENSIONS)
        ]
    return found


def _listed(names: Sequence[str] | set[str]) -> str:
    shown = sorted(names)[:10]
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return (", ".join(shown) or "none") + more
