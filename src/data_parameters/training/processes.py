"""The processes of a run: how they are joined, what each has to do, and what they tell each other.

Legend: W processes.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.fsdp import FSDPModule
from torch.distributed.rendezvous import rendezvous
from torch.distributed.run import main as torchrun
from torch.nn.parallel import DistributedDataParallel

from data_parameters.distributed import fail_together
from data_parameters.distributed.gathering import world_size

__all__ = ["Processes", "joined_processes", "launch", "start_on_all_devices", "wrapped"]

Value = TypeVar("Value")


@dataclass(frozen=True)
class Processes:
    """The processes that share a run, seen from one of them.

    Attributes:
        rank: Which of them this is; process 0 writes and speaks for all.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def joined(cls) -> "Processes":
        """Those that have been joined, or this one alone."""
        size = world_size()
        return cls(dist.get_rank(), size) if size > 1 else cls()

    @property
    def is_first(self) -> bool:
        """Whether this is process 0."""
        return self.rank == 0

    def part(self, batch_size: int) -> slice:
        """What this process takes of a global minibatch.

        Args:
            batch_size: Samples in it.

        Returns:
            Which samples; the parts of all processes, by rank, make the minibatch, and their sizes
            differ by one at most.
        """
        size, larger = divmod(batch_size, self.size)
        start = self.rank * size + min(self.rank, larger)
        return slice(start, start + size + (self.rank < larger))

    def total(self, sums: Tensor) -> Tensor:
        """Sums over all processes; all have to ask.

        Args:
            sums: Those of this process.

        Returns:
            The totals.
        """
        if self.size == 1:
            return sums
        total = sums.clone()
        dist.all_reduce(total)
        return total

    def gather(self, numbers: list[int]) -> list[list[int]]:
        """Some numbers of every process; all have to ask.

        Args:
            numbers: Those of this process, equally many everywhere.

        Returns:
            The numbers, by rank.
        """
        if self.size == 1:
            return [numbers]
        mine = torch.tensor(numbers)
        everyone = mine.new_empty(self.size, len(numbers))
        dist.all_gather(list(everyone), mine)
        return [list(map(int, row)) for row in everyone.tolist()]

    def gather_objects(self, value: Value) -> list[Value]:
        """A value of every process; all have to ask.

        Args:
            value: That of this process.

        Returns:
            The values, by rank.
        """
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def from_first(self, make: Callable[[], Value]) -> Value:
        """What process 0 makes, for all; all have to ask.

        Args:
            make: Called in process 0 alone.

        Returns:
            What it returned there.
        """
        if self.size == 1:
            return make()
        values: list[Any] = [make() if self.is_first else None]
        dist.broadcast_object_list(values, src=0)
        made: Value = values[0]
        return made

    def first_before_others(self, do: Callable[[], Value]) -> Value:
        """Do something in process 0 before the others do it, such as fill a cache.

        Args:
            do: Called in every process.

        Returns:
            What it returned in this one.
        """
        if self.is_first:
            done = do()
        if self.size > 1:
            dist.barrier()
        return done if self.is_first else do()

    def copy_buffers(self, model: nn.Module) -> None:
        """Give all processes the buffers of process 0, such as the statistics of batch norm.

        Args:
            model: The model.
        """
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)


def wrapped(model: nn.Module) -> nn.Module:
    """The model as it is trained: over several processes with gradients that are averaged.

    Args:
        model: The network, sharded or not.

    Returns:
        The network itself, or in ``DistributedDataParallel``.
    """
    if world_size() == 1 or isinstance(model, FSDPModule):
        return model
    return DistributedDataParallel(model)


@contextlib.contextmanager
def joined_processes(device: str) -> Iterator[None]:
    """Join the processes that ``torchrun`` has started, if it has; they end together.

    Args:
        device: The device of the run's configuration. On CUDA each process takes one of its own.

    Yields:
        Nothing.

    Raises:
        ValueError: There are more processes than devices, or the device is named by its number.
    """
    if not dist.is_torchelastic_launched():
        yield
        return
    cuda = torch.cuda.is_available() and (device == "auto" or device.startswith("cuda"))
    if cuda and os.environ["WORLD_SIZE"] != "1":
        _take_a_device(device, int(os.environ["LOCAL_RANK"]))
    store, rank, size = next(rendezvous("env://"))
    # The launcher keeps one store over its restarts, and the addresses of processes that are gone
    # with it: gloo would try to reach those.
    store = PrefixStore(f"attempt {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        with fail_together():
            yield
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _take_a_device(device: str, number: int) -> None:
    if ":" in device:
        raise ValueError(
            "`runtime.device` should be `auto` or `cuda` for several processes, which take a "
            f"device each. Found {device}. Leave the number out."
        )
    if number >= torch.cuda.device_count():
        raise ValueError(
            f"A machine should have a CUDA device for each of its processes. Found "
            f"{torch.cuda.device_count()}. Lower --nproc-per-node of torchrun."
        )
    torch.cuda.set_device(number)


@dataclass(frozen=True)
class Launch:
    """The ``torchrun`` that started this process.

    Attributes:
        name: Tells it from any other: its restarts have the same.
        restarts: How often it has started the processes anew.
        may_restart: Whether it ever would.
    """

    name: str
    restarts: int
    may_restart: bool


def launch() -> Launch | None:
    """The ``torchrun`` that started this process.

    Returns:
        What is known of it, or ``None`` if there is none.
    """
    if not dist.is_torchelastic_launched():
        return None
    name = os.environ["TORCHELASTIC_RUN_ID"]
    if name == "none":  # torchrun's, where nobody gave one
        name = f"{socket.gethostname()}/{os.getppid()}"
    return Launch(
        name,
        int(os.environ["TORCHELASTIC_RESTART_COUNT"]),
        int(os.environ["TORCHELASTIC_MAX_RESTARTS"]) > 0,
    )


def start_on_all_devices(script: str, words: Sequence[str]) -> bool:
    """Start a script under ``torchrun``, with a process for each CUDA device of this machine.

    Args:
        script: The file of the script.
        words: Its command line.

    Returns:
        Whether it was started: not where there are fewer than two devices, and not in a process
        that ``torchrun`` has started.

    Raises:
        SystemExit: A process has failed; it has said why.
    """
    num_devices = torch.cuda.device_count()
    if num_devices < 2 or dist.is_torchelastic_launched():
        return False
    try:
        torchrun(["--standalone", "--nproc-per-node", str(num_devices), script, *words])
    except ChildFailedError as error:
        raise SystemExit(1) from error
    return True
