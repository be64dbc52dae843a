"""The configuration of the data, and what is in memory from the start: digits, CIFAR, functions."""

import hashlib
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from data_parameters.training.data import DataConfig, load_data
from data_parameters.training.sources.digits import digits
from data_parameters.training.sources.memory import channel_statistics


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"name": "mnist"}, "module:function"),
        ({"name": "hub:"}, "hub:NAME"),
        ({"name": "my module:data"}, "module:function"),
        ({"name": "digits", "download": True}, "cifar100"),
        ({"name": "digits", "path": Path("x")}, "imagefolder"),
        ({"name": "imagefolder", "noisy_label_column": "y"}, "parquet"),
        ({"image_size": 0}, "at least 1"),
        ({"max_features": 0}, "at least 1"),
        ({"limit": 0}, "at least 1"),
        ({"classes": 1}, "at least 2"),
    ],
)
def test_configuration_is_checked(options: dict[str, Any], remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        DataConfig(**options)


def test_a_recipe_can_leave_the_path_open() -> None:
    assert [DataConfig(name=name).kind for name in ("cifar100", "hub:a/b", "a.b:c")] == [
        "cifar100",
        "hub",
        "function",
    ]


def test_digits_are_images_in_memory() -> None:
    data = load_data(DataConfig())
    assert data.train.inputs.shape == (1297, 1, 8, 8) and data.train.inputs.dtype == torch.uint8
    assert data.test.inputs.shape == (500, 1, 8, 8)
    assert data.class_names == tuple("0123456789")
    pixels = data.train.inputs.flatten(1).float() / 255
    assert (pixels - digits().train_images).abs().max() <= 0.5 / 255 + 1e-6
    assert data.mean == pytest.approx([float(pixels.mean())], abs=1e-5)
    assert data.std == pytest.approx([float(pixels.std())], abs=1e-4)


def test_limit_draws_training_instances_only() -> None:
    everything, some = load_data(DataConfig()), load_data(DataConfig(limit=100))
    assert len(some.train.labels) == 100 and len(some.test.labels) == 500
    assert torch.equal(some.train.labels, load_data(DataConfig(limit=100)).train.labels)
    # A larger limit goes on where a smaller one stops.
    more = load_data(DataConfig(limit=200)).train
    assert torch.equal(more.inputs[:100], some.train.inputs)
    assert not torch.equal(everything.train.labels[:100], some.train.labels)
    with pytest.raises(ValueError, match="at most 1297"):
        load_data(DataConfig(limit=1298))


def test_classes_hold_for_both_splits() -> None:
    data = load_data(DataConfig(classes=3))
    assert data.class_names == ("0", "1", "2")
    assert data.train.labels.unique().tolist() == data.test.labels.unique().tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="at most 10"):
        load_data(DataConfig(classes=11))


def test_channel_statistics_are_those_of_the_pixels() -> None:
    images = torch.randint(0, 256, (20, 3, 4, 5), dtype=torch.uint8)
    images[:, 2] = 51
    pixels = images.double().div(255).transpose(0, 1).flatten(1)
    mean, std = channel_statistics(images)
    assert mean == pytest.approx(pixels.mean(1).tolist())
    # A constant channel is left as it is, not divided by zero.
    assert std == pytest.approx([*pixels[:2].std(1, correction=0).tolist(), 1.0])


def write_cifar(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Five images of a class in torchvision's files for CIFAR-10, with checksums of their own."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    written = {}

    def write(name: str, content: dict[str, Any]) -> list[str]:
        written[name] = content
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    def batch() -> dict[str, Any]:
        data = random.integers(0, 256, (10, 3072), dtype=np.uint8)
        return {"data": data, "labels": random.permutation(10).tolist()}

    train = [write(f"data_batch_{number}", batch()) for number in range(1, 6)]
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", [write("test_batch", batch())])
    meta = write("batches.meta", {"label_names": [f"class {label}" for label in range(10)]})
    monkeypatch.setattr(
        CIFAR10, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]}
    )
    return written


def test_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_cifar(tmp_path, monkeypatch)
    data = load_data(DataConfig(name="cifar10", path=tmp_path))
    assert data.train.inputs.shape == (50, 3, 32, 32) and data.train.inputs.dtype == torch.uint8
    assert data.test.inputs.shape == (10, 3, 32, 32)
    first = torch.from_numpy(written["data_batch_1"]["data"][0]).reshape(3, 32, 32)
    assert torch.equal(data.train.inputs[0], first)
    assert data.train.labels[:10].tolist() == written["data_batch_1"]["labels"]
    assert data.class_names[9] == "class 9"
    assert data.mean == (0.4914, 0.4822, 0.4465) and data.std == (0.2023, 0.1994, 0.2010)
    some = load_data(DataConfig(name="cifar10", path=tmp_path, classes=2, limit=7))
    assert len(some.train.labels) == 7 and len(some.test.labels) == 2


def test_cifar100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    images = {"data": np.full((3, 3072), 7, np.uint8), "fine_labels": [99, 0, 5]}
    names = {"fine_label_names": [str(label) for label in range(100)]}
    sums = {}
    for name, content in {"train": images, "test": images, "meta": names}.items():
        (folder / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR100, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": sums["meta"]})
    data = load_data(DataConfig(name="cifar100", path=tmp_path))
    assert data.train.labels.tolist() == [99, 0, 5]
    assert len(data.class_names) == 100
    assert data.mean == (0.4914, 0.4822, 0.4465)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_absent_cifar_names_the_ways_out(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"--data\.download.*parquet") as caught:
        load_data(DataConfig(name=name, path=tmp_path))
    assert str(tmp_path / "cifar-10") in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_damaged_cifar_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(tmp_path, monkeypatch)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(OSError, match=r"damaged.*--data\.download"):
        load_data(DataConfig(name="cifar10", path=tmp_path))


FUNCTIONS = """
from collections import UserList

import torch
from torch.utils.data import TensorDataset

INPUTS = torch.arange(24.0).reshape(6, 4)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])

def tensors():
    return TensorDataset(INPUTS, LABELS), TensorDataset(INPUTS[:2], LABELS[:2])

def mappings():
    samples = [{"features": x, "label": int(y)} for x, y in zip(INPUTS, LABELS)]
    return samples, samples[:2]

class Targets(UserList):
    classes = ["cat", "dog", "cow", "owl"]
    targets = LABELS.tolist()

    def __getitem__(self, index):
        torch.rand(1)  # as an augmentation does
        return super().__getitem__(index)

def targets():
    return (Targets(zip(INPUTS, LABELS)),) * 2

def wrong_targets():
    data = Targets(zip(INPUTS, LABELS))
    data.targets = LABELS.flip(0)
    return data, data

def short_targets():
    data = Targets(zip(INPUTS, LABELS))
    data.targets = LABELS[:3]
    return data, data

def labels_outside():
    test = TensorDataset(INPUTS[:2], torch.tensor([1, 7]))
    return TensorDataset(INPUTS, LABELS), test

def negative_label():
    return (TensorDataset(INPUTS[:2], torch.tensor([1, -1])),) * 2

def integers():
    return (TensorDataset(INPUTS.to(torch.uint8), LABELS),) * 2

def inputs_only():
    return (INPUTS, INPUTS)

def two_inputs():
    samples = [{"a": 1.0, "b": 2.0, "label": 0}]
    return samples, samples

def stream():
    return iter([]), iter([])

def one():
    return TensorDataset(INPUTS, LABELS)
"""


@pytest.fixture
def _functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_data.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own_data", raising=False)


@pytest.mark.usefixtures("_functions")
@pytest.mark.parametrize("name", ["tensors", "mappings", "targets"])
def test_a_function_of_the_users(name: str) -> None:
    state = torch.get_rng_state()
    data = load_data(DataConfig(name=f"own_data:{name}"))
    assert torch.equal(torch.get_rng_state(), state), "a look at a sample drew random numbers"
    inputs = torch.arange(24.0).reshape(6, 4)
    assert all(torch.equal(data.train.inputs[row], inputs[row]) for row in range(6))
    assert len(data.train.inputs) == 6
    assert data.train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    names = ("cat", "dog", "cow", "owl") if name == "targets" else ("0", "1", "2")
    assert data.class_names == names
    two = load_data(DataConfig(name=f"own_data:{name}", classes=2, limit=3))
    assert two.class_names == names[:2]
    for row, label in enumerate(two.train.labels.tolist()):
        assert int(two.train.inputs[row][0]) // 4 % 3 == label


@pytest.mark.usefixtures("_functions")
@pytest.mark.parametrize(
    ("name", "error", "remedy"),
    [
        ("wrong_targets", ValueError, "Change `targets`"),
        ("short_targets", ValueError, "6 integers"),
        ("labels_outside", ValueError, r"\[0, 2\].*Found 7 in row 1 of the test split"),
        ("negative_label", ValueError, "Found -1 in row 1 of the train split"),
        ("integers", ValueError, "transform"),
        ("inputs_only", ValueError, "Wrap the data set"),
        ("two_inputs", ValueError, "Wrap the data set"),
        ("stream", ValueError, "map-style"),
        ("one", ValueError, r"\(train_set, test_set\)"),
        ("absent", ValueError, "function `absent`"),
    ],
)
def test_what_a_function_should_return(name: str, error: type[Exception], remedy: str) -> None:
    with pytest.raises(error, match=remedy):
        load_data(DataConfig(name=f"own_data:{name}"))


WITHOUT_EXTRAS = """
import sys
sys.modules.update(dict.fromkeys(("torchvision", "datasets", "sklearn")))
from data_parameters.training.data import DataConfig, load_data
for name in ("cifar10", "imagefolder", "parquet", "hub:a/b"):
    try:
        load_data(DataConfig(name=name))
    except ModuleNotFoundError as error:
        print(error)
try:
    import data_parameters.training.sources.text
except ModuleNotFoundError as error:
    print(error)
"""


def test_missing_extras_are_named() -> None:
    output = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS], check=True, capture_output=True, text=True
    ).stdout
    assert re.findall(r"pip install 'data-parameters\[(.*)\]'", output) == [
        "vision",
        "vision",
        "datasets",
        "datasets",
        "train",
    ]
