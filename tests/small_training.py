"""One small training, in the plain loop that the training stacks are compared with."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import TensorDataset

from data_parameters import DataParameters, SparseSGD, TrainingDynamics, functional

NUM_INSTANCES, NUM_CLASSES, NUM_FEATURES, NUM_EPOCHS = 42, 4, 5, 3


def train_set() -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(NUM_INSTANCES, NUM_FEATURES, generator=generator)
    target = torch.randint(NUM_CLASSES, (NUM_INSTANCES,), generator=generator)
    return TensorDataset(inputs, target)


def model() -> nn.Linear:
    linear = nn.Linear(NUM_FEATURES, NUM_CLASSES)
    generator = torch.Generator().manual_seed(2)
    for parameter in linear.parameters():
        parameter.data.normal_(generator=generator)
    return linear


def model_optimizer(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)


def data_parts() -> tuple[DataParameters, SparseSGD, TrainingDynamics]:
    tables = DataParameters(num_classes=NUM_CLASSES, num_instances=NUM_INSTANCES)
    groups = tables.param_groups(lr_class=0.1, lr_instance=0.8, weight_decay_instance=0.01)
    return tables, SparseSGD(groups, momentum=0.9), TrainingDynamics(NUM_INSTANCES)


def result(
    tables: DataParameters, optimizer: SparseSGD, dynamics: TrainingDynamics, model: nn.Module
) -> dict[str, Tensor]:
    """All that a training leaves behind, by name."""
    buffers = {
        f"{group['name']}.momentum": optimizer.state[group["params"][0]]["momentum_buffer"]
        for group in optimizer.param_groups
    }
    found = {**tables.state_dict(), **buffers, **dynamics.state_dict(), **model.state_dict()}
    return {name: value.clone() for name, value in found.items()}


def train_plainly(
    minibatches: Iterable[Any],
    skipped_step: int | None = None,
    skipped_data_step: int | None = None,
) -> dict[str, Tensor]:
    """Without any stack, and without anything of the integrations.

    In one step nothing moves, and in another one the tables don't.
    """
    inputs, target = train_set().tensors
    net, (tables, data_optimizer, dynamics) = model(), data_parts()
    optimizer = model_optimizer(net)
    for step, index in enumerate(map(torch.as_tensor, minibatches)):
        logits = net(inputs[index])
        temperature = tables(target[index], index)
        optimizer.zero_grad()
        data_optimizer.zero_grad()
        functional.cross_entropy(logits, target[index], temperature).backward()
        if step != skipped_step:
            optimizer.step()
            if step != skipped_data_step:
                data_optimizer.step()
        dynamics.update(logits.detach(), target[index], index)
    assert (dynamics.count > 0).all(), "every instance has been seen"
    return result(tables, data_optimizer, dynamics, net)


def assert_same(
    found: dict[str, Tensor], expected: dict[str, Tensor], *, atol: float = 1e-5
) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert_close(found[name], value, rtol=0, atol=atol, msg=lambda m, n=name: f"{n}: {m}")
