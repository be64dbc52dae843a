"""Runs that are killed again and again end bit for bit where an undisturbed one ends."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from command import start
from data_parameters.training.checkpoint import newest_checkpoint

HERE = Path(__file__).parent
EPOCHS = 12
OPTIONS: dict[str, Any] = {
    "data": {"name": "noisy_images:data"},
    "noise": {"kind": "symmetric", "fraction": 0.3},
    "model": {"name": "cnn", "dropout": 0.2},
    "optimizer": {"lr": 0.02, "clip_norm": 5.0},
    "schedule": {"kind": "cosine", "warmup_epochs": 1},
    "classes": {"learn": True, "lr": 0.1, "weight_decay": 0.001},
    "instances": {"learn": True, "lr": 0.5},
    "phase2": {"run": True, "planted": 0.15},
    "runtime": {"device": "cpu", "num_workers": 2, "checkpoint_steps": 2, "log_steps": 3},
    "validation_fraction": 0.1,
    "batch_size": 16,
    "accumulate": 2,
    "epochs": EPOCHS,
}


def train(*words: str) -> "subprocess.Popen[str]":
    # The user's module lies in the folder where the command runs.
    return start("train", *words, cwd=HERE)


def kill(process: "subprocess.Popen[str]") -> None:
    """The whole group: a worker that outlives its parent would be another process's trouble."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def at_a_random_moment(
    process: "subprocess.Popen[str]", folder: Path, chance: random.Random
) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=chance.uniform(0.0, 1.5))


def in_a_checkpoint_write(
    process: "subprocess.Popen[str]", folder: Path, chance: random.Random
) -> None:
    while process.poll() is None and not list((folder / "checkpoints").glob("*.tmp")):
        pass


def at_the_end_of_an_epoch(
    process: "subprocess.Popen[str]", folder: Path, chance: random.Random
) -> None:
    def num_epochs() -> int:
        return (folder / "metrics.jsonl").read_text().count('"event": "epoch"')

    before = num_epochs() if (folder / "metrics.jsonl").exists() else 0
    while process.poll() is None:
        if (folder / "metrics.jsonl").exists() and num_epochs() > before:
            return


MOMENTS: list[Callable[..., None]] = [
    at_a_random_moment,
    in_a_checkpoint_write,
    at_the_end_of_an_epoch,
]


def files(folder: Path) -> dict[str, bytes]:
    return {
        name: (folder / name).read_bytes()
        for name in (
            "metrics.jsonl",
            "tables.npy",
            "dynamics.npy",
            "instances.csv",
            "class_temperatures.csv",
        )
    }


def assert_same(one: Any, other: Any, where: str = "") -> None:
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name in one:
            assert_same(one[name], other[name], f"{where}/{name}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for place, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{where}/{place}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other) or (one.isnan() == other.isnan()).all(), where
        assert one.numpy().tobytes() == other.numpy().tobytes(), where
    else:
        assert one == other, where


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9")
def test_a_run_killed_ten_times_is_the_run_that_was_never_touched(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(OPTIONS))
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    process = train("--config", str(config), "--output", str(undisturbed))
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr

    chance = random.Random(0)
    words = ["--config", str(config), "--output", str(killed)]
    num_killed = 0
    while True:
        process = train(*words)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Run folder")
        if num_killed == 10:
            _, stderr = process.communicate()
            assert process.returncode == 0, stderr
            break
        MOMENTS[num_killed % len(MOMENTS)](process, killed, chance)
        assert process.poll() is None, "it ended before it could be killed: lengthen the run"
        kill(process)
        num_killed += 1
        words = ["--resume", str(killed)]

    assert files(undisturbed) == files(killed)
    for name in ("model.pt", "best.pt"):
        weights = [torch.load(folder / name, weights_only=True) for folder in (undisturbed, killed)]
        assert_same(*weights, name)
    states = [newest_checkpoint(folder / "checkpoints")[0] for folder in (undisturbed, killed)]
    for name in ("parts", "progress"):
        assert_same(*(state[name] for state in states if state is not None), name)
    results = [json.loads((folder / "result.json").read_text()) for folder in (undisturbed, killed)]
    assert_same(*({**result, "folder": ""} for result in results))
    steps = [json.loads(line) for line in (killed / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in steps if line["event"] == "epoch"] == list(
        range(1, EPOCHS + 1)
    )
    assert np.unique([line["step"] for line in steps if line["event"] == "step"]).size == len(
        [line for line in steps if line["event"] == "step"]
    )
