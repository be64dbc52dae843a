"""Losses of a temperature, as pure functions.

Legend: B samples in the minibatch, C classes, z logits, y target, σ temperature, p softmax(z / σ).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["cross_entropy"]


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
        TypeError: Logits or temperature are not floating point.

    Example:
        >>> logits, target = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
        >>> cross_entropy(logits, target, torch.tensor([2.0]))
        tensor(0.3133)

    References:
        Saxena, Tuzel and DeCoste, "Data Parameters: A New Family of Parameters for Learning a
        Differentiable Curriculum", NeurIPS 2019.
    """
    sigma = _per_class(temperature, logits, target)
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    differentiated = torch.is_grad_enabled() and (logits.requires_grad or sigma.requires_grad)
    plain = logits.ndim > 1 and not target.is_floating_point() and label_smoothing == 0.0
    if plain and differentiated and not torch.compiler.is_compiling():
        loss: Tensor = _ClassTargetLoss.apply(
            logits, target, sigma, weight, ignore_index, reduction
        )
        return loss
    return F.cross_entropy(
        logits / sigma,
        target,
        weight,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction,
    )


def _per_class(temperature: Tensor, logits: Tensor, target: Tensor) -> Tensor:
    """The temperature on the logits' device, with trailing ones and the class dimension added."""
    # Shapes and types only: checking values (target in range, temperature > 0) would make the host
    # wait for the device on every step.
    for name, tensor in (("logits", logits), ("temperature", temperature)):
        if not tensor.is_floating_point():
            raise TypeError(
                f"`{name}` should be floating point. Found {tensor.dtype}. Convert it, or check "
                "the order of the arguments: logits, target, temperature."
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
    trailing = (1,) * (len(elements) - temperature.ndim)
    sigma = temperature.reshape(temperature.shape + trailing).unsqueeze(class_dim)
    return sigma.to(logits.device)


class _ClassTargetLoss(torch.autograd.Function):
    """Class targets without smoothing, the common case, with the closed-form gradient.

    Autograd's own gradient of ``logits / sigma`` passes over the (B, C) logits about ten times and
    costs 2.5 times plain cross-entropy on a CPU. Here the forward pass reuses its two buffers for
    p - onehot and for the sum over classes, and the backward pass is one multiplication.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        target: Tensor,
        sigma: Tensor,
        weight: Tensor | None,
        ignore_index: int,
        reduction: str,
    ) -> Tensor:
        scaled = logits / sigma
        log_p = scaled.log_softmax(1)
        loss = F.nll_loss(log_p, target, weight, ignore_index=ignore_index, reduction=reduction)

        rows = target.unsqueeze(1)
        kept = rows != ignore_index
        rows = rows * kept  # an ignored target reads class 0, with weight 0
        onehot = kept.to(log_p.dtype)
        share = onehot if weight is None else onehot * weight[rows]
        if reduction == "mean":
            # Where every target is ignored the loss is 0 / 0, but the gradient is 0.
            share = share / share.sum().clamp(min=torch.finfo(share.dtype).tiny)

        residual = torch.exp(log_p, out=scaled).scatter_add_(1, rows, -onehot)
        slope = torch.mul(residual, logits, out=log_p).sum(1, keepdim=True)
        ctx.save_for_backward(logits, rows, sigma, onehot, share, residual, slope)
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        logits, rows, sigma, onehot, share, residual, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: the same, from differentiable pieces
            residual = (logits / sigma).softmax(1).scatter_add(1, rows, -onehot)
            slope = (residual * logits).sum(1, keepdim=True)
        # `grad` is a scalar, or one value a target element for reduction="none".
        factor = (grad if grad.ndim == 0 else grad.unsqueeze(1)) * share / sigma
        grad_sigma = _sum_to(-factor * slope / sigma, sigma) if ctx.needs_input_grad[2] else None
        return residual * factor, None, grad_sigma, None, None, None


def _sum_to(value: Tensor, like: Tensor) -> Tensor:
    """Sum away the trailing dimensions over which a per-sample temperature was broadcast."""
    dims = [d for d in range(like.ndim) if like.shape[d] == 1 and value.shape[d] != 1]
    return value.sum(dims, keepdim=True) if dims else value
