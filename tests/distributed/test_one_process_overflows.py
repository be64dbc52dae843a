"""A gradient that is not finite in one process alone: none moves, and all scales stay equal."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from data_parameters import DataParameters, SparseAdamW, SparseSGD, distributed, functional
from processes import run_processes

pytestmark = pytest.mark.long

OVERFLOWS = (2, 5)  # the steps in which process 1 overflows


def train(rank: int, kind: str, unscale: bool, with_model: bool) -> dict[str, Any]:
    """Tables, scale and what moved, step by step."""
    joint = DataParameters(num_classes=3, num_instances=20)
    make = {"sgd": SparseSGD, "adamw": SparseAdamW}[kind]
    optimizer = make(joint.param_groups(), lr=0.1)
    # With a model, whose gradients DDP spreads to all, torch's own scaler does as well.
    scaler_class = torch.amp.GradScaler if with_model else distributed.GradScaler
    scaler = scaler_class("cpu", init_scale=1024.0, growth_interval=3)
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Linear(4, 3))
    model_optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(rank)
    scales, moved, model_moved = [], [], []
    for step in range(8):
        before = joint.log_instance.detach().clone()
        weights_before = model.module.weight.detach().clone()
        target = torch.randint(3, (5,), generator=generator)
        index = torch.randint(20, (5,), generator=generator)
        inputs = torch.randn(5, 4, generator=generator)
        logits = model(inputs) if with_model else inputs[:, :3]
        loss = functional.cross_entropy(logits, target, joint(target, index))
        if rank == 1 and step in OVERFLOWS:
            loss = loss * torch.inf
        optimizer.zero_grad()
        model_optimizer.zero_grad()
        scaler.scale(loss).backward()
        if unscale:
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        if with_model:
            scaler.step(model_optimizer)
        scaler.update()
        scales.append(scaler.get_scale())
        moved.append(not torch.equal(before, joint.log_instance.detach()))
        model_moved.append(not torch.equal(weights_before, model.module.weight.detach()))
    tables = torch.cat([joint.log_class.detach(), joint.log_instance.detach()])
    return {
        "tables": tables,
        "scales": scales,
        "moved": moved,
        "model moved": model_moved,
        "skipped": optimizer.num_skipped_rows,
    }


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("unscale", [False, True])
@pytest.mark.parametrize("with_model", [False, True])
def test_no_process_moves(kind: str, unscale: bool, with_model: bool) -> None:
    found = run_processes(train, 2, kind, unscale, with_model)
    assert torch.equal(found[0]["tables"], found[1]["tables"])
    for process in found:
        # Halved after each overflow, doubled after three sound steps.
        assert process["scales"] == [1024, 1024, 512, 512, 512, 256, 256, 256]
        assert process["moved"] == [step not in OVERFLOWS for step in range(8)]
        assert process["model moved"] == [with_model and moved for moved in process["moved"]]
        assert process["skipped"] == 0  # the scaler's doing, not a row that diverges


def unscaled(rank: int, kind: str, init_scale: float | None) -> torch.Tensor:
    joint = DataParameters(num_classes=3, num_instances=20)
    make = {"sgd": SparseSGD, "adamw": SparseAdamW}[kind]
    optimizer = make(joint.param_groups(), lr=0.1)
    scaler = distributed.GradScaler(
        "cpu", init_scale=init_scale or 1.0, enabled=init_scale is not None
    )
    generator = torch.Generator().manual_seed(rank)
    for step in range(6):
        optimizer.zero_grad()
        if rank == 0 or step % 2 == 0:  # else without samples
            target = torch.randint(3, (5,), generator=generator)
            index = torch.randint(20, (5,), generator=generator)
            loss = functional.cross_entropy(
                torch.randn(5, 3, generator=generator), target, joint(target, index)
            )
            scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    return torch.cat([joint.log_class.detach(), joint.log_instance.detach()])


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_loss_scale_changes_nothing(kind: str) -> None:
    """A power of two is exact; a process without samples has no inf check of its own."""
    plain = run_processes(unscaled, 2, kind, None)
    scaled = run_processes(unscaled, 2, kind, 4096.0)
    for tables in (*plain, *scaled):
        assert torch.equal(tables, plain[0])
