"""A run that is going: its parts, its checkpoints, and what it does between steps and epochs.

Legend: N training instances, C classes.
"""

import signal
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from data_parameters.training.batches import Batches, input_shape, make_batches, mixed
from data_parameters.training.chance import random_states, seed_all, set_random_states
from data_parameters.training.checkpoint import (
    newest_checkpoint,
    save_checkpoint,
    save_weights,
    tidy_checkpoints,
)
from data_parameters.training.config import TrainConfig
from data_parameters.training.data import TrainingData
from data_parameters.training.evaluate import evaluate
from data_parameters.training.interrupt import HEARD, Interrupt, StoppedError
from data_parameters.training.introduction import introduction
from data_parameters.training.journal import Journal, Silence
from data_parameters.training.labels import Labels, split_rows
from data_parameters.training.loggers import check_loggers
from data_parameters.training.loop import Progress, means_of, train
from data_parameters.training.parts import Parts, build_parts
from data_parameters.training.processes import Processes
from data_parameters.training.result import Result, write_result
from data_parameters.training.review import Review
from data_parameters.training.run_folder import RunFolder
from data_parameters.training.second_phase import SecondPhase

__all__ = ["LiveRun"]


class LiveRun:
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
        self.processes = Processes.joined()
        # Asked once and before the seeds are set: a sample may draw from any source of chance.
        self.input_shape = input_shape(data.test)
        check_loggers(config.runtime.logger, tensorboard=config.runtime.tensorboard)
        train_rows, validation_rows = split_rows(len(labels.given), config)
        if labels.excluded is not None:
            train_rows = train_rows[~labels.excluded[train_rows]]
            validation_rows = validation_rows[~labels.excluded[validation_rows]]
        self.trained = torch.zeros(len(labels.given), dtype=torch.bool)
        self.trained[train_rows] = True
        self.second = SecondPhase(config, labels, self.trained, len(data.class_names))
        self.device = device
        self.batches = self._batches(self.second.rows, training=True)
        self.validation = (
            self._batches(validation_rows, training=False) if len(validation_rows) else None
        )
        self.test = make_batches(
            data,
            data.test,
            torch.arange(len(data.test.labels)),
            batch_size=config.batch_size,
            device=device,
            num_workers=config.runtime.num_workers,
            limit=config.limit_batches,
            processes=self.processes,
            shape=self.input_shape,
        )
        self.parts = self._first_parts()
        self.progress = Progress(epoch=config.start_epoch)
        self.interrupt = Interrupt(
            (signal.SIGTERM,) if self.processes.size > 1 else (),
            says=HEARD if self.processes.is_first else "",
        )
        self.agreed = Agreed()
        self.saved_at = time.monotonic()
        self.resumed_from: str | None = None
        self.notes: list[str] = []

    def enter(self, folder: RunFolder) -> None:
        """Write into this folder from now on.

        Args:
            folder: The run folder.
        """
        self.folder = folder
        self.journal: Journal | Silence = Silence()
        if self.processes.is_first:
            self.journal = Journal(
                self.config, folder, self.parts, self.labels, self.data.train, self.trained
            )

    def _first_parts(self) -> Parts:
        """Everything that learns, as a run of this seed begins."""
        parts = build_parts(
            self.config,
            input_shape=self.input_shape,
            num_classes=len(self.data.class_names),
            num_instances=len(self.labels.given),
            device=self.device,
        )
        if self.processes.rank > 0:
            # The same weights at first, but dropout of its own.
            seed_all(mixed(self.config.seed, self.processes.rank))
        return parts

    def _batches(self, rows: Tensor, *, training: bool) -> Batches:
        config, split = self.config, self.data.train
        return make_batches(
            self.data,
            split if training else split.to_evaluate(),
            rows,
            batch_size=config.batch_size,
            device=self.device,
            seed=config.seed,
            shuffle=training,
            augmentation=config.augment if training else None,
            num_workers=config.runtime.num_workers,
            limit=config.limit_batches,
            processes=self.processes,
            shape=self.input_shape,
        )

    def load(self) -> None:
        """Continue from the newest sound checkpoint, or from the start where there is none."""
        state, damaged = self.processes.from_first(self._newest_state)
        if state is not None:
            found = list(self.input_shape)
            if state["input_shape"] != found:
                raise ValueError(
                    f"The inputs should have the shape {state['input_shape']} of the run. Found "
                    f"{found}. The data set was changed since; start a new run for it."
                )
            if "second_phase" in state:  # what older versions saved has none
                self.second.load_state_dict(state["second_phase"])
            self.batches = self._batches(self.second.rows, training=True)
            self.parts.load_state_dict(state["parts"])
            self.progress = Progress(**state["progress"])
            self._take_chance(state["random"])
            if not self.processes.is_first:
                self.progress.sums = torch.zeros(4)  # process 0 has what all had summed up
        if self.processes.is_first:
            self.folder.cut_back({} if state is None else state["sizes"])
        where = f"epoch {self.progress.epoch}, step {self.progress.step}"
        self.resumed_from = " ".join([*damaged, f"Resumed at {where}."])

    def _newest_state(self) -> tuple[dict[str, Any] | None, list[str]]:
        state, damaged = newest_checkpoint(self.folder.checkpoints)
        tidy_checkpoints(self.folder.checkpoints, damaged)
        return state, [str(error) for error in damaged]

    def _take_chance(self, states: list[dict[str, Any]]) -> None:
        """The random states of this process; of its own, where there were fewer processes."""
        if len(states) == self.processes.size or self.processes.is_first:
            set_random_states(states[self.processes.rank])
        else:
            seed_all(mixed(self.config.seed, self.processes.rank, self.progress.step))

    def save(self) -> None:
        """Save a checkpoint, which any number of processes can continue."""
        parts = self.parts.state_dict()
        sums = self.processes.total(self.progress.sums).cpu()
        random = self.processes.gather_objects(random_states())
        self.saved_at = time.monotonic()
        if self.processes.is_first:
            state = {
                "parts": parts,
                "random": random,
                "second_phase": self.second.state_dict(),
                "progress": {**vars(self.progress), "sums": sums},
                "sizes": self.folder.sizes(),
                "input_shape": list(self.input_shape),
            }
            save_checkpoint(self.folder.checkpoints, self.progress.step, state)

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
                self._train_to_the_end()
                weights = self.parts.weights()
                result = self.processes.from_first(
                    lambda: write_result(
                        self.folder,
                        self.config,
                        self.parts,
                        self.labels,
                        self.data,
                        self.trained,
                        weights,
                        self.second,
                    )
                )
            if self.processes.is_first:
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

    def _train_to_the_end(self) -> None:
        def stop() -> bool:
            due = self.second.is_due(self.progress.epoch)
            return due or self.processes.from_first(self._should_stop)

        while True:
            train(
                self.config,
                self.parts,
                self.batches,
                self.second.given,
                self.progress,
                processes=self.processes,
                before_step=self._before_step,
                after_step=self._after_step,
                after_epoch=self._after_epoch,
                stop=stop,
            )
            # Patience that ends the first phase leads to the second one: no run ends on planted
            # labels.
            if not self.second.is_open or self.progress.epoch >= self.config.epochs:
                return
            self._enter_second_phase()

    def _enter_second_phase(self) -> None:
        """Judge the labels, and begin again where any is left out."""
        assert self.parts.dynamics is not None
        judgement = self.second.judge(self.parts.dynamics, self.progress.epoch)
        planted = self.second.planted.nonzero().flatten()
        first = self._first_parts()
        if judgement.num_left_out == 0:
            self.parts.copy_instances(first, planted)
        else:
            # Temperatures begin afresh, but who is left out keeps that with which it was.
            first.copy_instances(self.parts, judgement.left_out.nonzero().flatten())
            first.dynamics = self.parts.dynamics
            if not judgement.restarts:
                first.model, first.optimizer = self.parts.model, self.parts.optimizer
                first.scaler = self.parts.scaler
            self.parts.load_state_dict(first.state_dict())
        if judgement.restarts:
            self.progress.first_epoch = self.progress.epoch
        self.parts.dynamics.forget(planted)
        self.second.judgement = judgement
        self.batches = self._batches(self.second.rows, training=True)
        self.journal.say(str(judgement))

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
        self.journal.say(f"Run folder: {self.folder.path}")
        if self.resumed_from is not None:
            self.journal.say(self.resumed_from)
            return
        for line in introduction(
            self.config, self.data, self.labels, self.trained, self.second, self.reviews
        ):
            self.journal.say(line)
        for note in self.notes:
            self.journal.say(note)

    def _before_step(self, num_samples: int) -> tuple[float, int]:
        """Agree on what this step is about, in one exchange.

        Returns:
            The weight of this process, and the number of samples of all.
        """
        minutes = self.config.runtime.checkpoint_minutes
        due = minutes is not None and time.monotonic() - self.saved_at > 60 * minutes
        everyone = self.processes.gather([num_samples, self.interrupt.number or 0, due])
        samples, interrupts, dues = zip(*everyone, strict=True)
        self.agreed = Agreed(max(interrupts) or None, bool(dues[0]))
        return len(samples) * num_samples / max(sum(samples), 1), sum(samples)

    def _after_step(self, progress: Progress) -> None:
        runtime = self.config.runtime
        self.journal.advance(progress, len(self.batches))
        if progress.step % runtime.log_steps == 0:
            sums = self.processes.total(progress.sums)
            values = {**means_of(sums), "lr": self.parts.optimizer.param_groups[0]["lr"]}
            self.journal.step(progress, values)
        if runtime.table_steps is not None and progress.step % runtime.table_steps == 0:
            self.journal.look_at_tables(progress)
        steps = runtime.checkpoint_steps
        due = self.agreed.checkpoint_is_due or (steps is not None and progress.step % steps == 0)
        # After the last step of an epoch the end of the epoch saves.
        within = progress.step_in_epoch < len(self.batches)
        if within and (due or self._interrupt is not None):
            self.save()
        if within:
            self._stop_if_asked()

    def _after_epoch(self, progress: Progress, means: dict[str, float]) -> None:
        model, values = self.parts.model, dict(means)
        self.processes.copy_buffers(model)
        values["lr"] = self.parts.optimizer.param_groups[0]["lr"]
        if self.validation is not None:
            found = evaluate(model, self.validation, self.labels.given, self.processes)
            values.update({f"validation_{k}": v for k, v in found._asdict().items()})
        found = evaluate(model, self.test, self.data.test.labels, self.processes)
        values.update({f"test_{k}": v for k, v in found._asdict().items()})
        if self.parts.data_optimizer is not None:
            values["skipped_rows"] = self.parts.data_optimizer.num_skipped_rows
        if self.parts.dynamics is not None:
            self.second.observe(self.parts.dynamics)
        better = self.processes.from_first(lambda: self._is_better(values))
        self.journal.epoch(progress, values)
        if better:
            weights = self.parts.weights()
            if self.processes.is_first:
                save_weights(self.folder.path / "best.pt", weights)
        self.save()
        if progress.epoch < self.config.epochs:
            self._stop_if_asked()

    @property
    def _interrupt(self) -> int | None:
        """The signal that asked to stop; of several processes, the one they have agreed on."""
        return self.interrupt.number if self.processes.size == 1 else self.agreed.interrupt

    def _stop_if_asked(self) -> None:
        if self._interrupt is not None:
            self.journal.say(
                f"Stopped and saved at step {self.progress.step}. Continue with: data-parameters "
                f"train --resume {self.folder.path}"
            )
            raise StoppedError(self._interrupt)

    def _is_better(self, values: dict[str, float]) -> bool:
        if self.validation is None:
            return False
        return values["validation_top1"] > max(self._selectable(), default=-1.0)

    def _should_stop(self) -> bool:
        if self.config.patience is None:
            return False
        found = self._selectable()
        return bool(found) and len(found) - 1 - found.index(max(found)) >= self.config.patience

    def _selectable(self) -> list[float]:
        """Validation accuracies of the epochs that were not trained on planted labels."""
        return [
            line["validation_top1"]
            for line in self.folder.metrics("epoch")
            if line["epoch"] > self.second.begun
        ]


@dataclass(frozen=True)
class Agreed:
    """What all processes know before a step.

    Attributes:
        interrupt: The signal that asked one of them to stop, if any.
        checkpoint_is_due: Whether process 0 finds that it is time for a checkpoint.
    """

    interrupt: int | None = None
    checkpoint_is_due: bool = False
