"""A process that fails says why to all the others."""

import contextlib
from collections.abc import Iterator
from datetime import timedelta

import torch.distributed as dist
from torch.distributed.distributed_c10d import Store

from data_parameters.distributed.gathering import world_size

__all__ = ["fail_together"]

MESSAGE = "data_parameters/failure"
HEARD = "data_parameters/heard"
PATIENCE = timedelta(seconds=5)


@contextlib.contextmanager
def fail_together() -> Iterator[None]:
    """Let all processes end with the message of the one that failed.

    An error in one process, such as an index out of range, would leave the others waiting in a
    collective, until that fails with words about sockets. Within this context the process that
    fails leaves its message in the store of :mod:`torch.distributed` and its process groups; the
    others, whose collectives fail then, raise that message.

    A process that is killed leaves no message: the others say that they lost it, and ``torchrun``
    names it. Where collectives do not fail by themselves (NCCL), ``torchrun`` ends the others.

    Yields:
        Nothing.

    Raises:
        RuntimeError: Another process has failed or was lost.

    Example:
        >>> with fail_together():
        ...     loss = 0.0  # the training
    """
    if world_size() == 1:
        yield
        return
    # Held from here on, because a process group that is gone has no store any more.
    store, rank = dist.distributed_c10d._get_default_store(), dist.get_rank()
    others = [f"{HEARD}/{other}" for other in range(world_size()) if other != rank]
    try:
        yield
    except Exception as error:
        if _is_of_a_collective(error):
            message = _message(store)
            store.set(f"{HEARD}/{rank}", "")
            _leave()
            raise RuntimeError(message) from error
        if not store.check([MESSAGE]):
            store.set(MESSAGE, f"Process {rank} failed: {type(error).__name__}: {error}")
        _leave()
        # The store may live in this process: let the others read it first.
        with contextlib.suppress(RuntimeError):
            store.wait(others, PATIENCE)
        raise


def _is_of_a_collective(error: Exception) -> bool:
    # Gloo's failures have no type of their own.
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def _message(store: Store) -> str:
    try:
        store.wait([MESSAGE], PATIENCE)
        return str(store.get(MESSAGE), "utf-8")
    except RuntimeError:  # stores have no common error for a wait in vain
        return (
            "The connection to another process was lost: it was killed, or its machine failed. "
            "torchrun names the process that ended first."
        )


def _leave() -> None:
    """Close the connections, which wakes those that wait for this process."""
    if dist.is_initialized():
        dist.destroy_process_group()
