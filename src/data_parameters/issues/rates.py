"""How many labels are wrong, and which are given for which.

Legend: C classes. Instances without a score enter no rate.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from data_parameters.issues.columns import import_pandas

if TYPE_CHECKING:
    import pandas

__all__ = ["class_noise_rates", "noise_rate", "suggestion_matrix"]


def noise_rate(issues: "pandas.DataFrame") -> float:
    """Estimated share of wrong labels.

    Args:
        issues: What :func:`find_label_issues` returned.

    Returns:
        The share in [0, 1] of issues among the instances with a score; NaN where none has one.

    Example:
        >>> from data_parameters import find_label_issues
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
        >>> from data_parameters import find_label_issues
        >>> issues = find_label_issues([0, 1, 1], margin=[1.0, -2.0, 0.9])
        >>> class_noise_rates(issues, num_classes=2)
           num_instances  num_issues  noise_rate
        0              1           0         0.0
        1              2           1         0.5
    """
    pandas = import_pandas()
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
        >>> from data_parameters import find_label_issues
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


def _classes(issues: "pandas.DataFrame", name: str, num_classes: int) -> npt.NDArray[np.int64]:
    classes: npt.NDArray[np.int64] = issues[name].to_numpy()
    outside = (classes < 0) | (classes >= num_classes)
    if bool(outside.any()):
        raise ValueError(
            f"`{name}` should lie in [0, {num_classes - 1}]. Found {classes[outside][0]}. Give the "
            "number of all classes, and predicted labels to `find_label_issues`."
        )
    return classes
