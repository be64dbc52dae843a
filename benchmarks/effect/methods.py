"""What is compared: how each method turns a minibatch into a loss.

Legend: B samples in the minibatch, C classes, z logits, y target.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_parameters import DataParameters, SparseSGD, functional
from effect import losses
from effect.cells import Problem
from effect.second_phase import SecondPhase

PointwiseLoss = Callable[[Tensor, Tensor], Tensor]


class Objective:
    """A loss of logits and classes. Subclasses keep state of instances or change the inputs."""

    def __init__(self, loss: PointwiseLoss) -> None:
        self.pointwise = loss

    def loss(
        self, model: nn.Module, inputs: Tensor, target: Tensor, index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The mean loss, and the logits of the samples where the method computes them."""
        logits = model(inputs)
        return self.pointwise(logits, target).mean(), logits

    def zero_grad(self) -> None:
        """Before the backward pass."""

    def step(self) -> None:
        """After the model's step."""

    def begin_epoch(self, epoch: int, lr_factor: float) -> None:
        """Before an epoch, counted from 0; the factor is that of the model's learning rate."""

    def set_temperature(self, rows: Tensor, temperature: float) -> None:
        """Let these rows begin afresh at a temperature."""
        raise ValueError(
            "Only instance parameters have temperatures to set, such as those of `down_weighted`. "
            f"Found {type(self).__name__}."
        )

    @property
    def log_instance(self) -> Tensor | None:
        """Log-temperatures of the instances, if the method has them."""
        return None


class EarlyLearning(Objective):
    """ELR, whose loss needs the index."""

    def __init__(self, problem: Problem, **settings: float) -> None:
        self.regularised = losses.EarlyLearningRegularization(
            len(problem.given), problem.num_classes, device=problem.given.device, **settings
        )

    def loss(
        self, model: nn.Module, inputs: Tensor, target: Tensor, index: Tensor
    ) -> tuple[Tensor, Tensor]:
        logits = model(inputs)
        return self.regularised(logits, target, index).mean(), logits


class Mixup(Objective):
    """Pairs of samples, inputs and losses mixed alike, with a share from Beta(1, 1).

    Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018.
    """

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def loss(
        self, model: nn.Module, inputs: Tensor, target: Tensor, index: Tensor
    ) -> tuple[Tensor, Tensor]:
        share = float(torch.rand((), generator=self.generator))  # Beta(1, 1) is uniform
        partner = torch.randperm(len(target), generator=self.generator).to(target.device)
        logits = model(share * inputs + (1 - share) * inputs[partner])
        first, second = F.cross_entropy(logits, target), F.cross_entropy(logits, target[partner])
        return share * first + (1 - share) * second, logits


@dataclass(frozen=True, kw_only=True)
class Temperatures:
    """Settings of data parameters.

    Attributes:
        lr_instance: Learning rate of the instance table; ``None`` for no table.
        lr_class: Of the class table.
        momentum: Of both.
        bounds: Lowest and highest σ.
        per_sample: As in :class:`SparseSGD`.
        weight_decay: Of the instances: a prior at σ = 1.
        waits: Epochs without temperatures at first.
        follows: Whether the learning rate drops when the model's does.
        centred: Whether σ of each class has a geometric mean of 1, set after each epoch.
        constant_step: Whether the loss is divided by the mean of 1 / σ over the minibatch, so that
            small σ do not make the model's steps longer. The gradients of σ are divided too.
    """

    lr_instance: float | None = None
    lr_class: float | None = None
    momentum: float = 0.9
    bounds: tuple[float, float] = (1 / 20, 20.0)
    per_sample: bool = False
    weight_decay: float = 0.0
    waits: int = 0
    follows: bool = False
    centred: bool = False
    constant_step: bool = False


class Tempered(Objective):
    """Data parameters: cross-entropy at a temperature of each class, instance, or both."""

    def __init__(self, problem: Problem, settings: Temperatures) -> None:
        self.tables = DataParameters(
            num_classes=None if settings.lr_class is None else problem.num_classes,
            num_instances=None if settings.lr_instance is None else len(problem.given),
            bounds=settings.bounds,
            device=problem.given.device,
        )
        groups = self.tables.param_groups(
            lr_class=settings.lr_class,
            lr_instance=settings.lr_instance,
            weight_decay_instance=settings.weight_decay,
        )
        self.optimizer = SparseSGD(
            groups, momentum=settings.momentum, per_sample=settings.per_sample
        )
        self.first_lrs = [group["lr"] for group in self.optimizer.param_groups]
        self.settings, self.waiting = settings, False
        self.rows, self.classes = problem.train, problem.given[problem.train]

    def begin_epoch(self, epoch: int, lr_factor: float) -> None:
        self.waiting = epoch < self.settings.waits
        if self.settings.follows:
            for group, lr in zip(self.optimizer.param_groups, self.first_lrs, strict=True):
                group["lr"] = lr * lr_factor
        if self.settings.centred and self.tables.log_instance is not None:
            table, classes = self.tables.log_instance.detach(), self.classes
            counts = classes.bincount()
            sums = torch.zeros(len(counts), device=table.device)
            sums.index_add_(0, classes, table[self.rows])
            table[self.rows] -= (sums / counts.clamp(min=1))[classes]

    def loss(
        self, model: nn.Module, inputs: Tensor, target: Tensor, index: Tensor
    ) -> tuple[Tensor, Tensor]:
        logits = model(inputs)
        if self.waiting:
            return F.cross_entropy(logits, target), logits
        temperature = self.tables(target, index)
        loss = functional.cross_entropy(logits, target, temperature)
        if self.settings.constant_step:
            loss = loss / (1 / temperature.detach()).mean()
        return loss, logits

    def set_temperature(self, rows: Tensor, temperature: float) -> None:
        table = self.tables.log_instance
        if table is None:
            return super().set_temperature(rows, temperature)
        table.detach()[rows] = math.log(temperature)
        for value in self.optimizer.state.get(table, {}).values():
            if isinstance(value, Tensor) and value.shape == table.shape:
                value[rows] = 0
        return None

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()

    def step(self) -> None:
        self.optimizer.step()

    @property
    def log_instance(self) -> Tensor | None:
        table = self.tables.log_instance
        return None if table is None else table.detach()


@dataclass(frozen=True)
class Method:
    """A name for tables, and how to build the objective of a run.

    Attributes:
        name: Of the row.
        build: From the problem and the seed of a run.
        second_phase: Judge the labels and go on with those believed.
        budget: What differs from the budget that all others get, in studies of just that.
        knows: Train on the rows whose labels are right, which only an experiment can know.
    """

    name: str
    build: Callable[[Problem, int], Objective]
    second_phase: SecondPhase | None = None
    budget: Mapping[str, Any] = field(default_factory=dict)
    knows: bool = False


def plain(loss: PointwiseLoss) -> Callable[[Problem, int], Objective]:
    return lambda problem, seed: Objective(loss)


def cross_entropy(smoothing: float = 0.0) -> PointwiseLoss:
    return lambda z, y: F.cross_entropy(z, y, reduction="none", label_smoothing=smoothing)


def tempered(name: str, budget: Mapping[str, Any] | None = None, **settings: Any) -> Method:
    """Data parameters with settings of :class:`Temperatures`."""
    chosen = Temperatures(**settings)
    return Method(name, lambda problem, seed: Tempered(problem, chosen), budget=budget or {})


def judged(method: Method, how: str = "", **settings: Any) -> Method:
    """The same with a second phase, with settings of :class:`SecondPhase`."""
    name = f"{method.name}, second phase{how}"
    return replace(method, name=name, second_phase=SecondPhase(**settings))
