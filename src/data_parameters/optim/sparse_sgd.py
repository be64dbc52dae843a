"""SGD with momentum on the touched rows."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.optim.optimizer import ParamsT

from data_parameters.optim.base import SparseOptimizer, check_at_least_zero

__all__ = ["SparseSGD"]


class SparseSGD(SparseOptimizer):
    r"""SGD with momentum that moves only the rows present in a sparse gradient.

    A row :math:`p` that occurs :math:`k` times since the last step, with gradients :math:`g_k`,
    moves by

    .. math::
        d = \sum_k g_k + k \lambda p, \qquad b \leftarrow \mu b + (1 - \tau) d, \qquad
        p \leftarrow \Pi(p - \eta b)

    with learning rate :math:`\eta`, momentum :math:`\mu`, dampening :math:`\tau`, weight decay
    :math:`\lambda` and the projection :math:`\Pi` to ``bounds``. As in :class:`torch.optim.SGD`, a
    row's first step is not dampened, nesterov takes :math:`d + \mu b` in place of :math:`b`, and
    maximize turns the sign of :math:`g_k`. Every other row, with its momentum, keeps its exact
    bits: a row seen at steps 3, 70 and 900 ends where :class:`torch.optim.SGD` ends in three steps.

    A row whose update is not finite is skipped, counted in ``num_skipped_rows``, and warned of
    once: after the step on the CPU, when the count is read on an accelerator.

    Args:
        params: Tables, or the groups of :meth:`DataParameters.param_groups`.
        lr: Learning rate. A mean loss carries 1/B, so the published rates (0.1 to 0.8 at a batch of
            128 to 256) belong to their batch size, unless ``per_sample`` is set.
        momentum: Momentum, mostly 0.9.
        dampening: Dampening of the momentum.
        weight_decay: Pull towards log-temperature 0, once for each occurrence.
        nesterov: Nesterov momentum.
        maximize: Climb instead of descend.
        bounds: Lowest and highest log-temperature, or ``None``.
        per_sample: Multiply gradients by the number of samples in the step, over all processes.
            With a mean loss the learned temperatures then don't depend on the batch size.
        process_group: The processes that share the tables; ``None`` for all, if
            :mod:`torch.distributed` is initialised.

    Attributes:
        num_skipped_rows: How many row updates were skipped. Reading it waits for an accelerator.

    Raises:
        ValueError: A setting is out of its range; in ``step``, a dense gradient.

    Example:
        >>> from data_parameters import DataParameters
        >>> data_parameters = DataParameters(num_instances=1_000)
        >>> optimizer = SparseSGD(data_parameters.param_groups(lr_instance=0.2), momentum=0.9)
        >>> data_parameters(index=torch.tensor([3, 3, 8])).sum().backward()
        >>> optimizer.step()
        >>> data_parameters.log_instance.detach()[[3, 8, 9]]
        tensor([-0.4000, -0.2000,  0.0000])

    References:
        Saxena, Tuzel and DeCoste, "Data Parameters: A New Family of Parameters for Learning a
        Differentiable Curriculum", NeurIPS 2019. Sutskever, Martens, Dahl and Hinton, "On the
        importance of initialization and momentum in deep learning", ICML 2013.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        maximize: bool = False,
        bounds: tuple[float, float] | None = None,
        per_sample: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "bounds": bounds,
            "per_sample": per_sample,
        }
        super().__init__(params, defaults, process_group)

    def _check_settings(self, group: dict[str, Any]) -> None:
        super()._check_settings(group)
        check_at_least_zero(group, "momentum")
        if not math.isfinite(group["dampening"]):
            raise ValueError(f"`dampening` should be finite. Found {group['dampening']}.")
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                "`nesterov` should come with a momentum above 0 and no dampening. Found momentum "
                f"{group['momentum']} and dampening {group['dampening']}."
            )

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        if group["momentum"] == 0.0:
            return ()
        return ("momentum_buffer",) if group["dampening"] == 0.0 else ("momentum_buffer", "started")

    def _move(
        self,
        group: dict[str, Any],
        value: Tensor,
        grad: Tensor,
        count: Tensor,
        state: dict[str, Tensor],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if group["maximize"]:
            grad = -grad
        direction = grad + group["weight_decay"] * count * value
        if not state:
            return value - group["lr"] * direction, {}
        share: float | Tensor = 1.0 - group["dampening"]
        moved = {}
        if "started" in state:
            share = 1.0 - group["dampening"] * state["started"]  # 0 at a row's first step, then 1
            moved["started"] = torch.ones_like(value)
        buffer = group["momentum"] * state["momentum_buffer"] + share * direction
        moved["momentum_buffer"] = buffer
        if group["nesterov"]:
            return value - group["lr"] * (direction + group["momentum"] * buffer), moved
        return value - group["lr"] * buffer, moved
