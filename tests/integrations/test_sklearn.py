"""Data parameters in scikit-learn."""

import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn
from torch.testing import assert_close

from data_parameters import DataParameters, SparseSGD, TrainingDynamics, functional
from data_parameters.integrations.sklearn import DataParametersClassifier

ROOT = Path(__file__).parents[2]
NUM_INSTANCES, NUM_FEATURES, NUM_CLASSES = 90, 5, 3
SEED = 7


@pytest.fixture(name="data", scope="module")
def make_data() -> tuple[Any, Any]:
    """Three blobs, 5 of their widths from the origin; the first nine labels are wrong."""
    centers = 5 * np.eye(NUM_CLASSES, NUM_FEATURES)
    features, labels = make_blobs(NUM_INSTANCES, centers=centers, random_state=0)
    labels[:9] = (labels[:9] + 1) % NUM_CLASSES
    return features.astype(np.float32), labels


# All checks run; none is left out.
@parametrize_with_checks(
    [
        DataParametersClassifier(epochs=10, lr=0.02),
        DataParametersClassifier(MLPClassifier((16,)), level="joint", epochs=10, lr=0.02),
    ]
)
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("level", ["instance", "class", "joint"])
def test_tables_are_those_of_the_plain_loop(level: str, data: tuple[Any, Any]) -> None:
    features, labels = (torch.from_numpy(part) for part in data)
    network = nn.Sequential(nn.Linear(NUM_FEATURES, 8), nn.Tanh(), nn.Linear(8, NUM_CLASSES))
    classifier = DataParametersClassifier(
        network,
        level=level,
        epochs=4,
        batch_size=16,
        lr_class=0.01,
        lr_instance=0.05,
        weight_decay=0.01,
        weight_decay_instance=0.1,
        random_state=SEED,
    ).fit(*data)

    tables = DataParameters(
        num_classes=None if level == "instance" else NUM_CLASSES,
        num_instances=None if level == "class" else NUM_INSTANCES,
    )
    groups = tables.param_groups(lr_class=0.01, lr_instance=0.05, weight_decay_instance=0.1)
    data_optimizer = SparseSGD(groups, momentum=0.9, per_sample=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=classifier.lr, weight_decay=0.01)
    dynamics = TrainingDynamics(NUM_INSTANCES)
    seed = int(np.random.RandomState(SEED).randint(2**31 - 1))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(4):
        for index in torch.randperm(NUM_INSTANCES, generator=generator).tensor_split(6):
            logits, target = network(features[index]), labels[index]
            loss = functional.cross_entropy(logits, target, tables(target, index))
            optimizer.zero_grad()
            data_optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            data_optimizer.step()
            dynamics.update(logits.detach(), target, index)

    fitted = classifier.data_parameters_.state_dict()
    assert_close(fitted, dict(tables.state_dict()), rtol=0, atol=1e-5)
    assert_close(classifier.module_.state_dict(), network.state_dict(), rtol=0, atol=1e-5)
    assert_close(classifier.dynamics_.margin, dynamics.margin, rtol=0, atol=1e-5)
    assert all((value != 0).all() for value in tables.state_dict().values())


@pytest.mark.parametrize("inverse", [0.1, 1.0])
def test_at_temperature_1_it_is_logistic_regression(inverse: float, data: tuple[Any, Any]) -> None:
    """Both minimise the mean cross-entropy + ||W||^2 / (2 C N), without a penalty of biases."""
    features, labels = data[0].astype(np.float64), data[1]
    estimator = LogisticRegression(C=inverse, tol=1e-8, max_iter=10_000).fit(features, labels)
    classifier = DataParametersClassifier(
        LogisticRegression(C=inverse), lr_instance=0.0, lr=0.05, epochs=1000, batch_size=len(labels)
    ).fit(features, labels)
    weight = classifier.module_.weight.detach().numpy()
    np.testing.assert_allclose(weight, estimator.coef_, rtol=0, atol=1e-4)
    found, expected = (model.predict_proba(features) for model in (classifier, estimator))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_an_estimators_penalty_is_of_weights_alone(data: tuple[Any, Any]) -> None:
    features, labels = (torch.from_numpy(part) for part in data)
    classifier = DataParametersClassifier(
        MLPClassifier((4,), alpha=3.0), epochs=1, batch_size=NUM_INSTANCES, random_state=SEED
    )
    # One step of AdamW is lr times the sign of the gradient, whatever its size.
    fitted = classifier.fit(*data).module_.state_dict()
    seed = int(np.random.RandomState(SEED).randint(2**31 - 1))
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(NUM_FEATURES, 4), nn.ReLU(), nn.Linear(4, NUM_CLASSES))
    weights = [network[0].weight, network[2].weight]
    loss = F.cross_entropy(network(features), labels)
    loss = loss + 3.0 / (2 * NUM_INSTANCES) * sum((weight**2).sum() for weight in weights)
    loss.backward()
    torch.optim.AdamW(network.parameters(), lr=classifier.lr, weight_decay=0.0).step()
    assert_close(fitted, network.state_dict(), rtol=0, atol=1e-5)


def test_the_penalty_lets_temperatures_tell_where_a_linear_model_could_fit_any_labels() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(NUM_CLASSES), 40)
    features = generator.normal(size=(len(labels), 400)) / 40
    features[:, :NUM_CLASSES] += np.eye(NUM_CLASSES)[labels]
    wrong = generator.choice(len(labels), 24, replace=False)
    labels[wrong] = (labels[wrong] + 1) % NUM_CLASSES
    found = []
    for estimator in (LogisticRegression(), LogisticRegression(C=np.inf)):
        classifier = DataParametersClassifier(estimator, epochs=100, random_state=0)
        temperature = classifier.fit(features, labels).data_parameters_.instance_temperature
        hottest = temperature.argsort(descending=True)[: len(wrong)]
        found.append(np.isin(hottest.numpy(), wrong).mean())
    assert found[0] > 0.9
    assert found[1] < 0.8


def test_wrong_labels_are_found_and_named(data: tuple[Any, Any]) -> None:
    features, labels = data
    names = np.array(["cat", "dog", "eel"])
    classifier = DataParametersClassifier(random_state=0).fit(features, names[labels])
    issues = classifier.find_label_issues()
    worst = issues.sort_values("label_score").index[:9]
    assert sorted(worst) == list(range(9))
    assert issues.is_label_issue[:9].all()
    assert (issues.given_label == names[labels]).all()
    right = names[(labels[:9] - 1) % NUM_CLASSES]
    assert (issues.predicted_label[:9] == right).all()
    assert (classifier.predict(features[:9]) == right).all()


def test_without_an_instance_table_margins_find_issues(data: tuple[Any, Any]) -> None:
    classifier = DataParametersClassifier(level="class", random_state=0).fit(*data)
    issues = classifier.find_label_issues()
    assert "temperature" not in issues
    assert issues.is_label_issue[:9].all()
    assert issues.is_label_issue.mean() < 0.2
    with pytest.raises(ValueError, match="Take them from DataParameters"):
        classifier.find_label_issues(method="temperature")


def test_sparse_features_train_as_dense_ones(data: tuple[Any, Any]) -> None:
    features, labels = data
    features = np.where(features > 0, features, 0)
    dense = DataParametersClassifier(random_state=0).fit(features, labels)
    packed = DataParametersClassifier(random_state=0).fit(sparse.csr_array(features), labels)
    assert (dense.predict_proba(features) == packed.predict_proba(sparse.csr_array(features))).all()


def test_the_seed_decides_and_the_callers_random_numbers_go_on(data: tuple[Any, Any]) -> None:
    before = torch.get_rng_state()
    models = [DataParametersClassifier(random_state=seed).fit(*data) for seed in (0, 0, 1)]
    assert torch.equal(before, torch.get_rng_state())
    first, same, other = (model.data_parameters_.log_instance.detach() for model in models)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_a_module_is_copied(data: tuple[Any, Any]) -> None:
    module = nn.Linear(NUM_FEATURES, NUM_CLASSES)
    before = module.weight.detach().clone()
    classifier = DataParametersClassifier(module, random_state=0).fit(*data)
    assert torch.equal(module.weight, before)
    again = clone(classifier).fit(*data)
    assert torch.equal(again.module_.weight, classifier.module_.weight)


def test_a_search_over_a_pipeline(data: tuple[Any, Any]) -> None:
    classifier = DataParametersClassifier(MLPClassifier(), epochs=10, lr=0.05, random_state=0)
    pipeline = make_pipeline(StandardScaler(), classifier)
    sizes = "dataparametersclassifier__estimator__hidden_layer_sizes"
    search = GridSearchCV(pipeline, {sizes: [(8,), (8, 6)]}, cv=2).fit(*data)
    assert search.score(*data) > 0.7
    layers = pipeline.set_params(**{sizes: (8, 6)}).fit(*data)[-1].module_
    assert [len(layer.bias) for layer in layers[::2]] == [8, 6, NUM_CLASSES]


def test_a_function_builds_the_module(data: tuple[Any, Any]) -> None:
    classifier = DataParametersClassifier(lambda f, c: nn.Linear(f, c, bias=False)).fit(*data)
    assert classifier.module_.weight.shape == (NUM_CLASSES, NUM_FEATURES)


def test_pickled_it_predicts_and_finds_the_same(data: tuple[Any, Any]) -> None:
    classifier = DataParametersClassifier(level="joint", random_state=0).fit(*data)
    copy = pickle.loads(pickle.dumps(classifier))
    assert (copy.predict_proba(data[0]) == classifier.predict_proba(data[0])).all()
    assert copy.find_label_issues().equals(classifier.find_label_issues())


class WithTables(nn.Module):
    """The mistake of keeping the tables in the model."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(NUM_FEATURES, NUM_CLASSES)
        self.data_parameters = DataParameters(num_instances=NUM_INSTANCES)


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"level": "both"}, "Take instance"),
        ({"epochs": 0}, "`epochs` should be an integer of at least 1"),
        ({"batch_size": 2.5}, "`batch_size` should be an integer of at least 1"),
        ({"lr_instance": -1.0}, "`lr` should be at least 0"),
        ({"estimator": nn.Linear(NUM_FEATURES, 2)}, "Give its last layer 3 outputs"),
        ({"estimator": WithTables()}, "Leave them out of the module"),
        (
            {"estimator": LogisticRegression(class_weight="balanced")},
            "the settings of DataParametersClassifier",
        ),
        ({"estimator": LogisticRegression(C=0.0)}, "Take 1, or `np.inf` for no penalty"),
        ({"estimator": MLPClassifier(alpha=-1.0)}, "`alpha` should be at least 0"),
        ({"estimator": RandomForestClassifier()}, "an MLPClassifier, a torch.nn.Module"),
        ({"estimator": nn.ReLU()}, "with parameters"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_use_names_the_remedy(
    settings: dict[str, Any], remedy: str, data: tuple[Any, Any]
) -> None:
    with pytest.raises(ValueError, match=remedy):
        DataParametersClassifier(random_state=0).set_params(**settings).fit(*data)


def test_one_class_is_refused(data: tuple[Any, Any]) -> None:
    with pytest.raises(ValueError, match="Give labels that differ"):
        DataParametersClassifier().fit(data[0], np.zeros(NUM_INSTANCES))


def test_a_training_that_fails_leaves_the_one_before(data: tuple[Any, Any]) -> None:
    classifier = DataParametersClassifier(random_state=0).fit(*data)
    before = classifier.predict_proba(data[0])
    with (
        pytest.warns(UserWarning, match="not finite"),
        pytest.raises(ValueError, match="lower `lr`"),
    ):
        classifier.set_params(lr=1e30).fit(*data)
    assert (classifier.predict_proba(data[0]) == before).all()


def test_issues_need_a_training() -> None:
    with pytest.raises(NotFittedError, match="fit"):
        DataParametersClassifier().find_label_issues()


def test_documented_lines_run(data: tuple[Any, Any]) -> None:
    page = (ROOT / "docs" / "stacks" / "sklearn.md").read_text(encoding="utf-8")
    [lines] = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    names = dict(zip("Xy", data, strict=True))
    exec(lines, names)
    assert len(names["issues"]) == NUM_INSTANCES


def test_example() -> None:
    output = subprocess.run(
        [sys.executable, ROOT / "examples" / "scikit_learn.py"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    accuracy = [float(line.split()[-1]) for line in output.splitlines()[:2]]
    assert accuracy[0] < accuracy[1]
    assert "wrong labels" in output
