"""`data-parameters train` and the published command lines on each kind of data."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from command import run, script
from data_parameters.training.config import NoiseConfig
from data_parameters.training.data import DataConfig, load_data
from data_parameters.training.labels import make_labels
from tables import pixels, png, write

QUICK = ("--epochs", "2", "--batch-size", "4", "--instances.learn", "--output", "r")


def train(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run("train", *words, *QUICK, cwd=cwd)


def image_folder(root: Path) -> Path:
    for split, number in (("training", 6), ("validation", 3)):
        for label in ("cat", "dog"):
            folder = root / split / label
            folder.mkdir(parents=True)
            for place in range(number):
                Image.fromarray(pixels(place, size=12)).save(folder / f"{place}.png")
    return root


def image_tables(root: Path) -> Path:
    def split(number: int) -> dict[str, Any]:
        images = [{"bytes": png(pixels(place, size=8)), "path": None} for place in range(number)]
        labels = [place % 2 for place in range(number)]
        return {"img": images, "fine_label": labels, "noisy": [0] * number}

    return write(root, train=split(10), test=split(4))


def text_tables(root: Path) -> Path:
    train = {
        "text": [f"{word} number {n}" for n in range(6) for word in ("good", "bad")],
        "label": [1, 0] * 6,
        "weak": [1, 0, -1] * 4,
    }
    return write(root, train=train, test={"text": ["good", "bad"], "label": [1, 0]})


def assert_trained(done: subprocess.CompletedProcess[str], folder: Path) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["event"] == "epoch"] == [1, 2]
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


@pytest.mark.parametrize("num_workers", ["0", "2"])
def test_image_folder(num_workers: str, tmp_path: Path) -> None:
    root = image_folder(tmp_path / "images")
    words = ["--data.name", "imagefolder", "--data.path", root, "--data.image-size", "16"]
    words += ["--model.name", "cnn", "--runtime.num-workers", num_workers]
    done = train(*words, cwd=tmp_path)
    assert_trained(done, tmp_path / "r")
    assert "12 training instances, 6 test instances, 2 classes" in done.stdout


@pytest.mark.parametrize("num_workers", ["0", "1"])
def test_a_corrupt_image_is_named_and_refused_or_skipped(num_workers: str, tmp_path: Path) -> None:
    root = image_folder(tmp_path / "images")
    corrupt = root / "training" / "dog" / "3.png"
    corrupt.write_bytes(corrupt.read_bytes()[:60])
    words = ["--data.name", "imagefolder", "--data.path", root, "--data.image-size", "16"]
    words += ["--model.name", "cnn", "--runtime.num-workers", num_workers]
    done = train(*words, cwd=tmp_path)
    assert done.returncode == 1
    assert str(corrupt) in done.stderr
    assert "--data.corrupt skip" in done.stderr
    assert "Traceback" not in done.stderr
    done = train(*words, "--data.corrupt", "skip", "--restart", cwd=tmp_path)
    assert_trained(done, tmp_path / "r")
    assert str(corrupt) in done.stderr
    lines = (tmp_path / "r" / "instances.csv").read_text().splitlines()[1:]
    assert [line.rsplit(",", 1)[1] for line in lines] == ["2"] * 9 + ["0"] + ["2"] * 2


@pytest.mark.parametrize("wrong", ["absent", "no images", "an empty class"])
def test_folders_that_will_not_do(wrong: str, tmp_path: Path) -> None:
    root = tmp_path / "images"
    if wrong == "no images":
        (root / "train" / "cat").mkdir(parents=True)
        (root / "val" / "cat").mkdir(parents=True)
    elif wrong == "an empty class":
        (image_folder(root) / "training" / "emu").mkdir()
    done = train("--data.name", "imagefolder", "--data.path", root, cwd=tmp_path)
    assert done.returncode == 1
    assert ("emu" if wrong == "an empty class" else "images") in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "r").exists()


def test_parquet_images_with_clean_and_noisy_labels(tmp_path: Path) -> None:
    root = image_tables(tmp_path / "tables")
    words = ["--data.name", "parquet", "--data.path", root, "--data.label-column", "fine_label"]
    words += ["--data.noisy-label-column", "noisy", "--model.name", "cnn", "--augment.flip"]
    done = train(*words, cwd=tmp_path)
    result = assert_trained(done, tmp_path / "r")
    assert "10 training instances, 5 of them with a wrong label" in done.stdout
    assert result["auroc"] is not None


def test_true_labels_choose_no_instance(tmp_path: Path) -> None:
    train = {"text": [f"word{n} x" for n in range(8)], "label": [0, 1, 2, 3, -1, 0, 1, 2]}
    train["noisy"] = [0, 0, 0, 1, 1, 1, 3, -1]
    root = write(tmp_path / "t", train=train, test={"text": ["x"] * 4, "label": [0, 1, 2, 3]})
    data = load_data(DataConfig(name="parquet", path=root, noisy_label_column="noisy", classes=2))
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.train.true_labels.tolist() == [0, 1, 2, 3, -1, 0]
    assert data.train.rows.tolist() == [0, 1, 2, 3, 4, 5]
    labels = make_labels(data, NoiseConfig())
    groups = labels.groups(torch.ones(6, dtype=torch.bool))
    assert groups["clean"].nonzero().flatten().tolist() == [0]
    assert groups["corrupted"].nonzero().flatten().tolist() == [1, 2, 3, 5]


@pytest.mark.parametrize("kind", ["parquet", "hub"])
def test_texts(kind: str, tmp_path: Path) -> None:
    root = text_tables(tmp_path / "tables")
    where = ["--data.path", root, "--data.name", "parquet"]
    if kind == "hub":  # a folder stands in for a name on the Hub
        where = ["--data.name", f"hub:{root}"]
    done = train("--recipe", "text", *where, "--data.noisy-label-column", "weak", cwd=tmp_path)
    assert_trained(done, tmp_path / "r")
    assert "8 training instances" in done.stdout
    assert "left out" in done.stdout


def test_labels_outside_the_range(tmp_path: Path) -> None:
    texts = {"text": ["a b", "c d"], "label": [0, 1]}
    root = write(tmp_path / "t", train=texts, test={"text": ["a"], "label": [7]})
    done = train("--recipe", "text", "--data.path", root, cwd=tmp_path)
    assert done.returncode == 1
    assert "7" in done.stderr
    assert "Traceback" not in done.stderr


def test_held_out_images_are_evaluated_without_random_changes(tmp_path: Path) -> None:
    data = load_data(
        DataConfig(name="imagefolder", path=image_folder(tmp_path / "images"), image_size=16)
    )
    plain = data.train.to_evaluate().inputs
    assert torch.equal(plain[3], plain[3])
    assert not torch.equal(data.train.inputs[3], data.train.inputs[3])
    assert data.test.to_evaluate() is data.test


IMAGENET_WORDS = (
    "--arch resnet18 --init_class_param 1.0 --lr_class_param 0.1 --wd_class_param 1e-4",
    "--learn_class_paramters --init_inst_param 0.001 --lr_inst_param 0.8 --wd_inst_param 1e-8",
    "--learn_inst_parameters --gpu 0 --epochs 2 -b 4 -j 0 -p 1 --limit-batches 1",
    "--image-size 32 --tensorboard",
)
CIFAR_WORDS = (
    "--rand_fraction 0.4 --init_inst_param 1.0 --lr_inst_param 0.2 --wd_inst_param 0.0",
    "--learn_inst_parameters --epochs 2 -b 4 --limit-batches 1 --job_name mine",
)


def test_published_imagenet_command(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "images")
    words = " ".join(IMAGENET_WORDS).split()
    done = script("main_imagenet.py", "--data", root, *words, cwd=tmp_path)
    assert_trained(done, tmp_path / "runs" / "temp")
    assert "class and instance parameters" in done.stdout
    said = done.stdout.splitlines()
    assert said[0] == "Run folder: runs/temp"
    assert any(line.startswith("Warning:") and "start on the bound" in line for line in said)
    again = script("main_imagenet.py", "--data", root, *words, cwd=tmp_path)
    assert again.returncode == 1
    assert "--restart" in again.stderr
    again = script("main_imagenet.py", "--data", root, *words, "--restart", cwd=tmp_path)
    assert again.returncode == 0, again.stderr


@pytest.mark.long
def test_published_cifar_command(tmp_path: Path) -> None:
    root = image_tables(tmp_path / "tables")
    words = " ".join(CIFAR_WORDS).split()
    done = script("main_cifar.py", "--data", root, *words, cwd=tmp_path)
    assert_trained(done, tmp_path / "runs" / "mine")
    config = json.loads((tmp_path / "runs" / "mine" / "config.json").read_text())
    assert config["noise"] == {"kind": "permute", "fraction": 0.4, "seed": 1, "transition": None}
    assert config["data"]["statistics"] == "cifar10"
    assert config["model"]["name"] == "wrn-28-10"
