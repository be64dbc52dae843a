"""The networks that stand for estimators of scikit-learn."""

import copy
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from torch import nn

from data_parameters import DataParameters

__all__ = ["network", "penalty"]

ACTIVATIONS = {"identity": nn.Identity, "logistic": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}
# What is taken over from an estimator of scikit-learn; its other settings have no counterpart.
TAKEN_OVER = {
    LogisticRegression: {"C"},
    MLPClassifier: {"hidden_layer_sizes", "activation", "alpha"},
}


def network(estimator: Any, num_features: int, num_classes: int) -> nn.Module:
    """A network of its own for each training.

    Args:
        estimator: The setting of the classifier.
        num_features: F.
        num_classes: C.

    Returns:
        What maps features ``(B, F)`` to logits ``(B, C)``.

    Raises:
        ValueError: The estimator has no counterpart that is trained by gradients of its logits.
    """
    module: Any = None
    if estimator is None:
        return _linear(num_features, num_classes)
    if isinstance(estimator, nn.Module):
        module = copy.deepcopy(estimator)
    elif isinstance(estimator, BaseEstimator):
        module = _counterpart(estimator, num_features, num_classes)
    elif callable(estimator):
        module = estimator(num_features, num_classes)
    if not isinstance(module, nn.Module) or next(module.parameters(), None) is None:
        raise ValueError(
            "`estimator` should be None, a LogisticRegression, an MLPClassifier, a torch.nn.Module "
            "with parameters, or a function of the numbers of features and classes that returns "
            f"one. Found {estimator!r}. Other models are not trained by gradients of their logits."
        )
    if any(isinstance(part, DataParameters) for part in module.modules()):
        raise ValueError(
            "`estimator` should not contain DataParameters, because the classifier has its own, "
            "and two optimizers would move them. Leave them out of the module."
        )
    return module


def _linear(num_features: int, num_classes: int) -> nn.Module:
    """A linear model from 0, so that first margins say nothing that was not learned."""
    linear = nn.Linear(num_features, num_classes)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def _counterpart(estimator: Any, num_features: int, num_classes: int) -> nn.Module | None:
    """The network of the same architecture as an estimator of scikit-learn."""
    taken_over = TAKEN_OVER.get(type(estimator))
    if taken_over is None:
        return None
    settings, defaults = estimator.get_params(), type(estimator)().get_params()
    for name, value in settings.items():
        if name not in taken_over and value != defaults[name]:
            raise ValueError(
                f"`{name}` of {type(estimator).__name__} should be left at its default, because "
                f"nothing but {', '.join(sorted(taken_over))} is taken over. Found {value!r}. Use "
                "the settings of DataParametersClassifier, such as `epochs` and `random_state`."
            )
    if type(estimator) is LogisticRegression:
        return _linear(num_features, num_classes)
    layers: list[nn.Module] = []
    for size in np.atleast_1d(settings["hidden_layer_sizes"]).astype(int).tolist():
        layers += [nn.Linear(num_features, size), ACTIVATIONS[settings["activation"]]()]
        num_features = size
    return nn.Sequential(*layers, nn.Linear(num_features, num_classes))


def penalty(estimator: Any) -> float:
    """The weight of the squared norm of the weights, for the sum of the losses.

    Args:
        estimator: The setting of the classifier.

    Returns:
        The weight; 0 for a module or a function.

    Raises:
        ValueError: The weight is negative, or infinite.
    """
    if estimator is None or isinstance(estimator, LogisticRegression):
        inverse = 1.0 if estimator is None else estimator.C
        if not inverse > 0:
            raise ValueError(
                f"`C` should be above 0. Found {inverse!r}. Take 1, or `np.inf` for no penalty."
            )
        return float(1 / inverse)
    if isinstance(estimator, MLPClassifier):
        if not estimator.alpha >= 0:
            raise ValueError(f"`alpha` should be at least 0. Found {estimator.alpha!r}.")
        return float(estimator.alpha)
    return 0.0
