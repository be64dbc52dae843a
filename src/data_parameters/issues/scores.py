"""How far each label is to be trusted.

Legend: N instances. Scores are in [0, 1], and lower is worse.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from data_parameters.issues.columns import Column, checked_column, checked_labels
from data_parameters.issues.margins import Dynamics, late_trust, trusted_margin

__all__ = ["Method", "chosen_margin", "label_quality_scores"]

Method = Literal["auto", "temperature", "margin", "combined"]

# How much one unit of log-temperature weighs against one logit of the margin.
TEMPERATURE_WEIGHT = 0.05


def label_quality_scores(
    labels: Column,
    *,
    temperature: Column | None = None,
    margin: Column | None = None,
    dynamics: Dynamics | None = None,
    method: Method = "auto",
) -> npt.NDArray[np.float64]:
    r"""How far each given label is to be trusted.

    With :math:`t` the margin over training and :math:`\sigma` the learned temperature,

    .. math::
        q = \frac{1}{1 + e^{-r}}, \qquad
        r = t, \quad r = -\ln\sigma, \quad \text{or} \quad r = t - 0.05 \ln\sigma

    for the margin alone, the temperature alone (:math:`1 / (1 + \sigma)`), and both combined.
    Given ``dynamics``, :math:`t` is the :func:`trusted_margin`, and the weight of the temperature
    is :math:`0.05 (1 - w)`: it tells apart the instances whose margin was never below the cut, and
    is not needed where nothing is cut off. The benchmark of label issues in the documentation
    compares the scores.

    Args:
        labels: Given labels, shape ``(N,)``.
        temperature: Learned temperatures above 0, shape ``(N,)``; NaN where never seen.
        margin: Mean margins in logits, shape ``(N,)``, instead of ``dynamics``; NaN where never
            seen.
        dynamics: :class:`TrainingDynamics`, or its columns by name.
        method: ``"auto"`` takes what is given.

    Returns:
        Scores of shape ``(N,)`` in [0, 1], float64, lower is worse; NaN where an input is.

    Raises:
        ValueError: Neither temperature nor margin is given, the method needs one that is not, a
            margin is given twice, a shape does not fit, or a temperature is not above 0.

    Example:
        >>> label_quality_scores([0, 1, 1], margin=[1.0, -2.0, 1.0], temperature=[0.5, 4.0, 2.0])
        array([0.73781783, 0.11211524, 0.72419021])

    References:
        Pleiss et al., "Identifying Mislabeled Data using the Area Under the Margin Ranking",
        NeurIPS 2020 (the mean margin). Saxena, Tuzel and DeCoste, "Data Parameters", NeurIPS 2019.
    """
    num_instances = len(checked_labels(labels))
    sigma = checked_column("temperature", temperature, num_instances)
    mean_margin = checked_column("margin", chosen_margin(margin, dynamics), num_instances)
    columns = {"temperature": sigma, "margin": mean_margin}
    given = [name for name, column in columns.items() if column is not None]
    needed = {"combined": [*columns], "auto": given}.get(method, [method])
    if method not in ("auto", "combined", *columns):
        raise ValueError(
            "`method` should be auto, temperature, margin or combined. Found "
            f"{method!r}. Leave it out to use what is given."
        )
    if not needed or not set(needed) <= set(given):
        raise ValueError(
            "`temperature`, `dynamics` (or `margin`) or both should be given, as `method` needs. "
            f"Found {' and '.join(given) or 'neither'} for method {method!r}. Take them from "
            "DataParameters and TrainingDynamics."
        )
    logit = np.zeros(num_instances)
    if mean_margin is not None and "margin" in needed:
        logit += mean_margin
    if sigma is not None and "temperature" in needed:
        if bool((sigma <= 0).any()):
            row = int(np.flatnonzero(sigma <= 0)[0])
            raise ValueError(
                "`temperature` should be above 0, or NaN where an instance was never seen. Found "
                f"{sigma[row]} in row {row}. Give temperatures, not their logarithms."
            )
        logit -= _temperature_weight(needed, dynamics) * np.log(sigma)
    with np.errstate(invalid="ignore"):  # NaN stays NaN, and nothing overflows
        scores: npt.NDArray[np.float64] = np.exp(-np.logaddexp(0.0, -logit))
    return scores


def chosen_margin(margin: Column | None, dynamics: Dynamics | None) -> Column | None:
    """The margin that is given, or the one of the dynamics.

    Args:
        margin: Margins, shape ``(N,)``.
        dynamics: What each instance did.

    Returns:
        Margins of shape ``(N,)``, or ``None`` where neither is given.

    Raises:
        ValueError: Both are given, or the dynamics lack a column.
    """
    if dynamics is None:
        return margin
    if margin is not None:
        raise ValueError(
            "`dynamics` or `margin` should be given. Found both. Leave `margin` out: the dynamics "
            "hold it."
        )
    return trusted_margin(dynamics)


def _temperature_weight(needed: Sequence[str], dynamics: Dynamics | None) -> float:
    if "margin" not in needed:
        return 1.0
    return TEMPERATURE_WEIGHT * (1.0 if dynamics is None else 1.0 - late_trust(dynamics))
