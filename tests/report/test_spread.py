"""Histograms, quantiles and means over the epochs, against loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_parameters.report.spread import QUANTILES, bin_edges, follow

NUM_CLASSES = 3


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 4), st.integers(0, 5))
def test_follow_is_a_loop_over_instances(
    seed: int, num_instances: int, num_epochs: int, num_rows: int
) -> None:
    rng = np.random.default_rng(seed)
    tables = [
        (epoch + 1, rng.standard_normal(num_instances).astype(np.float16))
        for epoch in range(num_epochs)
    ]
    labels = rng.integers(NUM_CLASSES, size=num_instances)
    some = rng.random(num_instances) < 0.5
    some[0] = True
    rows = rng.permutation(num_instances)[:num_rows]
    edges = bin_edges(table for _, table in tables)
    found = follow(
        iter(tables),
        edges=edges,
        groups={"some": some, "all": np.ones(num_instances, bool)},
        labels=labels,
        num_classes=NUM_CLASSES,
        rows=rows,
    )
    assert found.spread.epochs == [epoch for epoch, _ in tables]
    for place, (_, table) in enumerate(tables):
        members = [float(value) for value, inside in zip(table, some, strict=True) if inside]
        group = found.spread.groups[0]
        assert group.count == len(members)
        assert group.histogram[place].sum() == len(members)
        assert group.quantiles[place] == pytest.approx(np.quantile(members, QUANTILES))
        for label in range(NUM_CLASSES):
            own = [v for v, y in zip(table[some], labels[some], strict=True) if y == label]
            mean = found.class_means[place, label]
            assert np.isnan(mean) if not own else mean == pytest.approx(np.mean(own, dtype=float))
        assert found.rows[place] == pytest.approx([float(table[row]) for row in rows])
    assert found.spread.groups[1].histogram.sum() == num_instances * num_epochs


def test_a_table_that_never_moved_has_bins() -> None:
    edges = bin_edges([np.zeros(4, np.float16)])
    assert np.all(np.diff(edges) > 0)
    assert edges[0] < 0 < edges[-1]
