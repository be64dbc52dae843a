"""timm's targets, with the index of each sample beside its label.

Legend: B samples in the minibatch.
"""

import copy
from typing import Any

import torch
from timm.data.dataset import ImageDataset
from timm.data.mixup import Mixup
from torch import Tensor

from data_parameters import IndexedDataset

__all__ = ["IndexedMixup", "Mixed", "check_target", "index_targets"]

Mixed = tuple[Tensor, Tensor, Tensor]
"""A sample's target, that of its partner in mixup, and the share of the first."""


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
        check_target(target)
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


def check_target(target: Tensor) -> None:
    """Refuse targets without an index.

    Args:
        target: What :func:`index_targets` made of the labels.

    Raises:
        ValueError: It is of another form.
    """
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
