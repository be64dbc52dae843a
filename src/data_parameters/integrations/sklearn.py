"""Data parameters in scikit-learn. Needs ``pip install 'data-parameters[sklearn]'``.

Legend: C classes, F features, N training instances.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from data_parameters import (
    DataParameters,
    SparseSGD,
    TrainingDynamics,
    find_label_issues,
    functional,
)
from data_parameters.issues.scores import Method

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ModuleNotFoundError(
        "data_parameters.integrations.sklearn needs scikit-learn 1.6 or newer, an optional "
        "dependency. Install it with: pip install 'data-parameters[sklearn]'",
        name=error.name,
    ) from error

from data_parameters.integrations.sklearn_networks import network, penalty

if TYPE_CHECKING:
    import pandas

__all__ = ["DataParametersClassifier"]

FLOATS = (np.float64, np.float32)
ROWS_AT_ONCE = 1024


class DataParametersClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    r"""A classifier of features that learns whom to believe, and says which labels are wrong.

    A linear model, or any network of PyTorch, is trained on the cross-entropy of
    :math:`z / \sigma`, with a temperature :math:`\sigma` for each training instance, each class or
    both, learned beside it. Predictions are those of the plain logits :math:`z`. The objective is

    .. math::
        \frac{1}{N} \sum_i -\log \operatorname{softmax}(z_i / \sigma_i)_{y_i}
        + \frac{\alpha}{2N} \lVert W \rVert^2

    with the :math:`\alpha` of the estimator, over all weights but biases; at :math:`\sigma = 1` it
    is that of ``LogisticRegression``, where :math:`\alpha = 1 / C`. Without a penalty a linear
    model of many features soon fits any labels, and temperatures then tell nothing.

    It does what scikit-learn expects of a classifier: pipelines, searches and ``clone`` work, and
    the same ``random_state`` gives the same model. Features are used as they come: put a
    ``StandardScaler`` before it where their scales differ.

    Args:
        estimator: The model. ``None`` or a ``LogisticRegression`` is a linear one, with its
            ``C``; an ``MLPClassifier`` gives its ``hidden_layer_sizes``, ``activation`` and
            ``alpha``; a :class:`torch.nn.Module` from ``(B, F)`` to logits ``(B, C)`` is copied,
            and training goes on from its weights; a function of F and C returns such a module.
            For modules :math:`\alpha = 0`. Nothing else is taken over from an estimator of
            scikit-learn, and other settings than its defaults are refused.
        level: ``"instance"``, ``"class"`` or ``"joint"``.
        epochs: Passes over the training set.
        batch_size: Samples in a minibatch, at most; an epoch is cut into equal parts.
        lr: Learning rate of the model, for AdamW.
        weight_decay: Decoupled decay of the model's weights, beside the estimator's penalty.
        lr_class: Learning rate of the class log-temperatures, for a single sample, so that it fits
            any batch size.
        lr_instance: The same for instances.
        weight_decay_class: Pull of class temperatures towards 1.
        weight_decay_instance: The same for instances.
        bounds: Lowest and highest temperature.
        device: Where the model is trained.
        random_state: A seed, a ``RandomState``, or ``None`` for numpy's.

    Attributes:
        classes_: The classes, sorted, shape ``(C,)``.
        n_features_in_: F.
        module_: The trained network.
        data_parameters_: The learned :class:`DataParameters`, with ``instance_temperature`` and
            ``class_temperature``.
        dynamics_: The :class:`TrainingDynamics` of the training.
        loss_curve_: Mean cross-entropy of each epoch, at the temperatures of its time, in nats.

    Example:
        >>> from sklearn.datasets import make_blobs
        >>> X, y = make_blobs(200, centers=2, random_state=0)
        >>> y[:5] = 1 - y[:5]  # five wrong labels
        >>> classifier = DataParametersClassifier(random_state=0).fit(X, y)
        >>> issues = classifier.find_label_issues()
        >>> bool(issues.label_score[:5].mean() < issues.label_score[5:].mean())
        True

    References:
        Saxena, Tuzel and DeCoste, "Data Parameters: A New Family of Parameters for Learning a
        Differentiable Curriculum", NeurIPS 2019.
    """

    def __init__(
        self,
        estimator: BaseEstimator | nn.Module | Callable[[int, int], nn.Module] | None = None,
        *,
        level: Literal["instance", "class", "joint"] = "instance",
        epochs: int = 30,
        batch_size: int = 64,
        lr: float = 0.005,
        weight_decay: float = 0.0,
        lr_class: float = 0.001,
        lr_instance: float = 0.005,
        weight_decay_class: float = 0.0,
        weight_decay_instance: float = 0.0,
        bounds: tuple[float, float] | None = (1 / 20, 20.0),
        device: str | torch.device = "cpu",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        # As given and unchecked, so that `clone` and `set_params` work.
        self.estimator = estimator
        self.level = level
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.lr_class = lr_class
        self.lr_instance = lr_instance
        self.weight_decay_class = weight_decay_class
        self.weight_decay_instance = weight_decay_instance
        self.bounds = bounds
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> "DataParametersClassifier":
        """Train from the start, on features and labels that may be wrong in part.

        Args:
            X: Features, shape ``(N, F)``, dense or sparse; sparse rows are made dense a minibatch
                at a time. float32 is trained in float32, anything else in float64.
            y: Labels, shape ``(N,)``, of any type that scikit-learn takes for classes.

        Returns:
            This classifier.

        Raises:
            ValueError: The features or labels are none, there is only one class, a setting is out
                of its range, the network does not fit, or the training diverges.
        """
        self._check_settings()
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=FLOATS)
        check_classification_targets(y)
        classes, labels = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                f"`y` should hold at least 2 classes. Found one class, {classes[0]!r}. Give labels "
                "that differ."
            )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        device = torch.device(self.device)
        # The caller's own random numbers go on as if nothing had been trained.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            module = network(self.estimator, X.shape[1], len(classes))
            module.to(device, torch.float64 if X.dtype == np.float64 else torch.float32)
            self._train(module, X, torch.from_numpy(labels).to(device), len(classes), seed)
        self.classes_ = classes
        self._labels = labels
        return self

    def predict_proba(self, X: Any) -> npt.NDArray[Any]:
        """Probabilities of the classes, without temperatures.

        Args:
            X: Features, shape ``(M, F)``.

        Returns:
            Probabilities of shape ``(M, C)``, in the order of ``classes_``.

        Raises:
            NotFittedError: Nothing has been trained.
            ValueError: The features are not those of the training.
        """
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=FLOATS, reset=False)
        first = next(self.module_.parameters())
        with torch.inference_mode():
            parts = [
                self.module_(
                    _rows(X, np.arange(start, min(start + ROWS_AT_ONCE, X.shape[0]))).to(first)
                )
                .softmax(1)
                .cpu()
                for start in range(0, X.shape[0], ROWS_AT_ONCE)
            ]
        probabilities: npt.NDArray[Any] = torch.cat(parts).numpy()
        return probabilities

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The most likely class of each row.

        Args:
            X: Features, shape ``(M, F)``.

        Returns:
            Classes of shape ``(M,)``.

        Raises:
            NotFittedError: Nothing has been trained.
            ValueError: The features are not those of the training.
        """
        best = self.predict_proba(X).argmax(1)
        predicted: npt.NDArray[Any] = self.classes_[best]
        return predicted

    def find_label_issues(
        self, *, method: Method = "auto", threshold: float | None = None
    ) -> "pandas.DataFrame":
        """Which labels of the training set are probably wrong, and what they should be.

        One training answers; there is no cross-validation. It takes the instance temperatures (if
        there are any) and what :class:`TrainingDynamics` saw.

        Args:
            method: As in :func:`data_parameters.find_label_issues`.
            threshold: Likewise; by default set from the scores.

        Returns:
            One row an instance, in the order of ``fit``, with the columns of
            :func:`data_parameters.find_label_issues`; labels are as they were given.

        Raises:
            NotFittedError: Nothing has been trained.
            ValueError: ``method`` needs a temperature that the level does not have.
        """
        check_is_fitted(self)
        issues = find_label_issues(
            self._labels,
            temperature=self.data_parameters_.instance_temperature,
            dynamics=self.dynamics_,
            method=method,
            threshold=threshold,
        )
        for column in ("given_label", "predicted_label"):
            issues[column] = self.classes_[issues[column]]
        return issues

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn has to know: sparse features are welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _check_settings(self) -> None:
        if self.level not in ("instance", "class", "joint"):
            raise ValueError(
                f"`level` should be instance, class or joint. Found {self.level!r}. Take instance "
                "to find wrong labels."
            )
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if not (isinstance(value, (int, np.integer)) and value >= 1):
                raise ValueError(f"`{name}` should be an integer of at least 1. Found {value!r}.")

    def _train(
        self, module: nn.Module, X: Any, labels: Tensor, num_classes: int, seed: int
    ) -> None:
        num_instances = X.shape[0]
        data_parameters = DataParameters(
            num_classes=None if self.level == "instance" else num_classes,
            num_instances=None if self.level == "class" else num_instances,
            bounds=self.bounds,
            device=labels.device,
        )
        groups = data_parameters.param_groups(
            lr_class=self.lr_class,
            lr_instance=self.lr_instance,
            weight_decay_class=self.weight_decay_class,
            weight_decay_instance=self.weight_decay_instance,
        )
        data_optimizer = SparseSGD(groups, momentum=0.9, per_sample=True)
        optimizer = torch.optim.AdamW(
            module.parameters(), lr=self.lr, weight_decay=self.weight_decay
        )
        dynamics = TrainingDynamics(num_instances, device=labels.device)
        order = torch.Generator().manual_seed(seed)
        num_batches = -(-num_instances // self.batch_size)
        alpha = penalty(self.estimator)
        weights = [weight for weight in module.parameters() if weight.ndim > 1]
        loss_curve = []
        module.train()
        for _ in range(self.epochs):
            total = torch.zeros((), device=labels.device)
            # Parts of equal size: no sample is alone in a small last minibatch.
            for index in torch.randperm(num_instances, generator=order).tensor_split(num_batches):
                target = labels[index.to(labels.device)]
                logits = module(_rows(X, index.numpy()).to(labels.device))
                _check_logits(logits, len(index), num_classes)
                loss = functional.cross_entropy(logits, target, data_parameters(target, index))
                total += loss.detach() * len(index)
                if alpha > 0:
                    squares = torch.stack([weight.square().sum() for weight in weights]).sum()
                    loss = loss + alpha / (2 * num_instances) * squares
                optimizer.zero_grad()
                data_optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                data_optimizer.step()
                dynamics.update(logits.detach(), target, index)
            loss_curve.append(float(total) / num_instances)
            if not np.isfinite(loss_curve[-1]):
                raise ValueError(
                    f"The loss should stay finite. Found {loss_curve[-1]} in epoch "
                    f"{len(loss_curve)}. Scale the features, for example by a StandardScaler, or "
                    f"lower `lr`, now {self.lr}."
                )
        self.module_ = module.eval()
        self.data_parameters_ = data_parameters
        self.dynamics_ = dynamics
        self.loss_curve_ = loss_curve


def _rows(X: Any, index: npt.NDArray[np.int64]) -> Tensor:
    """Some rows of the features, copied, dense."""
    rows = X[index]
    return torch.from_numpy(rows.toarray() if hasattr(rows, "toarray") else rows)


def _check_logits(logits: Any, num_samples: int, num_classes: int) -> None:
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if shape != (num_samples, num_classes):
        raise ValueError(
            f"The module should return logits of shape (B, C) = {(num_samples, num_classes)}, one "
            f"for each class of `y`. Found {shape}. Give its last layer {num_classes} outputs."
        )
