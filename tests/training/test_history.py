"""The tables over the epochs, in one file."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data_parameters import DataParameters
from data_parameters.training.history import append_tables, read_tables


@pytest.mark.parametrize(
    "sizes",
    [{"num_classes": 3}, {"num_instances": 5}, {"num_classes": 3, "num_instances": 5}],
)
def test_round_trip(sizes: dict[str, int], tmp_path: Path) -> None:
    path = tmp_path / "tables.npy"
    expected = []
    for epoch in (1, 2, 3):
        tables = DataParameters(**sizes, init_instance=1.0)
        for table in tables.parameters():
            table.data.uniform_(-3, 3)
        append_tables(path, epoch, tables)
        expected.append(tables)
    found = list(read_tables(path))
    assert [snapshot.epoch for snapshot in found] == [1, 2, 3]
    for snapshot, tables in zip(found, expected, strict=True):
        for array, table in (
            (snapshot.log_class, tables.log_class),
            (snapshot.log_instance, tables.log_instance),
        ):
            assert (array is None) == (table is None)
            if array is not None and table is not None:
                sigma = torch.from_numpy(array).float().exp()
                torch.testing.assert_close(sigma, table.detach().exp(), rtol=1.1e-3, atol=0)


def test_the_file_can_be_cut_back_and_numpy_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "tables.npy"
    tables = DataParameters(num_instances=4)
    append_tables(path, 1, tables)
    size = path.stat().st_size
    append_tables(path, 2, tables)
    with path.open("r+b") as file:
        file.truncate(size)
    assert [snapshot.epoch for snapshot in read_tables(path)] == [1]
    with path.open("rb") as file:
        assert np.load(file).tolist() == [1, 0, 4]
        assert np.load(file).dtype == np.float16
