"""The loss of sequences, each of which has one temperature or one for each of its tokens.

Legend: B sequences in the minibatch, T tokens of a sequence, C classes.
"""

from torch import Tensor

from data_parameters import functional

__all__ = ["IGNORE_INDEX", "check_shapes", "cross_entropy", "spread"]

IGNORE_INDEX = -100  # what Transformers gives targets that don't count


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    temperature: Tensor,
    *,
    label_smoothing: float,
    num_targets: Tensor | int | None,
) -> Tensor:
    """The mean cross-entropy over all targets of a step, in nats.

    Args:
        logits: Shape ``(B, ..., C)``.
        labels: Targets in ``[0, C)``, or -100 where there is none, shape ``(B, ...)``.
        temperature: Shape ``(B,)``, or ``(B, ...)``.
        label_smoothing: As in :func:`data_parameters.functional.cross_entropy`.
        num_targets: Of the whole step, by which the sum is divided; ``None``: of these labels.

    Returns:
        A scalar.
    """
    loss = functional.cross_entropy(
        # One row a target: the form in which the loss has its fast gradient.
        logits.reshape(-1, logits.shape[-1]),
        labels.reshape(-1),
        spread(temperature, labels),
        ignore_index=IGNORE_INDEX,
        label_smoothing=label_smoothing,
        reduction="mean" if num_targets is None else "sum",
    )
    return loss if num_targets is None else loss / num_targets


def spread(per_sample: Tensor, labels: Tensor) -> Tensor:
    """One value a target, from one a sequence or one a target.

    Args:
        per_sample: Shape ``(B,)``, or that of the labels.
        labels: Shape ``(B, ...)``.

    Returns:
        A row as long as all labels.
    """
    trailing = (1,) * (labels.ndim - per_sample.ndim)
    return per_sample.reshape(per_sample.shape + trailing).expand(labels.shape).reshape(-1)


def check_shapes(logits: Tensor, labels: Tensor) -> None:
    """Refuse what is no classification.

    Args:
        logits: Shape ``(B, ..., C)``.
        labels: Shape ``(B, ...)``.

    Raises:
        ValueError: They have other shapes, or the labels are no classes.
    """
    if labels.is_floating_point() or labels.shape != logits.shape[:-1] or logits.shape[-1] < 2:
        raise ValueError(
            "Logits (B, ..., C) should come with one class of C >= 2 for each of (B, ...). Found "
            f"logits of shape {tuple(logits.shape)} and labels of shape {tuple(labels.shape)}, "
            f"{labels.dtype}. Regression and several labels at once are not supported."
        )
