"""The method as slow, literal loops over samples and rows, in float64: what the tests compare with.

Legend: B samples in the minibatch, C classes, N instances, z logits, y target, σ temperature.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


def cross_entropy(logits: Tensor, target: Tensor, temperature: Tensor) -> list[float]:
    """-log softmax(z / σ)[y] of each sample."""
    losses = []
    for z, y, sigma in zip(logits.tolist(), target.tolist(), temperature.tolist(), strict=True):
        scaled = [value / sigma for value in z]
        highest = max(scaled)
        log_sum = highest + math.log(sum(math.exp(value - highest) for value in scaled))
        losses.append(log_sum - scaled[y])
    return losses


def gradients(
    logits: Tensor, target: Tensor, temperature: Tensor
) -> tuple[list[list[float]], list[float]]:
    """Of each sample's loss: (softmax(z/σ) - onehot(y)) / σ, and (z_y - Σ_j p_j z_j) / σ²."""
    of_logits, of_temperature = [], []
    for z, y, sigma in zip(logits.tolist(), target.tolist(), temperature.tolist(), strict=True):
        exponentials = [math.exp(value / sigma) for value in z]
        p = [value / sum(exponentials) for value in exponentials]
        of_logits.append([(p[j] - (j == y)) / sigma for j in range(len(z))])
        expected = sum(p[j] * z[j] for j in range(len(z)))
        of_temperature.append((z[y] - expected) / sigma**2)
    return of_logits, of_temperature


@dataclass
class Row:
    """One row with an optimizer of its own: torch's, dense, run on this row's steps only."""

    optimizer_class: type[torch.optim.Optimizer]
    settings: dict[str, Any]
    weight_decay_per_occurrence: float
    bounds: tuple[float, float] | None
    value: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.float64))

    def __post_init__(self) -> None:
        self.optimizer = self.optimizer_class([self.value], **self.settings)

    def step(self, gradients: list[float]) -> None:
        """Move by the gradients of the row's occurrences; not at all where there are none."""
        if not gradients:
            return
        total = sum(gradients)
        decay = len(gradients) * self.weight_decay_per_occurrence * self.value.item()
        # torch turns the sign of all it is given; decay pulls to 0 either way.
        total += -decay if self.settings.get("maximize", False) else decay
        self.value.grad = torch.tensor([total], dtype=torch.float64)
        self.optimizer.step()
        if self.bounds is not None:
            self.value.clamp_(*self.bounds)
