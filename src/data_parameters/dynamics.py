"""What each instance did during training.

Legend: B samples in the minibatch, C classes, N training instances, z logits, y target.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from data_parameters.distributed.gathering import all_gather_columns
from data_parameters.rows import checked_rows, integers
from data_parameters.storage import lazy_zeros

__all__ = ["TrainingDynamics"]

CLASSES = ("prediction", "rival")  # columns that hold classes, not numbers


class TrainingDynamics:
    r"""Running statistics of each training instance, gathered beside the training.

    With :math:`T_i` the occurrences of instance :math:`i` so far, and the mean over them,

    .. math::
        \mathrm{margin}_i = \frac{1}{|T_i|} \sum_{t \in T_i}
            \left( z^{(t)}_{i,y_i} - \max_{j \ne y_i} z^{(t)}_{i,j} \right)

    is the area under the margin: a wrong label keeps it low, because the network prefers the right
    class as long as it has not learned the wrong one by heart. Large margins after that hide it;
    ``clipped_margin``, the mean of :math:`\min(\mathrm{margin}, 1)` and thereby one minus the mean
    hinge loss, forgets less. ``rival`` is the class that was preferred to the given one.

    ``update`` costs O(B), builds no graph, and never makes the host wait for an accelerator. The
    statistics are those of plain logits; a temperature changes none of them but what the model
    learns.

    Where :mod:`torch.distributed` is initialised, ``update`` gathers the minibatches of all
    processes, so that each holds the statistics that one process would. Every process has to call
    it equally often; one without samples gives empty tensors.

    Args:
        num_instances: Number of training instances :math:`N`.
        ignore_index: A target with this value is not counted.
        device: Where the statistics live. Minibatches may lie on another device.
        process_group: The processes that share the training set; ``None`` for all.

    Raises:
        ValueError: ``num_instances`` is not positive.

    Example:
        >>> dynamics = TrainingDynamics(num_instances=3)
        >>> logits = torch.tensor([[2.0, 0.0], [3.0, 1.0]])
        >>> dynamics.update(logits, target=torch.tensor([0, 1]), index=torch.tensor([2, 0]))
        >>> dynamics.margin
        tensor([-2., nan,  2.])
        >>> dynamics.rival  # instance 0 was given class 1, and the model preferred class 0
        tensor([ 0, -1, -1])

    References:
        Pleiss, Zhang, Elenberg and Weinberger, "Identifying Mislabeled Data using the Area Under
        the Margin Ranking", NeurIPS 2020. Swayamdipta et al., "Dataset Cartography: Mapping and
        Diagnosing Datasets with Training Dynamics", EMNLP 2020 (confidence). Boyer and Moore,
        "MJRTY: A Fast Majority Vote Algorithm", 1991 (the rival).
    """

    def __init__(
        self,
        num_instances: int,
        *,
        ignore_index: int = -100,
        device: torch.device | str | None = None,
        process_group: ProcessGroup | None = None,
    ) -> None:
        if num_instances < 1:
            raise ValueError(f"`num_instances` should be at least 1. Found {num_instances}.")
        self.num_instances = num_instances
        self.ignore_index = ignore_index
        self.process_group = process_group
        names = ("margin", "clipped_margin", "confidence", "wrong")
        self._sums = {name: lazy_zeros(num_instances, device=device) for name in names}
        last = {"loss": torch.float32, "margin": torch.float32, "prediction": torch.int32}
        self._last = {
            name: lazy_zeros(num_instances, dtype=dtype, device=device)
            for name, dtype in last.items()
        }
        self._rival = lazy_zeros(num_instances, dtype=torch.int32, device=device)
        self._votes = lazy_zeros(num_instances, device=device)
        self._count = lazy_zeros(num_instances, dtype=torch.int64, device=device)

    @torch.no_grad()
    def update(self, logits: Tensor, target: Tensor, index: Tensor) -> None:
        """Add one minibatch. A sample whose margin or loss is not finite is left out.

        Args:
            logits: Logits of the model, not divided by a temperature, shape ``(B, C)``.
            target: Given labels in ``[0, C)`` or ``ignore_index``, shape ``(B,)``.
            index: Rows in ``[0, N)``, shape ``(B,)``. A row may occur several times.

        Raises:
            ValueError: A shape does not fit.
            TypeError: An index or target is not an integer, or logits are not floating point.
            IndexError: An index or target is out of range (checked on the CPU).
        """
        if logits.ndim != 2 or target.shape != logits.shape[:1] or index.shape != logits.shape[:1]:
            raise ValueError(
                "`logits`, `target` and `index` should have shapes (B, C), (B,) and (B,). Found "
                f"{tuple(logits.shape)}, {tuple(target.shape)} and {tuple(index.shape)}."
            )
        if not logits.is_floating_point():
            raise TypeError(f"`logits` should be floating point. Found {logits.dtype}. Convert it.")
        if logits.shape[1] < 2:
            raise ValueError(f"There should be at least 2 classes. Found {logits.shape[1]}.")
        target, index = integers("target", target), integers("index", index)
        device = self._count.device
        rows = checked_rows("index", index, self.num_instances, device)
        ignored = target == self.ignore_index
        classes = checked_rows(
            "target", target, logits.shape[1], logits.device, ignored=ignored
        ).unsqueeze(1)
        logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits

        log_p = logits.log_softmax(1).gather(1, classes).squeeze(1)
        given = logits.gather(1, classes).squeeze(1)
        is_given = torch.arange(logits.shape[1], device=logits.device) == classes
        strongest, rival = logits.masked_fill(is_given, -torch.inf).max(1)
        margin = given - strongest

        columns = {
            "margin": margin,
            "clipped_margin": margin.clamp(max=1.0),
            "confidence": log_p.exp(),
            "wrong": margin < 0,
            "loss": -log_p,
            "prediction": torch.where(margin < 0, rival, classes.squeeze(1)),
            "rival": rival,
            # By how much more likely the rival is: p_rival - p_given, where that is above 0.
            "votes": ((log_p - margin).exp() - log_p.exp()).clamp(min=0),
        }
        columns = {
            name: column.to(device, torch.int32 if name in CLASSES else torch.float32)
            for name, column in columns.items()
        }
        counted = ~ignored.to(device, non_blocking=True)
        counted &= columns["margin"].isfinite() & columns["loss"].isfinite()
        rows, counted, *gathered = all_gather_columns(
            [rows, counted, *columns.values()], process_group=self.process_group
        )
        columns = dict(zip(columns, gathered, strict=True))

        for name, total in self._sums.items():
            total.index_add_(0, rows, torch.where(counted, columns[name], 0.0))
        self._count.index_add_(0, rows, counted.to(torch.int64))
        rows, kept, counted = _last_of_each_row(rows, counted)
        for name, last in self._last.items():
            last[rows] = torch.where(counted, columns[name][kept], last[rows])
        self._vote(rows, columns["rival"][kept], columns["votes"][kept].where(counted, 0.0))

    @torch.no_grad()
    def forget(self, index: Tensor) -> None:
        """Begin anew for some instances, as though they had not been seen.

        Args:
            index: Their rows in ``[0, N)``, shape ``(K,)``; the same in every process.

        Raises:
            TypeError: The index is not an integer.
            IndexError: It is out of range (checked on the CPU).

        Example:
            >>> dynamics = TrainingDynamics(num_instances=2)
            >>> dynamics.update(torch.eye(2), target=torch.tensor([0, 1]), index=torch.arange(2))
            >>> dynamics.forget(torch.tensor([1]))
            >>> dynamics.count
            tensor([1, 0])
        """
        device = self._count.device
        rows = checked_rows("index", integers("index", index), self.num_instances, device)
        for tensor in self._tensors().values():
            tensor[rows] = 0

    def _vote(self, rows: Tensor, rival: Tensor, votes: Tensor) -> None:
        """A weighted majority vote in O(1) memory a row: other candidates' votes are subtracted."""
        leader, lead = self._rival[rows], self._votes[rows]
        overtakes = (rival != leader) & (votes > lead)
        self._rival[rows] = torch.where(overtakes, rival, leader)
        self._votes[rows] = torch.where(rival == leader, lead + votes, (lead - votes).abs())

    @property
    def count(self) -> Tensor:
        """How often each instance was counted, shape ``(N,)`` int64."""
        return self._count.clone()

    @property
    def margin(self) -> Tensor:
        """Mean logit margin, the area under the margin, ``(N,)``; NaN where never counted."""
        return self._mean("margin")

    @property
    def clipped_margin(self) -> Tensor:
        """Mean of the margin, cut off above 1, ``(N,)``; NaN where never counted."""
        return self._mean("clipped_margin")

    @property
    def rival(self) -> Tensor:
        r"""Class preferred to the given label, ``(N,)`` int64; -1 where none was.

        The winner of a vote over the minibatches, in which the strongest other class has
        :math:`\max(p_{rival} - p_{given}, 0)` votes (an instance that occurs several times in a
        minibatch votes as it last occurs). A class with more than half of all votes wins; -1 also
        where the votes cancel out. It says what a wrong label should be, also where the model has
        learned that label by heart in the end.
        """
        return torch.where(self._votes > 0, self._rival.long(), -1)

    @property
    def confidence(self) -> Tensor:
        """Mean softmax probability of the given label, ``(N,)``; NaN where never counted."""
        return self._mean("confidence")

    @property
    def wrong_fraction(self) -> Tensor:
        """Share of occurrences with a margin below 0, ``(N,)``; NaN where never counted."""
        return self._mean("wrong")

    @property
    def last_loss(self) -> Tensor:
        """Cross-entropy when last counted, in nats, ``(N,)``; NaN where never counted."""
        return torch.where(self._count > 0, self._last["loss"], torch.nan)

    @property
    def last_margin(self) -> Tensor:
        """Logit margin when last counted, ``(N,)``; NaN where never counted."""
        return torch.where(self._count > 0, self._last["margin"], torch.nan)

    @property
    def last_prediction(self) -> Tensor:
        """Most likely class when last counted, ``(N,)`` int64; -1 where never counted."""
        return torch.where(self._count > 0, self._last["prediction"].long(), -1)

    def _mean(self, name: str) -> Tensor:
        return self._sums[name] / self._count  # 0 / 0 is NaN

    def state_dict(self) -> dict[str, Tensor]:
        """The statistics as plain tensors, which ``torch.load(weights_only=True)`` reads.

        Returns:
            Copies of the sums, the counts and the last losses, each of shape ``(N,)``.
        """
        return {name: tensor.clone() for name, tensor in self._tensors().items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from saved statistics; where they do not fit, nothing is changed.

        Args:
            state_dict: What :meth:`state_dict` returned.

        Raises:
            ValueError: A tensor is missing, unknown or of another shape.
        """
        tensors = self._tensors()
        if state_dict.keys() != tensors.keys():
            raise ValueError(
                f"The state should hold {sorted(tensors)}. Found {sorted(state_dict)}. Load what "
                "TrainingDynamics.state_dict() returned."
            )
        for name, tensor in tensors.items():
            found = state_dict[name]
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            if shape != tuple(tensor.shape):
                raise ValueError(
                    f"`{name}` should have shape {tuple(tensor.shape)}. Found {shape}. The state "
                    "belongs to another data set."
                )
        for name, tensor in tensors.items():
            tensor.copy_(state_dict[name])

    def _tensors(self) -> dict[str, Tensor]:
        sums = {f"{name}_sum": tensor for name, tensor in self._sums.items()}
        last = {f"last_{name}": tensor for name, tensor in self._last.items()}
        return {**sums, **last, "rival": self._rival, "votes": self._votes, "count": self._count}


def _last_of_each_row(rows: Tensor, counted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which entry of the minibatch each row keeps, without a shape that depends on the data.

    Args:
        rows: Rows of the minibatch, shape ``(B,)``.
        counted: Which entries count, shape ``(B,)``.

    Returns:
        The rows, sorted; for each the last of its entries that counts; and whether any does. A row
        that occurs several times is given the same entry each time.
    """
    # Sorted by row, and within a row the counted entries last, in order of occurrence: the entry
    # at the end of its row is then the one to keep.
    rows_then_counted, order = (2 * rows + counted).sort(stable=True)
    rows = rows_then_counted // 2
    end = torch.ones_like(rows, dtype=torch.bool)
    end[:-1] = rows[1:] != rows[:-1]
    num_entries = len(rows)
    places = torch.arange(num_entries, device=rows.device)
    places = torch.where(end, places, num_entries).flip(0).cummin(0).values.flip(0)
    kept = order[places]
    return rows, kept, counted[kept]
