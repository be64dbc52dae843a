"""A second phase: judge the labels by planted ones, leave out the wrong ones, train afresh.

The judgement is that of `data-parameters train` with `--phase2.run`, where those left out keep
their temperatures.

Legend: N instances, R rows that are trained on.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import rankdata
from torch import Tensor

from data_parameters import TrainingDynamics, corrupt_labels
from data_parameters.issues import planted_issues, planted_noise_rate
from data_parameters.issues.planted import LEAST_AUROC
from effect.cells import Problem

LEAST_PLANTED = 60  # both as in the program
BY_HEART = 0.5
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SecondPhase:
    """How labels are judged, and what follows.

    Attributes:
        learned: Share of the planted labels learned by heart at which labels are judged.
        latest: Share of the epochs after which they are judged at the latest.
        weights: Whether training goes on from the first weights (with the whole schedule on the
            epochs left), from those it has, or by what it has learned by heart.
        planted: Share of the rows that are given a wrong label until then, at least 60 rows.
        cost: Of a right label left out, against a wrong one kept.
        least_rate: Estimated noise below which nothing is left out and training goes on.
        rejoin: Whether those left out come back, with the class that the network preferred to the
            given one: not at all, at once, or at the first drop of the learning rate.
        rule: Judge by planted labels, or plant none and doubt who has a mean margin below 0.
        score: What planted labels are compared by: the clipped mean margin, σ, or the mean of the
            ranks of both.
        down_weighted: Go on with those doubted too, at the highest σ for a start.
    """

    learned: float = 0.5
    latest: float = 0.5
    weights: Literal["by learned", "first", "kept"] = "by learned"
    planted: float = 0.02
    cost: float = 0.5
    least_rate: float = 0.05
    rejoin: Literal["never", "at once", "at the drop"] = "never"
    rule: Literal["planted", "negative"] = "planted"
    score: Literal["margin", "temperature", "both"] = "margin"
    down_weighted: bool = False


@dataclass(frozen=True)
class Judgement:
    """What came of it.

    Attributes:
        epoch: Epochs done.
        rate: The estimated noise.
        believed: Which of the R rows are.
        restarts: Whether training begins again from the first weights.
    """

    epoch: int
    rate: float
    believed: Tensor
    restarts: bool


class Phases:
    """Labels and rows to train on: with planted labels at first, those believed afterwards.

    Args:
        problem: The data.
        settings: Of the second phase; ``None`` for none.
        epochs: Of the run.
        seed: Of the run.

    Attributes:
        given: Labels to train on now, ``(N,)``.
        rows: Rows to train on now.
        planted: Which of the R training rows had a wrong label on purpose.
        doubted: Rows that are trained on at the highest σ from now on.
    """

    def __init__(
        self, problem: Problem, settings: SecondPhase | None, epochs: int, seed: int
    ) -> None:
        self.problem, self.settings, self.epochs = problem, settings, epochs
        self.given, self.rows = problem.given, problem.train
        self.planted = torch.zeros(len(problem.train), dtype=torch.bool)
        self.judgement: Judgement | None = None
        self._least = 1.0
        self._rejoining = problem.given, problem.train
        self.doubted = problem.train[:0]
        if settings is not None and settings.rule == "planted":
            self._plant(settings, seed)

    def _plant(self, settings: SecondPhase, seed: int) -> None:
        given, rows = self.problem.given.cpu().clone(), self.problem.train.cpu()
        num_planted = max(int(settings.planted * len(rows)), LEAST_PLANTED)
        # Another seed than that of the noise, or the same instances would be drawn.
        given[rows], self.planted = corrupt_labels(
            given[rows],
            (num_planted + 0.5) / len(rows),
            num_classes=self.problem.num_classes,
            seed=seed + 10_000,
        )
        self.given = given.to(self.problem.given.device)

    def judge_when_due(
        self, epoch: int, dynamics: TrainingDynamics, log_instance: Tensor | None
    ) -> Judgement | None:
        """Before an epoch, counted from 0: judge once enough planted labels are predicted."""
        if self.settings is None or self.judgement is not None or epoch == 0:
            return None
        learned = self._learned(dynamics)
        if learned < self.settings.learned and epoch < round(self.settings.latest * self.epochs):
            return None
        if self.settings.rule == "negative":
            self.judgement = self._doubt_negative(self.settings, epoch, dynamics)
        else:
            scores = self._scores(self.settings, dynamics, log_instance)
            self.judgement = self._judge(self.settings, epoch, learned, scores)
        believed = self.judgement.believed.to(self.problem.train.device)
        left_out = self.problem.train[~believed]
        self.given, self.rows = self.problem.given, self.problem.train[believed]
        self._rejoining = self._with_rivals(left_out, dynamics)
        if self.settings.down_weighted:
            self.rows, self.doubted = self.problem.train, left_out
        return self.judgement

    @property
    def planted_rows(self) -> Tensor:
        """The rows whose labels are, or were, wrong on purpose."""
        return self.problem.train[self.planted.to(self.problem.train.device)]

    def _learned(self, dynamics: TrainingDynamics) -> float:
        """Share of the planted labels learned by heart, beyond what was predicted by chance."""
        if not bool(self.planted.any()):
            return 0.0
        rows = self.planted_rows
        predicted = float((dynamics.last_prediction[rows] == self.given[rows]).float().mean())
        self._least = min(self._least, predicted)
        return (predicted - self._least) / max(1 - self._least, 1e-9)

    def _doubt_negative(
        self, settings: SecondPhase, epoch: int, dynamics: TrainingDynamics
    ) -> Judgement:
        """The rule without planted labels: a mean margin below 0."""
        believed = ~(dynamics.margin[self.problem.train] < 0).cpu()
        anew = settings.weights == "first" and not bool(believed.all())
        return Judgement(epoch, float((~believed).float().mean()), believed, restarts=anew)

    def _scores(
        self, settings: SecondPhase, dynamics: TrainingDynamics, log_instance: Tensor | None
    ) -> Scores:
        """Of the R rows, lower for worse labels."""
        margin = dynamics.clipped_margin[self.problem.train].cpu()
        # Margins of a run that blew up can add to infinity, which says nothing.
        margin = torch.where(margin.isfinite(), margin, torch.nan).double()
        if settings.score == "margin":
            return margin.numpy()
        assert log_instance is not None
        coldness = -log_instance[self.problem.train].cpu().double()
        if settings.score == "temperature":
            return coldness.numpy()
        ranks = [rankdata(score.numpy(), nan_policy="omit") for score in (margin, coldness)]
        return (ranks[0] + ranks[1]) / 2

    def _judge(
        self, settings: SecondPhase, epoch: int, learned: float, scores: Scores
    ) -> Judgement:
        """Planted rows get their labels back, and nothing is known against them."""
        problem = self.problem
        planted = self.planted.numpy()
        by_heart = learned >= settings.learned
        least_auroc = LEAST_AUROC if learned < BY_HEART else 0.0
        below = planted_issues(
            problem.given[problem.train].cpu(),
            scores,
            planted,
            cost=settings.cost,
            least_rate=settings.least_rate,
            num_classes=problem.num_classes,
            least_auroc=least_auroc,
        )
        believed = torch.from_numpy(~below) | self.planted
        anew = {"first": True, "kept": False}.get(settings.weights, by_heart)
        rate = planted_noise_rate(
            scores, planted, num_classes=problem.num_classes, least_auroc=least_auroc
        )
        return Judgement(epoch, rate, believed, restarts=anew and not bool(believed.all()))

    def _with_rivals(self, left_out: Tensor, dynamics: TrainingDynamics) -> tuple[Tensor, Tensor]:
        """Labels ``(N,)`` with those of rivals, and the rows that are believed or have a rival."""
        rival = dynamics.rival[left_out]
        given = self.given.clone()
        given[left_out] = torch.where(rival >= 0, rival, given[left_out])
        return given, torch.cat([self.rows, left_out[rival >= 0]])

    def rejoin(self, drops: int) -> None:
        """Before an epoch: take back those left out, where that is the setting.

        Args:
            drops: How often the learning rate dropped.
        """
        if self.settings is None or self.judgement is None or self.settings.rejoin == "never":
            return
        if drops > 0 or self.settings.rejoin == "at once":
            self.given, self.rows = self._rejoining

    def summary(self) -> dict[str, float]:
        """Of a judgement, against the labels that changed, among rows that were not planted."""
        if self.judgement is None:
            return {}
        problem = self.problem
        changed = (problem.given != problem.true)[problem.train].cpu()[~self.planted]
        left_out = ~self.judgement.believed[~self.planted]
        found = {
            "rate": self.judgement.rate,
            "left_out": float(left_out.float().mean()),
            "epoch": self.judgement.epoch,
        }
        if bool(left_out.any()) and bool(changed.any()):
            found["precision"] = float(changed[left_out].float().mean())
            found["recall"] = float(left_out[changed].float().mean())
        return found
