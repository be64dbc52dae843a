"""The second phase of the study: what its settings do, beside those of the program."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from data_parameters import TrainingDynamics
from effect import cells, tables
from effect.cells import Problem
from effect.grids import ALL_METHODS, INSTANCE, PLAIN
from effect.second_phase import Phases, SecondPhase
from effect.training import Record

N, CLASSES = 2000, 5
WRONG = torch.arange(N) % 3 == 0


def problem() -> Problem:
    true = torch.arange(N) % CLASSES
    given = torch.where(WRONG, (true + 1 + torch.arange(N) // 3 % 4) % CLASSES, true)
    rows, inputs = torch.arange(N), torch.zeros(N, 1)
    return Problem(inputs, given, true, rows[:1900], rows[1900:], inputs, true, CLASSES)


def judged(**settings: Any) -> tuple[Phases, Tensor]:
    """After an epoch in which every true class had the highest logit; and σ of each instance."""
    data = problem()
    phases = Phases(data, SecondPhase(latest=0.5, **settings), epochs=2, seed=0)
    noise = torch.randn(N, CLASSES, generator=torch.Generator().manual_seed(0))
    logits = 3.0 * F.one_hot(data.true, CLASSES) + 0.3 * noise
    dynamics = TrainingDynamics(N)
    dynamics.update(logits, phases.given, torch.arange(N))
    log_instance = (phases.given != data.true).float() + 0.1 * noise[:, 0]
    assert phases.judge_when_due(1, dynamics, log_instance) is not None
    return phases, log_instance


@pytest.mark.parametrize("score", ["margin", "temperature", "both"])
def test_wrong_labels_are_left_out_by_any_score(score: str) -> None:
    phases, _ = judged(score=score)
    found = phases.summary()
    assert 0.2 < found["rate"] < 0.4  # 60 planted labels: the least of noisy ratios is low
    assert found["precision"] > 0.97
    assert found["recall"] > 0.9
    assert float(WRONG[phases.rows][~phases.planted[phases.rows]].float().mean()) < 0.05


def test_negative_margins_need_no_planted_labels() -> None:
    phases, _ = judged(rule="negative")
    assert not bool(phases.planted.any())
    assert phases.rows.tolist() == [row for row in range(1900) if not WRONG[row]]


def test_those_doubted_may_stay_at_the_highest_temperature() -> None:
    phases, _ = judged(down_weighted=True)
    assert torch.equal(phases.rows, problem().train)
    assert float(WRONG[phases.doubted].float().mean()) > 0.97
    objective = INSTANCE.build(problem(), 0)
    objective.set_temperature(phases.doubted, 20.0)
    table = objective.log_instance
    assert table is not None
    expected = torch.zeros(N).index_fill(0, phases.doubted, 20.0).clamp(min=1.0).log()
    assert torch.allclose(table, expected)
    with pytest.raises(ValueError, match="Only instance parameters have temperatures"):
        PLAIN.build(problem(), 0).set_temperature(phases.doubted, 20.0)


def test_rows_among_chosen_classes_are_counted_anew() -> None:
    tensors = {
        "train": torch.arange(6.0).unsqueeze(1),
        "given": torch.tensor([3, 1, 0, 3, 1, 3]),
        "true": torch.tensor([1, 1, 3, 2, 1, 3]),
        "test": torch.arange(4.0).unsqueeze(1),
        "test_labels": torch.tensor([0, 3, 2, 1]),
        "num_classes": torch.tensor(4),
    }
    found = cells._among(tensors, ["a", "fish", "c", "seal"], {"seal", "fish"})
    assert found["train"].flatten().tolist() == [0, 1, 4, 5]
    assert found["given"].tolist() == [1, 0, 0, 1]
    assert found["true"].tolist() == [0, 0, 0, 1]
    assert found["test"].flatten().tolist() == [1, 3]
    assert found["test_labels"].tolist() == [1, 0]
    assert int(found["num_classes"]) == 2


def test_the_authors_stop_four_epochs_after_the_first_drop() -> None:
    def record(method: str) -> Record:
        epochs = ALL_METHODS[method].budget.get("epochs", 60)
        return Record(
            cell="digits/clean", method=method, seed=0, validation=[], train=[], auroc={},
            test=[float(epoch) for epoch in range(1, epochs + 1)], seconds=1.0,
        )  # fmt: skip

    decay = "cross-entropy, SGD with drops, decay 1e-3, 120 epochs"
    assert tables._at_stop(record(decay)) == 84  # as in the published code
    assert tables._at_stop(record("cross-entropy, SGD, constant")) is None
