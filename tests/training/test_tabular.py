"""Parquet folders and names of the Hub: images, texts, and real data sets."""

import pickle
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from torch import Tensor

from data_parameters.training.data import CorruptImageError, DataConfig, load_data
from data_parameters.training.sources.images import Images
from data_parameters.training.sources.text import text_features
from tables import load, offline, pixels, png, write, write_texts

__all__ = ["offline"]

pytestmark = pytest.mark.usefixtures("offline")
SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="needs the real data sets")


@pytest.mark.parametrize("form", ["feature", "bytes and path", "bytes", "binary"])
def test_images_of_one_size_are_decoded_into_memory(tmp_path: Path, form: str) -> None:
    arrays = [pixels(number) for number in range(5)]
    encoded: list[Any] = [png(array) for array in arrays]
    if form == "bytes":
        encoded = [{"bytes": content} for content in encoded]
    elif form != "binary":
        encoded = [{"bytes": content, "path": "x.png"} for content in encoded]
    rows = {"train-0": slice(0, 2), "train-1": slice(2, 4), "test": slice(3, 5)}
    labels = [0, 1, 2, 3, 0]
    for split, chosen in rows.items():
        table = datasets.Dataset.from_dict({"picture": encoded[chosen], "label": labels[chosen]})
        if form == "feature":
            table = table.cast_column("picture", datasets.Image())
        table.to_parquet(tmp_path / "data" / f"{split}.parquet")
    data = load(tmp_path / "data")
    expected = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
    assert torch.equal(data.train.inputs, expected[:4])
    assert torch.equal(data.test.inputs, expected[3:])
    assert data.train.labels.tolist() == labels[:4] and data.test.labels.tolist() == labels[3:]
    assert data.class_names == ("0", "1", "2", "3")
    assert data.mean == pytest.approx((expected[:4] / 255).mean((0, 2, 3)).tolist())
    assert not (tmp_path / "cache").exists(), "the user's cache was written to"


def write_images(folder: Path, contents: list[Any], test: list[Any]) -> Path:
    return write(
        folder,
        train={"image": contents, "label": [row % 2 for row in range(len(contents))]},
        test={"image": test, "label": [0] * len(test)},
    )


@pytest.mark.parametrize("where", ["train", "test"])
def test_images_of_various_sizes_are_transformed_one_by_one(tmp_path: Path, where: str) -> None:
    other = png(pixels(9, size=7))
    train, test = [png(pixels(0)), png(pixels(1))], [png(pixels(2))]
    (train if where == "train" else test).append(other)
    data = load(write_images(tmp_path, train, test), image_size=16)
    assert data.mean is None
    for split in (data.train, data.test):
        again = pickle.loads(pickle.dumps(split.inputs))
        assert isinstance(again, Images) and len(again) == len(split.labels)
        for row in range(len(again)):
            item = again[row]
            assert item is not None and item.shape == (3, 16, 16) and item.dtype == torch.float32


@pytest.mark.parametrize("damaged", [b"no image", None])
def test_corrupt_images_are_named_or_left_out(
    tmp_path: Path, damaged: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    good = [png(pixels(number)) for number in range(3)]
    folder = write_images(tmp_path, [good[0], damaged, good[2]], good[:1])
    with pytest.raises(CorruptImageError, match=r"row 1 of `image` in the train.*--data\.corrupt"):
        load(folder)
    data = load(folder, corrupt="skip")
    assert data.train.inputs.shape == (2, 3, 4, 4) and data.train.labels.tolist() == [0, 0]
    assert data.notes == ("1 corrupt images of the train split: left out.",)
    assert "row 1 of `image`" in caplog.text


@pytest.mark.parametrize("where", ["train", "test"])
def test_only_corrupt_images_are_refused(tmp_path: Path, where: str) -> None:
    contents = {"train": [png(pixels(0))], "test": [png(pixels(0))], where: [b"1", b"2"]}
    folder = write_images(tmp_path, contents["train"], contents["test"])
    with pytest.raises(CorruptImageError, match="holds images"):
        load(folder, corrupt="skip")


def test_corrupt_images_of_various_sizes(tmp_path: Path) -> None:
    folder = write_images(tmp_path, [png(pixels(0)), png(pixels(1, 6)), b"no"], [png(pixels(2))])
    assert load(folder, corrupt="skip").train.inputs[2] is None
    with pytest.raises(CorruptImageError, match="row 2"):
        load(folder).train.inputs[2]


def test_texts_become_features_of_the_training_words(tmp_path: Path) -> None:
    data = load(write_texts(tmp_path))
    # blue, cat, dog, one, red; "bird" is not among the training words.
    assert data.train.inputs.shape == (3, 5) and data.test.inputs.shape == (2, 5)
    assert data.train.inputs.dtype == data.test.inputs.dtype == torch.float32
    assert data.test.inputs.tolist() == [[0, 0, 0, 0, 1], [1, 0, 0, 0, 0]]
    torch.testing.assert_close(data.train.inputs.norm(dim=1), torch.ones(3))
    assert load(tmp_path, max_features=2).train.inputs.shape == (3, 2)
    # The words of the one text that is drawn.
    assert load(tmp_path, limit=1).train.inputs.shape[1] < 5


def test_texts_without_words_are_refused() -> None:
    with pytest.raises(ValueError, match=r"--data\.input-column"):
        text_features(["?", "!"], ["."], max_features=5)


def test_a_missing_text_is_refused(tmp_path: Path) -> None:
    write_texts(tmp_path, text=["red", "blue", None])
    with pytest.raises(ValueError, match="row 2"):
        load(tmp_path)
    write_texts(tmp_path, text=["red", "blue", None], label=[0, 1, -1])
    assert load(tmp_path).train.labels.tolist() == [0, 1]


def test_hub_takes_a_folder_too(tmp_path: Path) -> None:
    folder = write_texts(tmp_path / "data")
    data = load_data(DataConfig(name=f"hub:{folder}"))
    assert torch.equal(data.train.inputs, load(folder).train.inputs)
    (folder / "test.parquet").unlink()
    with pytest.raises(ValueError, match=r"`test` or `validation`\. Found train"):
        load_data(DataConfig(name=f"hub:{folder}"))


def test_hub_reads_image_files_of_a_folder(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for number, name in enumerate(("cat", "dog")):
            path = tmp_path / "data" / split / name / "0.png"
            path.parent.mkdir(parents=True)
            path.write_bytes(png(pixels(number)))
    data = load_data(DataConfig(name=f"hub:{tmp_path / 'data'}"))
    assert data.class_names == ("cat", "dog") and data.train.labels.tolist() == [0, 1]
    assert isinstance(data.train.inputs, Tensor)
    assert torch.equal(data.train.inputs[1], torch.from_numpy(pixels(1)).permute(2, 0, 1))


@needs_shared
def test_cifar100_with_human_labels() -> None:
    data = load(
        SHARED / "cifar100",
        label_column="fine_label",
        noisy_label_column="noisy_fine_label",
        limit=300,
        classes=10,
    )
    assert data.train.inputs.shape == (300, 3, 32, 32) and data.test.inputs.shape[0] == 1000
    assert data.class_names[:2] == ("apple", "aquarium_fish")
    wrong = (data.train.labels != data.train.true_labels).float().mean()
    assert 0 < wrong < 0.4


@needs_shared
def test_banking77() -> None:
    data = load(SHARED / "banking77")
    assert len(data.train.labels) == 10_003 and len(data.test.labels) == 3_080
    assert len(data.class_names) == 77 and data.class_names[0] == "card_arrival"


@needs_shared
def test_trec6_with_weak_labels() -> None:
    data = load(SHARED / "trec6", noisy_label_column="weak_label")
    assert len(data.train.labels) == 4_965 - 242
    wrong = (data.train.labels != data.train.true_labels).float().mean()
    assert wrong == pytest.approx(0.51, abs=0.005)
    assert any("242 of 4,965" in note for note in data.notes)
