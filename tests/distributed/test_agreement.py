"""Digests tell tensors apart; in one process there is nothing to agree on."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_parameters.distributed import agreement, check_agreement, digest, loss_weight


@given(
    values=st.lists(st.floats(width=32), min_size=1, max_size=20),
    place=st.integers(0, 19),
    other=st.floats(width=32),
)
def test_digest_is_of_the_bits(values: list[float], place: int, other: float) -> None:
    one, two = torch.tensor(values), torch.tensor(values)
    assert digest(one) == digest(two)
    two[place % len(values)] = other
    same = torch.equal(one.view(torch.int32), two.view(torch.int32))
    assert (digest(one) == digest(two)) == same


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool])
def test_digest_in_parts(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = (torch.arange(1000) % 7).to(dtype)
    whole = digest(tensor)
    monkeypatch.setattr(agreement, "CHUNK", 64)
    assert digest(tensor) == whole
    assert digest(tensor[:-1]) != whole
    assert digest(tensor.flip(0)) != whole


def test_digest_of_a_view_and_of_nothing() -> None:
    table = torch.arange(20.0)
    assert digest(table[::2]) == digest(table[::2].clone())
    assert digest(torch.empty(0)) == 0


def test_one_process_agrees_with_itself() -> None:
    check_agreement({"anything": 1})
    assert loss_weight(7) == 1.0
    assert loss_weight(0) == 0.0
    with pytest.raises(ValueError, match="at least 0"):
        loss_weight(-1)
