"""A process that fails says why to all the others."""

import contextlib
from collections.abc import Iterator
from datetime import timedelta

import torch.distributed as dist

from data_parameters.distributed.gathering import world_size

__all__ = ["OtherProcessError", "fail_together"]

MESSAGE = "data_parameters/failure"
HEARD = "data_parameters/heard"
LOST = (
    "The connection to another process was lost: it was killed, or its machine failed. torchrun "
    "names the process that ended first."
)
PATIENCE = timedelta(seconds=5)


class OtherProcessError(RuntimeError):
    """Another process has failed, with the message that this one carries; or it was lost.

    Example:
        >>> issubclass(OtherProcessError, RuntimeError)
        True
    """


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
        OtherProcessError: Another process has failed or was lost.

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
        of_another = _is_of_a_collective(error)
        message = LOST
        # The store may live in a process that is gone.
        with contextlib.suppress(RuntimeError):
            if not of_another and not store.check([MESSAGE]):
                store.set(MESSAGE, f"Process {rank} failed: {type(error).__name__}: {error}")
            if store.check([MESSAGE]):
                message = str(store.get(MESSAGE), "utf-8")
            store.set(f"{HEARD}/{rank}", "")
        if dist.is_initialized():
            dist.destroy_process_group()  # closes connections, which wakes those that wait
        if of_another:
            raise OtherProcessError(message) from error
        # The store may live in this process: let the others read it first.
        with contextlib.suppress(RuntimeError):
            store.wait(others, PATIENCE)
        raise


def _is_of_a_collective(error: Exception) -> bool:
    # Gloo's failures have no type of their own.
    return isinstance(error, dist.DistError) or "gloo" in str(error)
