"""Judge the labels during a run, by a few that are wrong on purpose, and go on with those believed.

Legend: N training instances, C classes.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from data_parameters import TrainingDynamics, corrupt_labels
from data_parameters.issues import planted_issues, planted_noise_rate
from data_parameters.issues.planted import LEAST_AUROC
from data_parameters.issues.planted import LEAST_PLANTED as LEAST_SEEN
from data_parameters.training.batches import mixed
from data_parameters.training.config import TrainConfig
from data_parameters.training.labels import Labels

__all__ = ["Judgement", "SecondPhase", "finding"]

LEAST_PLANTED = 60
MOST_PLANTED = 0.1  # of a small data set
# Who has learned so many of the planted labels has learned what it can of the right ones.
BY_HEART = 0.5
PLANTING = 2  # keeps the draw apart from others of the same seed


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the first phase says of the labels.

    Attributes:
        epoch: Epochs done when they were judged.
        noise_rate: Estimated share of wrong labels among those that were not planted; ``None``
            where too few of the planted ones were seen.
        learned: Share of the planted labels that the network had learned by heart.
        restarts: Whether training begins again from the first weights.
        left_out: Which instances are left out from now on, shape ``(N,)``.
    """

    epoch: int
    noise_rate: float | None
    learned: float
    restarts: bool
    left_out: Tensor

    @property
    def num_left_out(self) -> int:
        """How many instances are left out."""
        return int(self.left_out.sum())

    def __str__(self) -> str:
        if self.noise_rate is None:
            return (
                "Too few planted labels were seen, with finite margins, to judge the others by. "
                "None is left out."
            )
        begin = (
            f"Judged the labels after epoch {self.epoch}: {finding(self.noise_rate, self.learned)} "
            f"({self.learned:.0%} of the planted ones were learned by heart)."
        )
        if self.num_left_out == 0:
            return f"{begin} None is left out, and training goes on."
        how = "begins again from the first weights" if self.restarts else "goes on"
        return f"{begin} {self.num_left_out:,} instances are left out, and training {how}."


def finding(noise_rate: float, learned: float) -> str:
    """What an estimate says.

    Args:
        noise_rate: The estimate. Planted labels are drawn at random, and so are the wrong ones
            that it counts.
        learned: Share of the planted labels that the network had learned by heart.

    Returns:
        A clause.
    """
    if noise_rate > 0:
        return f"about {noise_rate:.1%} of the labels are wrong at random"
    if learned < BY_HEART:
        return "hardly any label is wrong at random, or the network has learned too little to tell"
    return (
        "hardly any label is wrong at random, or too many to tell; classes taken for each other do "
        "not show here"
    )


class SecondPhase:
    """Planted labels until all labels are judged; the given ones, and who is left out, afterwards.

    Where the data set is too small to plant 60 labels in a tenth of it (or in the share that is
    asked for), or there is one epoch only, there is no second phase.

    Args:
        config: The run.
        labels: Its labels.
        trained: Which instances it trains on, shape ``(N,)``.
        num_classes: C.

    Attributes:
        planted: Whose labels are wrong on purpose in the first phase, shape ``(N,)``.
        planted_labels: The labels of the first phase, shape ``(N,)``.
        judgement: How the labels were judged; ``None`` before.
    """

    def __init__(
        self, config: TrainConfig, labels: Labels, trained: Tensor, num_classes: int
    ) -> None:
        self.settings = config.phase2
        self.start_epoch, self.epochs = config.start_epoch, config.epochs
        self.labels, self.trained, self.num_classes = labels, trained, num_classes
        self.planted = torch.zeros(len(trained), dtype=torch.bool)
        self.judgement: Judgement | None = None
        self._observed, self._predicted, self._least_predicted = False, 1.0, 1.0
        self.planted_labels = labels.given.clone()
        rows = trained.nonzero().flatten()
        num_planted = max(int(self.settings.planted * len(rows)), LEAST_PLANTED)
        most = max(self.settings.planted, MOST_PLANTED) * len(rows)
        self.is_possible = (
            self.settings.run
            and num_planted <= most
            and num_classes > 1
            and self.epochs - self.start_epoch > 1
        )
        if self.is_possible:
            self.planted_labels[rows], self.planted[rows] = corrupt_labels(
                labels.given[rows],
                (num_planted + 0.5) / len(rows),  # draws the whole number below
                num_classes=num_classes,
                seed=mixed(config.seed, PLANTING),
            )

    @property
    def given(self) -> Tensor:
        """The labels to train on now, shape ``(N,)``."""
        return self.planted_labels if self.judgement is None else self.labels.given

    @property
    def rows(self) -> Tensor:
        """The rows to train on now, ascending."""
        left_out = None if self.judgement is None else self.judgement.left_out
        believed = self.trained if left_out is None else self.trained & ~left_out
        return believed.nonzero().flatten()

    def observe(self, dynamics: TrainingDynamics) -> None:
        """See after an epoch how many planted labels the network predicts.

        Args:
            dynamics: What each instance did so far.
        """
        predicted = dynamics.last_prediction.cpu()
        seen = self.planted & (predicted >= 0)
        if self.judgement is None and bool(seen.any()):
            right = (predicted == self.planted_labels)[seen]
            self._observed = True
            self._predicted = float(right.float().mean())
            self._least_predicted = min(self._least_predicted, self._predicted)

    @property
    def learned(self) -> float:
        """Share of the planted labels that the network has learned by heart.

        A network that knows nothing yet predicts some of them by chance, of two classes half. So
        the share counts from the least that was predicted after any epoch.
        """
        least = self._least_predicted
        return (self._predicted - least) / (1 - least) if least < 1 else 0.0

    @property
    def is_open(self) -> bool:
        """Whether labels are planted, and not judged yet."""
        return self.is_possible and self.judgement is None

    @property
    def begun(self) -> int:
        """Epochs done when planted labels were given up: what came before selects no epoch."""
        return 0 if self.judgement is None else self.judgement.epoch

    def is_due(self, epoch: int) -> bool:
        """Whether the labels are to be judged now.

        Args:
            epoch: Epochs done.

        Returns:
            Whether the network has learned enough of the planted labels, or it is late; and no
            judgement is there yet.
        """
        if not self.is_open or epoch >= self.epochs:
            return False
        latest = max(self.start_epoch + 1, round(self.settings.latest * self.epochs))
        latest = min(latest, self.epochs - 1)
        return epoch >= latest or (self._observed and self.learned >= self.settings.learned)

    def judge(self, dynamics: TrainingDynamics, epoch: int) -> Judgement:
        """Judge the labels; the same in every process.

        Args:
            dynamics: What each instance did so far.
            epoch: Epochs done.

        Returns:
            The judgement. Where too few planted instances were seen, none is left out.
        """
        scores = dynamics.clipped_margin.cpu()
        # Margins of a run that blew up can add to infinity, which says nothing.
        scores = torch.where(self.trained & scores.isfinite(), scores, torch.nan)
        arrays = scores.numpy(), self.planted.numpy()
        rate, left_out = None, torch.zeros_like(self.planted)
        by_heart = self.learned >= self.settings.learned
        least_auroc = LEAST_AUROC if self.learned < BY_HEART else 0.0
        if int((self.planted & ~scores.isnan()).sum()) >= LEAST_SEEN:
            rate = planted_noise_rate(
                *arrays, num_classes=self.num_classes, least_auroc=least_auroc
            )
            left_out = torch.from_numpy(
                planted_issues(
                    self.labels.given,
                    *arrays,
                    cost=self.settings.cost,
                    least_rate=self.settings.least_rate,
                    num_classes=self.num_classes,
                    least_auroc=least_auroc,
                )
            )
        return Judgement(
            epoch=epoch,
            noise_rate=rate,
            learned=self.learned,
            # Nothing in the labels that are kept makes a network forget those that are left out.
            restarts=bool(left_out.any()) and by_heart,
            left_out=left_out,
        )

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors; what follows from the configuration is not part of it.

        Returns:
            The state.
        """
        return {
            "judgement": None if self.judgement is None else asdict(self.judgement),
            "observed": self._observed,
            "predicted": self._predicted,
            "least_predicted": self._least_predicted,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state.

        Args:
            state: What :meth:`state_dict` returned.
        """
        found = state["judgement"]
        self.judgement = None if found is None else Judgement(**found)
        self._observed = state["observed"]
        self._predicted, self._least_predicted = state["predicted"], state["least_predicted"]
