"""A training run that may be split over processes, unevenly. They import it."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from data_parameters import (
    DataParameters,
    SparseAdamW,
    SparseSGD,
    TrainingDynamics,
    distributed,
    functional,
)
from data_parameters.distributed.gathering import world_size

BOUNDS = (0.4, 0.6)
NUM_STEPS, NUM_INSTANCES, NUM_CLASSES, NUM_FEATURES = 200, 40, 4, 6
OPTIMIZERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "sgd": (SparseSGD, {"momentum": 0.9}),
    "sgd per sample": (SparseSGD, {"momentum": 0.9, "per_sample": True, "lr": 0.02}),
    "adamw": (SparseAdamW, {"lr": 0.02}),
}


def split(step: int, batch_size: int, num_processes: int, rank: int) -> slice:
    """An uneven part of a minibatch: in every step another, and in every third one is empty."""
    cuts = torch.randint(batch_size + 1, (num_processes - 1,), generator=_generator(step))
    ends = [0, *cuts.sort().values.tolist(), batch_size]
    if step % 3 == 0 and num_processes > 1:
        ends[1] = 0  # process 0 has nothing
    return slice(ends[rank], ends[rank + 1])


def train(rank: int, kind: str) -> dict[str, Tensor]:
    """Model, tables and optimizer state after some steps, whatever the number of processes."""
    num_processes = world_size()
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(NUM_FEATURES, 16), nn.Tanh(), nn.Linear(16, NUM_CLASSES))
    model: nn.Module = inner if num_processes == 1 else DistributedDataParallel(inner)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    # Narrow bounds, so that some rows come to lie on them.
    tables = DataParameters(
        num_classes=NUM_CLASSES,
        num_instances=NUM_INSTANCES,
        init_class=0.5,
        init_instance=0.5,
        bounds=BOUNDS,
    )
    make, options = OPTIMIZERS[kind]
    groups = tables.param_groups(weight_decay_class=0.01, weight_decay_instance=0.003)
    data_optimizer = make(groups, **{"lr": 0.1, **options})
    dynamics = TrainingDynamics(NUM_INSTANCES)
    for step in range(NUM_STEPS):
        batch_size = 12
        generator = _generator(1000 + step)
        index = torch.randint(NUM_INSTANCES, (batch_size,), generator=generator)  # with repeats
        target = (index + torch.randint(2, (batch_size,), generator=generator)) % NUM_CLASSES
        inputs = torch.randn(batch_size, NUM_FEATURES, generator=generator) + index.unsqueeze(1) % 3
        mine = split(step, batch_size, num_processes, rank)
        inputs, target, index = inputs[mine], target[mine], index[mine]

        optimizer.zero_grad()
        data_optimizer.zero_grad()
        weight = distributed.loss_weight(len(target))
        logits = _accumulate(model, tables, inputs, target, index, weight)
        optimizer.step()
        data_optimizer.step()
        dynamics.update(logits, target, index)
    return {
        **{f"model.{name}": value for name, value in inner.state_dict().items()},
        **tables.state_dict(),
        **{
            name: getattr(dynamics, name)
            for name in ("margin", "confidence", "wrong_fraction", "last_loss", "count")
        },
        **{
            f"{group['name']}.{name}": value
            for group in data_optimizer.param_groups
            for name, value in data_optimizer.state[group["params"][0]].items()
        },
    }


def _accumulate(
    model: nn.Module,
    tables: DataParameters,
    inputs: Tensor,
    target: Tensor,
    index: Tensor,
    weight: float,
) -> Tensor:
    """The gradients of a minibatch in two parts, of which the first is not reduced."""
    outputs = []
    for part in range(2):
        x, y, i = (tensor.tensor_split(2)[part] for tensor in (inputs, target, index))
        if part == 0 and isinstance(model, DistributedDataParallel):
            with model.no_sync():
                logits = model(x)
                loss = _loss(tables, logits, y, i)
                (loss * weight * len(y) / max(len(target), 1)).backward()
        else:
            logits = model(x)
            loss = _loss(tables, logits, y, i)
            (loss * weight * len(y) / max(len(target), 1)).backward()
        outputs.append(logits.detach())
    return torch.cat(outputs)


def _loss(tables: DataParameters, logits: Tensor, target: Tensor, index: Tensor) -> Tensor:
    if len(target) == 0:
        return logits.sum()
    return functional.cross_entropy(logits, target, tables(target, index))


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
