"""The margin, as far as a run can be trusted in it.

Legend: N instances. Margins are in logits; NaN where an instance was never seen.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from data_parameters.dynamics import TrainingDynamics
from data_parameters.issues.columns import Column, checked_column

__all__ = ["Dynamics", "dynamics_column", "late_trust", "memorised_margin", "trusted_margin"]

Dynamics = TrainingDynamics | Mapping[str, Column]

# Labels misclassified between these shares of the time were learned against a doubt.
DOUBTED = (0.25, 0.75)
# About how many logits above 1 they may rise before large margins are no longer trusted.
TRUSTED_UP_TO = 0.25


def memorised_margin(dynamics: Dynamics) -> float:
    r"""How far above 1 the network drove margins of labels that it long disbelieved, in logits.

    With the margin :math:`m_i`, the margin cut off above 1 :math:`c_i`, both means over training,
    and the share of the time :math:`f_i` that the label was misclassified,

    .. math::
        \mu = \operatorname{mean}\{ m_i - c_i : 1/4 < f_i < 3/4 \}, \qquad
        \mu = 0 \text{ if there is none.}

    A network that learns by heart gives large margins also to labels that the rest of the data
    speaks against; one that does not, gives them none. So :math:`\mu` tells the two apart without
    knowing which labels are wrong.

    Args:
        dynamics: What each instance did: :class:`TrainingDynamics`, or its columns ``margin``,
            ``clipped_margin`` and ``wrong_fraction`` by name.

    Returns:
        The excess in logits, at least 0.

    Raises:
        ValueError: A column is missing, or no column of numbers.

    Example:
        >>> columns = {
        ...     "margin": [9.0, 2.5, -2.0],
        ...     "clipped_margin": [1.0, 0.5, -2.0],
        ...     "wrong_fraction": [0.0, 0.4, 1.0],
        ... }
        >>> memorised_margin(columns)
        2.0
    """
    margin, clipped, wrong = _columns(dynamics, "margin", "clipped_margin", "wrong_fraction")
    excess = (margin - clipped)[(wrong > DOUBTED[0]) & (wrong < DOUBTED[1])]  # NaN is neither
    return float(excess.mean()) if len(excess) else 0.0


def trusted_margin(dynamics: Dynamics) -> npt.NDArray[np.float64]:
    r"""The mean margin, cut off above 1 as far as the run has learned wrong labels by heart.

    With :math:`m_i`, :math:`c_i` and :math:`\mu` as in :func:`memorised_margin`,

    .. math::
        t_i = (1 - w) \, c_i + w \, m_i, \qquad w = e^{-(4 \mu)^4}.

    Large margins say much about a label where the network has not learned wrong ones by heart
    (:math:`w = 1`, the mean margin), and mislead where it has (:math:`w = 0`, the margin cut off,
    which keeps what was seen before).

    Args:
        dynamics: What each instance did: :class:`TrainingDynamics`, or its columns ``margin``,
            ``clipped_margin`` and ``wrong_fraction`` by name.

    Returns:
        Margins in logits, shape ``(N,)`` float64, lower is worse; NaN where an input is.

    Raises:
        ValueError: A column is missing, or no column of numbers.

    Example:
        >>> columns = {
        ...     "margin": [9.0, 2.5, -2.0],
        ...     "clipped_margin": [1.0, 0.5, -2.0],
        ...     "wrong_fraction": [0.0, 0.4, 1.0],
        ... }
        >>> trusted_margin(
        ...     columns
        ... )  # by heart: the second label was disbelieved, then driven to 2.5
        array([ 1. ,  0.5, -2. ])
    """
    margin, clipped = _columns(dynamics, "margin", "clipped_margin")
    trusted: npt.NDArray[np.float64] = clipped + late_trust(dynamics) * (margin - clipped)
    return trusted


def late_trust(dynamics: Dynamics) -> float:
    """The weight of margins above 1, in [0, 1]: how little the run has learned by heart.

    Args:
        dynamics: What each instance did.

    Returns:
        The weight w of :func:`trusted_margin`.

    Raises:
        ValueError: A column is missing, or no column of numbers.
    """
    return float(np.exp(-((memorised_margin(dynamics) / TRUSTED_UP_TO) ** 4)))


def dynamics_column(dynamics: Dynamics, name: str) -> Column | None:
    """One statistic of each instance, ``None`` where the columns lack it."""
    if isinstance(dynamics, Mapping):
        return dynamics.get(name)
    column: Column = getattr(dynamics, name)
    return column


def _columns(dynamics: Dynamics, *names: str) -> list[npt.NDArray[np.float64]]:
    columns: list[npt.NDArray[np.float64]] = []
    for name in names:
        size = len(columns[0]) if columns else None
        column = checked_column(name, dynamics_column(dynamics, name), size)
        if column is None:
            raise ValueError(
                f"`dynamics` should be TrainingDynamics or hold its columns {', '.join(names)}. "
                f"Found no {name}. Give a margin alone as `margin`."
            )
        columns.append(column)
    return columns
