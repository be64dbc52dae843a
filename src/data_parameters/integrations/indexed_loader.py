"""A loader whose minibatches carry their indices, and that goes on within an epoch."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import DataLoader

from data_parameters import IndexedDataset
from data_parameters.distributed import GlobalBatchSampler

__all__ = ["IndexedLoader"]


class IndexedLoader:
    """Minibatches that carry their indices, and that Lightning resumes within an epoch.

    The order hangs on (seed, epoch) alone. Every process takes its part of each minibatch, and
    every instance occurs once an epoch, so any number of processes trains on the same minibatches
    (see :class:`data_parameters.distributed.GlobalBatchSampler`). Lightning leaves a loader of
    this kind as it is.

    Args:
        dataset: The training set, with or without its index.
        batch_size: Samples B of a step over all processes.
        shuffle: Whether each epoch has an order of its own.
        seed: Of the orders.
        **options: As in ``torch.utils.data.DataLoader``: ``num_workers``, ``pin_memory``, …

    Raises:
        TypeError: Options of the ``DataLoader`` exclude one another, or the data set has no index.

    Example:
        >>> loader = IndexedLoader([("a", 0), ("b", 1), ("c", 1)], batch_size=2, shuffle=False)
        >>> [index.tolist() for _, _, index in loader]
        [[0, 1], [2]]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        **options: Any,
    ) -> None:
        indexed = isinstance(dataset, IndexedDataset)
        self.dataset = dataset if indexed else IndexedDataset(dataset)
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.options = options
        self.epoch, self.num_done = 0, 0
        self._was_loaded = False
        self._loader: DataLoader[Any] | None = None

    batch_sampler = None  # Lightning looks for one where it evaluates

    @property
    def sampler(self) -> "IndexedLoader":
        """Itself: Lightning tells a loader's sampler which epoch begins."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next. That of a state just loaded goes on where it was.

        Args:
            epoch: The epoch, from 0.
        """
        if not (self._was_loaded and epoch == self.epoch):
            self.epoch, self.num_done = epoch, 0
        self._was_loaded = False

    def __len__(self) -> int:
        """Minibatches of a whole epoch."""
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        """The minibatches that are left of the epoch."""
        if self._loader is None:  # not earlier: the processes have to have joined
            batches = GlobalBatchSampler(
                self.dataset, self.batch_size, shuffle=self.shuffle, seed=self.seed
            )
            self._loader = DataLoader(self.dataset, batch_sampler=batches, **self.options)
        sampler = self._loader.batch_sampler
        assert isinstance(sampler, GlobalBatchSampler)
        sampler.set_epoch(self.epoch, self.num_done)
        for batch in self._loader:
            self.num_done += 1
            yield batch
        self.epoch, self.num_done = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """How far the training has come, and over what.

        Returns:
            Plain numbers.
        """
        return {**self._order(), "epoch": self.epoch, "num_done": self.num_done}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state.

        Args:
            state_dict: What :meth:`state_dict` returned.

        Raises:
            ValueError: It belongs to another order of the minibatches.
        """
        found = {name: state_dict.get(name) for name in self._order()}
        if found != self._order():
            raise ValueError(
                f"The loader should be the one of the checkpoint, {found}. Found {self._order()}. "
                "Resume over the same training set, or start a new run."
            )
        self.epoch, self.num_done = state_dict["epoch"], state_dict["num_done"]
        self._was_loaded = True

    def _order(self) -> dict[str, Any]:
        names = ("batch_size", "shuffle", "seed")
        return {"num_instances": len(self.dataset), **{name: getattr(self, name) for name in names}}
