"""Run folders, read: finished, half-written, and none at all."""

import csv
import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from data_parameters.training.config import NoiseConfig, RuntimeConfig, TrainConfig
from data_parameters.training.decisions import dataset_fingerprint
from data_parameters.training.findings import run_issues
from data_parameters.training.recipes import RECIPES
from data_parameters.training.run import start_run
from data_parameters.training.saved_run import SavedRun

QUICK = replace(
    RECIPES["digits"],
    epochs=2,
    noise=NoiseConfig(kind="permute", fraction=0.4),
    validation_fraction=0.1,
    runtime=RuntimeConfig(device="cpu"),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(QUICK, tmp_path_factory.mktemp("finished") / "run")


def trained(config: TrainConfig, path: Path) -> Path:
    start_run(replace(config, output=path))
    return path


def test_a_finished_run(finished: Path) -> None:
    run = SavedRun.open(finished)
    assert run.class_names == tuple("0123456789")
    assert run.config.epochs == 2
    assert run.dataset == dataset_fingerprint(run.labels.given, run.class_names)
    assert run.versions["torch"] == version("torch")
    assert run.result is not None
    assert [line["epoch"] for line in run.epochs] == [1, 2]
    assert [snapshot.epoch for snapshot in run.tables] == [1, 2]
    assert [snapshot.epoch for snapshot in run.dynamics] == [1, 2]
    assert run.input_shape == (1, 8, 8)
    assert run.labels.source_rows is not None
    assert len(run.labels.source_rows) == run.num_instances == 1297
    assert int(run.trained.sum()) == 1297 - 129


def test_instances_are_those_of_the_table_that_the_run_wrote(finished: Path) -> None:
    run = SavedRun.open(finished)
    with (finished / "instances.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = {*rows[0]} - {"index", "source_row", "given_label", "true_label"}
    assert names == run.instances.keys()
    for name, column in run.instances.items():
        expected = np.array([float(row[name]) for row in rows], dtype=np.float32)
        if name == "temperature":  # held out ones keep their first one in the table
            expected[~run.trained.numpy()] = np.nan
        np.testing.assert_allclose(column.astype(np.float32), expected, rtol=1e-6)
    held_out = ~run.trained.numpy()
    assert np.isnan(run.instances["clipped_margin"][held_out]).all()
    assert (run.instances["rival"][held_out] == -1).all()
    issues = run_issues(run)
    assert issues is not None
    assert issues["label_score"].isna().to_numpy().tolist() == held_out.tolist()


def test_the_last_epoch_of_the_files_is_the_state(finished: Path) -> None:
    run = SavedRun.open(finished)
    last = run.tables[-1].log_instance
    assert last is not None
    seen = run.trained.numpy()
    np.testing.assert_allclose(
        np.exp(last[seen].astype(np.float32)), run.instances["temperature"][seen], rtol=2e-3
    )
    predictions = run.dynamics[-1].last_prediction
    np.testing.assert_array_equal(predictions, run.instances["last_prediction"])


def test_a_half_written_run(finished: Path, tmp_path: Path) -> None:
    """As a run leaves its folder that is killed while it writes its second epoch."""
    path = tmp_path / "half"
    shutil.copytree(finished, path)
    for name in ("result.json", "instances.csv"):
        (path / name).unlink()
    newest = max((path / "checkpoints").iterdir())
    newest.unlink()
    for name in ("tables.npy", "dynamics.npy"):
        with (path / name).open("r+b") as file:
            file.truncate(file.seek(0, 2) - 100)
    run = SavedRun.open(path)
    assert run.result is None
    assert [snapshot.epoch for snapshot in run.tables] == [1]
    assert [snapshot.epoch for snapshot in run.dynamics] == [1]
    assert (run.instances["count"][run.trained.numpy()] == 1).all()
    assert run_issues(run) is not None


def test_before_the_first_checkpoint(finished: Path, tmp_path: Path) -> None:
    path = tmp_path / "early"
    path.mkdir()
    for name in ("config.json", "data.json", "labels.npz"):
        shutil.copy(finished / name, path / name)
    run = SavedRun.open(path)
    assert run.tables == run.dynamics == run.epochs == []
    with pytest.raises(FileNotFoundError, match="Wait for the end of its first epoch"):
        run.instances  # noqa: B018


def test_levels_and_what_is_kept(tmp_path: Path) -> None:
    few = replace(QUICK, epochs=1, validation_fraction=0.0)
    no_tables = replace(few, instances=replace(few.instances, learn=False))
    classes = replace(no_tables, classes=replace(no_tables.classes, learn=True), dynamics=False)
    run = SavedRun.open(trained(no_tables, tmp_path / "dynamics alone"))
    assert "temperature" not in run.instances
    assert run.tables == []
    assert run_issues(run) is not None
    run = SavedRun.open(trained(replace(few, dynamics=False), tmp_path / "temperatures alone"))
    assert list(run.instances) == ["temperature"]
    assert run.dynamics == []
    assert run_issues(run) is not None
    run = SavedRun.open(trained(classes, tmp_path / "classes alone"))
    assert run.instances == {}
    assert run_issues(run) is None


@pytest.mark.parametrize("missing", ["config.json", "data.json", "labels.npz"])
def test_what_is_missing_is_named(missing: str, finished: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(finished, path)
    (path / missing).unlink()
    with pytest.raises(FileNotFoundError, match=f"Found no {missing} in it"):
        SavedRun.open(path)
    with pytest.raises(FileNotFoundError, match="Name the folder that the run printed first"):
        SavedRun.open(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "content"),
    [("data.json", "{"), ("data.json", "[]"), ("data.json", "{}"), ("labels.npz", "PK")],
)
def test_what_is_damaged_is_named(name: str, content: str, finished: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(finished, path)
    (path / name).write_text(content)
    with pytest.raises(ValueError, match=name):
        SavedRun.open(path)
