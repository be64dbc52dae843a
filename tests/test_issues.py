"""Label issues: closed forms, and planted errors that are found."""

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_parameters import find_label_issues, label_quality_scores
from data_parameters.issues import (
    class_noise_rates,
    noise_rate,
    score_threshold,
    suggestion_matrix,
)

FINITE = st.floats(-50, 50)
SIGMA = st.floats(0.05, 20)
ROWS = st.lists(st.tuples(st.integers(0, 3), SIGMA, FINITE), min_size=1, max_size=20)


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


@given(ROWS)
def test_scores_are_the_closed_forms(rows: list[tuple[int, float, float]]) -> None:
    labels, temperature, margin = map(list, zip(*rows, strict=True))
    expected = {
        "temperature": [1 / (1 + sigma) for sigma in temperature],
        "margin": [sigmoid(m) for m in margin],
        "combined": [
            sigmoid(m - 0.05 * math.log(sigma))
            for sigma, m in zip(temperature, margin, strict=True)
        ],
    }
    for method, scores in expected.items():
        found = label_quality_scores(
            labels,
            temperature=temperature,
            margin=margin,
            method=method,  # type: ignore[arg-type]
        )
        np.testing.assert_allclose(found, scores, rtol=1e-9)
        assert ((found >= 0) & (found <= 1)).all()
    automatic = label_quality_scores(labels, temperature=temperature, margin=margin)
    np.testing.assert_array_equal(
        automatic,
        label_quality_scores(labels, temperature=temperature, margin=margin, method="combined"),
    )


def test_a_margin_that_overflows_is_still_a_score() -> None:
    found = label_quality_scores([0, 0], margin=[-1e6, 1e6])
    assert found.tolist() == [0.0, 1.0]


def test_tensors_on_the_graph_and_lists_say_the_same() -> None:
    labels = torch.tensor([0, 1, 1])
    margin = torch.tensor([0.5, -1.0, 2.0], requires_grad=True)
    found = find_label_issues(labels, margin=margin, temperature=torch.ones(3), threshold=0.5)
    again = find_label_issues([0, 1, 1], margin=[0.5, -1, 2], temperature=[1, 1, 1], threshold=0.5)
    assert found.equals(again)
    assert list(found.columns) == [
        "is_label_issue", "label_score", "given_label", "predicted_label", "temperature", "margin",
    ]  # fmt: skip
    assert found["is_label_issue"].tolist() == [False, True, False]
    assert found["predicted_label"].tolist() == [-1, -1, -1]


def test_what_was_never_seen_has_no_score_and_is_no_issue() -> None:
    issues = find_label_issues(
        [0, 1, 1, 0],
        margin=[-3.0, math.nan, 1.0, 1.0],
        temperature=[4.0, 1.0, math.nan, 1.0],
        predicted_labels=[1, 0, 0, -1],
        threshold=0.5,
    )
    assert issues["label_score"].isna().tolist() == [False, True, True, False]
    assert issues["is_label_issue"].tolist() == [True, False, False, False]
    assert issues["predicted_label"].tolist() == [1, 0, 0, 0]
    assert noise_rate(issues) == 0.5
    assert class_noise_rates(issues, num_classes=3)["num_instances"].tolist() == [2, 0, 0]
    assert suggestion_matrix(issues, num_classes=2).tolist() == [[1, 1], [0, 0]]
    nothing = find_label_issues([0, 1], margin=[math.nan, math.nan])
    assert not nothing["is_label_issue"].any()
    assert math.isnan(noise_rate(nothing))


def test_a_label_that_its_prediction_agrees_with_is_no_issue() -> None:
    issues = find_label_issues(
        [0, 1, 1], margin=[-3.0, -3.0, -3.0], predicted_labels=[0, 0, -1], threshold=0.9
    )
    assert issues["is_label_issue"].tolist() == [False, True, False]


def planted(rate: float, seed: int, num_instances: int = 3000) -> tuple[Any, ...]:
    generator = np.random.default_rng(seed)
    true = generator.integers(0, 5, num_instances)
    wrong = generator.random(num_instances) < rate
    labels = np.where(wrong, (true + 1) % 5, true)
    margin = np.where(
        wrong,
        generator.normal(-3, 1.2, num_instances),
        np.minimum(generator.normal(1.5, 0.8, num_instances), 1),
    )
    temperature = np.exp(np.where(wrong, 1.0, -1.0) + generator.normal(0, 0.5, num_instances))
    return labels, true, wrong, margin, temperature


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.4, 0.6])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_planted_noise_rate_is_estimated_without_knowing_it(rate: float, seed: int) -> None:
    labels, true, wrong, margin, temperature = planted(rate, seed)
    issues = find_label_issues(
        labels, margin=margin, temperature=temperature, predicted_labels=true
    )
    assert noise_rate(issues) == pytest.approx(wrong.mean(), abs=0.02)
    found = issues["is_label_issue"].to_numpy()
    assert (found & wrong).sum() / wrong.sum() > 0.95
    rates = class_noise_rates(issues, num_classes=5)
    for label in range(5):
        of_class = labels == label
        assert rates["noise_rate"][label] == pytest.approx(found[of_class].mean())
    matrix = suggestion_matrix(issues, num_classes=5)
    assert matrix.sum() == len(labels)
    assert np.trace(matrix) == (~found).sum()
    for label in range(5):
        assert matrix[label, (label - 1) % 5] == (found & (labels == label)).sum()


def test_sound_data_have_no_issues() -> None:
    """Two Gaussians can be fitted to anything; the highest threshold keeps them from harm."""
    generator = np.random.default_rng(0)
    margin = 1 - generator.exponential(0.05, 2000).clip(max=0.4)
    issues = find_label_issues(np.zeros(2000, dtype=int), margin=margin)
    assert not issues["is_label_issue"].any()


def test_the_order_of_instances_does_not_matter() -> None:
    labels, true, _, margin, temperature = planted(0.3, 3, 500)
    order = np.random.default_rng(1).permutation(500)
    issues = find_label_issues(
        labels, margin=margin, temperature=temperature, predicted_labels=true
    )
    permuted = find_label_issues(
        labels[order],
        margin=margin[order],
        temperature=temperature[order],
        predicted_labels=true[order],
    )
    assert permuted.equals(issues.iloc[order].reset_index(drop=True))


def test_many_scores_are_cut_where_fewer_of_them_would_be() -> None:
    labels, _, _, margin, _ = planted(0.3, 4, 250_000)
    scores = label_quality_scores(labels, margin=margin)
    assert score_threshold(scores) == pytest.approx(score_threshold(scores[:50_000]), abs=0.01)


@pytest.mark.parametrize("scores", [[0.3] * 9, [0.5], [], [math.nan] * 3])
def test_scores_that_do_not_differ_have_no_issues(scores: list[float]) -> None:
    assert score_threshold(np.array(scores, dtype=float)) == 0.0


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "Take them from"),
    ({"margin": [1.0], "method": "combined"}, "Take them from"),
    ({"margin": [1.0], "method": "temperature"}, "Take them from"),
    ({"margin": [1.0], "method": "vote"}, "Leave it out"),
    ({"margin": [1.0, 2.0]}, r"shape \(1,\), one for each label"),
    ({"margin": [[1.0]]}, "shape"),
    ({"margin": ["high"]}, "should be numbers"),
    ({"temperature": [0.0]}, "not their logarithms"),
    ({"temperature": [-1.0]}, "row 0"),
    ({"margin": [1.0], "threshold": 2.0}, "threshold"),
    ({"margin": [1.0], "predicted_labels": [0, 1]}, "predicted_labels"),
    ({"margin": [1.0], "predicted_labels": [0.5]}, "Map class names"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_label_issues([0], **arguments)


def test_labels_that_are_no_integers() -> None:
    with pytest.raises(ValueError, match="Map class names"):
        label_quality_scores(["cat"], margin=[1.0])


def test_rates_refuse_what_does_not_fit() -> None:
    issues = find_label_issues([0, 2], margin=[-1.0, 1.0], threshold=0.5)
    with pytest.raises(ValueError, match="number of all classes"):
        class_noise_rates(issues, num_classes=2)
    with pytest.raises(ValueError, match="predicted labels"):
        suggestion_matrix(issues, num_classes=3)


@pytest.mark.parametrize("missing", ["pandas", "sklearn"])
def test_a_missing_extra_is_named(missing: str) -> None:
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from data_parameters import find_label_issues, label_quality_scores\n"
        "label_quality_scores([0], margin=[1.0])\n"
        "try:\n    find_label_issues([0, 1], margin=[1.0, 2.0])\n"
        "except ModuleNotFoundError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install 'data-parameters[issues]'" in done.stdout, done.stderr
