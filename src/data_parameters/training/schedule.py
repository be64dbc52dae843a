"""The learning rate of the network as a function of the step: there is nothing to save."""

import bisect
import math

from data_parameters.training.config import ScheduleConfig

__all__ = ["lr_factor"]


def lr_factor(config: ScheduleConfig, step: float, steps_per_epoch: int, epochs: int) -> float:
    """The factor of the learning rate at a step.

    Args:
        config: Kind and settings.
        step: Steps done before this one.
        steps_per_epoch: Steps of an epoch.
        epochs: Epochs of the run.

    Returns:
        A factor in [0, 1].
    """
    epoch = step / steps_per_epoch
    warmup = 1.0
    if epoch < config.warmup_epochs:
        warmup = (step + 1) / (config.warmup_epochs * steps_per_epoch + 1)
    if config.kind == "step":
        return warmup * config.gamma ** bisect.bisect_right(config.milestones, int(epoch))
    if config.kind == "cosine":
        return warmup * 0.5 * (1.0 + math.cos(math.pi * min(epoch / epochs, 1.0)))
    return warmup
