"""The path of an accelerator never makes the host wait.

`FakeTensorMode` runs the operations on shapes alone: asking for a value, or for a shape that
depends on values, is an error there. It needs no accelerator.
"""

from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    FakeTensorMode,
    unset_fake_temporarily,
)

from data_parameters import DataParameters, SparseAdamW, SparseSGD, TrainingDynamics, functional
from data_parameters.lookup import _Rows

CUDA = torch.device("cuda")

pytestmark = pytest.mark.skipif(
    torch.__version__.startswith("2.7.") and not torch.cuda.is_available(),
    reason="fake tensors of torch 2.7 ask for a driver of CUDA, or end the process",
)


@pytest.fixture
def fake_cuda() -> Any:
    with FakeTensorMode(allow_non_fake_inputs=False) as mode:
        yield mode


def on_cuda(**counts: int) -> DataParameters:
    """Built on the CPU, because construction checks values; then with tables that are fake."""
    with unset_fake_temporarily():
        data_parameters = DataParameters(**counts)
    for name, table in list(data_parameters.named_parameters()):
        setattr(data_parameters, name, nn.Parameter(torch.zeros(table.shape, device=CUDA)))
    return data_parameters


def test_the_mode_refuses_a_wait(fake_cuda: Any) -> None:
    rows = torch.zeros(3, dtype=torch.int64, device=CUDA)
    with pytest.raises(DataDependentOutputException):
        rows.max().item()
    with pytest.raises(RuntimeError):
        rows.unique()


def test_lookup_and_loss(fake_cuda: Any) -> None:
    joint = on_cuda(num_classes=5, num_instances=100)
    target = torch.zeros(8, dtype=torch.int64, device=CUDA)
    index = torch.zeros(8, dtype=torch.int64, device=CUDA)
    temperature = joint(target, index)
    assert temperature.device.type == "cuda"
    logits = torch.zeros(8, 5, device=CUDA, requires_grad=True)
    loss = functional.cross_entropy(logits, target, temperature)
    assert loss.device.type == "cuda"


class Context:
    """Stands in for the context of an autograd function, whose engine needs a real device."""

    def save_for_backward(self, *tensors: Any) -> None:
        self.saved_tensors = tensors


def test_backward_of_the_loss(fake_cuda: Any) -> None:
    context = Context()
    context.needs_input_grad = (True, False, True)
    target = torch.zeros(8, dtype=torch.int64, device=CUDA)
    logits, sigma = torch.zeros(8, 5, device=CUDA), torch.ones(8, device=CUDA)
    with torch.no_grad():
        loss = functional._ClassTargetLoss.forward(context, logits, target, sigma, None, -100, 1)
        grad_logits, _, grad_sigma, *_ = functional._ClassTargetLoss.backward(
            context, torch.ones_like(loss)
        )
    assert grad_logits.shape == (8, 5)
    assert grad_sigma.shape == (8,)


@pytest.mark.parametrize(
    "make",
    [
        lambda table: SparseSGD([table], momentum=0.9, dampening=0.1, bounds=(-3.0, 3.0)),
        lambda table: SparseSGD([table], momentum=0.9, weight_decay=0.1, per_sample=True),
        lambda table: SparseAdamW([table], bounds=(-3.0, 3.0)),
    ],
)
def test_backward_of_the_lookup_and_step(fake_cuda: Any, make: Any) -> None:
    instances = on_cuda(num_instances=100)
    table = instances.log_instance
    optimizer = make(table)
    instances(index=torch.zeros(8, dtype=torch.int64, device=CUDA))
    for _ in range(2):
        context = Context()
        rows = torch.zeros(8, dtype=torch.int64, device=CUDA)
        with torch.no_grad():
            _Rows.forward(context, table, table.occurrences, rows, None)
            grads = _Rows.backward(context, torch.ones(8, device=CUDA))
        table.grad, table.occurrences.grad = grads[:2]
        optimizer.step()
        optimizer.zero_grad()
    assert all(value.device.type == "cuda" for value in optimizer.state[table].values())
    with pytest.raises(DataDependentOutputException):
        optimizer.num_skipped_rows  # noqa: B018


def test_training_dynamics(fake_cuda: Any) -> None:
    dynamics = TrainingDynamics(100, device=CUDA)
    index = torch.zeros(8, dtype=torch.int64, device=CUDA)
    dynamics.update(torch.zeros(8, 5, device=CUDA), index, index)
    assert dynamics.margin.shape == (100,)
