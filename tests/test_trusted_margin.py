"""The trusted margin: closed form, limits, and runs that learn by heart or don't."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_parameters import TrainingDynamics, find_label_issues, label_quality_scores
from data_parameters.issues import memorised_margin, trusted_margin

INSTANCE = st.tuples(st.floats(-20, 1), st.floats(0, 20), st.floats(0, 1), st.floats(0.05, 20))


def columns_of(instances: list[tuple[float, ...]]) -> dict[str, Any]:
    clipped, excess, wrong = (np.array(column) for column in list(zip(*instances, strict=True))[:3])
    return {"margin": clipped + excess, "clipped_margin": clipped, "wrong_fraction": wrong}


@given(st.lists(INSTANCE, min_size=1, max_size=20))
def test_the_closed_form(instances: list[tuple[float, float, float, float]]) -> None:
    doubted = [excess for _, excess, wrong, _ in instances if 0.25 < wrong < 0.75]
    memorised = sum(doubted) / len(doubted) if doubted else 0.0
    w = math.exp(-((4 * memorised) ** 4))
    margin = [(1 - w) * clipped + w * (clipped + excess) for clipped, excess, *_ in instances]
    columns, labels = columns_of(instances), np.zeros(len(instances), dtype=int)
    sigma = np.array([temperature for *_, temperature in instances])
    assert memorised_margin(columns) == pytest.approx(memorised, abs=1e-9)
    np.testing.assert_allclose(trusted_margin(columns), margin, rtol=1e-6, atol=1e-6)
    logits = {
        "margin": np.array(margin),
        "temperature": -np.log(sigma),
        "combined": np.array(margin) - 0.05 * (1 - w) * np.log(sigma),
    }
    for method, logit in logits.items():
        scores = label_quality_scores(
            labels,
            temperature=sigma,
            dynamics=columns,
            method=method,  # type: ignore[arg-type]
        )
        np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logit)), rtol=1e-5)


def test_no_doubted_label_leaves_the_mean_margin_alone() -> None:
    columns = columns_of([(1.0, 4.0, 0.25), (-2.0, 0.0, 0.75)])
    assert memorised_margin(columns) == 0
    np.testing.assert_allclose(trusted_margin(columns), [5, -2])
    scores = label_quality_scores([0, 0], temperature=[20.0, 0.05], dynamics=columns)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp([-5, 2])))


def test_doubted_labels_with_large_margins_leave_the_margin_cut_off_and_the_temperature() -> None:
    columns = columns_of([(1.0, 4.0, 0.0), (-2.0, 0.0, 1.0), (0.0, 3.0, 0.5)])
    assert memorised_margin(columns) == 3
    clipped, sigma = columns["clipped_margin"], [0.5, 2.0, 4.0]
    np.testing.assert_array_equal(trusted_margin(columns), clipped)
    np.testing.assert_allclose(
        label_quality_scores([0, 0, 0], temperature=sigma, dynamics=columns),
        label_quality_scores([0, 0, 0], temperature=sigma, margin=clipped),
    )


def test_what_was_never_seen_has_no_part_in_it() -> None:
    seen = [(1.0, 4.0, 0.0), (0.5, 0.2, 0.5)]
    with_one = trusted_margin(columns_of([*seen, (math.nan, math.nan, math.nan)]))
    np.testing.assert_array_equal(with_one[:2], trusted_margin(columns_of(seen)))
    assert np.isnan(with_one[2])


def trained(*, by_heart: bool, num_instances: int = 1500, seed: int = 0) -> tuple[Any, ...]:
    """What a network of two classes would do that learns wrong labels by heart, or doesn't.

    Wrong labels are disbelieved at first; learned by heart they get the largest margins later.
    """
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(num_instances, generator=generator) < 0.3
    ease = 1.5 * torch.randn(num_instances, generator=generator)
    turn = 0.2 + 0.6 * torch.rand(num_instances, generator=generator)
    dynamics = TrainingDynamics(num_instances)
    rows, target = torch.arange(num_instances), torch.zeros(num_instances, dtype=torch.int64)
    for epoch in range(20):
        time = (epoch + 1) / 20
        margin = torch.where(wrong, -1.0, 2.0) + ease
        if by_heart:
            learned = (time > turn).float()
            margin = torch.where(wrong, -1 + 9 * learned, 2 + 4 * time) + 0.3 * ease
        margin = margin + 0.5 * torch.randn(num_instances, generator=generator)
        dynamics.update(torch.stack((margin, torch.zeros(num_instances)), 1), target, rows)
    return dynamics, wrong.numpy()


def found_share(margin: Any, wrong: Any) -> float:
    """Of the wrong labels, those among as many of the lowest margins."""
    worst = np.argsort(np.asarray(margin), kind="stable")[: wrong.sum()]
    return float(wrong[worst].mean())


def test_a_run_that_learns_by_heart_is_judged_by_what_was_seen_before() -> None:
    dynamics, wrong = trained(by_heart=True)
    assert memorised_margin(dynamics) > 0.5
    trusted = found_share(trusted_margin(dynamics), wrong)
    assert trusted == found_share(dynamics.clipped_margin, wrong)
    assert trusted > found_share(dynamics.margin, wrong) + 0.2
    assert trusted > found_share(-dynamics.last_loss, wrong) + 0.2


def test_a_run_that_does_not_is_judged_by_all_of_it() -> None:
    dynamics, wrong = trained(by_heart=False)
    assert memorised_margin(dynamics) < 0.15
    trusted = found_share(trusted_margin(dynamics), wrong)
    assert trusted >= found_share(dynamics.clipped_margin, wrong)
    assert trusted >= found_share(dynamics.margin, wrong) - 0.01


def test_dynamics_and_their_columns_say_the_same() -> None:
    dynamics, wrong = trained(by_heart=True)
    names = ("margin", "clipped_margin", "wrong_fraction", "rival")
    columns = {name: getattr(dynamics, name).numpy() for name in names}
    labels, sigma = np.zeros(len(wrong), dtype=int), np.linspace(0.5, 2, len(wrong))
    issues = find_label_issues(labels, temperature=sigma, dynamics=dynamics)
    assert issues.equals(find_label_issues(labels, temperature=sigma, dynamics=columns))
    # The suggestion is the rival, and the margin what the score was made of.
    assert (issues["predicted_label"].to_numpy() == np.maximum(dynamics.rival.numpy(), 0)).all()
    np.testing.assert_array_equal(issues["margin"], trusted_margin(dynamics))
    others = np.full(len(wrong), -1)
    unsuggested = find_label_issues(labels, dynamics=columns, predicted_labels=others)
    assert (unsuggested["predicted_label"] == 0).all()


def test_columns_that_are_missing_or_given_twice() -> None:
    columns = columns_of([(1.0, 4.0, 0.0)])
    with pytest.raises(ValueError, match="Leave `margin` out"):
        label_quality_scores([0], margin=[1.0], dynamics=columns)
    for name in columns:
        rest = {key: column for key, column in columns.items() if key != name}
        with pytest.raises(ValueError, match=f"Found no {name}"):
            find_label_issues([0], dynamics=rest)
    with pytest.raises(ValueError, match="one for each label"):
        label_quality_scores([0], dynamics={**columns, "wrong_fraction": [0.1, 0.2]})
    with pytest.raises(ValueError, match="one for each label"):
        label_quality_scores([0, 1], dynamics=columns)
