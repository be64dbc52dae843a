"""A second phase: judge the labels by planted ones, leave out the wrong ones, train afresh.

The same steps as in `data-parameters train` with `--phase2.start`, in the loop of the study.

Legend: N instances, R rows that are trained on.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from data_parameters import TrainingDynamics, corrupt_labels
from data_parameters.issues import planted_noise_rate, planted_threshold
from effect.cells import Problem


@dataclass(frozen=True, kw_only=True)
class SecondPhase:
    """How labels are judged, and what follows.

    Attributes:
        start: Share of the epochs after which they are judged.
        weights: Whether training goes on from the first weights (with the whole schedule on the
            epochs left) or from those it has.
        planted: Share of the rows that are given a wrong label until then.
        cost: Of a right label left out, against a wrong one kept.
        least_rate: Estimated noise below which nothing is left out and training goes on.
    """

    start: float = 1 / 3
    weights: Literal["first", "kept"] = "first"
    planted: float = 0.05
    cost: float = 1.0
    least_rate: float = 0.05


@dataclass(frozen=True)
class Judgement:
    """What came of it: the estimated noise, and which of the R rows are believed."""

    rate: float
    believed: Tensor


def plant(problem: Problem, settings: SecondPhase, seed: int) -> tuple[Tensor, Tensor]:
    """The given labels with planted ones among the rows, ``(N,)``; and which rows, ``(R,)``."""
    given, rows = problem.given.cpu().clone(), problem.train.cpu()
    # Another seed than that of the noise, or the same instances would be drawn.
    given[rows], planted = corrupt_labels(
        given[rows], settings.planted, num_classes=problem.num_classes, seed=seed + 10_000
    )
    return given.to(problem.given.device), planted


def judge(
    problem: Problem, settings: SecondPhase, dynamics: TrainingDynamics, planted: Tensor
) -> Judgement:
    """Which labels to believe. Planted rows get theirs back, and nothing is known against them."""
    rows = problem.train.to(dynamics.count.device)
    scores = dynamics.clipped_margin[rows].cpu().numpy()
    rate = planted_noise_rate(scores, planted.numpy())
    below = np.zeros(len(scores), dtype=bool)
    if rate >= settings.least_rate:
        below = scores < planted_threshold(scores, planted.numpy(), cost=settings.cost)
    return Judgement(rate, torch.from_numpy(~below) | planted)
