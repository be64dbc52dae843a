"""Checkpoints of the published code: ``epoch_N.pth.tar``, read without running what is in them.

Legend: C classes, N training instances.
"""

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from data_parameters import DataParameters

__all__ = ["PublishedCheckpoint", "load_published_checkpoint"]

Level = Literal["class", "instance"]

KEYS = {"epoch", "arch", "state_dict"}
TABLE_KEYS = {"class_parameters", "inst_parameters"}
# How torch names what it refuses to import.
REFUSED = re.compile(r"GLOBAL ([\w.]+)")
# DataParallel's, around the whole network or, for AlexNet and VGG, around its features.
WRAPPERS = {"module.": "", "features.module.": "features."}


@dataclass(frozen=True, kw_only=True)
class PublishedCheckpoint:
    """A network and its tables, as the published code saved them.

    Attributes:
        epoch: Number of epochs trained.
        arch: Name of the network: ``"WideResNet28_10"``, or one of torchvision's.
        state_dict: Weights of the network on the CPU, under the names of a network that is not
            wrapped. ``"WideResNet28_10"`` is our ``wrn-28-10``.
        log_class: Class log-temperatures, shape ``(C,)`` float32; ``None`` where there are none.
        log_instance: Instance log-temperatures, shape ``(N,)`` float32; ``None`` likewise.
    """

    epoch: int
    arch: str
    state_dict: dict[str, Tensor]
    log_class: Tensor | None
    log_instance: Tensor | None

    @property
    def learned_levels(self) -> tuple[Level, ...]:
        """The levels whose rows differ.

        The published code saves both tables whatever it learns and does not say which it learned.
        The rows of a table that was not learned are all equal.
        """
        tables: dict[Level, Tensor | None] = {
            "class": self.log_class,
            "instance": self.log_instance,
        }
        return tuple(
            level
            for level, table in tables.items()
            if table is not None and bool((table != table[:1]).any())
        )

    def to_data_parameters(
        self,
        *,
        levels: Collection[Level] | None = None,
        bounds: tuple[float, float] | None = (1 / 20, 20.0),
        ignore_index: int = -100,
        device: torch.device | str | None = None,
    ) -> DataParameters:
        """Put the tables into a :class:`DataParameters`, bit for bit.

        Args:
            levels: Which tables to take; ``None`` takes :attr:`learned_levels`. A table that was
                not learned should stay out: jointly, temperatures add up.
            bounds: Lowest and highest temperature from here on; by default those of the published
                code. ``None`` for a run with ``--skip_clamp_data_param``.
            ignore_index: As in :class:`DataParameters`.
            device: As in :class:`DataParameters`.

        Returns:
            The tables.

        Raises:
            ValueError: There is no table to take, or a temperature is not finite or lies outside
                the bounds.
        """
        levels = self.learned_levels if levels is None else levels
        tables = {"class": self.log_class, "instance": self.log_instance}
        chosen = {level: tables.get(level) for level in levels}
        missing = [level for level, table in chosen.items() if table is None]
        if missing or not chosen:
            have = [level for level, table in tables.items() if table is not None]
            raise ValueError(
                f"`levels` should name tables of the checkpoint, which has {have}. Found "
                f"{list(levels)}. Of a run without data parameters, take the weights alone."
            )
        log_tables = {level: table for level, table in chosen.items() if table is not None}
        for level, table in log_tables.items():
            _check_bounds(level, table, bounds)
        log_class, log_instance = log_tables.get("class"), log_tables.get("instance")
        data_parameters = DataParameters(
            num_classes=None if log_class is None else len(log_class),
            num_instances=None if log_instance is None else len(log_instance),
            init_class=1.0 if log_class is None else log_class.exp(),
            init_instance=1.0 if log_instance is None else log_instance.exp(),
            bounds=bounds,
            ignore_index=ignore_index,
            device=device,
        )
        # The exponential and back would cost a bit or two.
        data_parameters.load_state_dict(
            {f"log_{level}": table for level, table in log_tables.items()}
        )
        return data_parameters


def load_published_checkpoint(path: str | PathLike[str]) -> PublishedCheckpoint:
    """Read an ``epoch_N.pth.tar`` of the published code, of any version of torch and numpy.

    Nothing in the file is run: torch restores tensors and plain values alone, and beside them the
    numpy arrays of the tables.

    Args:
        path: The file.

    Returns:
        Weights and tables.

    Raises:
        ValueError: The file is damaged, holds anything else, or asks for code to be run.
        OSError: The file cannot be opened.

    Example:
        >>> from data_parameters.training.models import ModelConfig, build_model
        >>> def resume(path):
        ...     checkpoint = load_published_checkpoint(path)
        ...     model = build_model(ModelConfig(name="wrn-28-10"), (3, 32, 32), num_classes=100)
        ...     model.load_state_dict(checkpoint.state_dict)
        ...     return model, checkpoint.to_data_parameters()
    """
    try:
        with torch.serialization.safe_globals(_numpy_globals()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise ValueError(_why_not_read(path, error)) from error
    if (
        not isinstance(content, dict)
        or not content.keys() >= KEYS
        or not content.keys() & TABLE_KEYS
    ):
        found = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f"{path} should hold {', '.join(sorted(KEYS | TABLE_KEYS))}, as the published code "
            f"saves them. Found {found}. Other checkpoints are for torch.load."
        )
    state_dict = content["state_dict"]
    if not isinstance(state_dict, dict) or not all(
        isinstance(value, Tensor) for value in state_dict.values()
    ):
        raise ValueError(f"`state_dict` of {path} should map names to tensors. Found other values.")
    epoch, arch = content["epoch"], content["arch"]
    if not isinstance(epoch, int) or not isinstance(arch, str):
        raise ValueError(
            f"`epoch` and `arch` of {path} should be a count and a name. Found {epoch!r} and "
            f"{arch!r}."
        )
    return PublishedCheckpoint(
        epoch=epoch,
        arch=arch,
        state_dict={_unwrapped(name): value for name, value in state_dict.items()},
        log_class=_table(path, "class_parameters", content.get("class_parameters")),
        log_instance=_table(path, "inst_parameters", content.get("inst_parameters")),
    )


def _why_not_read(path: str | PathLike[str], error: Exception) -> str:
    refused = REFUSED.search(str(error))
    if refused:
        return (
            f"{path} should hold tensors, arrays and plain values alone. Found a request to import "
            f"{refused[1]}; nothing was run. Load it in no other way unless you trust its source."
        )
    return (
        f"{path} should be an epoch_N.pth.tar of the published code. Found a file that cannot be "
        f"read as such ({type(error).__name__}). It is damaged, or something else: copy it anew."
    )


def _numpy_globals() -> list[Any]:
    """What a pickled array of floats names; numpy 2 moved the function that rebuilds one."""
    reconstruct = np.empty(0).__reduce__()[0]
    names = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
    dtypes = {type(np.dtype(kind)) for kind in (np.float32, np.float64)}
    return [*((reconstruct, name) for name in names), np.ndarray, np.dtype, *dtypes]


def _unwrapped(name: str) -> str:
    for wrapper, replacement in WRAPPERS.items():
        if name.startswith(wrapper):
            return replacement + name.removeprefix(wrapper)
    return name


def _table(path: str | PathLike[str], name: str, values: Any) -> Tensor | None:
    if values is None:
        return None
    is_array = isinstance(values, np.ndarray)
    if not is_array or values.ndim != 1 or values.dtype.kind != "f":
        found = f"{values.dtype} of shape {values.shape}" if is_array else type(values).__name__
        raise ValueError(
            f"`{name}` of {path} should be a numpy array of floats, one a row. Found {found}."
        )
    return torch.from_numpy(values.astype(np.float32))


def _check_bounds(level: Level, table: Tensor, bounds: tuple[float, float] | None) -> None:
    lowest, highest = (float(value) for value in table.double().exp().aminmax())
    low, high = (0.0, math.inf) if bounds is None else bounds
    # A value on a bound may lie a float32 rounding beyond it.
    if not (low * (1 - 5e-7) <= lowest and highest <= high * (1 + 5e-7) and 0 < highest < math.inf):
        raise ValueError(
            f"The {level} temperatures should be finite and lie in [{low:g}, {high:g}]. Found "
            f"{lowest:g} to {highest:g}. Pass `bounds=None` for a run that skipped the projection, "
            "or wider bounds; a run that diverged has no tables to take."
        )
