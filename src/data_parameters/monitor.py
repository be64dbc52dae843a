"""What the tables look like: statistics and histograms for any logger.

Legend: C classes, N training instances, K bins.
"""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

__all__ = ["Histogram", "histogram", "histograms", "statistics"]

# Rows that are copied at a time, 8 MB in float64: a table may be larger than what memory is left.
CHUNK = 1 << 20
# Beyond this a temperature, or its inverse, is infinite in float32.
LARGEST_LOG = math.log(torch.finfo(torch.float32).max)


class Tables(Protocol):
    """What is read of :class:`DataParameters`."""

    @property
    def log_class(self) -> Tensor | None:
        """Class log-temperatures, shape ``(C,)``."""

    @property
    def log_instance(self) -> Tensor | None:
        """Instance log-temperatures, shape ``(N,)``."""

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Lowest and highest temperature."""


class Histogram(NamedTuple):
    """Counts of temperatures, with what TensorBoard's ``add_histogram_raw`` wants besides.

    Attributes:
        edges: Edges of the bins, in temperatures, shape ``(K + 1,)`` float64. A bin holds its
            lower edge; the last one holds both.
        counts: Shape ``(K,)`` int64.
        minimum: Lowest temperature.
        maximum: Highest temperature.
        sum: Of the temperatures.
        sum_squares: Of the temperatures.
        num: How many were counted.
    """

    edges: Tensor
    counts: Tensor
    minimum: float
    maximum: float
    sum: float
    sum_squares: float
    num: int


def statistics(
    data_parameters: Tables, *, groups: Mapping[str, Tensor] | None = None
) -> dict[str, float]:
    r"""Mean, standard deviation, highest and lowest temperature of each table.

    Computed in float64 on the CPU, in one pass of bounded memory. The standard deviation is that of
    ``torch.std`` (:math:`N - 1` in the denominator), and 0 for a single value. A temperature that
    is not a number shows in all four.

    Args:
        data_parameters: The tables, a :class:`DataParameters`.
        groups: Masks of instances by name, each of shape ``(N,)`` bool, to describe apart. A group
            without members gives no entries.

    Returns:
        Values under ``"class/mean"``, ``"class/std"``, ``"class/highest"``, ``"class/lowest"``, the
        same under ``"instance/…"``, and for a group under ``"instance/NAME/…"``.

    Raises:
        ValueError: A mask is not of shape ``(N,)`` bool, or there is no instance table to group.

    Example:
        >>> from data_parameters import DataParameters
        >>> tables = DataParameters(num_instances=4, init_instance=torch.tensor([1, 2, 3, 6.0]))
        >>> corrupted = torch.tensor([False, False, True, True])
        >>> found = statistics(tables, groups={"corrupted": corrupted})
        >>> {name: round(value, 4) for name, value in found.items()}
        {'instance/mean': 3.0, 'instance/std': 2.1602,
         'instance/highest': 6.0, 'instance/lowest': 1.0,
         'instance/corrupted/mean': 4.5, 'instance/corrupted/std': 2.1213,
         'instance/corrupted/highest': 6.0, 'instance/corrupted/lowest': 3.0}
    """
    found = {}
    for name, table, mask in _selections(data_parameters, groups or {}):
        moments = _moments(table, mask)
        if moments.num:
            found[f"{name}/mean"] = float(moments.mean)
            found[f"{name}/std"] = math.sqrt(moments.squared_deviations / max(moments.num - 1, 1))
            found[f"{name}/highest"] = float(moments.highest)
            found[f"{name}/lowest"] = float(moments.lowest)
    return found


def histogram(
    log_temperature: Tensor,
    bounds: tuple[float, float] | None,
    *,
    num_bins: int = 64,
    mask: Tensor | None = None,
) -> Histogram:
    """Count temperatures in bins of equal width in the logarithm.

    The table is read in chunks, so that one of a billion rows is never copied whole.

    Args:
        log_temperature: Logarithms of the temperatures, shape ``(N,)``.
        bounds: Lowest and highest temperature; ``None`` takes those that are found. Where values
            lie outside, the outer bins are widened to hold them.
        num_bins: Number of bins :math:`K`.
        mask: Which rows to count, shape ``(N,)`` bool; ``None`` counts all.

    Returns:
        The counts, and the edges in temperatures. A temperature that is 0, infinite or not a number
        in float32 is not counted, nor part of the sums.

    Raises:
        ValueError: There is nothing finite to count, or an argument does not fit.

    Example:
        >>> found = histogram(torch.tensor([0.6, 1.0, 1.5, 3.0]).log(), (1 / 4, 4.0), num_bins=4)
        >>> found.edges
        tensor([0.2500, 0.5000, 1.0000, 2.0000, 4.0000], dtype=torch.float64)
        >>> found.counts
        tensor([0, 1, 2, 1])
    """
    if num_bins < 1:
        raise ValueError(f"`num_bins` should be at least 1. Found {num_bins}.")
    if bounds is not None and not 0.0 < bounds[0] < bounds[1] < math.inf:
        raise ValueError(f"`bounds` should satisfy 0 < low < high < inf. Found {bounds}.")
    if log_temperature.ndim != 1:
        shape = tuple(log_temperature.shape)
        raise ValueError(f"`log_temperature` should have shape (N,). Found {shape}.")
    if mask is not None:
        _check_mask("mask", mask, len(log_temperature))
    moments = _moments(log_temperature, mask, finite=True)
    if not moments.num:
        raise ValueError("There should be a finite temperature to count. Found none.")
    return _counted(log_temperature, mask, moments, bounds, num_bins)


def histograms(
    data_parameters: Tables, *, groups: Mapping[str, Tensor] | None = None, num_bins: int = 64
) -> dict[str, Histogram]:
    """Histograms of each table between its bounds.

    Args:
        data_parameters: The tables, a :class:`DataParameters`.
        groups: Masks of instances by name, each of shape ``(N,)`` bool, to count apart.
        num_bins: Number of bins :math:`K`.

    Returns:
        Histograms under ``"class"``, ``"instance"`` and ``"instance/NAME"``. What holds no finite
        temperature gives none.

    Raises:
        ValueError: A mask is not of shape ``(N,)`` bool, or there is no instance table to group.

    Example:
        >>> from data_parameters import DataParameters
        >>> found = histograms(DataParameters(num_classes=10, num_instances=1000))
        >>> {name: (each.num, round(each.maximum, 4)) for name, each in found.items()}
        {'class': (10, 1.0), 'instance': (1000, 0.05)}
    """
    found = {}
    for name, table, mask in _selections(data_parameters, groups or {}):
        moments = _moments(table, mask, finite=True)
        if moments.num:
            found[name] = _counted(table, mask, moments, data_parameters.bounds, num_bins)
    return found


class _Moments(NamedTuple):
    """What one pass over temperatures finds; the squared deviations are those from the mean."""

    num: int
    mean: Tensor
    squared_deviations: Tensor
    lowest: Tensor
    highest: Tensor


def _moments(table: Tensor, mask: Tensor | None, *, finite: bool = False) -> _Moments:
    # The CPU, also where torch has another default device.
    zero = torch.zeros((), dtype=torch.float64, device="cpu")
    infinity = torch.full_like(zero, torch.inf)
    total = _Moments(0, zero, zero, infinity, -infinity)
    for log_temperature in _chunks(table, mask, finite=finite):
        temperature = log_temperature.exp()
        variance, mean = torch.var_mean(temperature, correction=0)
        lowest, highest = temperature.aminmax()
        # Chan, Golub and LeVeque: merging deviations loses no digits, as sums of squares would.
        num = total.num + len(temperature)
        share = len(temperature) / num
        difference = mean - total.mean
        total = _Moments(
            num,
            total.mean + difference * share,
            total.squared_deviations
            + variance * len(temperature)
            + difference.square() * total.num * share,
            torch.minimum(total.lowest, lowest),
            torch.maximum(total.highest, highest),
        )
    return total


def _counted(
    table: Tensor,
    mask: Tensor | None,
    moments: _Moments,
    bounds: tuple[float, float] | None,
    num_bins: int,
) -> Histogram:
    low, high = float(moments.lowest), float(moments.highest)
    edges = _edges(low, high, bounds, num_bins)
    inner_edges = edges[1:-1].log()
    counts = torch.zeros(num_bins, dtype=torch.int64, device="cpu")
    for log_temperature in _chunks(table, mask, finite=True):
        bins = torch.bucketize(log_temperature, inner_edges, right=True)
        counts += torch.bincount(bins, minlength=num_bins)
    mean = float(moments.mean)
    return Histogram(
        edges=edges,
        counts=counts,
        minimum=low,
        maximum=high,
        sum=mean * moments.num,
        sum_squares=float(moments.squared_deviations) + mean**2 * moments.num,
        num=moments.num,
    )


def _edges(low: float, high: float, bounds: tuple[float, float] | None, num_bins: int) -> Tensor:
    first, last = (low, high) if bounds is None else bounds
    if first == last:
        # All temperatures are equal: bins around the one that is there.
        first, last = first * 0.99, last * 1.01
    log_edges = torch.linspace(
        math.log(first), math.log(last), num_bins + 1, dtype=torch.float64, device="cpu"
    )
    edges = log_edges.exp()
    # A value on a bound may lie a float32 rounding beyond it.
    edges[0] = first if low >= first * (1 - 1e-6) else low
    edges[-1] = last if high <= last * (1 + 1e-6) else high
    return edges


def _selections(
    data_parameters: Tables, groups: Mapping[str, Tensor]
) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """Yield the name, the table and the mask of what is described apart."""
    log_instance = data_parameters.log_instance
    if groups and log_instance is None:
        raise ValueError(
            "`groups` should come with an instance table. Found none. Leave `groups` out for "
            "class parameters alone."
        )
    if data_parameters.log_class is not None:
        yield "class", data_parameters.log_class, None
    if log_instance is not None:
        for name, mask in groups.items():
            _check_mask(f"groups[{name!r}]", mask, len(log_instance))
        yield "instance", log_instance, None
        for name, mask in groups.items():
            yield f"instance/{name}", log_instance, mask


def _check_mask(name: str, mask: Tensor, num_rows: int) -> None:
    if mask.shape != (num_rows,) or mask.dtype != torch.bool:
        raise ValueError(
            f"`{name}` should have shape ({num_rows},) and dtype torch.bool, one entry a row. "
            f"Found {tuple(mask.shape)} and {mask.dtype}."
        )


def _chunks(table: Tensor, mask: Tensor | None, *, finite: bool) -> Iterator[Tensor]:
    """Yield the chosen log-temperatures in float64 on the CPU (MPS knows no float64)."""
    for start in range(0, len(table), CHUNK):
        rows = slice(start, start + CHUNK)
        chunk = table.detach()[rows].cpu().double()
        if mask is not None:
            chunk = chunk[mask[rows].cpu()]
        if finite:
            chunk = chunk[chunk.abs() < LARGEST_LOG]
        if chunk.numel():
            yield chunk
