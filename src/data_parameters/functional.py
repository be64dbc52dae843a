"""Losses of a temperature, as pure functions.

Legend: B samples in the minibatch, C classes, z logits, y target, σ temperature, p softmax(z / σ).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["cross_entropy"]

HALF = (torch.float16, torch.bfloat16)
# torch's own kernels, and how they number the reductions.
nll_loss_forward = torch.ops.aten.nll_loss_forward.default
nll_loss_backward = torch.ops.aten.nll_loss_backward.default
REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    temperature: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    r"""Cross-entropy of logits divided by a temperature, in nats.

    .. math::
        \ell_i = -\log \frac{\exp(z_{i,y_i} / \sigma_i)}{\sum_j \exp(z_{i,j} / \sigma_i)}

    With :math:`p = \mathrm{softmax}(z / \sigma)`, its gradients are

    .. math::
        \frac{\partial \ell_i}{\partial z_i} = \frac{p_i - \mathrm{onehot}(y_i)}{\sigma_i}, \qquad
        \frac{\partial \ell_i}{\partial \sigma_i}
            = \frac{z_{i,y_i} - \sum_j p_{i,j} z_{i,j}}{\sigma_i^2},

    so a temperature above 1 shrinks what a sample teaches the model, and a temperature rises as
    long as the logit of the given label is below the mean logit the model expects.
    ``temperature = 1`` is :func:`torch.nn.functional.cross_entropy`, bit for bit. Half-precision
    logits are computed and returned in float32, as autocast does.

    Args:
        logits: Unnormalised scores :math:`z`, shape ``(B, C)``, ``(B, C, d1, ...)`` or ``(C,)``.
            Mask a class with a large negative number, not with ``-inf``: the gradient of the
            temperature multiplies logits by probabilities, and ``0 * inf`` is not a number.
        target: Classes in ``[0, C)``, shape ``(B, d1, ...)``; or probabilities, shaped as logits.
        temperature: :math:`\sigma > 0`, dimensionless, shape ``(B,)`` or one value a target
            element, ``(B, d1, ...)``. It is moved to the device of the logits.
        weight: Weight of each class, shape ``(C,)``.
        ignore_index: A target with this value adds nothing to loss or gradient.
        label_smoothing: In [0, 1]: the share of the target spread over all classes.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        The loss: a scalar, or shaped as a class ``target`` for ``reduction="none"``.

    Raises:
        ValueError: A shape does not fit the logits.
        TypeError: Logits or temperature are not floating point, or classes not int64.
        IndexError: A target is not a class (on the CPU, where torch checks it).

    Example:
        >>> logits, target = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
        >>> cross_entropy(logits, target, torch.tensor([2.0]))
        tensor(0.3133)

    References:
        Saxena, Tuzel and DeCoste, "Data Parameters: A New Family of Parameters for Learning a
        Differentiable Curriculum", NeurIPS 2019.
    """
    _check(logits, target, temperature)
    if logits.dtype in HALF:
        logits, weight = logits.float(), None if weight is None else weight.float()
    if target.dtype == torch.uint8:  # in which -100 is 156
        target = target.long()
    if temperature.device != logits.device or temperature.dtype != logits.dtype:
        temperature = temperature.to(logits)
    differentiated = torch.is_grad_enabled() and (logits.requires_grad or temperature.requires_grad)
    plain = logits.ndim == 2 and label_smoothing == 0.0 and not target.is_floating_point()
    plain = plain and reduction in REDUCTIONS and (weight is None or not weight.requires_grad)
    try:
        if plain and differentiated and not torch.compiler.is_compiling():
            loss: Tensor = _ClassTargetLoss.apply(
                logits, target, temperature, weight, ignore_index, REDUCTIONS[reduction]
            )
            return loss
        return F.cross_entropy(
            logits / _per_class(temperature, logits),
            target,
            weight,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            reduction=reduction,
        )
    except IndexError as error:
        raise _out_of_range(target, logits.shape[min(logits.ndim - 1, 1)], ignore_index) from error


def _check(logits: Tensor, target: Tensor, temperature: Tensor) -> None:
    # Shapes and types only: checking values (target in range, temperature > 0) would make the host
    # wait for the device on every step.
    if not (logits.is_floating_point() and temperature.is_floating_point()):
        name, tensor = (
            ("temperature", temperature) if logits.is_floating_point() else ("logits", logits)
        )
        raise TypeError(
            f"`{name}` should be floating point. Found {tensor.dtype}. Convert it, or check "
            "the order of the arguments: logits, target, temperature."
        )
    if not target.is_floating_point() and target.dtype not in (torch.int64, torch.uint8):
        raise TypeError(
            f"`target` should hold classes in int64. Found {target.dtype}. Convert it with "
            "`.long()`."
        )
    if logits.ndim == 0:
        raise ValueError("`logits` should have shape (B, C), (B, C, d1, ...) or (C,). Found ().")
    class_dim = 0 if logits.ndim == 1 else 1
    elements = logits.shape[:class_dim] + logits.shape[class_dim + 1 :]
    if target.shape != (logits.shape if target.is_floating_point() else elements):
        raise ValueError(
            f"`target` should hold classes, shape {tuple(elements)}, or floating point "
            f"probabilities, shape {tuple(logits.shape)}. Found {target.dtype} of shape "
            f"{tuple(target.shape)}."
        )
    if temperature.shape not in (elements[:1], elements):
        raise ValueError(
            f"`temperature` should have shape (B,) = {tuple(elements[:1])}, or one value per "
            f"target element, {tuple(elements)}. Found shape {tuple(temperature.shape)}. "
            "Squeeze or expand it."
        )


def _out_of_range(target: Tensor, num_classes: int, ignore_index: int) -> IndexError:
    """Say which target torch stumbled over, and why that may be."""
    wrong = target[((target < 0) | (target >= num_classes)) & (target != ignore_index)]
    return IndexError(
        f"`target` should lie in [0, {num_classes - 1}], because the logits have {num_classes} "
        f"classes, or be `ignore_index`, {ignore_index}. Found {wrong[:1].tolist()}. Likely "
        "causes: labels that start at 1, or a last layer with too few outputs."
    )


def _per_class(temperature: Tensor, logits: Tensor) -> Tensor:
    """The temperature with trailing ones and the class dimension, to divide the logits by."""
    if logits.ndim == 1:
        return temperature.unsqueeze(0)
    trailing = (1,) * (logits.ndim - 1 - temperature.ndim)
    return temperature.reshape(temperature.shape + trailing).unsqueeze(1)


class _ClassTargetLoss(torch.autograd.Function):
    """Class targets without smoothing, the common case, in as few passes as torch's kernels allow.

    Autograd's own gradient of ``logits / sigma`` makes it about twice as slow as plain
    cross-entropy on a CPU. Here the division by sigma of the gradient is done to the (B,) gradients
    of the samples, before they are spread over the classes.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        target: Tensor,
        sigma: Tensor,
        weight: Tensor | None,
        ignore_index: int,
        reduction: int,
    ) -> Tensor:
        log_p = (logits / sigma.unsqueeze(1)).log_softmax(1)
        loss: Tensor
        loss, total_weight = nll_loss_forward(log_p, target, weight, reduction, ignore_index)
        ctx.save_for_backward(logits, target, sigma, weight, log_p, total_weight)
        ctx.ignore_index, ctx.reduction = ignore_index, reduction
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        logits, target, sigma, weight, log_p, total_weight = ctx.saved_tensors
        factor = grad / sigma
        if ctx.reduction == REDUCTIONS["mean"]:
            factor = factor / total_weight
        if torch.is_grad_enabled():  # create_graph=True: the formula, from differentiable pieces
            kept = target != ctx.ignore_index
            rows = target.long() * kept
            factor = torch.where(kept, factor if weight is None else factor * weight[rows], 0.0)
            residual = (logits / sigma.unsqueeze(1)).softmax(1) - F.one_hot(rows, logits.shape[1])
            grad_logits = residual * factor.unsqueeze(1)
            slope = (grad_logits * logits).sum(1)
        else:
            # The backward passes of nll_loss and log_softmax; ignored targets get 0 in the first.
            grad_log_p = nll_loss_backward(
                factor, log_p, target, weight, REDUCTIONS["none"], ctx.ignore_index, total_weight
            )
            grad_logits = torch._log_softmax_backward_data(grad_log_p, log_p, 1, log_p.dtype)
            # In the buffer that is done with: a fresh one costs as much as the product.
            slope = torch.mul(grad_logits, logits, out=grad_log_p).sum(1)
        return grad_logits, None, -slope / sigma, None, None, None
