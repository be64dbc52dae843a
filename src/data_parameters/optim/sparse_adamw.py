"""AdamW on the touched rows."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.optim.optimizer import ParamsT

from data_parameters.optim.base import SparseOptimizer, check_at_least_zero

__all__ = ["SparseAdamW"]


class SparseAdamW(SparseOptimizer):
    r"""AdamW that moves only the rows present in a sparse gradient, each with its own step count.

    A row :math:`p` that occurs since the last step, with gradients summing to :math:`g`, moves by

    .. math::
        m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad
        v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \qquad t \leftarrow t + 1,

    .. math::
        p \leftarrow \Pi\left((1 - \eta \lambda) p
            - \eta \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}\right)

    with learning rate :math:`\eta`, weight decay :math:`\lambda` (decoupled, once a step however
    often the row occurs) and the projection :math:`\Pi` to ``bounds``. The count :math:`t` is the
    row's own, so the bias correction of a row met late is right, unlike in
    :class:`torch.optim.SparseAdam`. Every other row, with its state, keeps its exact bits. Rows
    whose update is not finite are skipped and counted, as in :class:`SparseSGD`.

    Args:
        params: Tables, or the groups of :meth:`DataParameters.param_groups`.
        lr: Learning rate: about how far a log-temperature moves in one step.
        betas: Decay of the running means of gradient and squared gradient.
        eps: Added to the denominator.
        weight_decay: Pull towards log-temperature 0, times the learning rate.
        bounds: Lowest and highest log-temperature, or ``None``.
        per_sample: Multiply gradients by the number of samples in the step, over all processes.
            AdamW hardly feels a factor, except through ``eps``.
        process_group: The processes that share the tables; ``None`` for all, if
            :mod:`torch.distributed` is initialised.

    Attributes:
        num_skipped_rows: How many row updates were skipped. Reading it waits for an accelerator.

    Raises:
        ValueError: A setting is out of its range; in ``step``, a dense gradient.

    Example:
        >>> from data_parameters import DataParameters
        >>> data_parameters = DataParameters(num_instances=1_000)
        >>> optimizer = SparseAdamW(data_parameters.param_groups(lr_instance=0.01))
        >>> data_parameters(index=torch.tensor([3, 8])).sum().backward()
        >>> optimizer.step()
        >>> data_parameters.log_instance.detach()[[3, 8, 9]]
        tensor([-0.0100, -0.0100,  0.0000])

    References:
        Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019. Kingma and Ba,
        "Adam: A Method for Stochastic Optimization", ICLR 2015.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        bounds: tuple[float, float] | None = None,
        per_sample: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "bounds": bounds,
            "per_sample": per_sample,
        }
        super().__init__(params, defaults, process_group)

    def _check_settings(self, group: dict[str, Any]) -> None:
        super()._check_settings(group)
        check_at_least_zero(group, "eps")
        betas = group["betas"]
        if len(betas) != 2 or not all(0.0 <= beta < 1.0 for beta in betas):
            raise ValueError(f"`betas` should be two numbers in [0, 1). Found {betas}.")

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", "row_steps")

    def _move(
        self,
        group: dict[str, Any],
        value: Tensor,
        grad: Tensor,
        count: Tensor,
        state: dict[str, Tensor],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        beta1, beta2 = group["betas"]
        row_steps = state["row_steps"] + 1
        exp_avg = beta1 * state["exp_avg"] + (1 - beta1) * grad
        exp_avg_sq = beta2 * state["exp_avg_sq"] + (1 - beta2) * grad.square()
        mean = exp_avg / _one_minus_power(beta1, row_steps)
        scale = (exp_avg_sq / _one_minus_power(beta2, row_steps)).sqrt() + group["eps"]
        value = (1 - group["lr"] * group["weight_decay"]) * value - group["lr"] * mean / scale
        moved = {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq, "row_steps": row_steps}
        return value, moved


def _one_minus_power(beta: float, exponent: Tensor) -> Tensor:
    """1 - beta ** exponent, without the cancellation that costs float32 four digits at first."""
    return -torch.expm1(exponent * (math.log(beta) if beta > 0 else -math.inf))
