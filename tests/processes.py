"""Real processes, joined by gloo, for tests."""

import importlib.util
import inspect
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

# The server imports once what torch.optim wants, and every process is a fork of it.
multiprocessing.set_forkserver_preload(["torch._dynamo", "pytest", "data_parameters"])


def run_processes(work: Callable[..., Any], num_processes: int, *arguments: Any) -> list[Any]:
    """What ``work(rank, *arguments)`` returns in each of some processes joined by gloo."""
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(
            _join,
            (inspect.getfile(work), work.__name__, num_processes, folder, arguments),
            nprocs=num_processes,
            start_method="forkserver",
        )
        return [
            torch.load(f"{folder}/{rank}.pt", weights_only=False) for rank in range(num_processes)
        ]


def torchrun(script: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """A script in two processes, which torchrun has started and waited for."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*command, script, *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _join(rank: int, file: str, name: str, num_processes: int, folder: str, arguments: Any) -> None:
    torch.set_num_threads(1)
    work = _function(file, name)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=num_processes
    )
    torch.save(work(rank, *arguments), f"{folder}/{rank}.pt")
    if dist.is_initialized():  # a process that failed on purpose has left
        dist.barrier()  # a process that leaves early may abort the others
        dist.destroy_process_group()


def _function(file: str, name: str) -> Callable[..., Any]:
    """By its file, because pytest imports test files under names that nobody else can import."""
    spec = importlib.util.spec_from_file_location("work", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Callable[..., Any] = getattr(module, name)
    return function
