"""Folders of images: what is found, how it is decoded, and what is refused."""

import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from data_parameters.training.data import CorruptImageError, DataConfig, Split, load_data
from data_parameters.training.sources.images import Images

SHARED = Path(__file__).parents[3] / "shared" / "data" / "tiny_imagenet10"
MEAN = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)


def write_image(path: Path, *, mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = torch.randint(0, 256, (size[1], size[0], 3), dtype=torch.uint8).numpy()
    Image.fromarray(pixels).convert(mode).save(path)


def write_folder(root: Path, names: tuple[str, str] = ("train", "val")) -> Path:
    """Three training images and one other of a cat and a dog each, in several formats."""
    for split, count in zip(names, (3, 1), strict=True):
        for name in ("cat", "dog"):
            for number in range(count):
                suffix = (".png", ".JPEG", ".webp")[number]
                write_image(root / split / name / f"{number}{suffix}")
    (root / names[0] / "cat" / "notes.txt").write_text("no image")
    return root


def config(root: Path, **options: object) -> DataConfig:
    return DataConfig(name="imagefolder", path=root, image_size=32, **options)  # type: ignore[arg-type]


def items(split: Split) -> Images:
    assert isinstance(split.inputs, Images)
    return split.inputs


@pytest.mark.parametrize("names", [("train", "val"), ("training", "validation"), ("train", "test")])
def test_folders_by_their_names(tmp_path: Path, names: tuple[str, str]) -> None:
    data = load_data(config(write_folder(tmp_path, names)))
    assert data.class_names == ("cat", "dog")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1] and data.test.labels.tolist() == [0, 1]
    for split in (data.train, data.test):
        for row in range(len(split.labels)):
            item = items(split)[row]
            assert isinstance(item, Tensor) and type(item) is Tensor
            assert item.shape == (3, 32, 32) and item.dtype == torch.float32


def test_the_order_is_torchvisions(tmp_path: Path) -> None:
    write_folder(tmp_path)
    write_image(tmp_path / "train" / "cat" / "more" / "deep.png")
    data = load_data(config(tmp_path))
    theirs = ImageFolder(tmp_path / "train")
    found = [items(data.train).images.name(row) for row in range(7)]
    assert found == [path for path, _ in theirs.samples]
    assert data.train.labels.tolist() == theirs.targets


def test_labelled_test_images_come_before_validation(tmp_path: Path) -> None:
    write_folder(tmp_path)
    # As ImageNet's test images, which have no labels, and so no folders of classes.
    write_image(tmp_path / "test" / "1.png")
    assert "val" in items(load_data(config(tmp_path)).test).images.name(0)
    write_image(tmp_path / "test" / "cat" / "1.png")
    write_image(tmp_path / "test" / "dog" / "1.png")
    assert "val" not in items(load_data(config(tmp_path)).test).images.name(0)


def test_evaluation_crops_the_centre(tmp_path: Path) -> None:
    write_folder(tmp_path)
    # 37 is round(32 * 256 / 224), so that nothing is resized, and 5 pixels are cut.
    pixels = torch.randint(0, 256, (37, 37, 3), dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(tmp_path / "val" / "cat" / "0.png")
    item = items(load_data(config(tmp_path)).test)[0]
    assert item is not None
    centre = pixels.permute(2, 0, 1)[:, 2:34, 2:34] / 255
    torch.testing.assert_close(item, (centre - MEAN) / STD)


def test_training_images_change_with_torchs_generator_alone(tmp_path: Path) -> None:
    train = items(load_data(config(write_folder(tmp_path))).train)

    def item(seed: int) -> Tensor:
        torch.manual_seed(seed)
        found = train[0]
        assert found is not None
        return found

    assert torch.equal(item(1), item(1))
    assert not torch.equal(item(1), item(2))


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    write_folder(tmp_path)
    write_image(tmp_path / "val" / "cat" / "0.png", mode=mode)
    item = items(load_data(config(tmp_path)).test)[0]
    assert item is not None and item.shape == (3, 32, 32)


def test_limit_and_classes(tmp_path: Path) -> None:
    write_folder(tmp_path)
    for split in ("train", "val"):
        write_image(tmp_path / split / "owl" / "0.png")
    data = load_data(config(tmp_path, limit=4, classes=2))
    assert data.class_names == ("cat", "dog")
    assert len(data.train.labels) == len(items(data.train)) == 4
    assert data.test.labels.tolist() == [0, 1]
    for row, label in enumerate(data.train.labels.tolist()):
        assert data.class_names[label] in items(data.train).images.name(row)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("damage", [truncate, lambda path: path.write_text("<html>")])
def test_corrupt_images_are_named(
    tmp_path: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    write_folder(tmp_path)
    path = tmp_path / "train" / "dog" / "1.JPEG"
    damage(path)
    refused = items(load_data(config(tmp_path)).train)
    assert refused[3] is not None
    with pytest.raises(CorruptImageError, match=r"--data\.corrupt skip") as caught:
        refused[4]
    assert str(path) in str(caught.value) and "refuse" in str(caught.value)

    skipped = items(load_data(config(tmp_path, corrupt="skip")).train)
    with caplog.at_level(logging.WARNING):
        assert skipped[4] is None
    assert str(path) in caplog.text
    assert [row for row in range(6) if skipped[row] is None] == [4]


def test_corrupt_image_in_a_worker_process(tmp_path: Path) -> None:
    write_folder(tmp_path)
    path = tmp_path / "val" / "dog" / "0.png"
    truncate(path)
    loader = DataLoader(items(load_data(config(tmp_path)).test), num_workers=1)
    with pytest.raises(CorruptImageError, match="dog") as caught:
        list(loader)
    assert str(path) in str(caught.value)


def test_a_vanished_image_is_not_a_corrupt_one(tmp_path: Path) -> None:
    train = items(load_data(config(write_folder(tmp_path), corrupt="skip")).train)
    (tmp_path / "train" / "cat" / "0.png").unlink()
    with pytest.raises(FileNotFoundError):
        train[0]


def test_images_are_picklable(tmp_path: Path) -> None:
    test = items(load_data(config(write_folder(tmp_path))).test)
    again = pickle.loads(pickle.dumps(test))
    assert torch.equal(again[1], test[1])


def test_missing_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"--data\.path"):
        load_data(DataConfig(name="imagefolder"))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_data(config(tmp_path / "nowhere"))
    (tmp_path / "pictures").mkdir()
    with pytest.raises(FileNotFoundError, match=r"train or training\. Found pictures"):
        load_data(config(tmp_path))
    (tmp_path / "train").mkdir()
    with pytest.raises(FileNotFoundError, match="test or val or validation"):
        load_data(config(tmp_path))
    (tmp_path / "val").mkdir()
    with pytest.raises(FileNotFoundError, match="one a class"):
        load_data(config(tmp_path))
    for name in ("train/cat", "val/cat"):
        (tmp_path / name).mkdir()
    with pytest.raises(FileNotFoundError, match=r"train should hold images"):
        load_data(config(tmp_path))


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_empty_class_is_named(tmp_path: Path, split: str) -> None:
    write_folder(tmp_path)
    write_image(tmp_path / "train" / "owl" / "0.png")
    write_image(tmp_path / "val" / "owl" / "0.png")
    (tmp_path / split / "owl" / "0.png").unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"{split} should have images\. Found none in: owl"
    ):
        load_data(config(tmp_path))


def test_validation_has_the_same_classes(tmp_path: Path) -> None:
    write_folder(tmp_path)
    write_image(tmp_path / "val" / "owl" / "0.png")
    with pytest.raises(ValueError, match="only in the second: owl"):
        load_data(config(tmp_path))


@pytest.mark.skipif(not SHARED.exists(), reason="needs the images of tiny_imagenet10")
def test_tiny_imagenet() -> None:
    data = load_data(DataConfig(name="imagefolder", path=SHARED, image_size=64))
    assert data.train.labels.bincount().tolist() == [500] * 10
    assert data.test.labels.bincount().tolist() == [50] * 10
    assert all(items(data.test)[row] is not None for row in range(0, 500, 50))
