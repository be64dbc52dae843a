"""A second phase: judge the labels by planted ones, leave out the wrong ones, train afresh.

The same steps as in `data-parameters train` with `--phase2.run`, in the loop of the study.

Legend: N instances, R rows that are trained on.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from data_parameters import TrainingDynamics, corrupt_labels
from data_parameters.issues import planted_issues, planted_noise_rate
from effect.cells import Problem


@dataclass(frozen=True, kw_only=True)
class SecondPhase:
    """How labels are judged, and what follows.

    Attributes:
        learned: Share of the planted labels learned by heart at which labels are judged.
        latest: Share of the epochs after which they are judged at the latest.
        weights: Whether training goes on from the first weights (with the whole schedule on the
            epochs left), from those it has, or by what it has learned by heart.
        planted: Share of the rows that are given a wrong label until then.
        cost: Of a right label left out, against a wrong one kept.
        least_rate: Estimated noise below which nothing is left out and training goes on.
    """

    learned: float = 0.5
    latest: float = 0.67
    weights: Literal["by learned", "first", "kept"] = "by learned"
    planted: float = 0.05
    cost: float = 0.5
    least_rate: float = 0.05


@dataclass(frozen=True)
class Judgement:
    """What came of it: the estimated noise, which of the R rows are believed, and what follows."""

    rate: float
    believed: Tensor
    restarts: bool = False


def plant(problem: Problem, settings: SecondPhase, seed: int) -> tuple[Tensor, Tensor]:
    """The given labels with planted ones among the rows, ``(N,)``; and which rows, ``(R,)``."""
    given, rows = problem.given.cpu().clone(), problem.train.cpu()
    # Another seed than that of the noise, or the same instances would be drawn.
    given[rows], planted = corrupt_labels(
        given[rows], settings.planted, num_classes=problem.num_classes, seed=seed + 10_000
    )
    return given.to(problem.given.device), planted


def predicted_share(
    problem: Problem, given: Tensor, dynamics: TrainingDynamics, planted: Tensor
) -> float:
    """Share of the planted labels among ``given`` that the network predicted last."""
    rows = problem.train[planted.to(problem.train.device)]
    return float((dynamics.last_prediction[rows] == given[rows]).float().mean())


def judge(
    problem: Problem,
    settings: SecondPhase,
    dynamics: TrainingDynamics,
    planted: Tensor,
    learned: float,
) -> Judgement:
    """Which labels to believe. Planted rows get theirs back, and nothing is known against them."""
    rows = problem.train.to(dynamics.count.device)
    scores = dynamics.clipped_margin[rows].cpu().numpy()
    rate = planted_noise_rate(scores, planted.numpy())
    below = planted_issues(
        problem.given[problem.train].cpu(),
        scores,
        planted.numpy(),
        cost=settings.cost,
        least_rate=settings.least_rate,
    )
    believed = torch.from_numpy(~below) | planted
    by_heart = {"first": True, "kept": False}.get(settings.weights, learned >= settings.learned)
    return Judgement(rate, believed, restarts=by_heart and not bool(believed.all()))
