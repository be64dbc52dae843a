"""`data-parameters report`, and the report that a run makes at its end, as a user meets them."""

import base64
import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from browser import browser, console, needs_browser
from command import run
from data_parameters.training.config import RuntimeConfig, TemperatureConfig, TrainConfig
from data_parameters.training.data import DataConfig, load_data
from data_parameters.training.decisions import read_decisions
from data_parameters.training.models import ModelConfig
from data_parameters.training.recipes import RECIPES
from data_parameters.training.run import start_run
from data_parameters.training.run_report import ReportConfig, write_report
from data_parameters.training.saved_run import SavedRun

LEARN = TemperatureConfig(learn=True)
QUICK = ("train", "--recipe", "digits", "--epochs", "2", "--data.limit", "300")
NOISE = ("--noise.kind", "permute", "--noise.fraction", "0.4")


def data_of(page: Path) -> dict[str, Any]:
    text = page.read_text(encoding="utf-8")
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert match is not None
    found: dict[str, Any] = json.loads(match[1])
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cwd = tmp_path_factory.mktemp("finished")
    words = (*QUICK, *NOISE, "--validation-fraction", "0.2", "--output", "r")
    done = run(*words, cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert "Look at the labels in r/report.html." in done.stdout
    return cwd / "r"


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "r"))


def test_a_run_makes_its_report(finished: Path) -> None:
    data, saved = data_of(finished / "report.html"), SavedRun.open(finished)
    assert data["run"]["name"] == "r"
    assert data["run"]["finished"]
    assert data["run"]["missing"] == []
    assert data["run"]["dataset"] == saved.dataset
    assert torch.__version__.startswith(data["run"]["versions"]["torch"])
    assert data["accuracy"]["series"].keys() == {"Test", "Validation", "Training"}
    assert data["accuracy"]["epochs"] == [1, 2]
    trained, changed = saved.trained.numpy(), saved.labels.changed
    assert changed is not None
    assert [group["name"] for group in data["spread"]["groups"]] == ["Trained", "Clean", "Changed"]
    assert data["spread"]["groups"][0]["count"] == 240
    assert data["spread"]["groups"][2]["count"] == int(changed.numpy()[trained].sum())
    assert data["noise"]["known_rate"] == pytest.approx(changed.numpy()[trained].mean())
    assert sum(data["classes"]["count"]) == 240


def test_the_table_holds_what_the_run_kept(finished: Path) -> None:
    data, saved = data_of(finished / "report.html"), SavedRun.open(finished)
    table = data["instances"]
    index = table["index"]
    # Held out instances have nothing to say about their labels.
    assert sorted(index) == np.flatnonzero(saved.trained.numpy()).tolist()
    assert table["label_score"] == sorted(table["label_score"])
    labels = saved.labels
    assert labels.true is not None and labels.source_rows is not None
    assert table["given_label"] == labels.given[index].tolist()
    assert table["true_label"] == labels.true[index].tolist()
    assert table["source_row"] == labels.source_rows[index].tolist()
    for name in ("temperature", "margin"):
        assert table[name] == pytest.approx(saved.instances[name][index], abs=1e-3)
    last = saved.tables[-1].log_instance
    assert last is not None
    assert [row[-1] for row in table["log_temperature"]] == pytest.approx(last[index], abs=0.006)
    assert len(table["previews"]) == len(index)
    assert all(each["image"].startswith("data:image/png") for each in table["previews"])


def test_thumbnails_are_those_of_the_instances(finished: Path) -> None:
    data, saved = data_of(finished / "report.html"), SavedRun.open(finished)
    inputs = load_data(saved.config.data).train.inputs
    for place in (0, 7, -1):
        content = base64.b64decode(data["instances"]["previews"][place]["image"].split(",")[1])
        pixels = np.asarray(Image.open(io.BytesIO(content)))
        assert pixels.tolist() == inputs[data["instances"]["index"][place]][0].tolist()


def test_the_command_writes_the_same(finished: Path, tmp_path: Path) -> None:
    done = run("report", finished, "--output", "mine.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Open mine.html in a browser.\n"
    assert (tmp_path / "mine.html").read_bytes() == (finished / "report.html").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.html"]
    write_report(ReportConfig(run=finished, rows=20, output=tmp_path / "short.html"))
    assert len(data_of(tmp_path / "short.html")["instances"]["index"]) == 20


def test_it_can_be_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quiet = RuntimeConfig(report=False)
    start_run(TrainConfig(epochs=1, limit_batches=1, runtime=quiet, output=tmp_path / "r"))
    assert not (tmp_path / "r" / "report.html").exists()
    assert "report" not in capsys.readouterr().out


def test_a_report_that_fails_is_no_failure_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> Path:
        raise RuntimeError("out of ink")

    monkeypatch.setattr("data_parameters.training.run_report.write_report", fail)
    config = TrainConfig(epochs=1, limit_batches=1, output=tmp_path / "r")
    assert start_run(config).epochs == 1
    assert (tmp_path / "r" / "result.json").exists()
    words = " ".join(capsys.readouterr().out.split())
    assert "could not be made (RuntimeError: out of ink)" in words
    assert "data-parameters report" in words


@pytest.mark.parametrize(
    ("kept", "missing", "has_table"),
    [
        ({"dynamics": True}, ["no instance parameters"], True),
        ({"dynamics": False, "instances": LEARN}, [], True),
        ({"dynamics": False}, ["neither", "no instance parameters"], False),
        ({"dynamics": True, "classes": LEARN}, ["no instance parameters"], True),
    ],
)
def test_what_a_run_did_not_keep_is_named(
    kept: dict[str, Any], missing: list[str], has_table: bool, tmp_path: Path
) -> None:
    start_run(TrainConfig(epochs=1, limit_batches=3, output=tmp_path / "r", **kept))
    data = data_of(tmp_path / "r" / "report.html")
    assert len(data["run"]["missing"]) == len(missing)
    for part, line in zip(missing, data["run"]["missing"], strict=True):
        assert part in line
    assert (data["instances"] is not None) == has_table
    assert data["accuracy"]["series"]["Test"][0] > 0
    learned = LEARN in kept.values()
    assert (data["classes"]["log_temperature"] is not None) == learned


def test_without_the_packages_of_extras_there_is_less_to_see(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIL", "pandas"):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, name, None)
            without.delitem(sys.modules, "data_parameters.report.thumbnails", raising=False)
            data = data_of(write_report(ReportConfig(run=copy)))
        [line] = data["run"]["missing"]
        assert "pip install 'data-parameters[" in line
        assert (data["instances"] is None) == (name == "pandas")
        assert data["spread"]["groups"][0]["count"] == 240


def test_a_half_written_run(copy: Path) -> None:
    for name in ("result.json", "report.html", "instances.csv", "model.pt"):
        (copy / name).unlink()
    for name in ("tables.npy", "dynamics.npy"):
        path = copy / name
        path.write_bytes(path.read_bytes()[:-10])
    with (copy / "metrics.jsonl").open("a") as file:
        file.write('{"event": "epoch", "epo')
    data = data_of(write_report(ReportConfig(run=copy)))
    assert not data["run"]["finished"]
    assert data["run"]["missing"] == ["The end: the run stands after epoch 2 of 2."]
    assert data["spread"]["epochs"] == [1]


def test_data_that_are_gone_or_changed_cost_the_previews(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    gone = {**config, "data": {**config["data"], "name": "imagefolder", "path": "absent"}}
    changed = {**config, "noise": {**config["noise"], "seed": 9}}
    for values, words in ((gone, "absent"), (changed, "the data set was changed since")):
        (copy / "config.json").write_text(json.dumps(values))
        data = data_of(write_report(ReportConfig(run=copy)))
        [line] = data["run"]["missing"]
        assert line.startswith("Previews: ")
        assert words in line
        assert data["instances"]["previews"] == []
        assert len(data["instances"]["index"]) == 240


def remove_checkpoints(folder: Path) -> None:
    shutil.rmtree(folder / "checkpoints")


def damage_checkpoints(folder: Path) -> None:
    for path in (folder / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "labels.npz").unlink(), "labels.npz"),
        (lambda folder: (folder / "data.json").write_text("{"), "data.json"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json"),
        (lambda folder: (folder / "metrics.jsonl").unlink(), "has finished an epoch"),
        (remove_checkpoints, "should hold a checkpoint"),
        (damage_checkpoints, "checkpoint"),
    ],
)
def test_errors(damage: Callable[[Path], None], words: str, copy: Path) -> None:
    page = copy / "report.html"
    before = page.read_bytes()
    damage(copy)
    with pytest.raises((FileNotFoundError, ValueError), match=words):
        write_report(ReportConfig(run=copy))
    assert page.read_bytes() == before


def test_no_run_folder(tmp_path: Path) -> None:
    done = run("report", "absent", cwd=tmp_path)
    assert done.returncode == 1
    assert "absent should be the folder of a run" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_texts(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    texts = [f"a <b>word</b> number{i % 7} & more{i}" for i in range(40)]
    for split in ("train", "test"):
        table = datasets.Dataset.from_dict({"text": texts, "label": [i % 2 for i in range(40)]})
        table.to_parquet(str(tmp_path / f"{split}.parquet"))
    data = DataConfig(name="parquet", path=tmp_path)
    start_run(replace(RECIPES["text"], data=data, epochs=1, output=tmp_path / "r"))
    table = data_of(tmp_path / "r" / "report.html")["instances"]
    assert [each["text"] for each in table["previews"]] == [texts[i] for i in table["index"]]


def test_image_files_by_their_names(tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("a & b", "<i>"):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for number in range(3):
                pixels = rng.integers(0, 255, (200, 120, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number} 'x'.png")
    start_run(
        TrainConfig(
            data=DataConfig(name="imagefolder", path=tmp_path / "data", image_size=8),
            model=ModelConfig(name="linear"),
            instances=LEARN,
            epochs=1,
            output=tmp_path / "r",
        )
    )
    table = data_of(tmp_path / "r" / "report.html")["instances"]
    names = [f"{name}/{number} 'x'.png" for name in ("<i>", "a & b") for number in range(3)]
    assert [each["name"] for each in table["previews"]] == [names[i] for i in table["index"]]
    assert all(each["image"].startswith("data:image/webp") for each in table["previews"])


@pytest.mark.long
@needs_browser
def test_what_is_decided_in_the_browser_is_trained_on(finished: Path, tmp_path: Path) -> None:
    from selenium.webdriver import ActionChains

    saved = SavedRun.open(finished)
    with browser(tmp_path) as driver:
        driver.get((finished / "report.html").as_uri())
        row = driver.find_element("css selector", "table.review tbody tr")
        driver.execute_script("arguments[0].focus()", row)
        # Wrong, another class than the first one, for each of five; then two more.
        for _ in range(5):
            ActionChains(driver, duration=0).send_keys("l", "\ue015", "\ue007").perform()
        ActionChains(driver, duration=0).send_keys("f", "x").perform()
        button = driver.find_element("xpath", "//button[.='Export decisions']")
        driver.execute_script("arguments[0].click()", button)
        downloads = tmp_path / "downloads"
        for _ in range(1000):
            if found := list(downloads.glob("*.csv")):
                break
            driver.execute_async_script("setTimeout(arguments[0], 20)")
        assert console(driver) == []
    [path] = found
    decisions = read_decisions(
        path, saved.labels.given, saved.class_names, source_rows=saved.labels.source_rows
    )
    assert [each.decision for each in decisions].count("wrong") == 5
    words = (*QUICK, *NOISE, "--validation-fraction", "0.2", "--labels", path, "--output", "again")
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "5 labels changed, 1 instances excluded, 1 left as they were" in done.stdout
    again = SavedRun.open(tmp_path / "again")
    for each in decisions:
        expected = each.given_label if each.label is None else each.label
        assert again.labels.given[each.index] == expected
        assert bool(again.trained[each.index]) == (each.decision != "exclude")
    assert data_of(tmp_path / "again" / "report.html")["run"]["dataset"] != saved.dataset
