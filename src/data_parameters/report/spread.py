"""How log-temperatures spread: histograms and quantiles of many instances, epoch by epoch.

Legend: N training instances, C classes, E epochs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_parameters.report.content import Group, Spread

__all__ = ["QUANTILES", "Trajectories", "bin_edges", "follow"]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
NUM_BINS = 48

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Trajectories:
    """What is left of tables that are too large to keep.

    Attributes:
        spread: Of all instances, and of each group.
        class_means: Mean log σ of the instances of each class, shape ``(E, C)``.
        rows: Log σ of the chosen rows, shape ``(E, K)``.
    """

    spread: Spread
    class_means: Array
    rows: Array


def bin_edges(tables: Iterable[npt.NDArray[np.floating]]) -> Array:
    """Edges of the bins: equal steps over all that the tables ever held.

    Args:
        tables: Log σ after each epoch, shape ``(N,)`` each.

    Returns:
        Log σ, ascending.
    """
    ranges = [(float(table.min()), float(table.max())) for table in tables]
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    # A table that never moved still has a place on a scale.
    middle, half = (low + high) / 2, max((high - low) / 2, 0.05)
    return np.linspace(middle - half, middle + half, NUM_BINS + 1, dtype=np.float32)


def follow(
    tables: Iterable[tuple[int, npt.NDArray[np.float16]]],
    *,
    edges: Array,
    groups: Mapping[str, npt.NDArray[np.bool_]],
    labels: npt.NDArray[np.int64],
    num_classes: int,
    rows: npt.NDArray[np.int64],
) -> Trajectories:
    """Go once through the tables of all epochs, one at a time.

    Args:
        tables: Epoch and log σ of all instances, shape ``(N,)`` each.
        edges: Of the bins.
        groups: Masks by name, shape ``(N,)`` each; the first one holds for the class means.
        labels: Given labels, shape ``(N,)``.
        num_classes: C.
        rows: The rows to follow, shape ``(K,)``.

    Returns:
        Histograms, quantiles, means and the chosen rows.
    """
    members = {name: np.flatnonzero(mask) for name, mask in groups.items()}
    main = next(iter(members.values()))
    counts = np.bincount(labels[main], minlength=num_classes)
    epochs: list[int] = []
    quantiles: dict[str, list[Array]] = {name: [] for name in members}
    histograms: dict[str, list[npt.NDArray[np.int64]]] = {name: [] for name in members}
    means, chosen = [], []
    for epoch, table in tables:
        epochs.append(epoch)
        for name, which in members.items():
            values, occurrences = _counted(table[which])
            quantiles[name].append(_quantiles(values, occurrences))
            # Rounding may put the ends of the range just outside the bins.
            inside = values.clip(edges[0], edges[-1])
            histograms[name].append(np.histogram(inside, edges, weights=occurrences)[0])
        sums = np.bincount(labels[main], table[main].astype(np.float64), num_classes)
        with np.errstate(invalid="ignore"):
            means.append((sums / counts).astype(np.float32))
        chosen.append(table[rows].astype(np.float32))
    found = [
        Group(
            name=name,
            count=len(which),
            quantiles=np.reshape(quantiles[name], (len(epochs), len(QUANTILES))),
            histogram=np.reshape(histograms[name], (len(epochs), len(edges) - 1)),
        )
        for name, which in members.items()
    ]
    return Trajectories(
        spread=Spread(epochs=epochs, edges=edges, groups=found),
        class_means=np.reshape(means, (len(epochs), num_classes)),
        rows=np.reshape(chosen, (len(epochs), len(rows))),
    )


def _counted(table: npt.NDArray[np.float16]) -> tuple[Array, npt.NDArray[np.int64]]:
    """The values that occur, ascending, and how often: float16 has few, so nothing is sorted."""
    occurrences = np.bincount(table.view(np.uint16), minlength=2**16)
    bits = np.flatnonzero(occurrences).astype(np.uint16)
    values = bits.view(np.float16).astype(np.float32)
    order = values.argsort()
    return values[order], occurrences[bits[order]]


def _quantiles(values: Array, occurrences: npt.NDArray[np.int64]) -> Array:
    """Those of ``numpy.quantile``: linear between the two nearest of the sorted instances."""
    until = occurrences.cumsum()
    places = np.array(QUANTILES) * (until[-1] - 1)
    low = values[np.searchsorted(until, np.floor(places), side="right")]
    high = values[np.searchsorted(until, np.ceil(places), side="right")]
    found: Array = (low + (high - low) * (places % 1)).astype(np.float32)
    return found
