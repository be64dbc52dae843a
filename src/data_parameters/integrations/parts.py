"""What every stack trains beside the model, and saves in its checkpoint.

Legend: N training instances.
"""

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from data_parameters import DataParameters, TrainingDynamics
from data_parameters.distributed import digest
from data_parameters.integrations.owners import check_data_optimizer

__all__ = ["DataParts", "load_together"]


class DataParts:
    """Tables, their optimizer and, if asked for, training dynamics: checked, stepped and saved.

    Args:
        data_parameters: The tables.
        optimizer: Their optimizer, which holds nothing else.
        dynamics: Statistics to gather beside.
        labels: Given labels of all instances, shape ``(N,)``, whose digest is saved.

    Raises:
        ValueError: The optimizer does not hold the tables, and them alone, or sizes differ.
    """

    def __init__(
        self,
        data_parameters: DataParameters,
        optimizer: Optimizer,
        dynamics: TrainingDynamics | None,
        labels: Tensor | None,
    ) -> None:
        check_data_optimizer(data_parameters, optimizer)
        self.data_parameters, self.optimizer, self.dynamics = data_parameters, optimizer, dynamics
        self.check_size("dynamics", None if dynamics is None else dynamics.num_instances)
        self.check_size("labels", None if labels is None else len(labels))
        self._digest = None if labels is None else digest(labels)

    def check_size(self, name: str, found: int | None) -> None:
        """Compare a number of instances with that of the table.

        Args:
            name: Whose number it is.
            found: The number; ``None`` is any.

        Raises:
            ValueError: They differ.
        """
        table = self.data_parameters.log_instance
        if table is not None and found is not None and found != len(table):
            raise ValueError(
                f"`{name}` should have the {len(table)} instances of the table. Found {found}. "
                "Build DataParameters with num_instances=len(train_set)."
            )

    def step(self, scaler: Any) -> None:
        """Move the touched rows, and clear their gradients.

        Args:
            scaler: The ``GradScaler`` that scaled the loss, or ``None``.
        """
        if scaler is None:
            self.optimizer.step()
        else:
            scaler.step(self.optimizer)
        self.optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Tables, optimizer and dynamics, as plain tensors and numbers.

        Returns:
            What a checkpoint holds.
        """
        states = {name: part.state_dict() for name, part in self._parts().items()}
        return {**states, "labels": self._digest}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a checkpoint; where one part does not fit, none is changed.

        Args:
            state_dict: What :meth:`state_dict` returned.

        Raises:
            ValueError: The checkpoint has other parts, or was written over other labels, or a
                state belongs to another optimizer or data set.
            RuntimeError: The tables belong to another data set.
        """
        parts = self._parts()
        found = state_dict.keys() - {"labels"}
        if found != parts.keys():
            raise ValueError(
                f"The checkpoint should hold {sorted(parts)}. Found {sorted(found)}. Give "
                "`dynamics` as in the run that wrote it, or leave them out as it did."
            )
        digests = (self._digest, state_dict.get("labels"))
        if None not in digests and digests[0] != digests[1]:
            raise ValueError(
                "The run should have the labels of its checkpoint, in the same order. Found other "
                "ones. Resume over the same training set, or start a new run."
            )
        load_together(parts, state_dict)

    def _parts(self) -> dict[str, Any]:
        parts = {"data_parameters": self.data_parameters, "optimizer": self.optimizer}
        return parts if self.dynamics is None else {**parts, "dynamics": self.dynamics}


def load_together(parts: Mapping[str, Any], states: Mapping[str, Any]) -> None:
    """Load the state of every part; where one does not fit, none is changed.

    Args:
        parts: What has ``state_dict`` and ``load_state_dict``, by name.
        states: A state for each name.

    Raises:
        Exception: What the part raises whose state does not fit.
    """
    before = {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}
    try:
        for name, part in parts.items():
            part.load_state_dict(states[name])
    except Exception:
        for name, part in parts.items():
            part.load_state_dict(before[name])
        raise
