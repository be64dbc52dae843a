r"""Which labels are probably wrong, how many, and what they should be.

Legend: N instances, C classes. Scores are in [0, 1], and lower is worse. Whatever is not known of
an instance is NaN or -1: such a row has no score, is no issue, and enters no rate.
"""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

if TYPE_CHECKING:
    import pandas

__all__ = [
    "class_noise_rates",
    "find_label_issues",
    "label_quality_scores",
    "noise_rate",
    "score_threshold",
    "suggestion_matrix",
]

Column = Tensor | npt.ArrayLike
Method = Literal["auto", "temperature", "margin", "combined"]

# How much one unit of log-temperature weighs against one logit of the margin.
TEMPERATURE_WEIGHT = 0.05
# No label that led by half a logit on average is an issue, however the scores are spread.
HIGHEST_THRESHOLD = float(1 / (1 + np.exp(-0.5)))
# More scores than these say nothing more about where to cut.
MAX_FITTED = 100_000


def label_quality_scores(
    labels: Column,
    *,
    temperature: Column | None = None,
    margin: Column | None = None,
    method: Method = "auto",
) -> npt.NDArray[np.float64]:
    r"""How far each given label is to be trusted.

    With :math:`m` the mean margin over training and :math:`\sigma` the learned temperature,

    .. math::
        q = \frac{1}{1 + e^{-r}}, \qquad
        r = m, \quad r = -\ln\sigma, \quad \text{or} \quad r = m - 0.05 \ln\sigma

    for the margin alone (the probability of the given label against its strongest rival, at the
    mean margin), the temperature alone (:math:`1 / (1 + \sigma)`), and both combined. The clipped
    margin of :class:`TrainingDynamics` serves best: it finds wrong labels also after the network
    has learned them by heart, and the temperature then tells apart the instances whose margin was
    never below the cut. The benchmark of label issues in the documentation compares them.

    Args:
        labels: Given labels, shape ``(N,)``.
        temperature: Learned temperatures above 0, shape ``(N,)``; NaN where never seen.
        margin: Mean margins in logits, shape ``(N,)``; NaN where never seen.
        method: ``"auto"`` takes what is given.

    Returns:
        Scores of shape ``(N,)`` in [0, 1], float64, lower is worse; NaN where an input is.

    Raises:
        ValueError: Neither is given, the method needs one that is not, a shape does not fit, or a
            temperature is not above 0.

    Example:
        >>> label_quality_scores([0, 1, 1], margin=[1.0, -2.0, 1.0], temperature=[0.5, 4.0, 2.0])
        array([0.73781783, 0.11211524, 0.72419021])

    References:
        Pleiss et al., "Identifying Mislabeled Data using the Area Under the Margin Ranking",
        NeurIPS 2020 (the mean margin). Saxena, Tuzel and DeCoste, "Data Parameters", NeurIPS 2019.
    """
    num_instances = len(_labels(labels))
    sigma = _column("temperature", temperature, num_instances)
    mean_margin = _column("margin", margin, num_instances)
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
            f"`temperature`, `margin` or both should be given, as `method` needs. Found "
            f"{' and '.join(given) or 'neither'} for method {method!r}. Take them from "
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
        logit -= (TEMPERATURE_WEIGHT if "margin" in needed else 1.0) * np.log(sigma)
    with np.errstate(invalid="ignore"):  # NaN stays NaN, and nothing overflows
        scores: npt.NDArray[np.float64] = np.exp(-np.logaddexp(0.0, -logit))
    return scores


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
    mixture = _sklearn_mixture()
    found = _column("scores", scores, None)
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


def find_label_issues(
    labels: Column,
    *,
    temperature: Column | None = None,
    margin: Column | None = None,
    predicted_labels: Column | None = None,
    method: Method = "auto",
    threshold: float | None = None,
) -> "pandas.DataFrame":
    r"""Score the label of every instance, and say which are probably wrong.

    The first columns are those of cleanlab's Datalab. For the worst first:
    ``issues.sort_values("label_score", kind="stable")``.

    Args:
        labels: Given labels, shape ``(N,)``.
        temperature: Learned temperatures, shape ``(N,)``; NaN where never seen.
        margin: Mean margins, shape ``(N,)``, best the clipped ones; NaN where never seen.
        predicted_labels: What the labels should be, shape ``(N,)``, such as
            :attr:`TrainingDynamics.rival`; where negative the given label stands. A label is no
            issue where its prediction agrees with it.
        method: As in :func:`label_quality_scores`.
        threshold: Issues have a score below it; by default :func:`score_threshold`.

    Returns:
        One row an instance, in data-set order: ``is_label_issue``, ``label_score`` (lower is
        worse), ``given_label``, ``predicted_label`` (-1 where none was given), and ``temperature``
        and ``margin`` where they are given.

    Raises:
        ValueError: As :func:`label_quality_scores`; or the threshold lies outside [0, 1].
        ModuleNotFoundError: pandas or scikit-learn is not installed.

    Example:
        >>> issues = find_label_issues(
        ...     [0, 1, 1, 0], margin=[1.0, -2.0, 0.9, 0.8], predicted_labels=[0, 0, 1, -1]
        ... )
        >>> issues[["is_label_issue", "given_label", "predicted_label"]]
           is_label_issue  given_label  predicted_label
        0           False            0                0
        1            True            1                0
        2           False            1                1
        3           False            0                0
    """
    pandas = _pandas()
    given = _labels(labels)
    scores = label_quality_scores(given, temperature=temperature, margin=margin, method=method)
    if threshold is None:
        threshold = score_threshold(scores)
    if not 0 <= threshold <= 1:
        raise ValueError(f"`threshold` should lie in [0, 1], as scores do. Found {threshold}.")
    below = scores < threshold  # NaN is not
    predicted = np.full(len(given), -1)
    if predicted_labels is not None:
        predicted = _labels(predicted_labels, "predicted_labels", len(given))
        predicted = np.where(predicted < 0, given, predicted)
        below &= predicted != given
    columns: dict[str, Any] = {
        "is_label_issue": below,
        "label_score": scores,
        "given_label": given,
        "predicted_label": predicted,
    }
    for name, column in (("temperature", temperature), ("margin", margin)):
        if column is not None:
            columns[name] = _column(name, column, len(given))
    return pandas.DataFrame(columns)


def noise_rate(issues: "pandas.DataFrame") -> float:
    """Estimated share of wrong labels.

    Args:
        issues: What :func:`find_label_issues` returned.

    Returns:
        The share in [0, 1] of issues among the instances with a score; NaN where none has one.

    Example:
        >>> issues = find_label_issues([0, 1, 1], margin=[1.0, -2.0, 0.9])
        >>> round(noise_rate(issues), 3)
        0.333
    """
    scored = issues["label_score"].notna()
    return float(issues.loc[scored, "is_label_issue"].mean())


def class_noise_rates(issues: "pandas.DataFrame", *, num_classes: int) -> "pandas.DataFrame":
    """Estimated share of wrong labels among those that were given each class.

    Args:
        issues: What :func:`find_label_issues` returned.
        num_classes: C.

    Returns:
        One row a class: ``num_instances`` with a score, ``num_issues``, and ``noise_rate``, NaN
        where there are no instances.

    Raises:
        ValueError: A label is outside ``[0, C)``.

    Example:
        >>> issues = find_label_issues([0, 1, 1], margin=[1.0, -2.0, 0.9])
        >>> class_noise_rates(issues, num_classes=2)
           num_instances  num_issues  noise_rate
        0              1           0         0.0
        1              2           1         0.5
    """
    pandas = _pandas()
    scored = issues[issues["label_score"].notna()]
    given = _classes(scored, "given_label", num_classes)
    counts = np.bincount(given, minlength=num_classes)
    wrong = np.bincount(given[scored["is_label_issue"]], minlength=num_classes)
    with np.errstate(invalid="ignore"):
        rates = wrong / counts
    return pandas.DataFrame({"num_instances": counts, "num_issues": wrong, "noise_rate": rates})


def suggestion_matrix(issues: "pandas.DataFrame", *, num_classes: int) -> npt.NDArray[np.int64]:
    """How many instances of each given class should be of which class.

    Args:
        issues: What :func:`find_label_issues` returned, with predicted labels.
        num_classes: C.

    Returns:
        Counts of shape ``(C, C)``, given labels in rows and suggested ones in columns. What is no
        issue lies on the diagonal; instances without a score are left out.

    Raises:
        ValueError: There are no predicted labels, or a label is outside ``[0, C)``.

    Example:
        >>> issues = find_label_issues(
        ...     [0, 1, 1], margin=[1.0, -2.0, 0.9], predicted_labels=[0, 0, 1]
        ... )
        >>> suggestion_matrix(issues, num_classes=2)
        array([[1, 0],
               [1, 1]])
    """
    scored = issues[issues["label_score"].notna()]
    given = _classes(scored, "given_label", num_classes)
    is_issue = scored["is_label_issue"].to_numpy()
    suggested = given.copy()
    suggested[is_issue] = _classes(scored[is_issue], "predicted_label", num_classes)
    matrix = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(matrix, (given, suggested), 1)
    return matrix


def _labels(labels: Column, name: str = "labels", size: int | None = None) -> npt.NDArray[Any]:
    array = _array(labels)
    if array.ndim != 1 or array.dtype.kind not in "iu" or size not in (None, len(array)):
        expected = "(N,)" if size is None else f"({size},)"
        raise ValueError(
            f"`{name}` should be integers of shape {expected}. Found shape {array.shape} of "
            f"{array.dtype}. Map class names to integers first."
        )
    return array.astype(np.int64)


def _column(name: str, column: Column | None, size: int | None) -> npt.NDArray[np.float64] | None:
    if column is None:
        return None
    array = _array(column)
    if array.ndim != 1 or array.dtype.kind not in "iuf" or size not in (None, len(array)):
        expected = "(N,)" if size is None else f"({size},), one for each label"
        raise ValueError(
            f"`{name}` should be numbers of shape {expected}. Found shape {array.shape} of "
            f"{array.dtype}."
        )
    return array.astype(np.float64)


def _array(values: Column) -> npt.NDArray[Any]:
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)


def _classes(issues: "pandas.DataFrame", name: str, num_classes: int) -> npt.NDArray[np.int64]:
    classes: npt.NDArray[np.int64] = issues[name].to_numpy()
    outside = (classes < 0) | (classes >= num_classes)
    if bool(outside.any()):
        raise ValueError(
            f"`{name}` should lie in [0, {num_classes - 1}]. Found {classes[outside][0]}. Give the "
            "number of all classes, and predicted labels to `find_label_issues`."
        )
    return classes


def _pandas() -> Any:
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise _missing("pandas", error) from error
    return pandas


def _sklearn_mixture() -> Any:
    try:
        from sklearn import mixture
    except ModuleNotFoundError as error:
        raise _missing("scikit-learn", error) from error
    return mixture


def _missing(name: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    return ModuleNotFoundError(
        f"Label issues need {name}, an optional dependency. Install it with: "
        "pip install 'data-parameters[issues]'",
        name=error.name,
    )
