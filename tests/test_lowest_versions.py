"""Every dependency has one lower bound, so that `make test-lowest` tries all of them."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
lowest_versions = runpy.run_path(str(ROOT / "scripts/lowest_versions.py"))["lowest_versions"]

PROJECT = """
[project]
name = "own"
dependencies = ["torch>=2.7"]
[project.optional-dependencies]
one = ["lightning[extra]>=2.5,!=2.6.2,!=2.6.3"]
two = [{}]
"""


def test_all_bounds_of_this_project_are_read() -> None:
    found = lowest_versions((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert {"torch", "numpy", "scikit-learn", "transformers", "pytest"} < found.keys()
    assert "data-parameters" not in found


def test_extras_and_releases_left_out_don_t_matter() -> None:
    found = lowest_versions(PROJECT.format('"own[one]", "torch>=2.7"'))
    assert found == {"torch": "2.7", "lightning": "2.5"}


@pytest.mark.parametrize(
    ("requirement", "remedy"),
    [
        ("numpy", "Write `>=`"),
        ("torch>=2.8", "the same version in every extra"),
        ("numpy<2", "Write it so"),
    ],
)
def test_a_bound_that_would_not_be_tried(requirement: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        lowest_versions(PROJECT.format(f'"{requirement}"'))
