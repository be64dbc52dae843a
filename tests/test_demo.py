"""The command and its demo, driven as a user does."""

import csv
import json
import signal
from pathlib import Path

import pytest

from command import run, start
from data_parameters.training.demo import DemoConfig, run_demo
from data_parameters.training.run_folder import new_run_folder


def test_demo_writes_its_folder_and_says_where_to_look(tmp_path: Path) -> None:
    done = run("demo", "--epochs", "2", "--seed", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Run folder: runs/demo\n")
    for shown in ("last epoch", "best epoch", "AUROC", "average precision", "temperature.png"):
        assert shown in done.stdout
    folder = tmp_path / "runs" / "demo"
    config = json.loads((folder / "config.json").read_text())
    assert config["epochs"] == 2
    assert config["seed"] == 3
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(m["run"], m["epoch"]) for m in metrics] == [
        ("plain", 1),
        ("plain", 2),
        ("instance", 1),
        ("instance", 2),
    ]
    assert metrics[-1]["temperature_changed_mean"] > metrics[-1]["temperature_unchanged_mean"]
    with (folder / "temperatures.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1297
    temperatures = [float(row["temperature"]) for row in rows]
    assert temperatures == sorted(temperatures, reverse=True)
    assert all(
        (row["given_label"] != row["true_label"]) == (row["changed"] == "True") for row in rows
    )
    for name in ("accuracy.png", "temperature.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    again = run("demo", "--epochs", "1", cwd=tmp_path)
    assert "Run folder: runs/demo-2\n" in again.stdout


def test_data_parameters_help() -> None:
    """The default demo; a benchmark holds its gain over five seeds."""
    result = run_demo(DemoConfig())
    assert result.auroc > 0.9
    assert result.instance[-1].test_accuracy > result.plain[-1].test_accuracy + 0.05
    # Both start from the same network and see the same minibatches.
    assert result.plain[0].train_loss == pytest.approx(result.instance[0].train_loss, rel=0.02)


def test_the_same_seed_gives_the_same_run() -> None:
    first, second = (run_demo(DemoConfig(epochs=2, seed=4)) for _ in range(2))
    assert [e.train_loss for e in first.instance] == [e.train_loss for e in second.instance]
    assert first.auroc == second.auroc


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fraction", "1.5"], "Write 40 % as 0.4"),
        (["--epochs", "0"], "at least 1"),
        (["--lr-instance", "-1"], "above 0"),
        (["--epochs", "many"], "many"),
        (["--seed", "-1"], "`seed` should lie in"),
        (["--wrong", "1"], "--wrong"),
    ],
)
def test_wrong_options(words: list[str], message: str, tmp_path: Path) -> None:
    done = run("demo", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in " ".join((done.stdout + done.stderr).replace("│", " ").split())
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_taken_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    done = run("demo", "--output", "mine", cwd=tmp_path)
    assert done.returncode == 1
    assert "name another" in done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_new_folders_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [new_run_folder("demo", None).path.name for _ in range(3)]
    assert names == ["demo", "demo-2", "demo-3"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert new_run_folder("demo", empty).path == empty


def test_ctrl_c_ends_cleanly(tmp_path: Path) -> None:
    process = start("demo", "--epochs", "100000", cwd=tmp_path)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Run folder")
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Interrupted." in stderr
    assert "Traceback" not in stderr


def test_version_and_help(tmp_path: Path) -> None:
    assert run("--version", cwd=tmp_path).stdout.startswith("data-parameters 0.")
    assert "demo" in run("--help", cwd=tmp_path).stdout
