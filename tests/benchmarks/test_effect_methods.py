"""What the methods of the study do to a minibatch, against plain PyTorch."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_parameters import functional
from effect import training
from effect.cells import Cell, Problem, draw
from effect.grids import ORACLE, PLAIN
from effect.methods import Mixup, Temperatures, Tempered

Batch = tuple[Tensor, Tensor, Tensor]


def problem() -> Problem:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, 5, generator=generator)
    labels = torch.randint(3, (40,), generator=generator)
    rows = torch.arange(40)
    return Problem(inputs, labels, labels, rows[:36], rows[36:], inputs, labels, 3)


def batch(data: Problem) -> Batch:
    index = torch.arange(8)
    return data.inputs[index], data.given[index], index


def tempered(**settings: object) -> tuple[Tempered, nn.Linear, Batch]:
    data = problem()
    objective = Tempered(data, Temperatures(lr_instance=0.5, **settings))  # type: ignore[arg-type]
    table = objective.log_instance
    assert table is not None
    table += torch.linspace(-1.0, 1.0, 40)
    torch.manual_seed(0)
    return objective, nn.Linear(5, 3), batch(data)


def test_temperatures_wait() -> None:
    objective, model, (inputs, target, index) = tempered(waits=2)
    plain = F.cross_entropy(model(inputs), target)
    for epoch, same in enumerate((True, True, False)):
        objective.begin_epoch(epoch, 1.0)
        loss, _ = objective.loss(model, inputs, target, index)
        assert bool(torch.isclose(loss, plain)) == same


@pytest.mark.parametrize(("follows", "lr"), [(True, 0.05), (False, 0.5)])
def test_a_rate_follows_that_of_the_model(follows: bool, lr: float) -> None:
    objective, _, _ = tempered(follows=follows)
    objective.begin_epoch(3, 0.1)
    assert [group["lr"] for group in objective.optimizer.param_groups] == pytest.approx([lr])


def test_temperatures_are_centred_in_each_class() -> None:
    objective, _, _ = tempered(centred=True)
    objective.begin_epoch(1, 1.0)
    table = objective.log_instance
    assert table is not None
    for number in range(3):
        trained = table[:36][problem().given[:36] == number]
        assert trained.mean() == pytest.approx(0.0, abs=1e-6)
    assert torch.equal(table[36:], torch.linspace(-1.0, 1.0, 40)[36:])  # held out


def test_a_constant_step_is_that_of_a_mean_weight_of_1() -> None:
    objective, model, (inputs, target, index) = tempered(constant_step=True)
    objective.begin_epoch(0, 1.0)
    loss, logits = objective.loss(model, inputs, target, index)
    sigma = objective.tables(target, index).detach()
    expected = functional.cross_entropy(logits, target, sigma) / (1 / sigma).mean()
    torch.testing.assert_close(loss, expected)


def test_mixup_mixes_inputs_and_losses_alike() -> None:
    inputs, target, index = batch(problem())
    model = nn.Linear(5, 3)
    loss, logits = Mixup(seed=3).loss(model, inputs, target, index)
    chance = torch.Generator().manual_seed(3)
    share = float(torch.rand((), generator=chance))
    partner = torch.randperm(8, generator=chance)
    mixed = share * inputs + (1 - share) * inputs[partner]
    log_p = model(mixed).log_softmax(dim=1)
    soft = share * F.one_hot(target, 3) + (1 - share) * F.one_hot(target[partner], 3)
    torch.testing.assert_close(loss, -(soft * log_p).sum(dim=1).mean())
    torch.testing.assert_close(logits, model(mixed))


def test_blurred_inputs_keep_their_labels() -> None:
    clear, blurred = (draw(Cell.parse(f"digits/{kind}"), 0) for kind in ("clean", "blurred/2"))
    assert torch.equal(blurred.given, blurred.true)
    assert torch.equal(blurred.given, clear.given)
    added = blurred.inputs - clear.inputs
    assert added.std() == pytest.approx(2 * clear.inputs.std().item(), rel=0.05)
    assert not torch.equal(blurred.test_inputs, clear.test_inputs)


def test_the_oracle_trains_on_right_labels_alone() -> None:
    cell = Cell.parse("digits/permute/0.4")
    plain, oracle = (
        training.run(cell, replace(method, budget={"epochs": 2}), seed=0)
        for method in (PLAIN, ORACLE)
    )
    assert plain.auroc  # wrong labels among those trained on
    assert not oracle.auroc
    assert oracle.train[-1] > plain.train[-1] + 20
