"""How much a process's mean loss counts.

Legend: b samples in this process, B in all, W processes.
"""

import torch
import torch.distributed as dist

from data_parameters.distributed.gathering import collective_device, world_size

__all__ = ["loss_weight"]


def loss_weight(batch_size: int, *, process_group: dist.ProcessGroup | None = None) -> float:
    r"""The factor by which a process weights its mean loss, where minibatches are uneven.

    ``DistributedDataParallel`` and our optimizers take the mean over processes, which is the mean
    over samples only where all have equally many. With the factor

    .. math::
        w = \frac{W b}{B}, \qquad \frac{1}{W} \sum w \bar\ell = \frac{1}{B} \sum_i \ell_i

    it is so for any split. A process without samples has weight 0, and a mean loss that is not a
    number: let it contribute ``logits.sum()`` instead, a zero that still reaches the parameters of
    the model, for whose gradients the others wait.

    Every process of the group has to call this.

    Args:
        batch_size: Number of samples b of this process.
        process_group: The processes; ``None`` for all.

    Returns:
        The factor; 1 in a single process.

    Raises:
        ValueError: The number is negative.

    Example:
        >>> loss_weight(32)
        1.0
    """
    if batch_size < 0:
        raise ValueError(f"`batch_size` should be at least 0. Found {batch_size}.")
    num_processes, total = world_size(process_group), batch_size
    if num_processes > 1:
        device = collective_device(torch.device("cpu"), process_group)
        samples = torch.tensor(batch_size, device=device)
        dist.all_reduce(samples, group=process_group)
        total = int(samples)
    return num_processes * batch_size / total if total > 0 else 0.0
