"""What a run says of itself before its first step."""

from collections.abc import Iterable

from torch import Tensor

from data_parameters.training.config import TrainConfig
from data_parameters.training.data import TrainingData
from data_parameters.training.labels import Labels
from data_parameters.training.review import Review
from data_parameters.training.second_phase import LEAST_PLANTED, MOST_PLANTED, SecondPhase

__all__ = ["introduction"]


def introduction(
    config: TrainConfig,
    data: TrainingData,
    labels: Labels,
    trained: Tensor,
    second: SecondPhase,
    reviews: Iterable[Review],
) -> list[str]:
    """How many instances there are of which kind, what reviews did, and what will not happen.

    Args:
        config: The run.
        data: Its data.
        labels: Labels of the training instances.
        trained: Which of them it trains on, shape ``(N,)``.
        second: Its second phase.
        reviews: What reviews did to the labels.

    Returns:
        Lines of the log.
    """
    changed, excluded = labels.changed, labels.excluded
    wrong = "" if changed is None else f", {int(changed.sum()):,} of them with a wrong label"
    num_held_out = int((~trained if excluded is None else ~trained & ~excluded).sum())
    held_out = f", {num_held_out:,} held out for validation" if num_held_out else ""
    lines = [
        f"{len(labels.given):,} training instances{wrong}{held_out}, "
        f"{len(data.test.labels):,} test instances, {len(data.class_names)} classes; "
        f"{config.level}.",
        *(str(review) for review in reviews),
    ]
    if config.phase2.run and not second.is_possible:
        lines.append(
            f"There is no second phase: judging the labels takes {LEAST_PLANTED} planted ones "
            f"in {MOST_PLANTED:.0%} of the instances (or in `phase2.planted`), two classes, "
            "and two epochs."
        )
    return lines
