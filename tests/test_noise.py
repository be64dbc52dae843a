"""Wrong labels on purpose."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_parameters import corrupt_labels

KINDS = ["permute", "symmetric", "pair", "transition"]
CYCLE = np.roll(np.eye(5), 1, axis=1)


def options(kind: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "num_classes": 5,
        **({"transition": CYCLE} if kind == "transition" else {}),
    }


@given(
    st.lists(st.integers(0, 4), max_size=60),
    st.sampled_from([0.0, 0.1, 0.29, 0.4, 0.57, 1.0]),
    st.sampled_from(KINDS),
    st.integers(0, 2**32),
)
def test_properties(labels: list[int], fraction: float, kind: str, seed: int) -> None:
    old = np.array(labels, dtype=np.int64)
    kept = old.copy()
    new, drawn = corrupt_labels(old, fraction, seed=seed, **options(kind))
    assert np.array_equal(old, kept)
    assert drawn.sum() == math.floor(Fraction(str(fraction)) * len(old))
    assert np.array_equal(new[~drawn], old[~drawn])
    assert ((new >= 0) & (new < 5)).all()
    if kind == "permute":
        assert np.array_equal(np.sort(new), np.sort(old))
    elif kind == "symmetric":
        assert (new[drawn] != old[drawn]).all()
    else:
        assert np.array_equal(new[drawn], (old[drawn] + 1) % 5)
    again, _ = corrupt_labels(old, fraction, seed=seed, **options(kind))
    assert np.array_equal(new, again)


def test_floor_is_exact() -> None:
    # In binary floating point 0.29 * 100 is 28.999….
    assert corrupt_labels(np.zeros(100, int), 0.29, num_classes=2)[1].sum() == 29
    assert corrupt_labels(np.zeros(1797, int), 0.4, num_classes=2)[1].sum() == 718


def test_permuted_labels_stay_right_for_about_one_in_c() -> None:
    labels = np.arange(20_000) % 10
    new, drawn = corrupt_labels(labels, 0.4, kind="permute", seed=3)
    assert abs((new == labels)[drawn].mean() - 0.1) < 0.015


def test_symmetric_is_uniform_over_the_others() -> None:
    new, _ = corrupt_labels(np.zeros(40_000, int), 1.0, num_classes=5, seed=1)
    assert np.allclose(
        np.bincount(new, minlength=5) / 40_000, [0, 0.25, 0.25, 0.25, 0.25], atol=0.01
    )


def test_transition_follows_its_rows() -> None:
    matrix = [[0.7, 0.3, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]]
    labels = np.repeat([0, 1, 2], 20_000)
    new, drawn = corrupt_labels(labels, 1.0, kind="transition", transition=matrix, seed=2)
    assert drawn.all()
    for old in range(3):
        shares = np.bincount(new[labels == old], minlength=3) / 20_000
        assert np.allclose(shares, matrix[old], atol=0.015)


def test_seeds_differ_and_are_stable() -> None:
    labels = torch.arange(20) % 4
    first, _ = corrupt_labels(labels, 0.5, seed=0)
    second, _ = corrupt_labels(labels, 0.5, seed=1)
    assert not torch.equal(first, second)
    # The draws are part of what users publish: they stay the same over releases.
    permuted, drawn = corrupt_labels(labels, 0.5, kind="permute", seed=0)
    assert drawn.nonzero().flatten().tolist() == [2, 3, 4, 6, 8, 10, 11, 13, 16, 19]
    assert permuted[drawn].tolist() == [0, 3, 2, 2, 0, 2, 0, 3, 1, 3]


def test_returns_the_type_it_is_given() -> None:
    tensor = torch.tensor([0, 1, 2], dtype=torch.int32)
    new, drawn = corrupt_labels(tensor, 1.0, kind="pair")
    assert new.dtype == torch.int32
    assert new.tolist() == [1, 2, 0]
    assert drawn.dtype == torch.bool
    new, drawn = corrupt_labels([0, 1, 2], 1.0, kind="pair")
    assert (new, drawn) == ([1, 2, 0], [True, True, True])
    new, drawn = corrupt_labels(np.array([0, 1, 2], dtype=np.uint8), 1.0, kind="pair")
    assert new.dtype == np.uint8
    assert isinstance(drawn, np.ndarray)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"fraction": 1.1}, ValueError, "Write 40 % as 0.4"),
        ({"fraction": -0.1}, ValueError, r"in \[0, 1\]"),
        ({"fraction": float("nan")}, ValueError, r"in \[0, 1\]"),
        ({"kind": "random"}, ValueError, "should be one of permute"),
        ({"kind": "transition"}, ValueError, "`transition` should be given"),
        ({"transition": CYCLE}, ValueError, "`transition` should be given"),
        ({"kind": "transition", "transition": CYCLE * 0.5}, ValueError, "Divide each row"),
        (
            {"kind": "transition", "transition": 2 * CYCLE - np.eye(5)},
            ValueError,
            "Divide each row",
        ),
        ({"kind": "transition", "transition": np.ones((2, 3))}, ValueError, r"shape \(C, C\)"),
        (
            {"kind": "transition", "transition": CYCLE, "num_classes": 4},
            ValueError,
            r"shape \(C, C\) with C = 4",
        ),
        (
            {"labels": np.zeros(5, np.uint8), "num_classes": 1000},
            ValueError,
            "Convert it to int64",
        ),
        ({"num_classes": 2}, ValueError, "Found 0 to 4"),
        ({"labels": np.array([-1, 0])}, ValueError, "Leave unlabelled instances out"),
        ({"labels": np.array([0.0, 1.0])}, TypeError, "should be integers"),
        ({"labels": np.zeros((2, 2), int)}, TypeError, r"shape \(N,\)"),
        ({"labels": np.zeros(5, int)}, ValueError, "another class to take"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        corrupt_labels(**{"labels": np.arange(5), "fraction": 0.5, **arguments})
