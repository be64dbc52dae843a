"""A small training run, replayed through the public API and compared with the published one.

The model is linear, ``X @ W.T + b``; ``order`` says which rows make each minibatch.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from data_parameters import DataParameters, SparseSGD, functional

Problem = Mapping[str, Any]
Trajectory = dict[str, np.ndarray]

SNAPSHOT_STEPS = (1, 2, 10, 200)


def random_problem(
    level: str,
    seed: int,
    *,
    num_instances: int = 500,
    num_features: int = 16,
    num_classes: int = 10,
    batch_size: int = 50,
    num_steps: int = 200,
) -> dict[str, Any]:
    """A classification problem with wrong labels, and settings under which its rows move far."""
    generator = np.random.default_rng(seed)
    X = generator.standard_normal((num_instances, num_features), dtype=np.float32)
    teacher = generator.standard_normal((num_classes, num_features), dtype=np.float32)
    y = (X @ teacher.T).argmax(1)
    wrong = generator.random(num_instances) < 0.4
    y = np.where(wrong, generator.integers(0, num_classes, num_instances), y)
    steps_per_epoch = num_instances // batch_size
    epochs = [generator.permutation(num_instances) for _ in range(num_steps // steps_per_epoch)]
    learn_class, learn_instance = level in ("class", "joint"), level in ("instance", "joint")
    return {
        "X": X,
        "y": y,
        "order": np.concatenate(epochs)[: num_steps * batch_size].reshape(num_steps, batch_size),
        "W_init": 0.1 * generator.standard_normal((num_classes, num_features), dtype=np.float32),
        "snapshot_steps": np.array([step for step in SNAPSHOT_STEPS if step <= num_steps]),
        "learn_class": learn_class,
        "learn_instance": learn_instance,
        "init_class": 1.0,
        "init_instance": 0.05 if learn_class else 1.0,
        "lr_class": 0.1,
        "lr_instance": 0.8,
        "wd_class": 0.01,
        "wd_instance": 0.001 if learn_class else 0.0,
        "momentum": 0.9,
        "clamp_min": math.log(1 / 20),
        "clamp_max": math.log(20),
        "lr_model": 0.1,
        "wd_model": 5e-4,
    }


def replay(problem: Problem) -> Trajectory:
    """Run the problem with this library."""
    X, y = (torch.from_numpy(np.asarray(problem[name])) for name in ("X", "y"))
    model = linear_model(problem)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=float(problem["lr_model"]),
        momentum=0.9,
        weight_decay=float(problem["wd_model"]),
    )
    num_classes = len(problem["W_init"])
    data_parameters = DataParameters(
        num_classes=num_classes if problem["learn_class"] else None,
        num_instances=len(X) if problem["learn_instance"] else None,
        init_class=float(problem["init_class"]),
        init_instance=float(problem["init_instance"]),
        bounds=(math.exp(problem["clamp_min"]), math.exp(problem["clamp_max"])),
    )
    data_optimizer = SparseSGD(
        data_parameters.param_groups(
            lr_class=float(problem["lr_class"]),
            lr_instance=float(problem["lr_instance"]),
            weight_decay_class=float(problem["wd_class"]),
            weight_decay_instance=float(problem["wd_instance"]),
        ),
        momentum=float(problem["momentum"]),
    )
    losses, snapshots = [], []
    for step, index in enumerate(torch.from_numpy(np.asarray(problem["order"])), start=1):
        temperature = data_parameters(y[index], index)
        loss = functional.cross_entropy(model(X[index]), y[index], temperature)
        optimizer.zero_grad()
        data_optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        data_optimizer.step()
        losses.append(loss.item())
        if step in problem["snapshot_steps"]:
            tables = (data_parameters.log_class, data_parameters.log_instance)
            snapshots.append(
                [None if table is None else table.detach().numpy().copy() for table in tables]
            )
    return trajectory(losses, snapshots, model)


def linear_model(problem: Problem) -> torch.nn.Linear:
    num_classes, num_features = problem["W_init"].shape
    model = torch.nn.Linear(num_features, num_classes)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(np.asarray(problem["W_init"])))
        model.bias.zero_()
    return model


def trajectory(
    losses: list[float], snapshots: list[list[np.ndarray | None]], model: torch.nn.Linear
) -> Trajectory:
    kept = {
        "cross_entropy": np.array(losses),
        "W": model.weight.detach().numpy().copy(),
        "b": model.bias.detach().numpy().copy(),
    }
    for place, name in enumerate(("log_sigma_class", "log_sigma_instance")):
        tables = [snapshot[place] for snapshot in snapshots]
        if all(table is not None for table in tables):
            kept[name] = np.stack(tables)
    return kept


def differences(ours: Trajectory, theirs: Mapping[str, Any]) -> dict[str, float]:
    """The largest absolute difference of each array that this level learns."""
    return {name: float(np.abs(ours[name] - theirs[name]).max()) for name in ours}
