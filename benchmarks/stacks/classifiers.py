"""What is compared on features: how each method trains, and how it scores the labels.

cleanlab is installed by hand: ``pip install cleanlab``.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from data_parameters.integrations.sklearn import DataParametersClassifier
from stacks.features import Features
from stacks.signals import aurocs

# Builds, trains, and returns the classifier with signals of shape (N,), higher is worse.
Method = Callable[[Features, int], tuple[Any, dict[str, np.ndarray]]]


def logistic_regression() -> LogisticRegression:
    """At its defaults, but for enough iterations to converge."""
    return LogisticRegression(max_iter=1000)


def plain(features: Features, seed: int) -> tuple[Any, dict[str, np.ndarray]]:
    """Logistic regression; the probability that it gives to the labels it was trained on."""
    classifier = logistic_regression().fit(features.train, features.given)
    probabilities = classifier.predict_proba(features.train)
    places = np.searchsorted(classifier.classes_, features.given)
    return classifier, {"score": -probabilities[np.arange(len(places)), places]}


def clean_learning(features: Features, seed: int) -> tuple[Any, dict[str, np.ndarray]]:
    """cleanlab: five-fold cross-validation, then a training without the label issues."""
    from cleanlab.classification import CleanLearning

    classifier = CleanLearning(
        logistic_regression(), seed=seed, find_label_issues_kwargs={"n_jobs": 1}
    )
    classifier.fit(features.train, features.given)
    return classifier, {"score": -classifier.get_label_issues()["label_quality"].to_numpy()}


def with_temperatures(estimator: Any = None, **settings: Any) -> Method:
    """`DataParametersClassifier` at its defaults, but for the settings."""

    def fit(features: Features, seed: int) -> tuple[Any, dict[str, np.ndarray]]:
        classifier = DataParametersClassifier(estimator, random_state=seed, **settings)
        classifier.fit(features.train, features.given)
        score = -classifier.find_label_issues()["label_score"].to_numpy()
        sigma = classifier.data_parameters_.instance_temperature.numpy()
        return classifier, {"score": score} if settings else {"score": score, "sigma": sigma}

    return fit


METHODS: dict[str, Method] = {
    "LogisticRegression": plain,
    "CleanLearning of LogisticRegression": clean_learning,
    "DataParametersClassifier": with_temperatures(),
    "DataParametersClassifier without temperatures": with_temperatures(lr_instance=0.0),
    "DataParametersClassifier without penalty": with_temperatures(LogisticRegression(C=np.inf)),
}


def run(features: Features, method: str, seed: int) -> dict[str, Any]:
    """Train once: clean test accuracy in %, AUROC of the label scores, seconds of the processor."""
    start = time.process_time()
    classifier, signals = METHODS[method](features, seed)
    seconds = time.process_time() - start
    right = classifier.predict(features.test) == features.test_labels
    return {
        "test": round(100 * float(np.mean(right)), 2),
        "auroc": aurocs(features.changed, signals),
        "seconds": round(seconds, 2),
    }
