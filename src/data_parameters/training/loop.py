"""The training loop, readable top to bottom.

Legend: B samples in the minibatch, N training instances.
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_parameters import functional
from data_parameters.distributed.gathering import world_size
from data_parameters.training.batches import Batch, Batches, part_sizes
from data_parameters.training.config import TrainConfig
from data_parameters.training.parts import Parts
from data_parameters.training.processes import Processes, wrapped
from data_parameters.training.schedule import lr_factor

__all__ = ["Progress", "means_of", "train"]

PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class Progress:
    """Where a run stands: whole epochs, steps of the current one, and its sums so far.

    Attributes:
        epoch: Epochs done.
        step: Steps done in all.
        step_in_epoch: Steps done in the current epoch.
        sums: Loss, cross-entropy at temperature 1, right samples and samples of the current epoch,
            as far as this process has seen them.
        first_epoch: Epochs done when training began from the first weights: the schedule spreads
            over those that follow.
    """

    epoch: int = 0
    step: int = 0
    step_in_epoch: int = 0
    sums: Tensor = field(default_factory=lambda: torch.zeros(4))
    first_epoch: int = 0


def means_of(sums: Tensor) -> dict[str, float]:
    """Means over samples.

    Args:
        sums: Loss, cross-entropy at temperature 1, right samples and samples, shape ``(4,)``.

    Returns:
        Loss, cross-entropy at temperature 1, and accuracy on the given labels.
    """
    loss, cross_entropy, right, samples = sums.tolist()
    num_samples = max(samples, 1.0)
    return {
        "train_loss": loss / num_samples,
        "train_cross_entropy": cross_entropy / num_samples,
        "train_accuracy": right / num_samples,
    }


def train(
    config: TrainConfig,
    parts: Parts,
    batches: Batches,
    given_labels: Tensor,
    progress: Progress,
    *,
    processes: Processes,
    before_step: Callable[[int], tuple[float, int]],
    after_step: Callable[[Progress], None],
    after_epoch: Callable[[Progress, dict[str, float]], None],
    stop: Callable[[], bool],
) -> None:
    """Train from where the run stands to its end.

    Args:
        config: The run.
        parts: Model, tables and optimizers; changed in place.
        batches: The training instances.
        given_labels: Labels of all instances, shape ``(N,)``.
        progress: Where the run stands; changed in place.
        processes: Those that share the run, each with a part of every minibatch.
        before_step: Called with the number of samples of this process; returns the weight of their
            mean loss, and the number of all processes.
        after_step: Called after each step, with sums that are up to date.
        after_epoch: Called after each epoch with the means over it.
        stop: Asked before each epoch whether the run ends here.
    """
    model: Callable[[Tensor], Tensor] = wrapped(parts.model)
    if config.runtime.compile:
        model = torch.compile(model)
    # After a new beginning the whole schedule fits into the epochs that are left.
    stretch = config.epochs / (config.epochs - progress.first_epoch)
    while progress.epoch < config.epochs and not stop():
        parts.model.train()
        for batch in batches.epoch(progress.epoch, progress.step_in_epoch):
            place = (progress.epoch - progress.first_epoch) * len(batches) + progress.step_in_epoch
            set_learning_rate(config, parts.optimizer, place * stretch, len(batches))
            progress.sums = progress.sums.to(batch.inputs.device)
            weight, num_samples = before_step(len(batch.index))
            if num_samples:
                progress.sums += train_step(
                    config, model, parts, batch, given_labels, weight, num_samples
                )
            progress.step += 1
            progress.step_in_epoch += 1
            after_step(progress)
        means = means_of(processes.total(progress.sums))
        progress.epoch += 1
        progress.step_in_epoch = 0
        progress.sums = torch.zeros(4)
        after_epoch(progress, means)


def train_step(
    config: TrainConfig,
    model: Callable[[Tensor], Tensor],
    parts: Parts,
    batch: Batch,
    given_labels: Tensor,
    weight: float = 1.0,
    num_samples: int | None = None,
) -> Tensor:
    """One step of model and tables.

    Args:
        config: The run.
        model: The model, compiled or not, over several processes or not.
        parts: Everything else that learns.
        batch: Inputs and rows of this process.
        given_labels: Labels of all instances, shape ``(N,)``.
        weight: Of the mean loss of this process among all.
        num_samples: Of the minibatch of all processes, if this is one of several.

    Returns:
        Sums over the samples of this process: loss, cross-entropy at temperature 1, right ones,
        number; shape ``(4,)``.
    """
    optimizers = [o for o in (parts.optimizer, parts.data_optimizer) if o is not None]
    for optimizer in optimizers:
        optimizer.zero_grad()
    sums = torch.zeros(4, device=batch.inputs.device)
    num_samples = len(batch.index) if num_samples is None else num_samples
    sizes = part_sizes(num_samples, math.ceil(config.batch_size / config.accumulate))
    cuts = (_cut(each, sizes) for each in (batch.inputs, batch.index))
    for number, (inputs, index) in enumerate(zip(*cuts, strict=True), start=1):
        target = given_labels[index].to(inputs.device, non_blocking=True)
        # The gradients of the model are exchanged once, with those of the last part.
        is_last = number == len(sizes)
        with nullcontext() if is_last else getattr(model, "no_sync", nullcontext)():
            logits = forward(config, model, inputs)
            loss = _loss(config, parts, logits, target, index)
            # Parts of a minibatch add up to its mean.
            share = len(index) / max(len(batch.index), 1) * weight
            parts.scaler.scale(loss * share).backward()  # type: ignore[no-untyped-call]
        plain = logits.detach().float()
        if parts.dynamics is not None:
            parts.dynamics.update(plain, target, index)
        sums += torch.stack(
            [
                loss.detach() * len(index),
                F.cross_entropy(plain, target, reduction="sum"),
                (plain.argmax(1) == target).sum().float(),
                torch.tensor(float(len(index)), device=inputs.device),
            ]
        )
    if config.optimizer.clip_norm is not None:
        parts.scaler.unscale_(parts.optimizer)
        nn.utils.clip_grad_norm_(parts.model.parameters(), config.optimizer.clip_norm)
    for optimizer in optimizers:
        parts.scaler.step(optimizer)
    parts.scaler.update()
    return sums


def _cut(tensor: Tensor, sizes: list[int]) -> tuple[Tensor, ...]:
    """Parts of a minibatch; equally many in every process, where some may be empty."""
    if world_size() == 1:
        return torch.split(tensor, sizes)
    return tensor.tensor_split(len(sizes))


def forward(config: TrainConfig, model: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """The logits, under autocast where the run asks for it.

    Args:
        config: The run.
        model: The model.
        inputs: Inputs, ready for it.

    Returns:
        Logits, shape ``(B, C)``.
    """
    if config.runtime.channels_last and inputs.ndim == 4:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    precision = PRECISIONS.get(config.precision)
    with torch.autocast(inputs.device.type, dtype=precision, enabled=precision is not None):
        logits: Tensor = model(inputs)
    return logits


def _loss(
    config: TrainConfig, parts: Parts, logits: Tensor, target: Tensor, index: Tensor
) -> Tensor:
    smoothing = config.label_smoothing
    if len(target) == 0:
        return logits.sum()  # 0, and it reaches all weights: others wait for their gradients
    if parts.data_parameters is None:
        return F.cross_entropy(logits.float(), target, label_smoothing=smoothing)
    temperature = parts.data_parameters(target, index)
    return functional.cross_entropy(logits, target, temperature, label_smoothing=smoothing)


def set_learning_rate(
    config: TrainConfig, optimizer: torch.optim.Optimizer, step: float, steps_per_epoch: int
) -> None:
    """Set the model's learning rate for a step; the tables keep theirs.

    Args:
        config: The run.
        optimizer: The model's optimizer.
        step: Place of the step in the schedule, counted from its epoch 0.
        steps_per_epoch: Steps of an epoch.
    """
    factor = lr_factor(config.schedule, step, steps_per_epoch, config.epochs)
    for group in optimizer.param_groups:
        group["lr"] = config.optimizer.lr * factor
