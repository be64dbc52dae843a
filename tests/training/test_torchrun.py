"""`data-parameters train` under torchrun: one run, whatever the number of processes."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch

from command import run
from data_parameters.training.checkpoint import newest_checkpoint
from data_parameters.training.history import read_tables

HERE = Path(__file__).parent
EPOCHS = 16
# Without batch norm, whose statistics are those of each process, and without dropout.
OPTIONS: dict[str, Any] = {
    "data": {"name": "noisy_images:data"},
    "noise": {"kind": "symmetric", "fraction": 0.3},
    "model": {"name": "mlp", "hidden": 32},
    "optimizer": {"lr": 0.05, "clip_norm": 5.0},
    "schedule": {"kind": "cosine", "warmup_epochs": 1},
    "classes": {"learn": True, "lr": 0.1, "weight_decay": 0.001},
    "instances": {"learn": True, "lr": 0.5},
    "runtime": {"device": "cpu", "checkpoint_steps": 3, "log_steps": 5},
    "validation_fraction": 0.1,
    "batch_size": 18,  # 182 rows: a last minibatch of 2, so that two of four processes have none
    "accumulate": 2,
    "epochs": EPOCHS,
}

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform == "win32", reason="torchrun needs fork and signals of Unix"),
]


def torchrun(num_processes: int, *words: str | Path, restarts: int = 0) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node"]
    options = ["--standalone", "--max-restarts", str(restarts), "--monitor-interval", "0.1"]
    program = ["-m", "data_parameters", "train", *map(str, words)]
    return [*launcher, str(num_processes), *options, *program]


class Launched:
    """A torchrun in the background, which a test does not leave behind."""

    def __init__(
        self, folder: Path, num_processes: int, *words: str | Path, restarts: int = 0
    ) -> None:
        folder.mkdir(exist_ok=True)
        # Files, because nobody empties a pipe while a test does something else.
        self.stdout, self.stderr = folder / "stdout.txt", folder / "stderr.txt"
        with self.stdout.open("w") as stdout, self.stderr.open("w") as stderr:
            self.process = subprocess.Popen(
                torchrun(num_processes, *words, restarts=restarts),
                cwd=HERE,
                stdout=stdout,
                stderr=stderr,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for pid in self.workers():  # torchrun gives each a session of its own
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def finish(self) -> tuple[str, str]:
        """What was said on stdout and stderr, once it has ended."""
        self.process.wait(timeout=240)
        return self.stdout.read_text(), self.stderr.read_text()

    def goes_on(self) -> bool:
        """That it runs, a moment later; a test that waits should not wait in vain."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=0.01)
        assert self.process.poll() is None, self.stderr.read_text()
        return True

    def workers(self) -> list[int]:
        """The processes that torchrun has started."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        try:
            found = [int(word) for word in path.read_text().split()]
        except OSError:
            return []
        return [pid for pid in found if b"data_parameters" in command_line(pid)]


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "config.json"
    path.write_text(json.dumps(OPTIONS))
    return path


@pytest.fixture(scope="module")
def alone(config: Path) -> Path:
    """The run of a single process."""
    folder = config.parent / "alone"
    done = run("train", "--config", config, "--output", folder, cwd=HERE)
    assert done.returncode == 0, done.stderr
    return folder


def assert_same_run(folder: Path, other: Path) -> None:
    """Weights, tables, momentum, statistics and metrics within rounding; counts exactly."""
    for name in ("model.pt", "best.pt"):
        one, two = (torch.load(path / name, weights_only=True) for path in (folder, other))
        for key, value in two.items():
            torch.testing.assert_close(one[key], value, rtol=0, atol=1e-5)
    states = [newest_checkpoint(path / "checkpoints")[0] for path in (folder, other)]
    found, wanted = (state["parts"] for state in states if state is not None)
    assert found["dynamics"]["count"].tolist() == wanted["dynamics"]["count"].tolist()
    for part in ("data_parameters", "dynamics"):
        for key, value in wanted[part].items():
            torch.testing.assert_close(found[part][key], value, rtol=1e-5, atol=1e-4)
    for key, values in wanted["data_optimizer"]["state"].items():
        momentum = found["data_optimizer"]["state"][key]["momentum_buffer"]
        torch.testing.assert_close(momentum, values["momentum_buffer"], rtol=0, atol=1e-5)
    for one, two in zip(*(metrics(path) for path in (folder, other)), strict=True):
        assert one.keys() == two.keys()
        for key, value in two.items():
            expected = value if isinstance(value, str) else pytest.approx(value, rel=1e-3, abs=1e-4)
            assert one[key] == expected, key
    histories = [list(read_tables(path / "tables.npy")) for path in (folder, other)]
    for one, two in zip(*histories, strict=True):
        assert one.epoch == two.epoch
        np.testing.assert_allclose(one.log_instance, two.log_instance, rtol=0, atol=2e-3)


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("words", [(4,), (2, "--runtime.fsdp"), (3, "--runtime.num-workers", "1")])
def test_many_processes_make_the_run_of_one(
    alone: Path, config: Path, tmp_path: Path, words: tuple[Any, ...]
) -> None:
    """Uneven and empty parts, accumulation, validation; one log, in words of one process."""
    folder = tmp_path / "run"
    num_processes, *options = words
    with Launched(
        tmp_path, num_processes, "--config", config, *options, "--output", folder
    ) as launched:
        stdout, stderr = launched.finish()
    assert launched.process.returncode == 0, stderr
    assert_same_run(folder, alone)
    said = stdout.splitlines()
    assert said == (folder / "log.txt").read_text().splitlines()
    assert said[0] == f"Run folder: {folder}"
    assert f"Everything is in {folder}." in said
    assert len(said) == len((alone / "log.txt").read_text().splitlines())


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes through /proc")
def test_a_process_killed_ten_times_changes_nothing(
    alone: Path, config: Path, tmp_path: Path
) -> None:
    """At random moments, of start-up, of training and of saving; torchrun starts all anew."""
    folder, chance = tmp_path / "run", random.Random(0)
    killed: set[int] = set()
    with Launched(tmp_path, 4, "--config", config, "--output", folder, restarts=10) as launched:
        for number in range(10):
            while launched.goes_on():
                fresh = [pid for pid in launched.workers() if pid not in killed]
                if len(fresh) == 4:
                    break
            # Every third moment is one of start-up; the others come once the run goes on.
            in_training, before = number % 3 > 0, size(folder / "metrics.jsonl")
            while in_training and launched.goes_on() and size(folder / "metrics.jsonl") == before:
                pass
            with contextlib.suppress(subprocess.TimeoutExpired):
                launched.process.wait(timeout=chance.uniform(0.0, 0.3 if in_training else 3.0))
            assert launched.goes_on(), "it ended before it could be killed: lengthen the run"
            os.kill(chance.choice(fresh), signal.SIGKILL)
            killed.update(fresh)
        stdout, stderr = launched.finish()
    assert launched.process.returncode == 0, stderr
    assert_same_run(folder, alone)
    epochs = [line["epoch"] for line in metrics(folder) if line["event"] == "epoch"]
    assert epochs == list(range(1, EPOCHS + 1))
    assert "Resumed at" in stdout


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_stopped_with_four_processes_and_continued_with_two_and_one(
    alone: Path, config: Path, tmp_path: Path
) -> None:
    """SIGTERM to torchrun: all stop after the same step. The trajectory stays the unbroken one."""
    folder = tmp_path / "run"
    for num_processes, words in ((4, ["--config", config, "--output", folder]), (2, [])):
        before = size(folder / "metrics.jsonl")
        with Launched(tmp_path, num_processes, *words or ["--resume", folder]) as launched:
            while launched.goes_on() and size(folder / "metrics.jsonl") <= before + 500:
                pass
            launched.process.send_signal(signal.SIGTERM)
            stdout, _ = launched.finish()
        assert "Stopped and saved at step" in stdout
        assert launched.process.returncode != 0
    done = run("train", "--resume", folder, cwd=HERE)
    assert done.returncode == 0, done.stderr
    assert "Resumed at" in done.stdout
    assert_same_run(folder, alone)


def fails(folder: Path, data: str, num_processes: int) -> str:
    """What a run on data that differ between the processes says when it fails."""
    (folder / "config.json").write_text(json.dumps({**OPTIONS, "data": {"name": data}}))
    words = ("--config", folder / "config.json", "--output", folder / "run")
    with Launched(folder, num_processes, *words) as launched:
        _, stderr = launched.finish()
    assert launched.process.returncode == 1
    return stderr


def test_what_one_process_cannot_read_ends_all_with_its_words(tmp_path: Path) -> None:
    stderr = fails(tmp_path, "noisy_images:unreadable_by_process_1", 3)
    assert "data-parameters, process 1: image 50 is gone" in stderr
    assert "data-parameters: Process 1 failed: OSError: image 50 is gone" in stderr
    assert f"data-parameters train --resume {tmp_path / 'run'}" in stderr


def test_processes_with_other_labels_are_refused(tmp_path: Path) -> None:
    stderr = fails(tmp_path, "noisy_images:labelled_by_rank", 2)
    assert "digest of the given labels" in stderr
    assert "the same data set, labels and settings" in stderr
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_taken_is_left_alone_also_when_torchrun_starts_anew(
    alone: Path, config: Path, tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in alone.rglob("*")}
    with Launched(tmp_path, 2, "--config", config, "--output", alone, restarts=1) as launched:
        _, stderr = launched.finish()
    assert launched.process.returncode == 1
    assert "The run folder should be new or empty" in stderr
    assert {path: path.stat().st_mtime_ns for path in alone.rglob("*")} == before
