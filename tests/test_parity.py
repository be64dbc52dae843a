"""The trajectories of the published implementation, met through the public API."""

from pathlib import Path

import numpy as np
import pytest

from replay import differences, replay

HERE = Path(__file__).parent
SHARED = HERE.parents[1] / "shared" / "parity"
LEVELS = ("class", "instance", "joint")
TOLERANCE = 1e-5


@pytest.mark.parametrize("level", LEVELS)
def test_recorded_trajectory_is_met(level: str) -> None:
    problem = np.load(HERE / "trajectories" / f"{level}.npz")
    largest = differences(replay(problem), problem)
    assert {"cross_entropy", "W", "b"} < largest.keys()
    assert max(largest.values()) < TOLERANCE, largest


@pytest.mark.skipif(not SHARED.is_dir(), reason="the longer trajectories lie outside the tree")
@pytest.mark.parametrize("level", LEVELS)
def test_long_trajectory_is_met(level: str) -> None:
    problem = np.load(SHARED / f"{level}.npz")
    largest = differences(replay(problem), problem)
    assert max(largest.values()) < TOLERANCE, largest


@pytest.mark.parametrize(
    ("name", "factor"), [("lr_class", 1.01), ("wd_class", 1.1), ("lr_model", 1.001)]
)
def test_the_comparison_can_fail(name: str, factor: float) -> None:
    problem = dict(np.load(HERE / "trajectories" / "class.npz"))
    problem[name] = problem[name] * factor
    assert max(differences(replay(problem), problem).values()) > TOLERANCE
