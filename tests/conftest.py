"""Settings of all tests."""

import os

import pytest
import torch
from hypothesis import settings

settings.register_profile("default", deadline=None, derandomize=True)
settings.load_profile("default")

# Pages and plots are made without a display.
os.environ.setdefault("MPLBACKEND", "agg")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
