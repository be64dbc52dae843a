"""1, 2, 3 and 4 real processes end where one process with the whole minibatches ends."""

import pytest
import torch
from torch import Tensor

from processes import run_processes
from shared_run import BOUNDS, NUM_STEPS, OPTIMIZERS, train

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, Tensor]]:
    return {kind: train(0, kind) for kind in OPTIMIZERS}


@pytest.mark.parametrize(
    ("kind", "num_processes"),
    [("sgd", 1), ("sgd", 2), ("sgd", 3), ("sgd", 4), ("adamw", 2), ("adamw", 3), ("adamw", 4),
     ("sgd per sample", 3)],
)  # fmt: skip
def test_many_processes_are_one(
    alone: dict[str, dict[str, Tensor]], kind: str, num_processes: int
) -> None:
    """With accumulation, uneven and empty parts, repeated rows, weight decay and bounds."""
    replicas = run_processes(train, num_processes, kind)
    # There gradients are sums over the minibatch, and their rounding errors as well.
    rtol = 1e-6 if kind == "sgd per sample" else 0.0
    for name, expected in alone[kind].items():
        for replica in replicas:
            assert torch.equal(replica[name], replicas[0][name]), name
        torch.testing.assert_close(
            replicas[0][name], expected, rtol=rtol, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_the_comparison_sees_what_it_should(alone: dict[str, dict[str, Tensor]], kind: str) -> None:
    """Rows on a bound and rows within, and every row touched."""
    on_bound = alone[kind]["log_instance"].exp() > BOUNDS[1] - 1e-4
    assert on_bound.any()
    assert not on_bound.all()
    assert (alone[kind]["count"] > 0).all()
    assert alone[kind]["count"].sum() == NUM_STEPS * 12
