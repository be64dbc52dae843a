"""On a real accelerator: the same numbers as on the CPU, no waiting, and capture in a graph."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from data_parameters import DataParameters, SparseAdamW, SparseSGD, TrainingDynamics, functional
from data_parameters.optim.rows import sum_by_row

pytestmark = [
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="needs a CUDA device; test_no_host_sync needs none"
    ),
    # torch's own notice, once, that the mode does not see every wait yet.
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype"),
]

MAKERS: list[Callable[[Any], Any]] = [
    lambda groups: SparseSGD(groups, lr=0.1, momentum=0.9),
    lambda groups: SparseAdamW(groups, lr=0.1),
]


@contextlib.contextmanager
def no_waiting(device: str) -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error" if device == "cuda" else "default")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def train(
    device: str, make: Callable[[Any], Any], num_steps: int, *, rows_on: str | None = None
) -> list[Tensor]:
    """Two lookups and two backward calls a step; targets, some ignored, and repeated rows."""
    joint = DataParameters(num_classes=5, num_instances=30, init_instance=1.0, device=device)
    optimizer = make(joint.param_groups(weight_decay_class=0.01, weight_decay_instance=0.1))
    dynamics = TrainingDynamics(30, device=device)
    generator = torch.Generator().manual_seed(0)
    for step in range(num_steps):
        batches = []
        for _ in range(2):
            logits = torch.randn(16, 5, generator=generator).to(device).requires_grad_()
            target = torch.randint(5, (16,), generator=generator)
            target[3] = -100
            index = torch.randint(30, (16,), generator=generator)
            batches.append((logits, target.to(device), index.to(rows_on or device)))
        # The first step makes the state of the optimizer.
        with no_waiting(device) if step > 0 else contextlib.nullcontext():
            optimizer.zero_grad()
            for logits, target, index in batches:
                temperature = joint(target, index)
                loss = functional.cross_entropy(logits, target, temperature)
                loss = loss + functional.cross_entropy(logits, target, joint(target, index.flip(0)))
                loss.backward()
            optimizer.step()
            for logits, target, index in batches:
                dynamics.update(logits, target, index)
    return [
        tensor.detach().cpu()
        for tensor in (joint.log_class, joint.log_instance, dynamics.margin, dynamics.last_loss)
    ]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("rows_on", ["cuda", "cpu"])
def test_same_as_on_the_cpu_without_waiting(make: Callable[[Any], Any], rows_on: str) -> None:
    found = train("cuda", make, 20, rows_on=rows_on)
    for one, expected in zip(found, train("cpu", make, 20), strict=True):
        torch.testing.assert_close(one, expected, rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("make", MAKERS)
def test_skipped_rows_are_counted_on_the_device_and_warned_of_when_read(
    make: Callable[[Any], Any],
) -> None:
    instances = DataParameters(num_instances=9, device="cuda")
    optimizer = make(instances.param_groups())
    index = torch.tensor([1, 4, 4], device="cuda")
    factor = torch.tensor([1.0, torch.nan, 1.0], device="cuda")
    (factor * instances(index=index)).sum().backward()
    optimizer.step()
    with no_waiting("cuda"):
        optimizer.step()
    assert instances.log_instance.detach().nonzero().flatten().tolist() == [1]
    with pytest.warns(UserWarning, match="num_skipped_rows"):
        assert optimizer.num_skipped_rows == 2
    assert optimizer.num_skipped_rows == 2


@pytest.mark.parametrize("make", MAKERS)
def test_mixed_precision_with_a_scaler(make: Callable[[Any], Any]) -> None:
    joint = DataParameters(num_classes=5, num_instances=9, init_instance=1.0, device="cuda")
    data_optimizer = make(joint.param_groups())
    model = torch.nn.Linear(8, 5, device="cuda")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cuda")
    target, index = torch.tensor([0, 4, 4], device="cuda"), torch.tensor([7, 7, 2], device="cuda")
    for _ in range(3):
        with torch.autocast("cuda", dtype=torch.float16):
            logits = model(torch.randn(3, 8, device="cuda"))
            loss = functional.cross_entropy(logits, target, joint(target, index))
        assert logits.dtype == torch.float16
        assert loss.dtype == torch.float32
        optimizer.zero_grad()
        data_optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.step(data_optimizer)
        scaler.update()
    assert joint.log_instance.isfinite().all()
    assert joint.log_instance.detach().nonzero().flatten().tolist() == [2, 7]


def test_replicas_on_different_devices_get_the_same_bits() -> None:
    """Sums of many entries a row, again and again: index_add_ would not give the same twice."""
    rows = torch.randint(10, (4096,), device="cuda")
    grad = torch.randn(4096, device="cuda") * 10.0 ** torch.randint(-3, 4, (4096,), device="cuda")
    ones = torch.ones(4096, device="cuda")
    first = sum_by_row(rows, grad, ones, replicated=True)
    for _ in range(50):
        again = sum_by_row(rows, grad, ones, replicated=True)
        for one, other in zip(first, again, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("make", MAKERS)
def test_step_in_a_cuda_graph(make: Callable[[Any], Any]) -> None:
    joint = DataParameters(num_classes=5, num_instances=100, init_instance=1.0, device="cuda")
    optimizer = make(joint.param_groups())
    target = torch.randint(5, (16,), device="cuda")
    index = torch.randint(100, (16,), device="cuda")

    def step() -> None:
        optimizer.zero_grad()
        joint(target, index).mean().backward()
        optimizer.step()

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    before = joint.log_instance.detach().clone()
    graph.replay()
    touched = torch.zeros(100, dtype=torch.bool, device="cuda").index_fill_(0, index, True)
    assert torch.equal(joint.log_instance.detach() != before, touched)
