"""What is compared: how each method turns a minibatch into a loss.

Legend: B samples in the minibatch, C classes, z logits, y target.
"""

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

    @property
    def log_instance(self) -> Tensor | None:
        """Log-temperatures of the instances, if the method has them."""
        return None


class EarlyLearning(Objective):
    """ELR, whose loss needs the index."""

    def __init__(self, problem: Problem) -> None:
        self.regularised = losses.EarlyLearningRegularization(
            len(problem.given), problem.num_classes, device=problem.given.device
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
    """Settings of data parameters."""

    lr_instance: float | None = None
    lr_class: float | None = None
    momentum: float = 0.9
    bounds: tuple[float, float] = (1 / 20, 20.0)
    per_sample: bool = False


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
            lr_class=settings.lr_class, lr_instance=settings.lr_instance
        )
        self.optimizer = SparseSGD(
            groups, momentum=settings.momentum, per_sample=settings.per_sample
        )

    def loss(
        self, model: nn.Module, inputs: Tensor, target: Tensor, index: Tensor
    ) -> tuple[Tensor, Tensor]:
        logits = model(inputs)
        return functional.cross_entropy(logits, target, self.tables(target, index)), logits

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
    """

    name: str
    build: Callable[[Problem, int], Objective]
    second_phase: SecondPhase | None = None
    budget: Mapping[str, Any] = field(default_factory=dict)


def _plain(loss: PointwiseLoss) -> Callable[[Problem, int], Objective]:
    return lambda problem, seed: Objective(loss)


def _cross_entropy(smoothing: float = 0.0) -> PointwiseLoss:
    return lambda z, y: F.cross_entropy(z, y, reduction="none", label_smoothing=smoothing)


def tempered(name: str, **settings: Any) -> Method:
    """Data parameters with settings of :class:`Temperatures`."""
    chosen = Temperatures(**settings)
    return Method(name, lambda problem, seed: Tempered(problem, chosen))


def judged(method: Method, how: str = "", **settings: Any) -> Method:
    """The same with a second phase, with settings of :class:`SecondPhase`."""
    name = f"{method.name}, second phase{how}"
    return replace(method, name=name, second_phase=SecondPhase(**settings))


PLAIN = Method("cross-entropy", _plain(_cross_entropy()))
INSTANCE = tempered("instance lr 1", lr_instance=1.0)
THIRD = {"learned": 2.0, "latest": 1 / 3}  # judged at a third, whatever was learned by heart

METHODS = {
    method.name: method
    for method in (
        PLAIN,
        Method("label smoothing 0.1", _plain(_cross_entropy(0.1))),
        Method("GCE 0.7", _plain(losses.generalized_cross_entropy)),
        Method("SCE", _plain(losses.symmetric_cross_entropy)),
        Method("NCE+RCE", _plain(losses.nce_and_rce)),
        Method(
            "SuperLoss",
            lambda problem, seed: Objective(losses.SuperLoss(problem.num_classes)),
        ),
        Method("mixup", lambda problem, seed: Mixup(seed)),
        Method("ELR", lambda problem, seed: EarlyLearning(problem)),
        tempered("class lr 0.1", lr_class=0.1),
        *(tempered(f"instance lr {lr:g}", lr_instance=lr) for lr in (0.2, 1.0, 3.0)),
        tempered("joint lr 1", lr_class=0.1, lr_instance=1.0),
        judged(PLAIN),
        judged(INSTANCE),
    )
}

# What was tried on the way to the second phase above.
VARIANTS = {
    method.name: method
    for method in (
        judged(PLAIN, " at 1/3, afresh", **THIRD, weights="first", cost=1.0),
        judged(
            tempered("instance lr 0.2", lr_instance=0.2), " at 1/3, afresh",
            **THIRD, weights="first", cost=1.0,
        ),
        judged(INSTANCE, " at 1/3, afresh", **THIRD, weights="first", cost=1.0),
        judged(INSTANCE, " at 1/3, afresh, cost 0.5", **THIRD, weights="first"),
        judged(INSTANCE, " at 1/3, weights kept", **THIRD, weights="kept", cost=1.0),
        judged(INSTANCE, " at 2/3, weights kept", learned=2.0, weights="kept", cost=1.0),
    )
}  # fmt: skip
