"""`issues`, `explain` and `train --labels`, as a user calls them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from data_parameters.cli import main
from data_parameters.training.decisions import Decision, write_decisions
from data_parameters.training.saved_run import SavedRun

TRAIN = (
    "train", "--recipe", "digits", "--epochs", "8", "--schedule.milestones", "6",
    "--noise.kind", "permute", "--noise.fraction", "0.4", "--runtime.device", "cpu",
)  # fmt: skip
HOSTILE = "a [red]class[/red]\u202e"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("issues") / "run"
    main([*TRAIN, "--output", str(path)])
    return path


def said(capsys: pytest.CaptureFixture[str], *words: Any) -> str:
    main([str(word) for word in words])
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: Any) -> str:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    assert stop.value.code not in (None, 0)
    return f"{stop.value.code} {capsys.readouterr().err}"


def test_issues(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, "issues", finished, "--top", "5")
    run = SavedRun.open(finished)
    assert run.labels.changed is not None
    [rate] = [line for line in out.splitlines() if "estimated noise rate" in line]
    estimated = float(rate.split()[-1].removesuffix("%.")) / 100
    assert estimated == pytest.approx(float(run.labels.changed.float().mean()), abs=0.1)
    assert out.count("│") == 8 * 5  # five rows
    worst = int(out.split("│")[1])
    assert run.labels.changed[worst]


def test_files_hold_all_instances_worst_first(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "issues", finished, "--output", tmp_path / "i.csv")
    said(capsys, "issues", finished, "--output", tmp_path / "i.json")
    issues = pandas.read_csv(tmp_path / "i.csv", dtype={"given_label": str})
    run = SavedRun.open(finished)
    assert len(issues) == run.num_instances
    assert issues["label_score"].is_monotonic_increasing
    assert sorted(issues["index"]) == list(range(run.num_instances))
    assert (issues["dataset"] == run.dataset).all()
    margins = run.instances["margin"][issues["index"]], run.instances["clipped_margin"]
    np.testing.assert_allclose(issues["margin"], margins[0], rtol=1e-5)
    np.testing.assert_allclose(issues["clipped_margin"], margins[1][issues["index"]], rtol=1e-5)
    names = np.array(run.class_names)
    assert (issues["given_label"] == names[run.labels.given.numpy()[issues["index"]]]).all()
    written = json.loads((tmp_path / "i.json").read_text())
    assert [row["index"] for row in written] == issues["index"].tolist()
    pytest.importorskip("pyarrow", reason="Parquet files need pyarrow")
    said(capsys, "issues", finished, "--output", tmp_path / "i.parquet")
    parquet = pandas.read_parquet(tmp_path / "i.parquet")
    assert parquet["index"].tolist() == issues["index"].tolist()


def test_explain(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = SavedRun.open(finished)
    out = said(capsys, "explain", finished, 7)
    assert out.startswith(f"Instance 7, row 7 of the source: given label {run.labels.given[7]}.")
    assert f"True label, which the run knows: {run.labels.true[7]}." in out
    epochs = [line.split("│")[1:-1] for line in out.splitlines() if line.count("│") == 5]
    assert [int(cells[0]) for cells in epochs] == list(range(1, 9))
    assert [int(cells[3]) for cells in epochs] == [
        int(snapshot.last_prediction[7]) for snapshot in run.dynamics
    ]
    sigma = float(run.instances["temperature"][7])
    assert float(epochs[-1][1]) == pytest.approx(sigma, rel=0.01)
    ranks = [int(line.split("│")[1].replace(",", "")) for line in out.splitlines()[-5:-1]]
    assert ranks == sorted(ranks)


def test_a_run_that_has_not_ended_says_so(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run"
    shutil.copytree(finished, path)
    (path / "result.json").unlink()
    max((path / "checkpoints").iterdir()).unlink()
    for words in (("issues", path), ("explain", path, 3)):
        assert said(capsys, *words).startswith("The run has not ended: this is how it stood after")
    assert "not ended" not in said(capsys, "issues", finished)
    for checkpoint in (path / "checkpoints").iterdir():
        checkpoint.unlink()
    assert "Wait for the end of its first epoch" in refused(capsys, "issues", path)


def test_class_names_are_shown_as_text(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run"
    shutil.copytree(finished, path)
    data = json.loads((path / "data.json").read_text())
    data["class_names"] = [f"{HOSTILE} {name}" for name in data["class_names"]]
    (path / "data.json").write_text(json.dumps(data))
    for words in (("issues", path), ("explain", path, 3)):
        assert "[red]class[/red]" in said(capsys, *words)


def test_runs_that_kept_less(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = (*TRAIN, "--epochs", "2", "--schedule.milestones")
    main([*few, "--no-dynamics", "--output", str(tmp_path / "s")])
    main([*few, "--instances.no-learn", "--output", str(tmp_path / "d")])
    main([*few, "--instances.no-learn", "--no-dynamics", "--output", str(tmp_path / "n")])
    capsys.readouterr()
    assert "estimated noise rate" in said(capsys, "issues", tmp_path / "s")
    assert "--no-dynamics" in said(capsys, "explain", tmp_path / "s", 0)
    assert "estimated noise rate" in said(capsys, "issues", tmp_path / "d")
    assert "No instance temperatures were learned" in said(capsys, "explain", tmp_path / "d", 0)
    for command in (("issues",), ("explain",)):
        words = [*command, tmp_path / "n", *([0] if command == ("explain",) else [])]
        assert "Train with --instances.learn" in refused(capsys, *words)


def test_bad_input(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Found no config.json" in refused(capsys, "issues", tmp_path)
    assert "0 to 1296" in refused(capsys, "explain", finished, 1297)
    assert "should end in .csv" in refused(capsys, "issues", finished, "--output", "x.txt")
    missing = tmp_path / "nowhere" / "i.csv"
    assert "nowhere" in refused(capsys, "issues", finished, "--output", missing)


def reviewed(run: SavedRun, path: Path) -> list[Decision]:
    """What somebody who knows the true labels decides about the first forty instances."""
    assert run.labels.true is not None
    decisions = []
    for index in range(40):
        given, true = int(run.labels.given[index]), int(run.labels.true[index])
        if given != true:
            decision = Decision(index=index, given_label=given, decision="wrong", label=true)
        else:
            verdict = ("fine", "unclear", "exclude")[index % 3]
            decision = Decision(index=index, given_label=given, decision=verdict)  # type: ignore[arg-type]
        decisions.append(decision)
    write_decisions(path, decisions, run.class_names, run.dataset)
    return decisions


def test_reviewed_labels_are_trained_on(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, file, path = SavedRun.open(finished), tmp_path / "decisions.csv", tmp_path / "again"
    decisions = reviewed(run, file)
    wrong = [d.index for d in decisions if d.decision == "wrong"]
    excluded = [d.index for d in decisions if d.decision == "exclude"]
    words = (*TRAIN, "--epochs", "2", "--schedule.milestones", "--output", path, "--labels", file)
    out = said(capsys, *words)
    assert f"{len(wrong)} labels changed, {len(excluded)} instances excluded" in out
    again = SavedRun.open(path)
    assert run.labels.true is not None
    assert (again.labels.given[wrong] == run.labels.true[wrong]).all()
    others = np.setdiff1d(np.arange(run.num_instances), wrong)
    assert (again.labels.given[others] == run.labels.given[others]).all()
    # Excluded instances keep their rows, and are never seen.
    assert (again.instances["count"][excluded] == 0).all()
    assert np.isnan(again.instances["temperature"][excluded]).all()
    kept = np.setdiff1d(np.arange(run.num_instances), excluded)
    assert (again.instances["count"][kept] == 2).all()
    [record] = json.loads((path / "data.json").read_text())["reviews"]
    assert (record["relabelled"], record["excluded"]) == (len(wrong), len(excluded))
    assert record["dataset"] == run.dataset

    # It resumes, also from a file that was moved, and with comments that were added.
    moved = tmp_path / "moved.csv"
    text = file.read_text().replace(",fine,,", ",fine,,looked twice")
    moved.write_text(text)
    file.unlink()
    assert str(file) in refused(capsys, "train", "--resume", path)
    assert "Resumed at epoch 2" in said(capsys, "train", "--resume", path, "--labels", moved)
    # Other decisions are refused, with the difference.
    moved.write_text(text.replace(",exclude,", ",fine,", 1))
    message = refused(capsys, "train", "--resume", path, "--labels", moved)
    assert f"exclusions: 1 of 1,297 differ; the first at index {excluded[0]}" in message
    assert "exclusions: some in the run" in refused(capsys, "train", "--resume", path, "--labels")


def test_another_data_sets_decisions_are_refused(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "decisions.csv"
    reviewed(SavedRun.open(finished), file)
    words = (*TRAIN, "--noise.seed", "1", "--labels", file, "--output", tmp_path / "r")
    message = refused(capsys, *words)
    assert f"{file}, line 2: `dataset` should be" in message
    assert not (tmp_path / "r").exists()


def test_explain_shows_what_a_person_looks_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Texts as text, whatever is in them; and the names of image files."""
    pytest.importorskip("datasets", reason="Parquet files need datasets")
    from tables import write_texts

    texts = [f"[red]number {i}[/red] <script>alert({i})</script> of words" for i in range(8)]
    write_texts(tmp_path / "data", text=texts, label=[0, 1] * 4)
    words = ("--epochs", "1", "--batch-size", "4", "--runtime.device", "cpu", "--output")
    few = ("train", "--recipe", "text", "--data.path", tmp_path / "data", *words, tmp_path / "t")
    said(capsys, *few)
    out = said(capsys, "explain", tmp_path / "t", 3)
    assert f"Text: {texts[3]}" in out
    shutil.rmtree(tmp_path / "data")
    assert "The data set could not be read" in said(capsys, "explain", tmp_path / "t", 3)
