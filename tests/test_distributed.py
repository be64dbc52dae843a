"""Two real processes end where one process with the whole minibatch ends."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp

from processes import process, train


@pytest.mark.long
@pytest.mark.parametrize("options", [{}, {"per_sample": True}])
def test_two_processes_are_one(tmp_path: Path, options: dict[str, Any]) -> None:
    arguments = (str(tmp_path / "rendezvous"), str(tmp_path), options)
    mp.spawn(process, arguments, nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    whole = train(0, 1, options)
    for one, other, expected in zip(first, second, whole, strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(one, expected, rtol=0, atol=1e-5)
