"""How much of an instance's training speaks for its label.

Legend: N instances. Margins are in logits, losses in nats; NaN where an instance was never seen.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from data_parameters.dynamics import TrainingDynamics
from data_parameters.issues.columns import Column, checked_column

__all__ = ["Dynamics", "dynamics_column", "memorised_margin", "trusted_margin"]

Dynamics = TrainingDynamics | Mapping[str, Column]

# Labels misclassified between these shares of the time were learned against a doubt.
DOUBTED = (0.25, 0.75)
# By how many logits above the cut they may be learned before margins are no longer trusted.
TRUST = 0.25
# The last prediction is the best one and a single one: it counts half.
LAST_WEIGHT = 0.5
# The smallest loss that float32 tells from 0 where it is 1 - p.
SMALLEST_LOSS = 2.0**-23


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
    r"""The margin over training, with its late part as far as the run can be trusted in it.

    With :math:`m_i`, :math:`c_i` and :math:`\mu` as in :func:`memorised_margin`, and the last loss
    :math:`\ell_i = -\ln p_i`,

    .. math::
        t_i = c_i + w \left( m_i - c_i + \frac{1}{2} \ln\frac{p_i}{1 - p_i} \right), \qquad
        w = e^{-(4 \mu)^4}.

    Large margins and the last prediction say much about a label where the network has not learned
    wrong ones by heart (:math:`w = 1`: the mean margin plus half the last log-odds), and mislead
    where it has (:math:`w = 0`: the margin cut off above 1, which keeps what was seen before).

    Args:
        dynamics: What each instance did: :class:`TrainingDynamics`, or its columns ``margin``,
            ``clipped_margin``, ``wrong_fraction`` and ``last_loss`` by name.

    Returns:
        Margins in logits, shape ``(N,)`` float64, lower is worse; NaN where an input is.

    Raises:
        ValueError: A column is missing, or no column of numbers.

    Example:
        >>> columns = {
        ...     "margin": [9.0, -2.0],
        ...     "clipped_margin": [1.0, -2.0],
        ...     "wrong_fraction": [0.0, 1.0],
        ...     "last_loss": [0.69314718, 0.69314718],
        ... }
        >>> trusted_margin(columns).round(3)
        array([ 9., -2.])
    """
    margin, clipped, loss = _columns(dynamics, "margin", "clipped_margin", "last_loss")
    trust = np.exp(-((memorised_margin(dynamics) / TRUST) ** 4))
    loss = np.maximum(loss, SMALLEST_LOSS)
    log_odds = -loss - np.log(-np.expm1(-loss))
    trusted: npt.NDArray[np.float64] = clipped + trust * (margin - clipped + LAST_WEIGHT * log_odds)
    return trusted


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
