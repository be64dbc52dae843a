"""A second phase: planted labels, the judgement, and what follows from it."""

import csv
import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from command import run, start
from data_parameters import TrainingDynamics
from data_parameters.training.checkpoint import newest_checkpoint, save_checkpoint
from data_parameters.training.config import SecondPhaseConfig, TrainConfig
from data_parameters.training.labels import Labels
from data_parameters.training.saved_run import SavedRun
from data_parameters.training.second_phase import SecondPhase, finding

DIGITS = (
    "train", "--recipe", "digits", "--epochs", "9", "--schedule.milestones", "6", "8",
    "--instances.lr", "0.2", "--phase2.run", "--runtime.no-report", "--output", "r",
)  # fmt: skip
NOISE = ("--noise.kind", "permute", "--noise.fraction", "0.4")


def phase(**settings: Any) -> SecondPhase:
    labels = Labels(given=torch.arange(1000) % 4)
    trained = torch.arange(1000) >= 100
    config = TrainConfig(epochs=9, phase2=SecondPhaseConfig(run=True, planted=0.1, **settings))
    return SecondPhase(config, labels, trained, num_classes=4)


def seen(second: SecondPhase, wrong: torch.Tensor) -> TrainingDynamics:
    """What a network does that takes every instance for its true class, and labels for it too."""
    dynamics = TrainingDynamics(1000)
    true = torch.where(wrong, (second.labels.given + 1) % 4, second.labels.given)
    index = second.rows
    confidence = torch.linspace(1.0, 3.0, len(index)).unsqueeze(1)
    logits = confidence * torch.nn.functional.one_hot(true[index], 4).float()
    dynamics.update(logits, second.given[index], index)
    return dynamics


def test_planted_labels_are_wrong_until_the_judgement() -> None:
    second = phase()
    planted = second.planted
    assert planted.sum() == 90
    assert not planted[:100].any()  # held out
    assert torch.equal(second.given != second.labels.given, planted)
    assert torch.equal(phase().planted, planted)
    second.judgement = second.judge(seen(second, torch.zeros(1000, dtype=torch.bool)), 3)
    assert torch.equal(second.given, second.labels.given)


def test_wrong_labels_are_left_out_and_planted_ones_are_not() -> None:
    second = phase()
    wrong = (torch.arange(1000) % 5 == 0) & ~second.planted & second.trained
    second.judgement = second.judge(seen(second, wrong), 3)
    left_out = second.judgement.left_out
    assert not left_out[~wrong].any()
    assert left_out[wrong].float().mean() > 0.8
    assert not second.judgement.restarts  # no planted label was learned by heart
    assert second.judgement.noise_rate == pytest.approx(float(wrong.sum()) / 810, abs=0.08)
    assert torch.equal(second.rows, (second.trained & ~left_out).nonzero().flatten())
    assert "instances are left out, and training goes on" in str(second.judgement)
    again = phase()
    again.load_state_dict(second.state_dict())
    assert torch.equal(again.rows, second.rows)


def test_hardly_any_wrong_label_leaves_all_in() -> None:
    second = phase()
    wrong = (torch.arange(1000) == 150) & ~second.planted
    judgement = second.judge(seen(second, wrong), 3)
    assert judgement.noise_rate is not None
    assert judgement.noise_rate < 0.05
    assert not judgement.left_out.any()
    assert not judgement.restarts
    assert "None is left out" in str(judgement)


def test_planted_labels_that_were_never_seen_judge_nothing() -> None:
    second = phase()
    judgement = second.judge(TrainingDynamics(1000), 3)
    assert not judgement.left_out.any()
    assert judgement.noise_rate is None
    assert "Too few planted labels were seen" in str(judgement)


def test_margins_that_overflow_say_nothing() -> None:
    second = phase()
    wrong = (torch.arange(1000) % 5 == 0) & ~second.planted & second.trained
    dynamics = seen(second, wrong)
    expected = second.judge(dynamics, 3)
    blown_up = wrong.nonzero().flatten()[:5]
    huge = -1e38 * torch.nn.functional.one_hot(second.given[blown_up], 4)
    for _ in range(5):
        dynamics.update(huge, second.given[blown_up], blown_up)
    assert dynamics.clipped_margin[blown_up].isinf().all()
    found = second.judge(dynamics, 3)
    assert not found.left_out[blown_up].any()
    assert found.noise_rate == pytest.approx(expected.noise_rate, abs=0.02)


def predicting(second: SecondPhase, share: float) -> TrainingDynamics:
    """What a network does that predicts a share of the planted labels, and the right ones else."""
    planted = second.planted.nonzero().flatten()
    learned = planted[: round(share * len(planted))]
    predicted = second.labels.given.clone()
    predicted[learned] = second.given[learned]
    dynamics = TrainingDynamics(1000)
    logits = torch.nn.functional.one_hot(predicted, 4).float()
    dynamics.update(logits, second.given, torch.arange(1000))
    return dynamics


def test_labels_are_judged_once_half_of_the_planted_ones_are_learned_by_heart() -> None:
    second = phase(latest=0.9)
    due = []
    for epoch, share in enumerate((0.6, 0.2, 0.3, 0.5, 0.7), start=1):
        second.observe(predicting(second, share))
        due.append(second.is_due(epoch))
    assert due == [False, False, False, False, True]  # from 0.2, half of the way is 0.6
    second.judgement = second.judge(predicting(second, 0.7), 5)
    assert second.judgement.learned == pytest.approx(0.625, abs=0.01)
    assert not second.is_due(6)
    again = phase(latest=0.9)
    again.load_state_dict(second.state_dict())
    assert again.learned == second.learned


@pytest.mark.parametrize(("share", "judges"), [(0.4, False), (0.6, True)])
def test_who_learned_half_by_heart_judges_where_planted_labels_are_hardly_told_apart(
    share: float, judges: bool
) -> None:
    second = phase(learned=0.3)
    noise = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    shift = noise - 0.5 * second.planted  # two of three pairs in order
    logits = shift.unsqueeze(1) * torch.nn.functional.one_hot(second.given, 4)
    dynamics = TrainingDynamics(1000)
    dynamics.update(logits, second.given, torch.arange(1000))
    for predicted in (0.0, share):
        second.observe(predicting(second, predicted))
    found = second.judge(dynamics, 5)
    assert found.learned == pytest.approx(share, abs=0.01)
    assert found.noise_rate is not None
    assert (found.noise_rate > 0) == judges
    assert bool(found.left_out.any()) == judges
    assert ("learned too little to tell" in str(found)) != judges


@pytest.mark.parametrize(
    ("rate", "learned", "said"),
    [
        (0.32, 0.1, "about 32.0% of the labels are wrong at random"),
        (0.0, 0.1, "learned too little to tell"),
        (0.0, 0.5, "classes taken for each other do not show"),
    ],
)
def test_an_estimate_says_what_it_cannot_see(rate: float, learned: float, said: str) -> None:
    assert said in finding(rate, learned)


@pytest.mark.parametrize(("latest", "first"), [(0.5, 4), (0.0, 1), (0.9, 8)])
def test_labels_are_judged_in_time(latest: float, first: int) -> None:
    second = phase(latest=latest)
    # Also where no planted label was seen: no run ends on planted ones.
    assert [second.is_due(epoch) for epoch in range(10)].index(True) == first
    assert not second.is_due(9)
    second.observe(predicting(second, 0.1))
    due = [second.is_due(epoch) for epoch in range(10)]
    assert due == [first <= epoch < 9 for epoch in range(10)]


def test_too_few_to_plant() -> None:
    labels = Labels(given=torch.arange(300) % 4)
    config = TrainConfig(phase2=SecondPhaseConfig(run=True))
    second = SecondPhase(config, labels, torch.ones(300, dtype=torch.bool), num_classes=4)
    assert not second.is_possible
    assert torch.equal(second.given, labels.given)
    assert not any(second.is_due(epoch) for epoch in range(60))


def test_a_second_phase_needs_dynamics() -> None:
    with pytest.raises(ValueError, match="should go with `dynamics`"):
        TrainConfig(phase2=SecondPhaseConfig(run=True), dynamics=False)


def test_a_run_on_noisy_digits(tmp_path: Path) -> None:
    # The smallest rise counts as learned by heart, so that training begins again.
    done = run(*DIGITS, *NOISE, "--phase2.learned", "0.01", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "r"
    found = json.loads((folder / "result.json").read_text())["second_phase"]
    begun, left_out_count = found["epoch"], found["num_left_out"]
    assert begun < 6
    assert found["restarts"]
    assert found["noise_rate"] == pytest.approx(474 / 1297, abs=0.12)
    assert f"{left_out_count} instances are left out, and training begins again" in done.stdout
    assert f"Second phase: after epoch {begun} {left_out_count} instances were" in done.stdout
    assert found["precision"] > 0.8
    assert f"Of those left out {found['precision']:.0%} are wrong" in done.stdout
    assert "σ finds" not in done.stdout  # temperatures of two phases do not compare
    with (folder / "instances.csv").open() as file:
        rows = list(csv.DictReader(file))
    left_out, planted = (
        np.array([row[name] == "True" for row in rows]) for name in ("left_out", "planted")
    )
    assert planted.sum() == 60
    assert not left_out[planted].any()
    wrong = np.array([row["given_label"] != row["true_label"] for row in rows])
    assert left_out.sum() == left_out_count
    assert wrong[left_out].mean() > 0.8
    assert left_out[wrong].mean() > 0.7
    # The whole schedule, with drops before epochs 6 and 8 of 9, fits into those that follow.
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    rates = [line["lr"] for line in lines if line["event"] == "epoch"]
    place = [int(9 * (epoch - begun + 1) / (9 - begun) - 1e-9) for epoch in range(begun, 9)]
    assert rates[:begun] == [0.1] * begun
    assert rates[-1] == pytest.approx(0.001)
    assert rates.index(pytest.approx(0.01)) == begun + next(
        i for i, epoch in enumerate(place) if epoch >= 6
    )
    instances = SavedRun.open(folder).instances
    assert (instances["count"][left_out] == begun).all()
    assert (instances["count"][~left_out] >= 9 - begun).all()
    assert np.nanmedian(instances["temperature"][left_out]) > 1
    index = str(np.flatnonzero(left_out)[0])
    explained = run("explain", "r", index, cwd=tmp_path)
    assert f"It was left out of the training after epoch {begun}." in explained.stdout
    assert "on purpose" not in explained.stdout


def test_a_run_on_clean_digits_leaves_all_in(tmp_path: Path) -> None:
    done = run(*DIGITS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "None is left out, and training goes on." in done.stdout
    saved = SavedRun.open(tmp_path / "r")
    counts = saved.instances["count"]
    assert np.unique(counts).tolist() == [5, 9]  # 4 epochs with planted labels
    index = int(np.flatnonzero(counts == 5)[0])
    explained = run("explain", "r", str(index), cwd=tmp_path)
    planted = saved.class_names[int(saved.second_phase.planted_labels[index])]
    words = f"Until epoch 4 it was trained on a wrong label on purpose, {planted},"
    assert words in " ".join(explained.stdout.split())


def test_no_run_ends_on_planted_labels(tmp_path: Path) -> None:
    patient = ("--validation-fraction", "0.1", "--patience", "1", "--epochs", "30")
    done = run(*DIGITS, *NOISE, *patient, "--optimizer.lr", "0.3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "r" / "result.json").read_text())
    assert result["second_phase"]["epoch"] < result["epochs"]
    assert result["selected_epoch"] > result["second_phase"]["epoch"]


def test_a_late_start_leaves_an_epoch_to_judge_by() -> None:
    config = TrainConfig(
        epochs=9, start_epoch=7, phase2=SecondPhaseConfig(run=True, planted=0.1, latest=0.5)
    )
    labels, trained = Labels(given=torch.arange(1000) % 4), torch.ones(1000, dtype=torch.bool)
    second = SecondPhase(config, labels, trained, num_classes=4)
    assert [epoch for epoch in range(7, 10) if second.is_due(epoch)] == [8]
    last = SecondPhase(replace(config, start_epoch=8), labels, trained, num_classes=4)
    assert not last.is_possible
    assert torch.equal(last.given, labels.given)


def test_one_epoch_plants_nothing(tmp_path: Path) -> None:
    done = run(*DIGITS, "--epochs", "1", "--schedule.milestones", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "There is no second phase: judging the labels takes" in done.stdout
    assert not np.isnan(SavedRun.open(tmp_path / "r").instances["temperature"]).any()


def test_a_checkpoint_of_an_older_version_is_read(tmp_path: Path) -> None:
    words = [word for word in DIGITS if word != "--phase2.run"]
    done = run(*words, "--epochs", "2", "--schedule.milestones", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "r" / "checkpoints"
    state, _ = newest_checkpoint(folder)
    assert state is not None
    del state["second_phase"], state["progress"]["first_epoch"]
    for path in folder.iterdir():
        path.unlink()
    save_checkpoint(folder, state["progress"]["step"], state)
    assert len(SavedRun.open(tmp_path / "r").instances["temperature"]) == 1297
    again = run("train", "--resume", "r", cwd=tmp_path)
    assert again.returncode == 0, again.stderr


def test_an_interrupted_first_phase_says_nothing_of_planted_labels(tmp_path: Path) -> None:
    process = start(*DIGITS, *NOISE, cwd=tmp_path)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Epoch 1/9"):
            process.send_signal(signal.SIGINT)
            break
    process.communicate()
    instances = SavedRun.open(tmp_path / "r").instances
    assert np.isnan(instances["temperature"]).sum() == 60
    assert (instances["count"] == 0).sum() == 60
