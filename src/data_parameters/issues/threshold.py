"""Where scores are cut, without knowing how many labels are wrong."""

import numpy as np

from data_parameters.issues.columns import Column, checked_column, import_mixture

__all__ = ["score_threshold"]

# No label that led by half a logit on average is an issue, however the scores are spread.
HIGHEST_THRESHOLD = float(1 / (1 + np.exp(-0.5)))
# More scores than these say nothing more about where to cut.
MAX_FITTED = 100_000


def score_threshold(scores: Column, *, highest: float = HIGHEST_THRESHOLD) -> float:
    r"""Where to cut scores, from the scores alone: no noise rate needs to be known.

    Two Gaussians are fitted to the scores, and the cut lies where a score is as likely to come from
    the worse one as from the better one. It is at most 0.62, the score of a label that led by half
    a logit on average, because two Gaussians can be fitted to the scores of sound data too.

    Args:
        scores: Label quality scores, shape ``(N,)``; NaN is left out.
        highest: Highest threshold.

    Returns:
        The threshold: issues lie below it. 0 where the scores don't differ.

    Raises:
        ValueError: The scores are no column of numbers.
        ModuleNotFoundError: scikit-learn is not installed.

    Example:
        >>> scores = [0.1] * 30 + [0.2] * 30 + [0.7] * 50 + [0.8] * 50
        >>> 0.2 < score_threshold(scores) < 0.63
        True

    References:
        Li, Socher and Hoi, "DivideMix: Learning with Noisy Labels as Semi-supervised Learning",
        ICLR 2020 (two Gaussians, there on losses).
    """
    mixture = import_mixture()
    found = checked_column("scores", scores, None)
    assert found is not None
    known = np.sort(found[~np.isnan(found)])
    if len(known) < 2 or known[0] == known[-1]:
        return 0.0
    if len(known) > MAX_FITTED:
        known = known[np.linspace(0, len(known) - 1, MAX_FITTED).round().astype(int)]
    low, high = np.percentile(known, [10, 90])
    if low == high:
        low, high = known[0], known[-1]
    gaussians = mixture.GaussianMixture(
        2, means_init=[[low], [high]], reg_covar=1e-4, random_state=0
    ).fit(known[:, None])
    worse = int(gaussians.means_[:, 0].argmin())
    # The wide one of two Gaussians takes both tails: the cut lies between the two means.
    between = np.linspace(gaussians.means_.min(), gaussians.means_.max(), 1001)
    of_worse = gaussians.predict_proba(between[:, None])[:, worse] > 0.5
    cut = between[of_worse][-1] if of_worse.any() else between[0]
    return float(min(cut, highest))
