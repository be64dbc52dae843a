"""A run from its configuration to its result: new, or continued.

Legend: N training instances, C classes.
"""

import platform
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data_parameters.training.batches import Batches, input_shape, make_batches
from data_parameters.training.checkpoint import (
    newest_checkpoint,
    save_checkpoint,
    save_weights,
    tidy_checkpoints,
)
from data_parameters.training.config import TrainConfig
from data_parameters.training.config_file import differences, read_config
from data_parameters.training.data import TrainingData, load_data
from data_parameters.training.decisions import dataset_fingerprint
from data_parameters.training.evaluate import evaluate
from data_parameters.training.interrupt import Interrupt, StoppedError
from data_parameters.training.journal import Journal
from data_parameters.training.labels import (
    Labels,
    label_differences,
    make_labels,
    read_labels,
    split_rows,
)
from data_parameters.training.loggers import check_loggers
from data_parameters.training.loop import Progress, train
from data_parameters.training.parts import build_parts, choose_device
from data_parameters.training.result import Result, write_result
from data_parameters.training.review import Review, apply_reviews
from data_parameters.training.run_folder import RunFolder, new_run_folder, refuse_taken

__all__ = ["resume_run", "start_run"]


def start_run(config: TrainConfig, *, restart: bool = False) -> Result:
    """Start a run in a folder of its own.

    Args:
        config: The run.
        restart: Remove the folder first if a run of this program made it.

    Returns:
        What came of it.

    Raises:
        FileExistsError: The folder is taken.
    """
    if restart and config.output is None:
        raise ValueError("`--restart` should come with `--output`, the run to remove. Name it.")
    if config.output is not None and not restart:
        refuse_taken(config.output)
    # Whatever can fail does so before a folder is made, or an old run removed.
    with _warnings_as_notes() as notes:
        data = load_data(config.data)
        labels, reviews = _labels(config, data)
        run = Run(config, data, labels, choose_device(config.runtime.device), reviews)
    run.notes = [*data.notes, *notes]
    folder = new_run_folder("train", config.output, restart=restart)
    folder.write_config(config)
    folder.write_json("data.json", _description(data, labels, reviews))
    labels.write(folder.path / "labels.npz")
    run.enter(folder)
    return run.train()


def resume_run(path: Path, given: TrainConfig | None = None) -> Result:
    """Continue a run from its newest sound checkpoint.

    Args:
        path: The run folder.
        given: The configuration to continue with, if not that of the run. It may differ in where
            and how the run is carried out.

    Returns:
        What came of it.

    Raises:
        FileNotFoundError: There is no run in the folder.
        ValueError: The configuration or the data set would change the mathematics.
    """
    if not (path / "config.json").is_file() or not (path / "labels.npz").is_file():
        raise FileNotFoundError(
            f"{path} should be the folder of a run. Found no config.json and labels.npz in it. "
            "Name the folder that the run printed first."
        )
    saved = read_config(path / "config.json")
    config = saved if given is None else given
    data = load_data(config.data)
    labels, reviews = _labels(config, data)
    changed = differences(saved, config)
    changed += label_differences(read_labels(path / "labels.npz"), labels)
    if changed:
        raise ValueError(
            "A run should continue with the configuration and labels it started with. Found:\n  "
            + "\n  ".join(changed)
            + "\nStart a new run for these."
        )
    with _warnings_as_notes():  # said when the run started
        run = Run(config, data, labels, choose_device(config.runtime.device), reviews)
    run.enter(RunFolder(path))
    run.load()
    return run.train()


def _labels(config: TrainConfig, data: TrainingData) -> tuple[Labels, tuple[Review, ...]]:
    """The labels after noise and reviews, and what the reviews did."""
    return apply_reviews(make_labels(data, config.noise), config.labels, data.class_names)


def _description(data: TrainingData, labels: Labels, reviews: tuple[Review, ...]) -> dict[str, Any]:
    """What a reader of the folder needs to know of the data, in plain values."""
    names = ("data-parameters", "torch", "numpy")
    return {
        "class_names": list(data.class_names),
        "dataset": dataset_fingerprint(labels.given, data.class_names),
        "reviews": [asdict(review) for review in reviews],
        "versions": {"python": platform.python_version(), **{n: version(n) for n in names}},
    }


class Run:
    """A run with all it needs.

    Args:
        config: The run.
        data: Its data.
        labels: Labels of the training instances.
        device: Where it computes.
        reviews: What reviews did to the labels.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: TrainingData,
        labels: Labels,
        device: torch.device,
        reviews: tuple[Review, ...] = (),
    ) -> None:
        self.config, self.data, self.labels, self.reviews = config, data, labels, reviews
        check_loggers(config.runtime.logger, tensorboard=config.runtime.tensorboard)
        train_rows, validation_rows = split_rows(len(labels.given), config)
        if labels.excluded is not None:
            train_rows = train_rows[~labels.excluded[train_rows]]
            validation_rows = validation_rows[~labels.excluded[validation_rows]]
        self.trained = torch.zeros(len(labels.given), dtype=torch.bool)
        self.trained[train_rows] = True
        self.batches = self._batches(device, train_rows, training=True)
        self.validation = (
            self._batches(device, validation_rows, training=False) if len(validation_rows) else None
        )
        self.test = make_batches(
            data,
            data.test,
            torch.arange(len(data.test.labels)),
            batch_size=config.batch_size,
            device=device,
            num_workers=config.runtime.num_workers,
            limit=config.limit_batches,
        )
        # Asked once and before the seeds are set: a sample may draw from any source of chance.
        self.input_shape = input_shape(data.test)
        self.parts = build_parts(
            config,
            input_shape=self.input_shape,
            num_classes=len(data.class_names),
            num_instances=len(labels.given),
            device=device,
        )
        self.progress = Progress(epoch=config.start_epoch)
        self.interrupt = Interrupt()
        self.saved_at = time.monotonic()
        self.resumed_from: str | None = None
        self.notes: list[str] = []

    def enter(self, folder: RunFolder) -> None:
        """Write into this folder from now on.

        Args:
            folder: The run folder.
        """
        self.folder = folder
        self.journal = Journal(
            self.config, folder, self.parts, self.labels, self.data.train, self.trained
        )

    def _batches(self, device: torch.device, rows: Tensor, *, training: bool) -> Batches:
        config, split = self.config, self.data.train
        return make_batches(
            self.data,
            split if training else split.to_evaluate(),
            rows,
            batch_size=config.batch_size,
            device=device,
            seed=config.seed,
            shuffle=training,
            augmentation=config.augment if training else None,
            num_workers=config.runtime.num_workers,
            limit=config.limit_batches,
        )

    def load(self) -> None:
        """Continue from the newest sound checkpoint, or from the start where there is none."""
        state, damaged = newest_checkpoint(self.folder.checkpoints)
        if state is not None:
            found = list(self.input_shape)
            if state["input_shape"] != found:
                raise ValueError(
                    f"The inputs should have the shape {state['input_shape']} of the run. Found "
                    f"{found}. The data set was changed since; start a new run for it."
                )
            self.parts.load_state_dict(state["parts"])
            self.progress = Progress(**state["progress"])
        tidy_checkpoints(self.folder.checkpoints, damaged)
        self.folder.cut_back({} if state is None else state["sizes"])
        where = f"epoch {self.progress.epoch}, step {self.progress.step}"
        self.resumed_from = " ".join([*map(str, damaged), f"Resumed at {where}."])

    def save(self) -> None:
        """Save a checkpoint."""
        state = {
            "parts": self.parts.state_dict(),
            "progress": {**vars(self.progress), "sums": self.progress.sums.cpu()},
            "sizes": self.folder.sizes(),
            "input_shape": list(self.input_shape),
        }
        save_checkpoint(self.folder.checkpoints, self.progress.step, state)
        self.saved_at = time.monotonic()

    def train(self) -> Result:
        """Train to the end, and write the result.

        Returns:
            What came of it.

        Raises:
            StoppedError: A signal asked to stop; the state is saved.
        """
        # What was logged after the checkpoint is hidden: it will be logged again.
        purge_step = None if self.resumed_from is None else self.progress.step + 1
        try:
            with self.journal.opened(purge_step), self.interrupt:
                self._introduce()
                train(
                    self.config,
                    self.parts,
                    self.batches,
                    self.labels,
                    self.progress,
                    after_step=self._after_step,
                    after_epoch=self._after_epoch,
                    stop=self._should_stop,
                )
                result = write_result(
                    self.folder, self.config, self.parts, self.labels, self.data, self.trained
                )
            self._report()
            for line in result.lines():
                self.journal.say(line)
        except OSError as error:
            error.add_note(
                "What was saved before is sound. Once the cause is mended, continue with: "
                f"data-parameters train --resume {self.folder.path}"
            )
            raise
        return result

    def _report(self) -> None:
        if not self.config.runtime.report:
            return
        # The run is done; whatever hinders its report, such as a missing Pillow, is no harm to it.
        try:
            from data_parameters.training.run_report import ReportConfig, write_report

            path = write_report(ReportConfig(run=self.folder.path), self.data)
        except Exception as error:
            self.journal.say(
                f"The report could not be made ({type(error).__name__}: {error}). Once the cause "
                f"is mended, make it with: data-parameters report {self.folder.path}"
            )
        else:
            self.journal.say(f"Look at the labels in {path}.")

    def _introduce(self) -> None:
        say, data, changed = self.journal.say, self.data, self.labels.changed
        say(f"Run folder: {self.folder.path}")
        if self.resumed_from is not None:
            say(self.resumed_from)
            return
        wrong = "" if changed is None else f", {int(changed.sum()):,} of them with a wrong label"
        excluded = self.labels.excluded
        untrained = ~self.trained if excluded is None else ~self.trained & ~excluded
        num_held_out = int(untrained.sum())
        held_out = f", {num_held_out:,} held out for validation" if num_held_out else ""
        say(
            f"{len(self.labels.given):,} training instances{wrong}{held_out}, "
            f"{len(data.test.labels):,} test instances, {len(data.class_names)} classes; "
            f"{self.config.level}."
        )
        for review in self.reviews:
            say(str(review))
        for note in self.notes:
            say(note)

    def _after_step(self, progress: Progress) -> None:
        runtime = self.config.runtime
        self.journal.advance(progress, len(self.batches))
        if progress.step % runtime.log_steps == 0:
            values = {**progress.means(), "lr": self.parts.optimizer.param_groups[0]["lr"]}
            self.journal.step(progress, values)
        if runtime.table_steps is not None and progress.step % runtime.table_steps == 0:
            self.journal.look_at_tables(progress)
        steps, minutes = runtime.checkpoint_steps, runtime.checkpoint_minutes
        due = steps is not None and progress.step % steps == 0
        due |= minutes is not None and time.monotonic() - self.saved_at > 60 * minutes
        # After the last step of an epoch the end of the epoch saves.
        within = progress.step_in_epoch < len(self.batches)
        if within and (due or self.interrupt.number is not None):
            self.save()
        if within:
            self._stop_if_asked()

    def _after_epoch(self, progress: Progress, means: dict[str, float]) -> None:
        model, values = self.parts.model, dict(means)
        values["lr"] = self.parts.optimizer.param_groups[0]["lr"]
        if self.validation is not None:
            found = evaluate(model, self.validation, self.labels.given)
            values.update({f"validation_{k}": v for k, v in found._asdict().items()})
        found = evaluate(model, self.test, self.data.test.labels)
        values.update({f"test_{k}": v for k, v in found._asdict().items()})
        if self.parts.data_optimizer is not None:
            values["skipped_rows"] = self.parts.data_optimizer.num_skipped_rows
        better = self._is_better(values)
        self.journal.epoch(progress, values)
        if better:
            save_weights(self.folder.path / "best.pt", model.state_dict())
        self.save()
        if progress.epoch < self.config.epochs:
            self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if self.interrupt.number is not None:
            self.journal.say(
                f"Stopped and saved at step {self.progress.step}. Continue with: data-parameters "
                f"train --resume {self.folder.path}"
            )
            raise StoppedError(self.interrupt.number)

    def _is_better(self, values: dict[str, float]) -> bool:
        if self.validation is None:
            return False
        before = [line["validation_top1"] for line in self.folder.metrics("epoch")]
        return values["validation_top1"] > max(before, default=-1.0)

    def _should_stop(self) -> bool:
        if self.config.patience is None:
            return False
        found = [line["validation_top1"] for line in self.folder.metrics("epoch")]
        return bool(found) and len(found) - 1 - found.index(max(found)) >= self.config.patience


@contextmanager
def _warnings_as_notes() -> Iterator[list[str]]:
    """Hold back warnings, which the run says after its folder, so that they reach its log too."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        yield notes
    notes += [f"Warning: {warning.message}" for warning in caught]
