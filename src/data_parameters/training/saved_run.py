"""A run folder, read: by reports and reviews, whether the run has ended or not.

Legend: N training instances, C classes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data_parameters import TrainingDynamics
from data_parameters.training.checkpoint import newest_checkpoint
from data_parameters.training.config import TrainConfig
from data_parameters.training.config_file import read_config
from data_parameters.training.history import (
    DynamicsSnapshot,
    TableSnapshot,
    read_dynamics,
    read_tables,
)
from data_parameters.training.labels import Labels, read_labels, split_rows
from data_parameters.training.run_folder import RunFolder
from data_parameters.training.second_phase import SecondPhase

__all__ = ["SavedRun", "dynamics_columns"]

NEEDED = ("config.json", "data.json", "labels.npz")


@dataclass(frozen=True, kw_only=True)
class SavedRun:
    """What a run folder holds. Nothing is changed, and the data set itself is not read.

    Attributes:
        path: The folder.
        config: The configuration.
        class_names: Names of the C classes.
        dataset: Fingerprint of the labels it trained on, which decisions about them carry.
        versions: What it ran on: versions by name.
        labels: The labels it trained on; with the true ones, the rows of the source and what was
            excluded, where there are such.
    """

    path: Path
    config: TrainConfig
    class_names: tuple[str, ...]
    dataset: str
    versions: Mapping[str, str]
    labels: Labels

    @classmethod
    def open(cls, path: Path) -> "SavedRun":
        """Open a run folder.

        Args:
            path: The folder.

        Returns:
            The run.

        Raises:
            FileNotFoundError: It is not the folder of a run, or of an older version.
            ValueError: A file in it is damaged.
        """
        missing = [name for name in NEEDED if not (path / name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{path} should be the folder of a run of `data-parameters train`. Found no "
                f"{', '.join(missing)} in it. Name the folder that the run printed first; a run "
                "of an older version should be trained anew."
            )
        data = _read_json(path / "data.json")
        if not {"class_names", "dataset"} <= data.keys():
            raise ValueError(
                f"{path / 'data.json'} should hold `class_names` and `dataset`. Found "
                f"{', '.join(data) or 'nothing'}. It was changed since it was written."
            )
        return cls(
            path=path,
            config=read_config(path / "config.json"),
            class_names=tuple(data["class_names"]),
            dataset=data["dataset"],
            versions=data.get("versions", {}),
            labels=read_labels(path / "labels.npz"),
        )

    @property
    def num_instances(self) -> int:
        """N."""
        return len(self.labels.given)

    @cached_property
    def result(self) -> dict[str, Any] | None:
        """The content of ``result.json``; ``None`` where the run has not ended."""
        path = self.path / "result.json"
        return _read_json(path) if path.is_file() else None

    @property
    def standing(self) -> str | None:
        """That the run has not ended, and where it stands; ``None`` where it has."""
        if self.result is not None:
            return None
        epoch = self._state["progress"]["epoch"]
        return f"The run has not ended: this is how it stood after epoch {epoch}."

    @cached_property
    def epochs(self) -> list[dict[str, Any]]:
        """Losses, accuracies and statistics after each epoch, a dictionary an epoch."""
        return RunFolder(self.path).metrics("epoch")

    @cached_property
    def tables(self) -> list[TableSnapshot]:
        """The log-temperatures after each epoch; empty where there are no tables."""
        path = self.path / "tables.npy"
        return list(read_tables(path)) if path.is_file() else []

    @cached_property
    def dynamics(self) -> list[DynamicsSnapshot]:
        """Last margins and predictions after each epoch; empty where none were kept."""
        path = self.path / "dynamics.npy"
        return list(read_dynamics(path)) if path.is_file() else []

    @cached_property
    def trained(self) -> Tensor:
        """Which instances the run trains on, shape ``(N,)``: neither held out nor excluded."""
        trained = torch.zeros(self.num_instances, dtype=torch.bool)
        trained[split_rows(self.num_instances, self.config)[0]] = True
        return trained if self.labels.excluded is None else trained & ~self.labels.excluded

    @cached_property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: ``(D,)`` where these are features."""
        return tuple(self._state["input_shape"])

    @cached_property
    def instances(self) -> dict[str, npt.NDArray[Any]]:
        """A column of shape ``(N,)`` by name, as far as the run has them, as of its newest save.

        ``temperature`` where there is an instance table, NaN for instances that were never seen;
        and what :func:`dynamics_columns` says, where dynamics were kept.

        Raises:
            FileNotFoundError: The run has saved no checkpoint yet.
            ValueError: All checkpoints are damaged, or an older version wrote them.
        """
        parts = self._state["parts"]
        columns: dict[str, npt.NDArray[Any]] = {}
        seen = self.trained
        if parts.get("dynamics") is not None:
            dynamics = TrainingDynamics(self.num_instances)
            dynamics.load_state_dict(parts["dynamics"])
            if self.second_phase.is_open:  # nothing is known of the given labels of those
                dynamics.forget(self.second_phase.planted.nonzero().flatten())
            seen = seen & (dynamics.count > 0)
            columns = {name: column.numpy() for name, column in dynamics_columns(dynamics).items()}
        log_instance = parts.get("data_parameters", {}).get("log_instance")
        if log_instance is not None:
            temperature = torch.where(seen, log_instance.float().exp(), np.nan)
            columns = {"temperature": temperature.numpy(), **columns}
        return columns

    @cached_property
    def second_phase(self) -> SecondPhase:
        """Which labels were planted, and how the others were judged, as of the newest save.

        Raises:
            FileNotFoundError: The run has saved no checkpoint yet.
            ValueError: All checkpoints are damaged, or an older version wrote them.
        """
        phase = SecondPhase(self.config, self.labels, self.trained, len(self.class_names))
        if "second_phase" in self._state:  # what older versions saved has none
            phase.load_state_dict(self._state["second_phase"])
        return phase

    @cached_property
    def _state(self) -> dict[str, Any]:
        state, _ = newest_checkpoint(self.path / "checkpoints")
        if state is None:
            raise FileNotFoundError(
                f"{self.path} should hold a checkpoint. Found none: the run has not saved one yet, "
                "or they were removed. Wait for the end of its first epoch, or continue it with: "
                f"data-parameters train --resume {self.path}"
            )
        return state


def dynamics_columns(dynamics: TrainingDynamics) -> dict[str, Tensor]:
    """The statistics of each instance, as they are named in ``instances.csv``.

    Args:
        dynamics: What each instance did.

    Returns:
        Columns of shape ``(N,)``, on the CPU.
    """
    names = (
        "margin",
        "clipped_margin",
        "wrong_fraction",
        "last_loss",
        "last_prediction",
        "rival",
        "count",
    )
    return {name: getattr(dynamics, name).cpu() for name in names}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} should hold plain values as JSON. Found: {error}. It was changed since it was "
            "written; start the run anew."
        ) from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} should hold named values. Found {values!r:.50}.")
    return values
