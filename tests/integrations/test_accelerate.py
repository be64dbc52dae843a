"""Accelerate trains the tables of the plain loop, whatever happens on the way."""

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.data_loader import BatchSamplerShard
from accelerate.state import AcceleratorState, GradientState
from torch.testing import assert_close
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

import accelerate_run
from accelerate_run import fit, plain_loop
from data_parameters import DataParameters, IndexedDataset, SparseSGD, TrainingDynamics
from data_parameters.integrations.accelerate import AccelerateDataParameters
from processes import torchrun
from small_training import (
    NUM_INSTANCES,
    assert_same,
    data_parts,
    model,
    model_optimizer,
    train_set,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _a_process_of_its_own() -> Iterator[None]:
    """Accelerate keeps one state a process, which the next test must not find."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def test_same_tables_as_the_plain_loop() -> None:
    assert_same(fit(8), plain_loop(8))


@pytest.mark.parametrize("steps_saved", [8, 6])  # within an epoch, and at its end
def test_a_stopped_run_goes_on(steps_saved: int, tmp_path: Path) -> None:
    whole = fit(8, shuffle=True)
    fit(8, shuffle=True, folder=tmp_path, stop_after=steps_saved)
    assert_same(fit(8, shuffle=True, folder=tmp_path, resume_after=steps_saved), whole)


def test_accumulation_is_one_large_minibatch() -> None:
    assert_same(fit(3, gradient_accumulation_steps=2), plain_loop(6))


def build(accelerator: Accelerator, **options: Any) -> tuple[Any, ...]:
    net, (tables, data_optimizer, _) = model(), data_parts()
    optimizer = model_optimizer(net)
    data = AccelerateDataParameters(accelerator, optimizer, tables, data_optimizer, **options)
    return net, optimizer, tables, data


def test_a_step_that_the_loss_scaler_skips_moves_no_row() -> None:
    accelerator = Accelerator(cpu=True)
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    net, optimizer, tables, data = build(accelerator)
    loader = DataLoader(IndexedDataset(train_set()), 8)
    optimizer, loader = accelerator.prepare(optimizer, loader)
    step = 0
    net.weight.register_hook(lambda grad: grad * torch.inf if step == 4 else grad)
    for inputs, target, index in (batch for _ in range(3) for batch in loader):
        before = tables.log_class.detach().clone()
        accelerator.backward(data.cross_entropy(net(inputs), target, index))
        optimizer.step()
        optimizer.zero_grad()
        assert torch.equal(tables.log_class, before) == (step == 4)
        step += 1
    expected = plain_loop(8, skipped_step=4)
    for name, table in tables.state_dict().items():
        assert_close(table, expected[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("split_batches", [False, True])
@pytest.mark.parametrize("num_processes", [2, 3])
@pytest.mark.parametrize("num_instances", range(13, 25))
def test_repeated_samples_are_those_that_accelerate_repeats(
    num_instances: int, num_processes: int, split_batches: bool
) -> None:
    """Over all processes each instance is kept once, whatever remains for the last minibatches."""
    kept: list[int] = []
    for rank in range(num_processes):
        inner = BatchSampler(SequentialSampler(range(num_instances)), 6, drop_last=False)
        shard = BatchSamplerShard(inner, num_processes, rank, split_batches)
        batches = list(shard)
        for number, batch in enumerate(batches):
            state = SimpleNamespace(
                active_dataloader=SimpleNamespace(batch_sampler=shard),
                end_of_dataloader=number == len(batches) - 1,
            )
            accelerator = SimpleNamespace(
                num_processes=num_processes, process_index=rank, gradient_state=state
            )
            data = SimpleNamespace(accelerator=accelerator)
            number_kept = AccelerateDataParameters._num_without_repeats(data, len(batch))
            kept += batch[:number_kept]
    assert sorted(kept) == list(range(num_instances))


def run_example() -> None:
    runpy.run_path(str(ROOT / "examples" / "accelerate_loop.py"), run_name="__main__")


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    run_example()
    found = re.search(r"(\d+)% have a wrong label", capsys.readouterr().out)
    assert found is not None
    assert int(found[1]) > 60  # a fifth of all labels are wrong


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/stacks/accelerate.md").read_text()
    net = model()
    names = {
        "torch": torch,
        "Accelerator": lambda **options: Accelerator(cpu=True, **options),
        "DataLoader": DataLoader,
        "DataParameters": DataParameters,
        "IndexedDataset": IndexedDataset,
        "SparseSGD": SparseSGD,
        "TrainingDynamics": TrainingDynamics,
        "train_set": train_set(),
        "model": net,
        "optimizer": torch.optim.SGD(net.parameters(), lr=0.1),
        "num_epochs": 2,
    }
    for code in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(code, names)
    assert (names["tables"].log_instance != 0).all()


# Bad use.


def test_no_index() -> None:
    net, _, _, data = build(Accelerator(cpu=True))
    inputs, target = train_set()[:8]
    with pytest.raises(ValueError, match="IndexedDataset adds the index"):
        data.cross_entropy(net(inputs), target)


def test_two_optimizers_that_fight_over_the_tables() -> None:
    tables, data_optimizer, _ = data_parts()
    net = model()
    net.tables = tables  # in the model that is going to be wrapped
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="out of the model and of its optimizer"):
        AccelerateDataParameters(Accelerator(cpu=True), optimizer, tables, data_optimizer)


def test_prepared_tables() -> None:
    accelerator = Accelerator(cpu=True)
    tables, data_optimizer, _ = data_parts()
    optimizer = torch.optim.SGD(model().parameters(), lr=0.1)
    prepared = accelerator.prepare(data_optimizer)
    with pytest.raises(ValueError, match=r"out of `accelerator.prepare`"):
        AccelerateDataParameters(accelerator, optimizer, tables, prepared)


def test_unequal_numbers_of_minibatches() -> None:
    accelerator = SimpleNamespace(num_processes=2, even_batches=False)
    tables, data_optimizer, _ = data_parts()
    optimizer = torch.optim.SGD(model().parameters(), lr=0.1)
    with pytest.raises(ValueError, match="Leave it True"):
        AccelerateDataParameters(accelerator, optimizer, tables, data_optimizer)


def test_a_loss_that_asks_for_no_temperature() -> None:
    net, optimizer, _, _ = build(Accelerator(cpu=True))
    net(train_set()[:8][0]).sum().backward()
    with pytest.raises(RuntimeError, match=r"Compute it by `cross_entropy"):
        optimizer.step()


def test_validation_takes_no_temperature() -> None:
    net, _, _, data = build(Accelerator(cpu=True))
    inputs, target = train_set()[:8]
    with torch.no_grad(), pytest.raises(RuntimeError, match="to validate"):
        data.cross_entropy(net(inputs), target, torch.arange(8))


@pytest.mark.parametrize("change", ["other labels", "more instances"])
def test_a_checkpoint_of_another_data_set_changes_nothing(change: str, tmp_path: Path) -> None:
    labels = train_set().tensors[1]
    accelerator = Accelerator(cpu=True)
    build(accelerator, labels=labels)
    accelerator.save_state(str(tmp_path))

    other = Accelerator(cpu=True)
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    size = NUM_INSTANCES + (change == "more instances")
    tables = DataParameters(num_classes=4, num_instances=size, init_class=2.0)
    data_optimizer = SparseSGD(tables.param_groups())
    given = labels.flip(0) if change == "other labels" else None
    AccelerateDataParameters(other, optimizer, tables, data_optimizer, labels=given)
    with pytest.raises((ValueError, RuntimeError), match=r"another data set|same training set"):
        other.load_state(str(tmp_path))
    assert_close(tables.class_temperature, torch.full((4,), 2.0))


# Processes.


@pytest.mark.long
def test_two_processes_train_the_tables_of_one(tmp_path: Path) -> None:
    finished = torchrun(accelerate_run.__file__, tmp_path, "whole")
    assert finished.returncode == 0, finished.stderr
    for rank in range(2):
        for found, batch_size in zip(torch.load(tmp_path / f"{rank}.pt"), (16, 8), strict=True):
            assert_same(found, plain_loop(batch_size))


@pytest.mark.long
def test_two_processes_that_were_killed_go_on(tmp_path: Path) -> None:
    killed = torchrun(accelerate_run.__file__, tmp_path, "kill")
    assert killed.returncode != 0
    assert not list(tmp_path.glob("*.pt"))
    finished = torchrun(accelerate_run.__file__, tmp_path, "resume")
    assert finished.returncode == 0, finished.stderr
    for rank in range(2):
        assert_same(torch.load(tmp_path / f"{rank}.pt")[0], plain_loop(16))
