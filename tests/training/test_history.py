"""The tables over the epochs, in one file."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data_parameters import DataParameters, TrainingDynamics
from data_parameters.training.history import (
    append_dynamics,
    append_tables,
    read_dynamics,
    read_tables,
)


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


def dynamics_of(path: Path) -> TrainingDynamics:
    dynamics = TrainingDynamics(4)
    for epoch in (1, 2):
        logits = torch.tensor([[1.0, 0.0, 3.0], [epoch, 0.0, 9e9]])
        dynamics.update(logits, torch.tensor([1, 0]), torch.tensor([2, 0]))
        append_dynamics(path, epoch, dynamics)
    return dynamics


def test_dynamics_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "dynamics.npy"
    dynamics = dynamics_of(path)
    found = list(read_dynamics(path))
    assert [snapshot.epoch for snapshot in found] == [1, 2]
    last = found[-1]
    assert last.last_prediction.tolist() == dynamics.last_prediction.tolist() == [2, -1, 2, -1]
    assert last.last_margin[2] == -3.0
    assert np.isfinite(last.last_margin[0])  # -9e9 is more than float16 holds
    assert np.isnan(last.last_margin[[1, 3]]).all()


@pytest.mark.parametrize("lost", [1, 5, 60, 150, 200, 300])
def test_an_epoch_that_is_not_whole_is_left_out(lost: int, tmp_path: Path) -> None:
    for name, read in (("dynamics.npy", read_dynamics), ("tables.npy", read_tables)):
        path = tmp_path / name
        if name == "dynamics.npy":
            dynamics_of(path)
        else:
            for epoch in (1, 2):
                append_tables(path, epoch, DataParameters(num_classes=3, num_instances=4))
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - lost)
        assert [snapshot.epoch for snapshot in read(path)] == [1]


def test_a_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dynamics.npy"
    dynamics_of(path)
    content = path.read_bytes()
    path.write_bytes(b"x" + content[1:])
    with pytest.raises(ValueError, match="restore it"):
        list(read_dynamics(path))
