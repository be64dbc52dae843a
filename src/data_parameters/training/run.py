"""Start a run from its configuration, or continue one from its folder."""

import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from data_parameters.distributed import check_agreement, digest
from data_parameters.training.config import TrainConfig
from data_parameters.training.config_file import differences, flat, read_config
from data_parameters.training.data import TrainingData, load_data
from data_parameters.training.decisions import dataset_fingerprint
from data_parameters.training.labels import (
    Labels,
    label_differences,
    make_labels,
    read_labels,
)
from data_parameters.training.live_run import LiveRun
from data_parameters.training.parts import choose_device
from data_parameters.training.processes import Processes, launch
from data_parameters.training.result import Result
from data_parameters.training.review import Review, apply_reviews
from data_parameters.training.run_folder import (
    RunFolder,
    made_by,
    new_run_folder,
    refuse_taken,
)

__all__ = ["resume_run", "start_run"]


def start_run(config: TrainConfig, *, restart: bool = False) -> Result:
    """Start a run in a folder of its own, or continue the one that ``torchrun`` starts anew.

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
    started, output = launch(), config.output
    if started is not None and started.may_restart:
        if output is None:
            raise ValueError(
                "`--output` should be given where torchrun may start the run anew, so that it "
                "finds the run again. Found none. Name a folder, or leave --max-restarts out."
            )
        if started.restarts > 0 and made_by(output, started.name):
            if _has_begun(output):
                return resume_run(output, config)
            restart = True  # of a folder in which nothing was done yet
    if output is not None and not restart:
        refuse_taken(output)
    # Whatever can fail does so before a folder is made, or an old run removed.
    with _warnings_as_notes() as notes:
        data, labels, reviews = _load(config)
        run = LiveRun(config, data, labels, choose_device(config.runtime.device), reviews)
    run.notes = [*data.notes, *notes]

    def make_folder() -> Path:
        name = "" if started is None else started.name
        folder = new_run_folder("train", config.output, restart=restart, launch=name)
        folder.write_config(config)
        folder.write_json("data.json", _description(data, labels, reviews))
        labels.write(folder.path / "labels.npz")
        return folder.path

    run.enter(RunFolder(run.processes.from_first(make_folder)))
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
    if not _has_begun(path):
        raise FileNotFoundError(
            f"{path} should be the folder of a run. Found no config.json and labels.npz in it. "
            "Name the folder that the run printed first."
        )
    saved = read_config(path / "config.json")
    config = saved if given is None else given
    data, labels, reviews = _load(config)
    changed = differences(saved, config)
    changed += label_differences(read_labels(path / "labels.npz"), labels)
    if changed:
        raise ValueError(
            "A run should continue with the configuration and labels it started with. Found:\n  "
            + "\n  ".join(changed)
            + "\nStart a new run for these."
        )
    with _warnings_as_notes():  # said when the run started
        run = LiveRun(config, data, labels, choose_device(config.runtime.device), reviews)
    run.enter(RunFolder(path))
    run.load()
    return run.train()


def _has_begun(path: Path) -> bool:
    return (path / "config.json").is_file() and (path / "labels.npz").is_file()


def _load(config: TrainConfig) -> tuple[TrainingData, Labels, tuple[Review, ...]]:
    """Data, the labels after noise and reviews, and what the reviews did; the same everywhere."""
    processes = Processes.joined()
    if config.data.download:
        data = processes.first_before_others(lambda: load_data(config.data))
    else:
        data = load_data(config.data)
    labels, reviews = apply_reviews(
        make_labels(data, config.noise), config.labels, data.class_names
    )
    own = ("output", "labels", "data.path", "runtime.device", "runtime.num_workers")
    facts: dict[str, Any] = {k: v for k, v in flat(config).items() if k not in own}
    facts["training instances"] = len(labels.given)
    facts["names of the classes"] = data.class_names
    facts["digest of the given labels"] = digest(labels.given)
    facts["digest of the test labels"] = digest(data.test.labels)
    check_agreement(facts)
    return data, labels, reviews


def _description(data: TrainingData, labels: Labels, reviews: tuple[Review, ...]) -> dict[str, Any]:
    """What a reader of the folder needs to know of the data, in plain values."""
    names = ("data-parameters", "torch", "numpy")
    return {
        "class_names": list(data.class_names),
        "dataset": dataset_fingerprint(labels.given, data.class_names),
        "reviews": [asdict(review) for review in reviews],
        "versions": {"python": platform.python_version(), **{n: version(n) for n in names}},
    }


@contextmanager
def _warnings_as_notes() -> Iterator[list[str]]:
    """Hold back warnings, which the run says after its folder, so that they reach its log too."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        yield notes
    notes += [f"Warning: {warning.message}" for warning in caught]
