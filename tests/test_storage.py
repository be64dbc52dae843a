"""Memory that is committed where it is touched."""

import errno
import mmap
import subprocess
import sys

import pytest
import torch

from data_parameters.storage import lazy_zeros


@pytest.mark.parametrize("size", [1, 1_000, 1_000_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_zeros(size: int, dtype: torch.dtype) -> None:
    table = lazy_zeros(size, dtype=dtype)
    assert table.shape == (size,)
    assert table.dtype == dtype
    assert not table.any()
    table[-1] = 7
    assert table.sum() == 7


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_than_linux_it_is_plain_zeros(
    platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_parameters.storage.sys.platform", platform)
    monkeypatch.delattr("data_parameters.storage.mmap.MAP_PRIVATE")
    table = lazy_zeros(1_000_000)
    assert table.shape == (1_000_000,)
    assert not table.any()


def test_a_kernel_without_huge_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mapping(mmap.mmap):
        def madvise(self, *arguments: int) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("data_parameters.storage.mmap.mmap", Mapping)
    assert not lazy_zeros(1_000_000).any()


PROGRAM = """
import torch
from data_parameters import DataParameters, SparseSGD

def resident():
    with open("/proc/self/status") as status:
        [line] = [line for line in status if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024

def step(data_parameters, optimizer):
    index = torch.randint(10**9, (4096,))
    temperature = data_parameters(index=index)
    if optimizer is not None:
        temperature.sum().backward()
        optimizer.step()
        optimizer.zero_grad()

small = DataParameters(num_instances=10)  # warm up what is allocated once
SparseSGD(small.parameters(), momentum=0.9)
data_parameters = DataParameters(num_instances=10**9)
optimizer = SparseSGD(data_parameters.param_groups(lr_instance=0.1), momentum=0.9)
step(data_parameters, None)
before = resident()
for _ in range(10):
    step(data_parameters, None)
looked_up = resident()
for _ in range(10):
    step(data_parameters, optimizer)
print(looked_up - before, resident() - looked_up)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="lazily committed memory is Linux's")
def test_a_billion_rows_cost_what_is_touched() -> None:
    output = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True
    ).stdout
    looked_up, stepped = map(int, output.split())
    # 40,960 rows on pages of their own, in the table and in the momentum, are 335 MB.
    assert looked_up < 20 * 2**20
    assert stepped < 450 * 2**20
