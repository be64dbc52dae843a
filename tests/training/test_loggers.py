"""What TensorBoard reads back, and loggers of the user's own."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from data_parameters import DataParameters
from data_parameters.monitor import Histogram, histograms, statistics
from data_parameters.training.loggers import Logger, TensorBoardLogger, load_logger


def read_back(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0})
    return events.Reload()


def tables() -> DataParameters:
    temperature = torch.logspace(-1, 1, 101)
    return DataParameters(num_classes=4, num_instances=101, init_instance=temperature)


def test_scalars_histograms_and_images_are_read_back(tmp_path: Path) -> None:
    logger: Logger = TensorBoardLogger(tmp_path / "new")
    values = statistics(tables())
    binned = histograms(tables())["instance"]
    logger.scalars(3, values)
    logger.scalars(7, {"train/loss": 0.5})
    logger.histogram(3, "instance", binned)
    logger.images(3, "instance/highest", torch.rand(4, 3, 8, 8))
    logger.images(3, "instance/lowest", torch.rand(2, 1, 8, 8))
    logger.close()

    events = read_back(tmp_path / "new")
    assert set(events.Tags()["scalars"]) == {*values, "train/loss"}
    for name, value in values.items():
        [point] = events.Scalars(name)
        assert (point.step, point.value) == (3, pytest.approx(value))
    [found] = events.Histograms("instance")
    read = found.histogram_value
    assert found.step == 3
    assert read.bucket == binned.counts.tolist()
    assert read.bucket_limit == binned.edges[1:].tolist()
    assert [read.min, read.max, read.num, read.sum, read.sum_squares] == [
        binned.minimum,
        binned.maximum,
        binned.num,
        binned.sum,
        binned.sum_squares,
    ]
    assert set(events.Tags()["images"]) == {"instance/highest", "instance/lowest"}


def test_what_was_logged_survives_a_process_that_does_not_close(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    logger.scalars(1, {"loss": 0.5})
    logger.histogram(1, "instance", histograms(tables())["instance"])
    events = read_back(tmp_path)
    assert [point.step for point in events.Scalars("loss")] == [1]
    assert [found.step for found in events.Histograms("instance")] == [1]
    logger.close()


@pytest.mark.parametrize("purge_step", [0, 4])
def test_a_resumed_run_shows_each_step_once(tmp_path: Path, purge_step: int) -> None:
    first = TensorBoardLogger(tmp_path)
    for step in range(7):
        first.scalars(step, {"loss": 1.0})
    first.close()
    second = TensorBoardLogger(tmp_path, purge_step=purge_step)
    for step in range(purge_step, 9):
        second.scalars(step, {"loss": 2.0})
    second.close()
    points = read_back(tmp_path).Scalars("loss")
    assert [point.step for point in points] == list(range(9))
    assert [point.value for point in points] == [1.0] * purge_step + [2.0] * (9 - purge_step)


@pytest.mark.parametrize("shape", [(3, 8, 8), (4, 2, 8, 8)])
def test_images_of_another_shape_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    logger = TensorBoardLogger(tmp_path)
    with pytest.raises(ValueError, match="1 or 3 channels"):
        logger.images(0, "images", torch.zeros(shape))
    logger.close()


def test_missing_tensorboard_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'data-parameters\[tensorboard\]'"):
        TensorBoardLogger(tmp_path)


class ListLogger:
    """A logger as a user writes it: no base class, nothing of ours."""

    def __init__(self, folder: Path, purge_step: int | None) -> None:
        self.folder, self.seen = folder, []  # type: tuple[Path, list[object]]

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.seen.append((step, dict(values)))

    def histogram(self, step: int, name: str, histogram: Histogram) -> None:
        self.seen.append((step, name, histogram.num))

    def images(self, step: int, name: str, images: Tensor) -> None:
        self.seen.append((step, name, len(images)))

    def close(self) -> None:
        self.seen.append("closed")


class Incomplete:
    def __init__(self, folder: Path, purge_step: int | None) -> None:
        pass

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        pass

    def images(self, step: int, name: str, images: Tensor) -> None:
        pass


def test_a_logger_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "own_logger", sys.modules[__name__])
    logger = load_logger("own_logger:ListLogger", tmp_path)
    assert isinstance(logger, ListLogger)
    logger.scalars(1, {"loss": 0.5})
    logger.histogram(1, "class", histograms(tables())["class"])
    logger.close()
    assert logger.folder == tmp_path
    assert logger.seen == [(1, {"loss": 0.5}), (1, "class", 4), "closed"]


def test_what_is_no_logger_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "own_logger", sys.modules[__name__])
    with pytest.raises(ValueError, match="Found Incomplete without histogram, close"):
        load_logger("own_logger:Incomplete", tmp_path)
    with pytest.raises(ValueError, match=r"It has: .*ListLogger"):
        load_logger("own_logger:ListLoger", tmp_path)
