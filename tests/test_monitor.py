"""Statistics and histograms of tables, also of tables that are larger than memory."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from data_parameters import DataParameters, monitor
from data_parameters.monitor import histogram, histograms, statistics

BOUNDS = (1 / 20, 20.0)


def tables(*, num_classes: int = 5, num_instances: int = 40) -> DataParameters:
    joint = DataParameters(num_classes=num_classes, num_instances=num_instances)
    assert joint.log_class is not None
    assert joint.log_instance is not None
    with torch.no_grad():
        joint.log_class.normal_()
        joint.log_instance.normal_()
    return joint


def described(log_temperature: Tensor) -> list[float]:
    temperature = log_temperature.detach().double().exp()
    std = temperature.std() if len(temperature) > 1 else torch.tensor(0.0)
    return [float(v) for v in (temperature.mean(), std, temperature.max(), temperature.min())]


@pytest.mark.parametrize("num_instances", [1, 2, 3, 4, 7, 40])
@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
def test_statistics_are_those_of_the_whole_table(
    num_instances: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "CHUNK", chunk)
    joint = tables(num_instances=num_instances)
    assert joint.log_class is not None
    assert joint.log_instance is not None
    first = torch.arange(num_instances) < 1
    found = statistics(joint, groups={"clean": ~first, "corrupted": first})

    expected = {"class": joint.log_class, "instance": joint.log_instance}
    expected["instance/corrupted"] = joint.log_instance[first]
    if num_instances > 1:
        expected["instance/clean"] = joint.log_instance[~first]
    names = ("mean", "std", "highest", "lowest")
    assert set(found) == {f"{part}/{name}" for part in expected for name in names}
    for part, log_temperature in expected.items():
        assert [found[f"{part}/{name}"] for name in names] == pytest.approx(
            described(log_temperature), rel=1e-12, abs=1e-12
        )


def test_statistics_keep_their_digits_far_from_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sum of squares would lose the deviations beside a mean a million times as large."""
    monkeypatch.setattr(monitor, "CHUNK", 7)
    temperature = 1e6 + torch.randn(1000, dtype=torch.float64)
    wide = DataParameters(num_instances=1000, bounds=None).double()
    assert wide.log_instance is not None
    with torch.no_grad():
        wide.log_instance.copy_(temperature.log())
    temperature = wide.log_instance.detach().exp()
    assert statistics(wide)["instance/std"] == pytest.approx(float(temperature.std()), rel=1e-9)


def test_an_untouched_table_does_not_deviate() -> None:
    found = statistics(DataParameters(num_instances=1000))
    assert found == {
        "instance/mean": 1.0,
        "instance/std": 0.0,
        "instance/highest": 1.0,
        "instance/lowest": 1.0,
    }


def test_what_is_not_a_number_shows_in_the_statistics_and_is_not_counted() -> None:
    joint = tables()
    assert joint.log_instance is not None
    with torch.no_grad():
        joint.log_instance[:3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    found = statistics(joint)
    assert all(math.isnan(found[f"instance/{name}"]) for name in ("mean", "highest", "lowest"))
    assert math.isfinite(found["class/mean"])
    assert histograms(joint)["instance"].num == 37

    with torch.no_grad():
        joint.log_instance.fill_(torch.nan)
    assert set(histograms(joint)) == {"class"}
    with pytest.raises(ValueError, match="finite temperature to count"):
        histogram(joint.log_instance, BOUNDS)


@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
def test_a_histogram_counts_as_numpy_does(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "CHUNK", chunk)
    log_temperature = torch.randn(500).clamp(-2.9, 2.9)
    found = histogram(log_temperature, BOUNDS, num_bins=32)
    temperature = log_temperature.double().exp()
    expected, _ = np.histogram(temperature.numpy(), bins=found.edges.numpy())
    assert found.counts.tolist() == expected.tolist()
    assert found.edges.diff(dim=0).gt(0).all()
    ratios = found.edges[1:] / found.edges[:-1]
    torch.testing.assert_close(ratios, ratios[:1].expand(32), rtol=1e-9, atol=0)
    assert (found.edges[0], found.edges[-1]) == BOUNDS
    assert found.num == found.counts.sum() == 500
    assert [found.minimum, found.maximum, found.sum, found.sum_squares] == pytest.approx(
        [float(v) for v in (*temperature.aminmax(), temperature.sum(), temperature.square().sum())]
    )


def test_the_outer_bins_hold_what_lies_outside() -> None:
    log_temperature = torch.tensor([0.001, 1.0, 1.0, 300.0]).log()
    found = histogram(log_temperature, BOUNDS, num_bins=4)
    assert found.edges[[0, -1]].tolist() == pytest.approx([0.001, 300.0])
    assert found.edges[1:-1].tolist() == pytest.approx([20**-0.5, 1.0, 20**0.5])
    assert found.counts.tolist() == [1, 0, 2, 1]


def test_a_projected_row_leaves_the_edges_where_they_are() -> None:
    """A bound in float32 may lie beyond the bound."""
    on_the_bounds = torch.tensor(BOUNDS).log()
    found = histogram(on_the_bounds, BOUNDS, num_bins=4)
    assert (found.edges[0], found.edges[-1]) == BOUNDS
    assert found.counts.tolist() == [1, 0, 0, 1]


def test_without_bounds_the_bins_reach_from_the_lowest_to_the_highest() -> None:
    found = histogram(torch.tensor([0.001, 1.0, 300.0]).log(), None, num_bins=4)
    assert found.edges[[0, -1]].tolist() == [found.minimum, found.maximum]
    assert found.num == found.counts.sum() == 3
    equal = histogram(torch.zeros(5), None, num_bins=4)
    assert equal.edges[0] < 1.0 < equal.edges[-1]
    assert equal.counts.sum() == 5


def test_histograms_of_tables_and_groups() -> None:
    joint = tables()
    assert joint.log_instance is not None
    corrupted = torch.arange(40) % 4 == 0
    nobody = torch.zeros(40, dtype=torch.bool)
    groups = {"clean": ~corrupted, "corrupted": corrupted, "nobody": nobody}
    found = histograms(joint, groups=groups, num_bins=8)
    assert {name: each.num for name, each in found.items()} == {
        "class": 5,
        "instance": 40,
        "instance/clean": 30,
        "instance/corrupted": 10,
    }
    parts = found["instance/clean"].counts + found["instance/corrupted"].counts
    assert torch.equal(parts, found["instance"].counts)
    alone = histogram(joint.log_instance, BOUNDS, num_bins=8, mask=corrupted)
    assert torch.equal(alone.counts, found["instance/corrupted"].counts)
    assert set(histograms(DataParameters(num_classes=3))) == {"class"}


def test_neither_graph_nor_default_device_gets_in() -> None:
    joint = tables()
    mask = torch.arange(40) < 3
    with torch.device("meta"):
        found = statistics(joint, groups={"few": mask})
        counts = histograms(joint, groups={"few": mask})["instance/few"].counts
    assert math.isfinite(found["instance/few/mean"])
    assert counts.sum() == 3
    assert not counts.requires_grad


def test_wrong_arguments_are_refused_with_the_remedy() -> None:
    joint, table = tables(), torch.zeros(40)
    for mask in (torch.ones(39, dtype=torch.bool), torch.ones(40)):
        with pytest.raises(ValueError, match=r"groups\['clean'\].* shape \(40,\) and dtype"):
            statistics(joint, groups={"clean": mask})
        with pytest.raises(ValueError, match="one entry a row"):
            histogram(table, BOUNDS, mask=mask)
    with pytest.raises(ValueError, match="Leave `groups` out"):
        statistics(DataParameters(num_classes=3), groups={"clean": torch.ones(3).bool()})
    with pytest.raises(ValueError, match="`num_bins` should be at least 1"):
        histogram(table, BOUNDS, num_bins=0)
    with pytest.raises(ValueError, match="0 < low < high"):
        histogram(table, (0.0, 1.0))
    with pytest.raises(ValueError, match=r"should have shape \(N,\)"):
        histogram(table.reshape(4, 10), BOUNDS)


PROGRAM = """
import resource
from data_parameters import DataParameters, monitor

monitor.histograms(DataParameters(num_instances=2 * monitor.CHUNK))  # what is allocated once
large = DataParameters(num_instances=50_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert monitor.statistics(large)["instance/mean"] == 1.0
assert monitor.histograms(large)["instance"].num == 50_000_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="lazily committed memory is Linux's")
def test_a_large_table_is_never_copied_whole() -> None:
    output = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True
    ).stdout
    # In kB. A copy of the table would be 200 MB, and 400 MB in float64.
    assert int(output) < 60_000
