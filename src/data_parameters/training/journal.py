"""What a run writes down as it goes: metrics, tables, lines on the terminal, other loggers."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from data_parameters.monitor import histograms, statistics
from data_parameters.training.config import TrainConfig
from data_parameters.training.console import RunConsole
from data_parameters.training.data import Split
from data_parameters.training.extremes import extreme_images
from data_parameters.training.history import append_dynamics, append_tables
from data_parameters.training.labels import Labels
from data_parameters.training.loggers import Logger, TensorBoardLogger, load_logger
from data_parameters.training.loop import Progress
from data_parameters.training.parts import Parts
from data_parameters.training.run_folder import RunFolder

__all__ = ["Journal", "Silence"]


class Journal:
    """Writes the steps and epochs of a run into its folder, and to whoever else is to know.

    Args:
        config: The run.
        folder: Its folder.
        parts: Its parts, whose tables are written down.
        labels: Its labels, which say whose temperatures to tell apart.
        train: The training split, for images of the highest and lowest temperatures.
        trained: Which instances the run trains on, shape ``(N,)``.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        parts: Parts,
        labels: Labels,
        train: Split,
        trained: Tensor,
    ) -> None:
        self.config, self.folder, self.parts, self.train = config, folder, parts, train
        self.tables = parts.data_parameters
        has_instances = self.tables is not None and self.tables.log_instance is not None
        self.trained = trained
        self.groups: dict[str, Tensor] = {}
        if has_instances:
            # Held out instances keep their first temperature, and would blur the statistics.
            held_out = {} if bool(trained.all()) else {"trained": trained}
            self.groups = {**held_out, **labels.groups(trained)}
        self.console = RunConsole(folder.path / "log.txt")
        self.loggers: list[Logger] = []

    @contextlib.contextmanager
    def opened(self, purge_step: int | None) -> Iterator[None]:
        """Show progress and keep the loggers open for a while.

        Args:
            purge_step: The first step that will be logged again, after a resume.

        Yields:
            Nothing.
        """
        runtime = self.config.runtime
        if runtime.tensorboard:
            self.loggers.append(TensorBoardLogger(self.folder.path, purge_step=purge_step))
        if runtime.logger is not None:
            self.loggers.append(load_logger(runtime.logger, self.folder.path, purge_step))
        try:
            with self.console:
                yield
        finally:
            for logger in self.loggers:
                logger.close()
            self.loggers.clear()

    def say(self, line: str) -> None:
        """Show a line on the terminal, and keep it in ``log.txt``.

        Args:
            line: Plain text.
        """
        self.console.say(line)

    def advance(self, progress: Progress, steps_per_epoch: int) -> None:
        """Show on the terminal that a step is done.

        Args:
            progress: Where the run stands.
            steps_per_epoch: Steps of an epoch.
        """
        epoch = f"Epoch {progress.epoch + 1}/{self.config.epochs}"
        self.console.advance(epoch, progress.step_in_epoch, steps_per_epoch)

    def step(self, progress: Progress, values: Mapping[str, float]) -> None:
        """Write down where an epoch stands.

        Args:
            progress: Where the run stands.
            values: Means over the epoch so far.
        """
        self.folder.log({"event": "step", **_position(progress), **values})
        for logger in self.loggers:
            logger.scalars(progress.step, values)
        self.console.note(f"loss {values['train_loss']:.3f}")

    def look_at_tables(self, progress: Progress) -> None:
        """Write down statistics and histograms of the tables within an epoch.

        Args:
            progress: Where the run stands.
        """
        if self.tables is None:
            return
        values = statistics(self.tables, groups=self.groups)
        self.folder.log({"event": "tables", **_position(progress), **values})
        for logger in self.loggers:
            logger.scalars(progress.step, values)
        self._log_histograms(progress.step)

    def epoch(self, progress: Progress, values: Mapping[str, float]) -> None:
        """Write down what is known after an epoch, the statistics of the tables included.

        Args:
            progress: Where the run stands.
            values: Losses, accuracies and learning rate.
        """
        values = dict(values)
        if self.tables is not None:
            values.update(statistics(self.tables, groups=self.groups))
            append_tables(self.folder.path / "tables.npy", progress.epoch, self.tables)
        if self.parts.dynamics is not None:
            append_dynamics(self.folder.path / "dynamics.npy", progress.epoch, self.parts.dynamics)
        self.folder.log({"event": "epoch", **_position(progress), **values})
        for logger in self.loggers:
            logger.scalars(progress.step, values)
            if self.tables is not None:
                for name, images in extreme_images(self.train, self.tables, self.trained).items():
                    logger.images(progress.step, name, images)
        self._log_histograms(progress.step)
        self.say(_epoch_line(progress, self.config, values))
        if not math.isfinite(values["train_loss"]):
            self.say("The loss is not finite: the run has diverged. Lower its learning rate.")

    def _log_histograms(self, step: int) -> None:
        if self.tables is None or not self.loggers:
            return
        for name, histogram in histograms(self.tables, groups=self.groups).items():
            for logger in self.loggers:
                logger.histogram(step, name, histogram)


class Silence:
    """In place of a :class:`Journal` where another process writes."""

    def opened(self, purge_step: int | None) -> contextlib.AbstractContextManager[None]:
        """Open nothing.

        Args:
            purge_step: As in :class:`Journal`.

        Returns:
            A context.
        """
        return contextlib.nullcontext()

    def say(self, line: str) -> None:
        """Say nothing."""

    def advance(self, progress: Progress, steps_per_epoch: int) -> None:
        """Show nothing."""

    def step(self, progress: Progress, values: Mapping[str, float]) -> None:
        """Write nothing."""

    def look_at_tables(self, progress: Progress) -> None:
        """Write nothing."""

    def epoch(self, progress: Progress, values: Mapping[str, float]) -> None:
        """Write nothing."""


def _position(progress: Progress) -> dict[str, int]:
    return {"epoch": progress.epoch, "step": progress.step}


def _epoch_line(progress: Progress, config: TrainConfig, values: dict[str, Any]) -> str:
    validation = ""
    if "validation_top1" in values:
        validation = f", validation {values['validation_top1']:.2%}"
    return (
        f"Epoch {progress.epoch}/{config.epochs}: loss {values['train_loss']:.4f}, train "
        f"{values['train_accuracy']:.2%}{validation}, test {values['test_top1']:.2%}"
    )
