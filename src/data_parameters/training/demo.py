"""The main job on real data in a minute: training on wrong labels, without and with temperatures.

Legend: N training instances.
"""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor, nn

from data_parameters import DataParameters, SparseSGD, corrupt_labels, functional
from data_parameters.training.sources.digits import Digits, digits

__all__ = ["DemoConfig", "DemoResult", "Epoch", "run_demo"]


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Train on handwritten digits with wrong labels, without and with instance parameters."""

    fraction: float = 0.4
    """Share of the training labels that are permuted among their instances."""

    epochs: int = 60
    """Passes over the training set."""

    batch_size: int = 64
    """Samples in a minibatch."""

    lr: float = 0.1
    """Learning rate of the network; a tenth of it after 67 % and a hundredth after 84 %."""

    lr_instance: float = 1.0
    """Learning rate of the instance log-temperatures; no schedule changes it."""

    hidden: int = 512
    """Width of the two hidden layers."""

    seed: int = 0
    """Of the split, the noise, the first weights and the order of the minibatches."""

    output: Path | None = None
    """The run folder, new or empty. By default a new one under `runs`."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` should be at least 1. Found {getattr(self, name)}.")
        for name in ("lr", "lr_instance"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"`{name}` should be above 0. Found {getattr(self, name)}.")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"`seed` should lie in [0, 2**32). Found {self.seed}.")
        if not 0.05 <= self.fraction <= 1:
            raise ValueError(
                f"`fraction` should lie in [0.05, 1]. Found {self.fraction}. Write 40 % as 0.4."
            )


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What is known after an epoch; temperatures only of the run that learns them."""

    number: int
    train_loss: float
    test_accuracy: float
    temperature: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """Both runs, and what the temperatures say of the labels.

    Attributes:
        plain: The epochs without data parameters.
        instance: The epochs with instance parameters.
        true_labels: Labels before the noise, shape ``(N,)``.
        given_labels: Labels that both runs trained on, shape ``(N,)``.
        auroc: Area under the ROC curve of the last temperatures against the changed labels.
        average_precision: Average precision of the same.
    """

    plain: list[Epoch]
    instance: list[Epoch]
    true_labels: Tensor
    given_labels: Tensor
    auroc: float
    average_precision: float

    @property
    def changed(self) -> Tensor:
        """Which labels are wrong, shape ``(N,)``; a few of the drawn got their own back."""
        return self.given_labels != self.true_labels


def run_demo(
    config: DemoConfig,
    on_epoch: Callable[[str, Epoch, Tensor], None] = lambda name, epoch, changed: None,
) -> DemoResult:
    """Train the same network twice from the same start on the same minibatches.

    Args:
        config: Settings of both runs.
        on_epoch: Called after each epoch with ``"plain"`` or ``"instance"``, the epoch, and which
            labels are wrong, shape ``(N,)``.

    Returns:
        The epochs of both runs and how well the temperatures find the changed labels.
    """
    data = digits(seed=config.seed)
    given_labels, _ = corrupt_labels(
        data.train_labels, config.fraction, kind="permute", seed=config.seed
    )
    changed = given_labels != data.train_labels
    runs: dict[str, list[Epoch]] = {"plain": [], "instance": []}
    for name, epochs in runs.items():
        for epoch in _train(config, data, given_labels, learn=name == "instance"):
            epochs.append(epoch)
            on_epoch(name, epoch, changed)
    temperature = runs["instance"][-1].temperature
    return DemoResult(
        plain=runs["plain"],
        instance=runs["instance"],
        true_labels=data.train_labels,
        given_labels=given_labels,
        auroc=float(roc_auc_score(changed, temperature)),
        average_precision=float(average_precision_score(changed, temperature)),
    )


def _train(config: DemoConfig, data: Digits, labels: Tensor, *, learn: bool) -> Iterator[Epoch]:
    """Yield the epochs of one run: the loop of the README, with a schedule and an evaluation."""
    generator = torch.Generator().manual_seed(config.seed)
    model = _network(config.hidden, config.seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=config.lr, momentum=0.9)
    milestones = [round(0.67 * config.epochs), round(0.84 * config.epochs)]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones)
    data_parameters = DataParameters(num_instances=len(labels))
    data_optimizer = SparseSGD(
        data_parameters.param_groups(lr_instance=config.lr_instance), momentum=0.9
    )
    for number in range(1, config.epochs + 1):
        model.train()
        losses = []
        for index in _minibatches(len(labels), config.batch_size, generator):
            logits, target = model(data.train_images[index]), labels[index]
            if learn:
                loss = functional.cross_entropy(logits, target, data_parameters(index=index))
            else:
                loss = F.cross_entropy(logits, target)
            optimizer.zero_grad()
            data_optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            data_optimizer.step()
            losses.append(loss.item())
        schedule.step()
        yield Epoch(
            number=number,
            train_loss=statistics.fmean(losses),
            test_accuracy=_accuracy(model, data),
            temperature=data_parameters.instance_temperature if learn else None,
        )


def _minibatches(
    num_instances: int, batch_size: int, generator: torch.Generator
) -> tuple[Tensor, ...]:
    return torch.split(torch.randperm(num_instances, generator=generator), batch_size)


def _network(hidden: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(64, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 10),
        )


@torch.no_grad()
def _accuracy(model: nn.Module, data: Digits) -> float:
    model.eval()
    right = model(data.test_images).argmax(1) == data.test_labels
    return int(right.sum()) / len(right)
