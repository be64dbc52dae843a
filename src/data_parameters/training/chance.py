"""The sources of chance of a process: seeding them, and keeping their states in a checkpoint."""

import random
from typing import Any

import numpy as np
import torch

__all__ = ["random_states", "seed_all", "set_random_states"]


def seed_all(seed: int) -> None:
    """Seed the generators of torch, Python and numpy.

    Args:
        seed: At least 0.
    """
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def random_states() -> dict[str, Any]:
    """The states of these generators, and of every CUDA device.

    Returns:
        Tensors and plain values.
    """
    version, numbers, gauss = random.getstate()
    _, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": [version, torch.tensor(numbers), gauss],
        "numpy": [torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Put the generators back.

    Args:
        states: What :func:`random_states` returned.
    """
    torch.set_rng_state(states["torch"])
    if len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss))
    keys, *rest = states["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))
