"""What labels that are wrong on purpose say about the others.

Legend: N instances. Scores are lower for worse labels.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from data_parameters.issues.columns import Column, checked_column, checked_labels

__all__ = ["planted_issues", "planted_noise_rate", "planted_threshold"]

# Where fewer planted labels lie below a threshold, their share is too uncertain to divide by.
LEAST_BELOW = 20
LEAST_PLANTED = 40
# Other labels have to lie above planted ones more often than chance has it, by so many standard
# errors of the rank statistic: a network that has learned nothing tells nothing.
LEAST_ERRORS = 2.0
LEAST_AUROC = 0.8
# At most so many times the estimated number of wrong labels is cut.
MOST_CUT = 1.5


def planted_noise_rate(
    scores: Column,
    planted: Column,
    *,
    num_classes: int | None = None,
    least_auroc: float = LEAST_AUROC,
) -> float:
    r"""Share of wrong labels among the others, from how planted ones score.

    Give a few instances a wrong label on purpose (:func:`corrupt_labels`), train on all, and
    compare. Let :math:`R` and :math:`W` be the distribution functions of the scores of right and
    wrong labels and :math:`\pi` the share of the wrong ones. The others mix them,
    :math:`F = \pi W + (1 - \pi) R`, and so do the planted ones, since a label planted in place of
    a wrong one is the right one by chance: :math:`P = (1 - \epsilon) W + \epsilon R` with
    :math:`\epsilon = \pi / (C - 1)` for labels drawn from the other :math:`C - 1` classes. So

    .. math::
        \pi \le \frac{r}{1 + r / (C - 1)}, \qquad r = \min_t \frac{F(t)}{P(t)},

    which is the estimate: some threshold below which hardly any right label lies makes it tight.
    Where nothing is wrong, hard instances alone lie as low as planted labels, and few do. Wrong
    labels that are easier to believe than a class drawn at random, such as those that people mix
    up, score higher than planted ones, and are underestimated.

    Args:
        scores: Margins or label quality scores of all instances, shape ``(N,)``; NaN where never
            seen.
        planted: Which of them were planted, shape ``(N,)``, boolean.
        num_classes: C, of labels planted at random; ``None`` for so many that :math:`\epsilon` is
            next to nothing. The estimate is at most :math:`(C - 1) / C`.
        least_auroc: The share of pairs of a right and a wrong label that have to be in order,
            going by the estimate. A network that has begun to learn takes labels that it has not
            learned yet for wrong ones, and short of this bound still does. 0 for a network that
            is known to have learned more than that.

    Returns:
        The estimate, in [0, 1]. 0 where the network has learned too little for planted labels to
        say anything: they score no lower than others by more than chance, or the pairs in order
        are too few.

    Raises:
        ValueError: A shape does not fit, fewer than 40 instances with a score are planted, or all,
            there are fewer than 2 classes, or the least AUROC is not in [0, 1].

    Example:
        >>> import numpy as np
        >>> right, wrong = np.arange(600.0), np.arange(-400.0, 0.0)
        >>> scores, planted = np.concatenate([right, wrong]), np.zeros(1000, bool)
        >>> planted[600::8] = True  # 50 of the 400 wrong labels: of the others, 0.368 are wrong
        >>> round(planted_noise_rate(scores, planted), 3)
        0.352

    References:
        Pleiss, Zhang, Elenberg and Weinberger, "Identifying Mislabeled Data using the Area Under
        the Margin Ranking", NeurIPS 2020 (threshold samples, there in a class of their own).
        Blanchard, Lee and Scott, "Semi-Supervised Novelty Detection", JMLR 2010 (the share of one
        distribution in another as the least ratio).
    """
    if not 0 <= least_auroc <= 1:
        raise ValueError(f"`least_auroc` should lie in [0, 1]. Found {least_auroc}.")
    chance = _chance(num_classes)
    others, wrong = _apart(scores, planted)
    least = max(0.2, LEAST_BELOW / len(wrong))
    thresholds = np.quantile(wrong, np.linspace(least, 1.0, 81))
    ratios = _share(others, thresholds, "right") / _share(wrong, thresholds, "right")
    ratio = float(ratios.min())
    rate = ratio / (1 + ratio * chance)
    above = (_share(wrong, others, "left") + _share(wrong, others, "right")).mean() / 2
    num_wrong, num_others = len(wrong), len(others)
    error = np.sqrt((num_wrong + num_others + 1) / (12 * num_wrong * num_others))  # Mann, Whitney
    mixed = rate * (1 + chance)  # others that are wrong and planted ones that are right
    auroc = (above - mixed / 2) / (1 - mixed) if mixed < 1 else 0.0  # of right against wrong
    return rate if above > 0.5 + LEAST_ERRORS * error and auroc >= least_auroc else 0.0


def planted_threshold(
    scores: Column,
    planted: Column,
    *,
    cost: float = 1.0,
    num_classes: int | None = None,
    least_auroc: float = LEAST_AUROC,
) -> float:
    r"""Where to cut scores so that the fewest labels are misjudged, from how planted ones score.

    With :math:`\pi` and :math:`\epsilon` of :func:`planted_noise_rate`, the threshold :math:`t`
    minimises

    .. math::
        c \, (F(t) - \pi W(t)) + \pi (1 - W(t)), \qquad
        W = \frac{(1 - \pi) P - \epsilon F}{1 - \pi - \epsilon},

    right labels below it, at a cost :math:`c` each, and wrong labels above it.

    Args:
        scores: Margins or label quality scores of all instances, shape ``(N,)``; NaN where never
            seen.
        planted: Which of them were planted, shape ``(N,)``, boolean.
        cost: Cost of a right label that is taken for wrong, against that of a wrong one missed.
        num_classes: As in :func:`planted_noise_rate`.
        least_auroc: Likewise.

    Returns:
        The threshold: wrong labels lie below it. Minus infinity where cutting nothing is best.

    Raises:
        ValueError: As in :func:`planted_noise_rate`, or the cost is not above 0.

    Example:
        >>> import numpy as np
        >>> right, wrong = np.arange(600.0), np.arange(-400.0, 0.0)
        >>> scores, planted = np.concatenate([right, wrong]), np.zeros(1000, bool)
        >>> planted[600::8] = True
        >>> -10 < planted_threshold(scores, planted) <= 0
        True

    References:
        As in :func:`planted_noise_rate`.
    """
    if not 0 < cost < float("inf"):
        raise ValueError(f"`cost` should be above 0 and finite. Found {cost}.")
    others, wrong = _apart(scores, planted)
    rate = planted_noise_rate(scores, planted, num_classes=num_classes, least_auroc=least_auroc)
    if rate == 0:
        return float("-inf")
    thresholds = np.quantile(others, np.linspace(0.0, 1.0, 501), method="lower")
    below = _share(others, thresholds, "left")
    came_right = rate * _chance(num_classes)
    of_wrong = (1 - rate) * _share(wrong, thresholds, "left") - came_right * below
    of_wrong = (of_wrong / (1 - rate - came_right)).clip(0, 1)
    misjudged = cost * (below - rate * of_wrong).clip(min=0) + rate * (1 - of_wrong)
    misjudged[below > MOST_CUT * rate] = np.inf
    best = int(misjudged.argmin())
    if misjudged[best] >= rate or below[best] == 0:
        return float("-inf")
    return float(thresholds[best])


def planted_issues(
    labels: Column,
    scores: Column,
    planted: Column,
    *,
    cost: float = 0.5,
    least_rate: float = 0.05,
    num_classes: int | None = None,
    least_auroc: float = LEAST_AUROC,
) -> npt.NDArray[np.bool_]:
    """Which labels to leave out of the training, from how planted ones score.

    Those below :func:`planted_threshold`, but none where :func:`planted_noise_rate` is next to
    nothing, and none of a class that would lose most of its labels while others would not: such a
    class is hard or rare rather than wrong.

    Args:
        labels: Given labels, before planting, shape ``(N,)``.
        scores: Margins or label quality scores, shape ``(N,)``; NaN where never seen.
        planted: Which were planted, shape ``(N,)``, boolean. They are not left out.
        cost: As in :func:`planted_threshold`.
        least_rate: Estimated share of wrong labels below which none is left out.
        num_classes: C; ``None`` for as many as there are different labels.
        least_auroc: As in :func:`planted_noise_rate`.

    Returns:
        A mask of shape ``(N,)``.

    Raises:
        ValueError: As in :func:`planted_threshold`, labels are no integers of that shape, or the
            least rate is not in [0, 1].

    Example:
        >>> import numpy as np
        >>> right, wrong = np.arange(600.0), np.arange(-400.0, 0.0)
        >>> scores, planted = np.concatenate([right, wrong]), np.zeros(1000, bool)
        >>> planted[600::8] = True
        >>> left_out = planted_issues(np.arange(1000) % 10, scores, planted)
        >>> int(left_out[:600].sum()), bool(left_out[600:].sum() > 300)
        (0, True)

    References:
        As in :func:`planted_noise_rate`.
    """
    if not 0 <= least_rate <= 1:
        raise ValueError(f"`least_rate` should lie in [0, 1]. Found {least_rate}.")
    given = checked_labels(labels)
    column = _known(scores, len(given))
    mask = np.asarray(planted)
    names, classes = np.unique(given, return_inverse=True)
    if num_classes is None and len(names) > 1:
        num_classes = len(names)
    rate = planted_noise_rate(column, mask, num_classes=num_classes, least_auroc=least_auroc)
    if rate == 0 or rate < least_rate:
        return np.zeros(len(given), dtype=bool)
    threshold = planted_threshold(
        column, mask, cost=cost, num_classes=num_classes, least_auroc=least_auroc
    )
    below = (column < threshold) & ~mask
    judged = ~np.isnan(column) & ~mask
    share = np.bincount(classes, below) / np.maximum(np.bincount(classes, judged), 1)
    left_out: npt.NDArray[np.bool_] = below & (share <= max(0.5, 2 * rate))[classes]
    return left_out


def _known(scores: Column, size: int | None) -> npt.NDArray[np.float64]:
    column = checked_column("scores", scores, size)
    if column is None:
        raise ValueError("`scores` should be numbers, one for each instance. Found None.")
    return column


def _chance(num_classes: int | None) -> float:
    """Of a planted label to be the right one, where that of the data is wrong."""
    if num_classes is None:
        return 0.0
    if num_classes < 2:
        raise ValueError(f"`num_classes` should be at least 2. Found {num_classes}.")
    return 1 / (num_classes - 1)


def _apart(
    scores: Column, planted: Column
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Sorted scores of the others and of the planted ones, where there are any."""
    column = _known(scores, None)
    mask = np.asarray(planted)
    if mask.dtype != np.bool_ or mask.shape != column.shape:
        raise ValueError(
            f"`planted` should be boolean, of shape ({len(column)},), one for each score. Found "
            f"shape {mask.shape} of {mask.dtype}."
        )
    if np.isinf(column).any():
        raise ValueError("`scores` should be finite, or NaN where never seen. Found infinity.")
    known = ~np.isnan(column)
    others, wrong = np.sort(column[known & ~mask]), np.sort(column[known & mask])
    if len(wrong) < LEAST_PLANTED or len(others) == 0:
        raise ValueError(
            f"At least {LEAST_PLANTED} instances with a score should be planted, and not all. "
            f"Found {len(wrong)} planted and {len(others)} others. Plant more labels."
        )
    return others, wrong


def _share(
    ordered: npt.NDArray[np.float64],
    thresholds: npt.NDArray[np.float64],
    side: Literal["left", "right"],
) -> npt.NDArray[np.float64]:
    """Share of the scores below each threshold, or at it as well (``right``)."""
    return np.searchsorted(ordered, thresholds, side=side) / len(ordered)
