"""On a real accelerator: the same numbers as on the CPU, no waiting, and capture in a graph."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from data_parameters import DataParameters, SparseAdamW, SparseSGD, TrainingDynamics, functional

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device; test_no_host_sync needs none"
)

MAKERS: list[Callable[[Any], Any]] = [
    lambda groups: SparseSGD(groups, lr=0.1, momentum=0.9),
    lambda groups: SparseAdamW(groups, lr=0.1),
]


def train(device: str, make: Callable[[Any], Any], num_steps: int) -> list[Tensor]:
    joint = DataParameters(num_classes=5, num_instances=100, device=device)
    optimizer = make(joint.param_groups(weight_decay_class=0.01))
    dynamics = TrainingDynamics(100, device=device)
    generator = torch.Generator().manual_seed(0)
    for step in range(num_steps):
        logits = torch.randn(16, 5, generator=generator).to(device).requires_grad_()
        target = torch.randint(5, (16,), generator=generator).to(device)
        index = torch.randint(100, (16,), generator=generator).to(device)
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("error" if step > 0 else "default")
        loss = functional.cross_entropy(logits, target, joint(target, index))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        dynamics.update(logits, target, index)
        torch.cuda.set_sync_debug_mode("default")
    return [
        tensor.detach().cpu()
        for tensor in (joint.log_class, joint.log_instance, dynamics.margin, dynamics.last_loss)
    ]


@pytest.mark.parametrize("make", MAKERS)
def test_same_as_on_the_cpu_without_waiting(make: Callable[[Any], Any]) -> None:
    for found, expected in zip(train("cuda", make, 20), train("cpu", make, 20), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("make", MAKERS)
def test_step_in_a_cuda_graph(make: Callable[[Any], Any]) -> None:
    joint = DataParameters(num_classes=5, num_instances=100, device="cuda")
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
