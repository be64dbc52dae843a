"""TrainingDynamics against a loop over samples."""

import io
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from data_parameters import TrainingDynamics

NUM_INSTANCES, NUM_CLASSES = 6, 4
BATCHES = st.lists(
    st.lists(
        st.tuples(
            st.integers(0, NUM_INSTANCES - 1),
            st.sampled_from([-100, 0, 1, 2, 3]),
        ),
        max_size=7,
    ),
    max_size=5,
)


class Loop:
    """The statistics as a loop in float64."""

    def __init__(self) -> None:
        self.seen: dict[int, list[tuple[float, ...]]] = {row: [] for row in range(NUM_INSTANCES)}
        self.leader = dict.fromkeys(range(NUM_INSTANCES), -1)
        self.lead = dict.fromkeys(range(NUM_INSTANCES), 0.0)

    def update(self, logits: Tensor, target: Tensor, index: Tensor) -> None:
        votes: dict[int, tuple[int, float]] = {}
        for z, y, row in zip(logits.tolist(), target.tolist(), index.tolist(), strict=True):
            if y == -100 or not all(map(math.isfinite, z)):
                continue
            others = [value if j != y else -math.inf for j, value in enumerate(z)]
            rival = others.index(max(others))
            total = sum(math.exp(value) for value in z)
            p, p_rival = math.exp(z[y]) / total, math.exp(z[rival]) / total
            predicted = rival if z[rival] > z[y] else y
            self.seen[row].append((z[y] - z[rival], p, -math.log(p), predicted))
            votes[row] = rival, max(p_rival - p, 0.0)
        for row, (rival, vote) in votes.items():
            if rival == self.leader[row]:
                self.lead[row] += vote
            elif vote > self.lead[row]:
                self.leader[row], self.lead[row] = rival, vote - self.lead[row]
            else:
                self.lead[row] -= vote

    def mean(self, place: int) -> Tensor:
        values = [[entry[place] for entry in entries] for entries in self.seen.values()]
        return torch.tensor([sum(v) / len(v) if v else math.nan for v in values])

    def expected(self) -> dict[str, Tensor]:
        entries = self.seen.values()
        return {
            "margin": self.mean(0),
            "confidence": self.mean(1),
            "wrong_fraction": torch.tensor(
                [sum(m < 0 for m, *_ in e) / len(e) if e else math.nan for e in entries]
            ),
            "clipped_margin": torch.tensor(
                [sum(min(m, 1.0) for m, *_ in e) / len(e) if e else math.nan for e in entries]
            ),
            "last_loss": torch.tensor([e[-1][2] if e else math.nan for e in entries]),
            "last_margin": torch.tensor([e[-1][0] if e else math.nan for e in entries]),
            "last_prediction": torch.tensor([int(e[-1][3]) if e else -1 for e in entries]),
            "rival": torch.tensor(
                [self.leader[r] if self.lead[r] > 0 else -1 for r in range(NUM_INSTANCES)]
            ),
            "count": torch.tensor([len(e) for e in entries]),
        }


def minibatch(samples: list[tuple[int, int]], generator: torch.Generator) -> tuple[Tensor, ...]:
    logits = 2 * torch.randn(len(samples), NUM_CLASSES, generator=generator)
    rows = torch.tensor([row for row, _ in samples], dtype=torch.int64)
    return logits, torch.tensor([y for _, y in samples], dtype=torch.int64), rows


def check(dynamics: TrainingDynamics, loop: Loop) -> None:
    for name, expected in loop.expected().items():
        found = getattr(dynamics, name)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, equal_nan=True, msg=name)


@given(BATCHES, st.integers(0, 99), st.sampled_from([0.0, 0.3]))
def test_equals_a_loop_over_samples(
    batches: list[list[tuple[int, int]]], seed: int, share_of_nan: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    dynamics, loop = TrainingDynamics(NUM_INSTANCES), Loop()
    for samples in batches:
        logits, target, index = minibatch(samples, generator)
        logits[torch.rand(len(samples), generator=generator) < share_of_nan, 0] = torch.nan
        dynamics.update(logits, target, index)
        loop.update(logits, target, index)
    check(dynamics, loop)


def test_the_rival_is_what_a_memorised_label_should_be() -> None:
    """The network prefers class 2 for a while, then learns the wrong label 0 by heart."""
    dynamics = TrainingDynamics(2)
    target, index = torch.tensor([0, 1]), torch.tensor([0, 1])
    for step in range(10):
        preferred = torch.tensor([0.0, 0.0, 3.0]) if step < 3 else torch.tensor([9.0, 0.0, 0.0])
        dynamics.update(torch.stack([preferred, torch.tensor([0.0, 4.0, 0.0])]), target, index)
    assert dynamics.last_prediction.tolist() == [0, 1]
    assert dynamics.rival.tolist() == [2, -1]
    assert dynamics.margin[0] > 0
    assert dynamics.clipped_margin[0] == pytest.approx((3 * -3.0 + 7 * 1.0) / 10)


def test_state_dict_round_trip() -> None:
    generator = torch.Generator().manual_seed(0)
    batches = [minibatch([(i, i % 3), (5, 1), (5, 3)], generator) for i in range(4)]
    whole, first, second, loop = *(TrainingDynamics(NUM_INSTANCES) for _ in range(3)), Loop()
    for batch in batches:
        whole.update(*batch)
        loop.update(*batch)
    for batch in batches[:2]:
        first.update(*batch)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    for batch in batches[2:]:
        second.update(*batch)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    check(second, loop)


def test_what_does_not_fit_float32_is_left_out() -> None:
    dynamics = TrainingDynamics(3)
    logits = torch.tensor([[1e200, -1e200], [3.0, 1.0]], dtype=torch.float64)
    dynamics.update(logits, torch.tensor([0, 0]), torch.tensor([1, 1]))
    assert dynamics.count.tolist() == [0, 1, 0]
    assert dynamics.margin[1] == 2.0


def test_a_masked_class_is_no_reason_to_leave_a_sample_out() -> None:
    dynamics = TrainingDynamics(3)
    dynamics.update(torch.tensor([[3.0, 1.0, -torch.inf]]), torch.tensor([0]), torch.tensor([1]))
    assert dynamics.count.tolist() == [0, 1, 0]
    assert dynamics.margin[1] == 2.0


def test_a_class_in_uint8_is_not_taken_for_the_ignored_one() -> None:
    """In uint8, torch takes -100 for 156."""
    dynamics = TrainingDynamics(1)
    target = torch.tensor([156], dtype=torch.uint8)
    dynamics.update(torch.randn(1, 200), target, torch.tensor([0]))
    assert dynamics.count.tolist() == [1]


def test_results_are_copies_and_carry_no_graph() -> None:
    dynamics = TrainingDynamics(3)
    logits = torch.randn(1, 4, requires_grad=True)
    dynamics.update(logits, torch.tensor([2]), torch.tensor([1]))
    before = dynamics.count
    dynamics.update(logits, torch.tensor([2]), torch.tensor([1]))
    assert before.tolist() == [0, 1, 0]
    assert dynamics.count.tolist() == [0, 2, 0]
    assert not dynamics.margin.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision_of_logits(dtype: torch.dtype) -> None:
    dynamics = TrainingDynamics(3)
    dynamics.update(torch.tensor([[4.0, 1.0]], dtype=dtype), torch.tensor([0]), torch.tensor([2]))
    assert dynamics.margin[2] == 3.0
    assert dynamics.margin.dtype == torch.float32


def test_the_largest_instance_count_costs_nothing_up_front() -> None:
    dynamics = TrainingDynamics(10**9)
    rows = torch.tensor([999_999_999])
    dynamics.update(torch.tensor([[0.0, 1.0]]), torch.tensor([0]), rows)
    assert dynamics._sums["margin"][-1] == -1.0


def test_wrong_arguments_change_nothing() -> None:
    dynamics = TrainingDynamics(NUM_INSTANCES)
    logits, target, index = torch.zeros(2, 4), torch.tensor([0, 1]), torch.tensor([2, 3])
    dynamics.update(logits, target, index)
    before = dynamics.state_dict()
    wrong: list[tuple[Any, type[Exception], str]] = [
        ((logits, target, index + 3), IndexError, r"`index` should lie in \[0, 5\].*Found 6"),
        ((logits, target, index - 3), IndexError, "Found -1"),
        ((logits, target + 3, index), IndexError, r"`target` should lie in \[0, 3\].*Found 4"),
        ((logits[0], target, index), ValueError, r"\(B, C\), \(B,\) and \(B,\)"),
        ((logits, target, index[:1]), ValueError, r"\(B, C\), \(B,\) and \(B,\)"),
        ((logits, target, index.float()), TypeError, "`index` should hold integers"),
        ((logits, target > 0, index), TypeError, "`target` should hold integers"),
        ((logits[:, :1], target, index), ValueError, "at least 2 classes"),
        ((logits.long(), target, index), TypeError, "`logits` should be floating point"),
    ]
    for arguments, error, message in wrong:
        with pytest.raises(error, match=message):
            dynamics.update(*arguments)
    larger = TrainingDynamics(NUM_INSTANCES + 1).state_dict()
    one_wrong = {**before, "count": larger["count"]}
    no_tensor = {**before, "count": [1] * NUM_INSTANCES}
    for state in (larger, one_wrong, no_tensor):
        with pytest.raises(ValueError, match="another data set"):
            dynamics.load_state_dict(state)
    with pytest.raises(ValueError, match="The state should hold"):
        dynamics.load_state_dict({"count": before["count"]})
    for name, value in dynamics.state_dict().items():
        assert torch.equal(value, before[name])
    with pytest.raises(ValueError, match="at least 1"):
        TrainingDynamics(0)
