"""Data parameters in timm. Needs ``pip install 'data-parameters[timm]'``.

Legend: B samples in the minibatch, C classes, N training instances.
"""

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from data_parameters import DataParameters, IndexedDataset, TrainingDynamics, functional
from data_parameters.optim.base import SparseOptimizer

try:
    from timm.data.dataset import ImageDataset
    from timm.data.mixup import Mixup
    from timm.task import ClassificationTask
except ImportError as error:
    raise ModuleNotFoundError(
        "data_parameters.integrations.timm needs timm 1.0.31 or newer, an optional dependency. "
        "Install it with: pip install 'data-parameters[timm]'",
        name=error.name,
    ) from error

__all__ = ["DataParametersTask", "IndexedMixup", "index_targets"]

# A sample, its partner in mixup, and the share of the first.
Mixed = tuple[Tensor, Tensor, Tensor]


class DataParametersTask(ClassificationTask):
    r"""A task of :mod:`timm.task` that trains on the cross-entropy of logits over temperatures.

    Tables, their optimizer and the dynamics ride in timm's own checkpoints, as the task's state.
    The tables are no part of the model: ``task.parameters()`` are the model's alone, and
    ``DistributedDataParallel`` wraps nothing else.

    Args:
        model: A classifier that returns logits ``(B, C)``.
        data_parameters: The tables.
        data_optimizer: Their :class:`SparseSGD` or :class:`SparseAdamW`.
        dynamics: What is to watch the training, or ``None``.
        label_smoothing: As in :func:`data_parameters.functional.cross_entropy`.
        device: As in timm's tasks.
        dtype: As in timm's tasks.
        verbose: As in timm's tasks.

    Raises:
        ValueError: The model holds the tables, or the optimizer does not move them.

    Example:
        >>> from data_parameters import SparseSGD
        >>> tables = DataParameters(num_instances=50)
        >>> data_optimizer = SparseSGD(tables.param_groups(lr_instance=0.2), momentum=0.9)
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        >>> task = DataParametersTask(model, tables, data_optimizer)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> task.follow(optimizer)
        >>> label_and_index = torch.tensor([[0, 17], [2, 42]])
        >>> task(torch.rand(2, 3, 2, 2), label_and_index)["loss"].backward()
        >>> optimizer.step()  # moves the rows 17 and 42, too
        >>> tables.log_instance.nonzero().flatten().tolist()
        [17, 42]
    """

    data_parameters: DataParameters
    data_optimizer: SparseOptimizer
    dynamics: TrainingDynamics | None

    def __init__(
        self,
        model: nn.Module,
        data_parameters: DataParameters,
        data_optimizer: SparseOptimizer,
        *,
        dynamics: TrainingDynamics | None = None,
        label_smoothing: float = 0.0,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        verbose: bool = True,
    ) -> None:
        if any(isinstance(part, DataParameters) for part in model.modules()):
            raise ValueError(
                "`model` should not contain DataParameters, because DistributedDataParallel cannot "
                "reduce their gradients. Take them out of the model, and give them to the task."
            )
        if _tables_of(data_optimizer) != set(map(id, data_parameters.parameters())):
            raise ValueError(
                "`data_optimizer` should move the tables and nothing else. Build it of "
                "`data_parameters.param_groups()`."
            )
        criterion = partial(functional.cross_entropy, label_smoothing=label_smoothing)
        super().__init__(model, criterion, device=device, dtype=dtype, verbose=verbose)
        # Not registered as a part of this module: whoever takes its parameters takes the model's.
        self.__dict__["data_parameters"] = data_parameters
        self.data_optimizer = data_optimizer
        self.dynamics = dynamics

    def follow(self, optimizer: Optimizer) -> None:
        """Move the tables whenever the model moves; with accumulation, that is not each minibatch.

        Args:
            optimizer: The model's. After each of its steps the tables step, and their gradients
                are cleared.

        Raises:
            ValueError: The optimizer moves the tables itself.
        """
        if _tables_of(optimizer) & _tables_of(self.data_optimizer):
            raise ValueError(
                "`optimizer` should not move the tables, because `data_optimizer` does. Build it "
                "of the model, as in `create_optimizer_v2(model)`."
            )
        optimizer.register_step_post_hook(self._step_tables)

    def _step_tables(self, *_: Any) -> None:
        self.data_optimizer.step()
        self.data_optimizer.zero_grad()

    def forward(self, input: Tensor, target: Tensor | Mixed) -> dict[str, Tensor]:
        """The loss of a minibatch, and the plain logits.

        Args:
            input: Images, shape ``(B, ...)``.
            target: Label and index of each sample, shape ``(B, 2)`` int64, from
                :func:`index_targets`; or what :class:`IndexedMixup` made of it. Mixed samples
                are left out of the dynamics, because their logits belong to two labels.

        Returns:
            ``loss`` and ``output``, the logits.

        Raises:
            ValueError: The target has no index, or timm's own mixup has been there; or float16
                autocast is on.
        """
        for part in target[:2] if isinstance(target, tuple) else (target,):
            _check_target(part)
        kind = input.device.type
        if torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16:
            raise ValueError(
                "Autocast should be in bfloat16. Found float16, with which timm's loss scaler "
                "would scale the gradients of the tables, too. Train with `--amp-dtype bfloat16`."
            )
        output = self.trainable_module(input)
        if isinstance(target, tuple):
            own, partner, share = target
            loss = share * self._losses(output, own) + (1 - share) * self._losses(output, partner)
        else:
            loss = self._losses(output, target)
            if self.dynamics is not None:
                self.dynamics.update(output.detach(), *target.unbind(1))
        return {"loss": loss.mean(), "output": output}

    def _losses(self, output: Tensor, target: Tensor) -> Tensor:
        label, index = target.unbind(1)
        temperature = self.data_parameters(label, index).to(output.device)
        losses: Tensor = self.criterion(output, label, temperature, reduction="none")
        return losses

    def get_task_state(self, module: nn.Module | None = None, ema: bool = False) -> dict[str, Any]:
        """Tables, optimizer and dynamics, for timm's checkpoints.

        Args:
            module: Unused, as in timm.
            ema: Whether the state beside averaged weights is asked for: there is none.

        Returns:
            A state that ``torch.load(weights_only=True)`` reads.
        """
        if ema:
            return {}
        state = {
            "data_parameters": dict(self.data_parameters.state_dict()),
            "data_optimizer": self.data_optimizer.state_dict(),
        }
        if self.dynamics is not None:
            state["dynamics"] = self.dynamics.state_dict()
        return state

    def load_task_state(
        self,
        state: dict[str, Any] | None,
        strict: bool = True,
        module: nn.Module | None = None,
        ema: bool = False,
    ) -> None:
        """Go on from a state; where it does not fit, tables, optimizer and dynamics stay.

        Args:
            state: What :meth:`get_task_state` returned.
            strict: Whether a checkpoint without such a state is refused.
            module: Unused, as in timm.
            ema: Whether it is the state beside averaged weights, which is empty.

        Raises:
            ValueError: There is no state, or another one; or it is of another data set.
            RuntimeError: The tables are of other sizes or levels.
        """
        if ema or (state is None and not strict):
            return
        expected = self.get_task_state()
        if state is None or state.keys() != expected.keys():
            raise ValueError(
                f"The checkpoint's task state should hold {sorted(expected)}. Found "
                f"{sorted(state or [])}. Resume a run of the same task, with dynamics if it had "
                "them; to start from a model alone, load it before the task is made."
            )
        before = copy.deepcopy(expected)
        try:
            self._load(state)
        except Exception:
            self._load(before)
            raise

    def _load(self, state: dict[str, Any]) -> None:
        self.data_parameters.load_state_dict(state["data_parameters"])
        self.data_optimizer.load_state_dict(state["data_optimizer"])
        if self.dynamics is not None:
            self.dynamics.load_state_dict(state["dynamics"])


class IndexedMixup:
    r"""timm's mixup and CutMix, for targets that carry an index.

    Both sources of a mixed sample keep their own temperature and gradient:

    .. math::
        \lambda \, \ell(z / \sigma_i, y_i) + (1 - \lambda) \, \ell(z / \sigma_j, y_j).

    Labels are smoothed by the task, not here.

    Args:
        **settings: As in :class:`timm.data.Mixup`, without ``num_classes``, ``label_smoothing``
            and ``multi_label``.

    Example:
        >>> mixup = IndexedMixup(mixup_alpha=0.2)
        >>> images, target = torch.rand(2, 3, 4, 4), torch.tensor([[0, 17], [2, 42]])
        >>> images, (own, partner, share) = mixup(images, target)
        >>> partner.tolist()
        [[2, 42], [0, 17]]
    """

    def __init__(self, **settings: Any) -> None:
        self._mixup = Mixup(**settings, label_smoothing=0.0)  # type: ignore[no-untyped-call]

    def __call__(self, input: Tensor, target: Tensor) -> tuple[Tensor, Mixed]:
        r"""Mix a minibatch of even size with itself in reverse order.

        Args:
            input: Images, shape ``(B, ...)``; they are mixed in place, as by timm.
            target: Label and index of each sample, shape ``(B, 2)``.

        Returns:
            The images, and the targets, their partners', and the shares :math:`\lambda` ``(B,)``.

        Raises:
            ValueError: The target has no index.
        """
        _check_target(target)
        # Each sample is a class of its own: the soft target is then its share.
        self._mixup.num_classes = len(target)
        places = torch.arange(len(target), device=target.device)
        input, soft = self._mixup(input, places)
        return input, (target, target.flip(0), soft.diagonal())


def index_targets(dataset: Any) -> Any:
    """Put each sample's index beside its label, as timm's collators and prefetcher let through.

    timm's own ``ImageDataset`` goes on to the next file where one cannot be read; the index is
    taken where the file is, and remains that of the image.

    Args:
        dataset: The whole training set, of timm or with samples ``(image, label)``.

    Returns:
        A data set with samples ``(image, tensor([label, index]))``. The one given is not changed.

    Raises:
        TypeError: The data set is a stream, whose samples have no index.

    Example:
        >>> index_targets([("an image", 7), ("another", 3)])[1]
        ('another', tensor([3, 1]))
    """
    if not isinstance(dataset, ImageDataset):
        return _IndexedTargets(dataset)
    if isinstance(dataset.reader, _IndexedReader):
        raise ValueError(
            "`dataset` should not carry indices yet. Found indexed targets. Use it as it is."
        )
    indexed = copy.copy(dataset)
    indexed.reader = _IndexedReader(dataset.reader, dataset.target_transform)
    indexed.target_transform = None
    return indexed


class _IndexedReader:
    """A reader whose targets carry the index; everything else is the inner reader's."""

    def __init__(self, reader: Any, target_transform: Any) -> None:
        self.reader = reader
        self.target_transform = target_transform

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        image, target, *features = self.reader[index]
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, _pack(target, index), *features

    def __len__(self) -> int:
        return len(self.reader)

    def __getattr__(self, name: str) -> Any:
        if name == "reader":  # asked for by unpickling, before it exists
            raise AttributeError(name)
        return getattr(self.reader, name)


class _IndexedTargets(IndexedDataset):
    """Samples ``(image, tensor([label, index]))`` of any data set with samples (image, label)."""

    def __getitem__(self, index: int) -> tuple[Any, Tensor]:
        return self._packed(super().__getitem__(index))

    def _getitems(self, indices: Any) -> list[Any]:
        return [self._packed(sample) for sample in super()._getitems(indices)]

    def _packed(self, sample: Any) -> tuple[Any, Tensor]:
        if not isinstance(sample, (tuple, list)) or len(sample) != 3:
            raise ValueError(
                f"A sample should be (image, label). Found {type(self.dataset).__name__} with "
                "others. Make it return these two."
            )
        image, label, row = sample
        return image, _pack(label, row)


def _pack(label: Any, row: int) -> Tensor:
    return torch.tensor([int(label), int(row)])


def _tables_of(optimizer: Optimizer) -> set[int]:
    return {id(param) for group in optimizer.param_groups for param in group["params"]}


def _check_target(target: Tensor) -> None:
    if target.is_floating_point():
        raise ValueError(
            "`target` should hold labels and indices. Found probabilities, as timm's mixup and "
            "CutMix make them of both. Mix with IndexedMixup, after the loader."
        )
    if target.ndim != 2 or target.shape[1] != 2:
        raise ValueError(
            f"`target` should hold label and index, shape (B, 2). Found {tuple(target.shape)}. "
            "Wrap the training set: `index_targets(dataset)`."
        )
