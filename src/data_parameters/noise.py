"""Wrong labels on purpose, and which they are.

Legend: N instances, C classes.
"""

import math
from fractions import Fraction
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["NoiseKind", "corrupt_labels"]

NoiseKind = Literal["permute", "symmetric", "pair", "transition"]
KINDS = ("permute", "symmetric", "pair", "transition")

Labels = TypeVar("Labels", Tensor, npt.NDArray[np.integer], list[int])


def corrupt_labels(
    labels: Labels,
    fraction: float,
    *,
    kind: NoiseKind = "symmetric",
    transition: npt.ArrayLike | None = None,
    num_classes: int | None = None,
    seed: int = 0,
) -> tuple[Labels, Labels]:
    r"""Give exactly :math:`\lfloor fraction \cdot N \rfloor` drawn instances another label.

    ========== ===================================================================================
    kind       new label of a drawn instance
    ========== ===================================================================================
    permute    the labels of the drawn are permuted among them (the published noise): class counts
               stay, and about :math:`1/C` of the drawn keep a right label
    symmetric  another class, uniformly
    pair       the next class, :math:`(y + 1) \bmod C`
    transition drawn from row :math:`y` of ``transition``; its diagonal is the share that stays
    ========== ===================================================================================

    Compare the temperatures with the labels that *changed*, ``new != labels``; the mask of the
    drawn serves the published curves of clean and corrupted instances.

    Args:
        labels: Classes in ``[0, C)``, shape ``(N,)``: a tensor, an array or a list.
        fraction: Share of the instances to draw, in [0, 1].
        kind: How the new label is drawn; see the table.
        transition: Probabilities ``(C, C)`` of the new label (column) given the old (row).
        num_classes: :math:`C`; ``None`` takes it from ``transition`` or the highest label.
        seed: Of the random draws. The same seed gives the same labels on every machine.

    Returns:
        The new labels and the mask of the drawn, of the same type as ``labels``; the input is left
        as it is.

    Raises:
        ValueError: The fraction is outside [0, 1], the kind unknown, the rows of ``transition`` do
            not sum to 1, a label is outside ``[0, C)``, or there is no other class to take.
        TypeError: Labels are not integers.

    Example:
        >>> labels = torch.arange(10)
        >>> noisy, drawn = corrupt_labels(labels, 0.2, kind="pair", seed=1)
        >>> int(drawn.sum()), bool((noisy[drawn] == (labels[drawn] + 1) % 10).all())
        (2, True)

    References:
        Saxena, Tuzel and DeCoste, "Data Parameters", NeurIPS 2019 (permute). Han et al.,
        "Co-teaching", NeurIPS 2018 (symmetric, pair). Patrini et al., "Making Deep Neural Networks
        Robust to Label Noise: a Loss Correction Approach", CVPR 2017 (transition).
    """
    given = labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if given.ndim != 1 or (given.size and not np.issubdtype(given.dtype, np.integer)):
        raise TypeError(
            f"`labels` should be integers of shape (N,). Found {given.dtype} of shape "
            f"{given.shape}. Map class names to integers first."
        )
    if not 0.0 <= fraction <= 1.0:
        raise ValueError(f"`fraction` should lie in [0, 1]. Found {fraction}. Write 40 % as 0.4.")
    if kind not in KINDS:
        raise ValueError(f"`kind` should be one of {', '.join(KINDS)}. Found {kind!r}.")
    matrix = _transition(kind, transition)
    if num_classes is None:
        highest = int(given.max()) if given.size else -1
        num_classes = highest + 1 if matrix is None else len(matrix)
    if matrix is not None and len(matrix) != num_classes:
        raise ValueError(
            f"`transition` should have shape (C, C) with C = {num_classes}. Found {matrix.shape}."
        )
    if given.size and not 0 <= given.min() <= given.max() < num_classes:
        raise ValueError(
            f"`labels` should lie in [0, {num_classes - 1}]. Found {given.min()} to {given.max()}. "
            "Leave unlabelled instances out, or give the right `num_classes`."
        )
    if given.size and num_classes - 1 > np.iinfo(given.dtype).max:
        raise ValueError(
            f"The type of `labels` should hold {num_classes} classes. Found {given.dtype}. Convert "
            "it to int64."
        )

    # 0.29 * 100 is 28.999… in binary; the shortest decimal that means this float is what was asked.
    num_drawn = math.floor(Fraction(repr(float(fraction))) * given.size)
    if num_drawn and kind in ("symmetric", "pair") and num_classes < 2:
        raise ValueError(
            f"There should be another class to take. Found `num_classes` = {num_classes}. Give "
            "`num_classes` if the labels happen to hold one class only."
        )
    generator = np.random.Generator(np.random.PCG64(seed))
    rows = generator.permutation(given.size)[:num_drawn]
    old = given[rows].astype(np.int64)
    if kind == "permute":
        new = generator.permutation(old)
    elif kind == "symmetric":
        new = (old + generator.integers(1, max(num_classes, 2), size=num_drawn)) % num_classes
    elif kind == "pair":
        new = (old + 1) % num_classes
    else:
        assert matrix is not None
        reached = matrix.cumsum(axis=1)[old] > generator.random((num_drawn, 1))
        # Rounding may leave the last sum just below 1; the last class that can be reached is meant.
        last = num_classes - 1 - (matrix[:, ::-1] > 0).argmax(axis=1)
        new = np.where(reached.any(axis=1), reached.argmax(axis=1), last[old])

    noisy, drawn = given.copy(), np.zeros(given.size, dtype=bool)
    noisy[rows] = new
    drawn[rows] = True
    if isinstance(labels, Tensor):
        return (
            torch.from_numpy(noisy).to(labels.device),
            torch.from_numpy(drawn).to(labels.device),
        )
    if isinstance(labels, list):
        return noisy.tolist(), drawn.tolist()
    return noisy, drawn


def _transition(kind: str, transition: npt.ArrayLike | None) -> npt.NDArray[np.float64] | None:
    if (kind == "transition") != (transition is not None):
        raise ValueError(
            '`transition` should be given for kind "transition" and for no other. Found kind '
            f"{kind!r} and {'no' if transition is None else 'a'} matrix."
        )
    if transition is None:
        return None
    matrix = np.asarray(transition, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"`transition` should have shape (C, C). Found {matrix.shape}.")
    if not (matrix >= 0).all() or not np.allclose(matrix.sum(axis=1), 1.0, rtol=0, atol=1e-6):
        raise ValueError(
            "Each row of `transition` should hold probabilities that sum to 1. Found rows that sum "
            f"to {matrix.sum(axis=1).tolist()}, lowest entry {matrix.min()}. Divide each row by "
            "its sum; rows are the old label, columns the new."
        )
    return matrix
