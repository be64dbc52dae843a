"""Accuracy of a model on held out data. Temperatures have no part in it."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_parameters.training.batches import Batches
from data_parameters.training.processes import Processes

__all__ = ["Evaluation", "evaluate"]


class Evaluation(NamedTuple):
    """Loss in nats and accuracies in [0, 1], over all samples."""

    loss: float
    top1: float
    top5: float


@torch.no_grad()
def evaluate(
    model: nn.Module, batches: Batches, labels: Tensor, processes: Processes | None = None
) -> Evaluation:
    """Evaluate a model, over several processes if they share the minibatches.

    Args:
        model: The model; it is left in training mode as it was.
        batches: What to evaluate on.
        labels: Labels of all rows of the split.
        processes: Those that evaluate the same model, each on its part; all have to.

    Returns:
        Loss, top-1 and top-5 accuracy; top-5 counts all classes where there are fewer.
    """
    processes = processes or Processes()
    training = model.training
    model.eval()
    sums = torch.zeros(4, dtype=torch.float64)
    for batch in batches.epoch(0):
        if len(batch.index) == 0 and processes.size == 1:
            continue  # a spread model is called by all processes at once
        logits = model(batch.inputs).float()
        target = labels[batch.index].to(logits.device)
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices == target.unsqueeze(1)
        found = [
            F.cross_entropy(logits, target, reduction="sum"),
            best[:, 0].sum().float(),
            best.sum().float(),
            torch.tensor(float(len(target)), device=logits.device),
        ]
        sums += torch.stack(found).cpu()  # summed up in float64, which MPS does not have
    model.train(training)
    sums = processes.total(sums)
    loss, top1, top5 = (sums[:3] / sums[3].clamp(min=1)).tolist()
    return Evaluation(loss, top1, top5)
