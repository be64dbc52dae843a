"""What the report of a run shows, gathered from its folder.

Legend: N training instances, C classes, K instances in the review table.
"""

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score

from data_parameters.issues import class_noise_rates, noise_rate, suggestion_matrix
from data_parameters.report.content import (
    Classes,
    Curves,
    Instances,
    Noise,
    Preview,
    ReportContent,
    RunFacts,
)
from data_parameters.report.spread import Trajectories, bin_edges, follow
from data_parameters.training.config_file import config_to_dict
from data_parameters.training.data import TrainingData, load_data
from data_parameters.training.findings import run_issues
from data_parameters.training.history import read_tables
from data_parameters.training.labels import label_differences, make_labels
from data_parameters.training.previews import previews
from data_parameters.training.result import Result
from data_parameters.training.review import apply_reviews
from data_parameters.training.saved_run import SavedRun

if TYPE_CHECKING:
    import pandas

__all__ = ["report_content"]

PREVIEW_BYTES = 10_000_000


def report_content(run: SavedRun, data: TrainingData | None, *, num_rows: int) -> ReportContent:
    """Gather what a report shows.

    Args:
        run: The run.
        data: What it trained on, where that is at hand; else it is loaded again.
        num_rows: Highest number of instances in the review table.

    Returns:
        The content; what the run did not keep is left out, and named.

    Raises:
        FileNotFoundError: The run has not finished an epoch.
    """
    if not run.epochs:
        raise FileNotFoundError(
            f"{run.path} should hold a run that has finished an epoch. Found none yet. Wait for "
            f"its first epoch, or continue it with: data-parameters train --resume {run.path}"
        )
    missing: list[str] = []
    issues = _issues(run, missing)
    order = np.zeros(0, np.int64)
    if issues is not None:
        worst = issues["label_score"].sort_values(kind="stable").dropna()
        order = worst.index.to_numpy()[:num_rows]
    found = _trajectories(run, order)
    if found is None:
        missing.append("Instance temperatures: the run had no instance parameters.")
    if run.result is None:
        last = run.epochs[-1]["epoch"]
        missing.append(f"The end: the run stands after epoch {last} of {run.config.epochs}.")
    shown = _previews(run, data, order, missing)
    return ReportContent(
        run=_facts(run, missing),
        accuracy=_curves(run, _ACCURACIES),
        loss=_curves(run, {"Training": "train_loss"}),
        spread=None if found is None else found.spread,
        classes=_classes(run, found, issues),
        noise=None if issues is None else _noise(run, issues),
        instances=None if issues is None else _instances(run, issues, found, order, shown),
    )


def _issues(run: SavedRun, missing: list[str]) -> "pandas.DataFrame | None":
    try:
        issues = run_issues(run)
    except ModuleNotFoundError as error:
        missing.append(f"Which labels are probably wrong. {error}")
        return None
    if issues is None:
        missing.append(
            "Which labels are probably wrong: the run had neither instance parameters nor "
            "dynamics. Train with --instances.learn, or without --no-dynamics."
        )
    return issues


_ACCURACIES = {
    "Test": "test_top1",
    "Validation": "validation_top1",
    "Training": "train_accuracy",
}


def _facts(run: SavedRun, missing: list[str]) -> RunFacts:
    config, settings = run.config, config_to_dict(run.config)
    text = (run.path / "config.json").read_bytes()
    excluded = run.labels.excluded
    return RunFacts(
        name=run.path.resolve().name,
        key=hashlib.sha256(text).hexdigest()[:16],
        dataset=run.dataset,
        finished=run.result is not None,
        num_instances=run.num_instances,
        class_names=run.class_names,
        summary=(
            config.data.name,
            f"{run.num_instances:,} training instances",
            *(() if excluded is None else (f"{int(excluded.sum()):,} excluded",)),
            f"{len(run.class_names):,} classes",
            config.model.name,
            config.level,
            f"seed {config.seed}",
        ),
        result=[] if run.result is None else Result(**run.result).lines()[:-1],
        settings=settings,
        versions=run.versions,
        missing=missing,
    )


def _curves(run: SavedRun, names: dict[str, str]) -> Curves:
    return Curves(
        epochs=[line["epoch"] for line in run.epochs],
        series={
            title: [line.get(name) for line in run.epochs]
            for title, name in names.items()
            if name in run.epochs[-1]
        },
    )


def _trajectories(run: SavedRun, rows: npt.NDArray[np.int64]) -> Trajectories | None:
    """What the instance tables did; they are read one epoch at a time, because they are large."""

    def tables() -> Iterator[tuple[int, npt.NDArray[np.float16]]]:
        for snapshot in read_tables(run.path / "tables.npy"):
            if snapshot.log_instance is not None:
                yield snapshot.epoch, snapshot.log_instance

    if not (run.path / "tables.npy").is_file() or next(tables(), None) is None:
        return None
    trained = run.trained.numpy()
    groups = {"Trained": trained}
    names = {"clean": "Clean", "corrupted": "Changed"}
    groups |= {names[name]: mask.numpy() for name, mask in run.labels.groups(run.trained).items()}
    return follow(
        tables(),
        edges=bin_edges(table[trained] for _, table in tables()),
        groups=groups,
        labels=run.labels.given.numpy(),
        num_classes=len(run.class_names),
        rows=rows,
    )


def _classes(
    run: SavedRun, found: Trajectories | None, issues: "pandas.DataFrame | None"
) -> Classes:
    trained, num_classes = run.trained.numpy(), len(run.class_names)
    given = run.labels.given.numpy()
    known_wrong = None
    if run.labels.changed is not None and run.labels.true is not None:
        known = trained & (run.labels.true >= 0).numpy()
        with np.errstate(invalid="ignore"):
            known_wrong = np.bincount(
                given[known & run.labels.changed.numpy()], minlength=num_classes
            ) / np.bincount(given[known], minlength=num_classes)
    estimated_wrong = None
    if issues is not None:
        rates = class_noise_rates(issues, num_classes=num_classes)
        estimated_wrong = rates["noise_rate"].to_numpy()
    epochs, log_temperature, meaning = [], None, ""
    if run.config.classes.learn:
        snapshots = list(_class_tables(run))
        epochs = [epoch for epoch, _ in snapshots]
        log_temperature = np.stack([table for _, table in snapshots]).astype(np.float32)
        meaning = "The temperature that each class learned."
    elif found is not None:
        epochs, log_temperature = list(found.spread.epochs), found.class_means
        meaning = "The geometric mean of the temperatures of the instances of each class."
    return Classes(
        count=np.bincount(given[trained], minlength=num_classes),
        estimated_wrong=estimated_wrong,
        known_wrong=known_wrong,
        epochs=epochs,
        log_temperature=log_temperature,
        meaning=meaning,
    )


def _class_tables(run: SavedRun) -> Iterator[tuple[int, npt.NDArray[np.float16]]]:
    for snapshot in read_tables(run.path / "tables.npy"):
        if snapshot.log_class is not None:
            yield snapshot.epoch, snapshot.log_class


def _noise(run: SavedRun, issues: "pandas.DataFrame") -> Noise:
    scores, measured = issues["label_score"].to_numpy(), {}
    groups = run.labels.groups(run.trained)
    if groups:
        known = (groups["clean"] | groups["corrupted"]).numpy() & ~np.isnan(scores)
        changed = groups["corrupted"].numpy()[known]
        measured["known_rate"] = float(changed.mean())
        if 0 < changed.sum() < len(changed):
            measured["auroc"] = float(roc_auc_score(changed, -scores[known]))
            precision = average_precision_score(changed, -scores[known])
            measured["average_precision"] = float(precision)
    pairs = None
    if "rival" in run.instances:
        pairs = suggestion_matrix(issues, num_classes=len(run.class_names))
        np.fill_diagonal(pairs, 0)
    return Noise(
        rate=noise_rate(issues),
        num_issues=int(issues["is_label_issue"].sum()),
        pairs=pairs,
        **measured,
    )


def _instances(
    run: SavedRun,
    issues: "pandas.DataFrame",
    found: Trajectories | None,
    order: npt.NDArray[np.int64],
    shown: list[Preview],
) -> Instances:
    def of(column: Any) -> npt.NDArray[Any] | None:
        return None if column is None else np.asarray(column)[order]

    labels, shown_issues = run.labels, issues.iloc[order]
    return Instances(
        index=order,
        given_label=shown_issues["given_label"].to_numpy(),
        label_score=shown_issues["label_score"].to_numpy(),
        is_label_issue=shown_issues["is_label_issue"].to_numpy(),
        source_row=of(labels.source_rows),
        predicted_label=of(run.instances.get("rival")),
        true_label=of(labels.true),
        temperature=of(run.instances.get("temperature")),
        margin=of(run.instances.get("margin")),
        epochs=[] if found is None else found.spread.epochs,
        log_temperature=None if found is None else found.rows,
        previews=shown,
    )


def _previews(
    run: SavedRun, data: TrainingData | None, order: npt.NDArray[np.int64], missing: list[str]
) -> list[Preview]:
    """Texts and thumbnails, if the data set is still the one that the run saw."""
    if not len(order):
        return []
    try:
        if data is None:
            data = load_data(run.config.data)
            labels = make_labels(data, run.config.noise)
            labels, _ = apply_reviews(labels, run.config.labels, data.class_names)
            changed = label_differences(run.labels, labels)
            if changed:
                missing.append(f"Previews: the data set was changed since. {changed[0]}.")
                return []
        return previews(data.train, order.tolist(), budget=PREVIEW_BYTES)
    # A data set may be a user's own function, and what it raises is no reason to show nothing else.
    except Exception as error:
        missing.append(f"Previews: {error}")
        return []
