"""What came of a run: printed last, and written into its folder.

Legend: N training instances.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from data_parameters.training.checkpoint import save_weights
from data_parameters.training.config import TrainConfig
from data_parameters.training.data import TrainingData
from data_parameters.training.history import read_tables
from data_parameters.training.labels import Labels
from data_parameters.training.parts import Parts
from data_parameters.training.plots import plot_accuracy, plot_temperature
from data_parameters.training.run_folder import RunFolder
from data_parameters.training.saved_run import dynamics_columns
from data_parameters.training.second_phase import Judgement, SecondPhase, finding

__all__ = ["Result", "write_result"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """Accuracies in [0, 1] and how well the instance temperatures find wrong labels.

    Attributes:
        folder: The run folder.
        epochs: Epochs done.
        last: Test accuracy after the last epoch: top-1 and top-5.
        read: The same after epochs that the configuration names.
        selected_epoch: The epoch with the best validation accuracy, or the last.
        selected_by: ``"validation"``, or ``"last epoch"`` where nothing was held out.
        selected: Test accuracy after the selected epoch.
        auroc: Area under the ROC curve of σ against the wrong labels, where these are known
            and no second phase left any out.
        average_precision: Average precision of the same.
        second_phase: How the labels were judged, where the run has a second phase; with precision
            and recall of those left out, where it is known which labels are wrong.
    """

    folder: str
    epochs: int
    last: dict[str, float]
    read: dict[int, dict[str, float]]
    selected_epoch: int
    selected_by: str
    selected: dict[str, float]
    auroc: float | None = None
    average_precision: float | None = None
    second_phase: dict[str, Any] | None = None

    def lines(self) -> list[str]:
        """The result in words, for a terminal.

        Returns:
            Lines of text.
        """
        lines = [
            f"Test accuracy after epoch {epoch}: {_percent(accuracy)}."
            for epoch, accuracy in self.read.items()
        ]
        why = "the last"
        if self.selected_by == "validation":
            why = "selected on held out training labels"
            lines.append(
                f"Test accuracy after epoch {self.epochs}, the last: {_percent(self.last)}."
            )
        if self.auroc is not None:
            lines.append(
                f"σ finds the wrong labels with AUROC {self.auroc:.3f} and average precision "
                f"{self.average_precision:.3f}."
            )
        judged = self.second_phase
        if judged is not None and judged["noise_rate"] is not None:
            found = finding(judged["noise_rate"], judged["learned"])
            lines.append(
                f"Second phase: after epoch {judged['epoch']} {judged['num_left_out']:,} instances "
                f"were left out; {found}."
            )
            if judged["precision"] is not None:
                lines.append(
                    f"Of those left out {judged['precision']:.0%} are wrong, and of the wrong ones "
                    f"{judged['recall']:.0%} were left out."
                )
        return [
            *lines,
            f"Everything is in {self.folder}.",
            f"Result: test accuracy after epoch {self.selected_epoch}, {why}: "
            f"{_percent(self.selected)}.",
        ]


def write_result(
    folder: RunFolder,
    config: TrainConfig,
    parts: Parts,
    labels: Labels,
    data: TrainingData,
    trained: Tensor,
    weights: dict[str, Any],
    second: SecondPhase,
) -> Result:
    """Write weights, tables and plots of a run that has ended.

    Args:
        folder: The run folder.
        config: The run.
        parts: Its parts.
        labels: Its labels.
        data: Its data.
        trained: Which instances it trained on, shape ``(N,)``.
        weights: Those of its model.
        second: Its planted labels, and how labels were judged by them.

    Returns:
        The result.
    """
    judgement = second.judgement
    epochs = folder.metrics("epoch")
    last = epochs[-1]
    selected, selected_by = last, "last epoch"
    begun = 0 if judgement is None else judgement.epoch
    if "validation_top1" in last:
        # An epoch with planted labels is not the one to take.
        candidates = [line for line in epochs if line["epoch"] > begun]
        selected = max(candidates, key=lambda line: line["validation_top1"])
        selected_by = "validation"
    judged = judgement is not None and judgement.num_left_out > 0
    result = Result(
        folder=str(folder.path),
        epochs=last["epoch"],
        last=_accuracy(last),
        read={e["epoch"]: _accuracy(e) for e in epochs if e["epoch"] in config.read_epochs},
        selected_epoch=selected["epoch"],
        selected_by=selected_by,
        selected=_accuracy(selected),
        # After a judgement the temperatures of two phases would be compared.
        **({} if judged else _detection(parts, labels.groups(trained))),
        second_phase=None if judgement is None else _plain(judgement, labels.groups(trained)),
    )
    save_weights(folder.path / "model.pt", weights)
    judged_columns = (
        {} if judgement is None else {"planted": second.planted, "left_out": judgement.left_out}
    )
    _write_tables(folder, parts, labels, data, judged_columns)
    _plot(folder.path, epochs, labels.groups(trained))
    folder.write_json("result.json", asdict(result))
    return result


def _accuracy(line: dict[str, Any]) -> dict[str, float]:
    return {"top1": line["test_top1"], "top5": line["test_top5"]}


def _percent(accuracy: dict[str, float]) -> str:
    return f"top-1 {accuracy['top1']:.2%}, top-5 {accuracy['top5']:.2%}"


def _detection(parts: Parts, groups: dict[str, Tensor]) -> dict[str, float]:
    """How well σ finds wrong labels, over the instances that were trained on."""
    tables = parts.data_parameters
    if tables is None or tables.log_instance is None or not groups:
        return {}
    known = groups["clean"] | groups["corrupted"]
    changed = groups["corrupted"][known]
    temperature = tables.log_instance.detach().cpu()[known]
    return {
        "auroc": float(roc_auc_score(changed, temperature)),
        "average_precision": float(average_precision_score(changed, temperature)),
    }


def _plain(judgement: Judgement, groups: dict[str, Tensor]) -> dict[str, Any]:
    """As plain values; with precision and recall, where it is known which labels are wrong."""
    values = {name: value for name, value in vars(judgement).items() if name != "left_out"}
    found: dict[str, float | None] = {"precision": None, "recall": None}
    if groups:
        known = groups["clean"] | groups["corrupted"]
        left_out, wrong = judgement.left_out[known], groups["corrupted"][known]
        if bool(left_out.any()):
            found["precision"] = float(wrong[left_out].float().mean())
            found["recall"] = float(left_out[wrong].float().mean())
    return {**values, "num_left_out": judgement.num_left_out, **found}


def _write_tables(
    folder: RunFolder,
    parts: Parts,
    labels: Labels,
    data: TrainingData,
    judged: dict[str, Tensor],
) -> None:
    tables = parts.data_parameters
    if tables is not None and tables.class_temperature is not None:
        temperatures = tables.class_temperature.tolist()
        rows = zip(data.class_names, temperatures, strict=True)
        folder.write_table(
            "class_temperatures",
            ({"class": name, "temperature": value} for name, value in rows),
        )
    columns: dict[str, Tensor | None] = {
        "source_row": data.train.rows,
        "given_label": labels.given,
        "true_label": labels.true,
        "temperature": None if tables is None else tables.instance_temperature,
        **({} if parts.dynamics is None else dynamics_columns(parts.dynamics)),
        **judged,
    }
    values = {name: value.tolist() for name, value in columns.items() if value is not None}
    folder.write_table(
        "instances",
        (
            {"index": index, **dict(zip(values, row, strict=True))}
            for index, row in enumerate(zip(*values.values(), strict=True))
        ),
    )


def _plot(path: Path, epochs: list[dict[str, Any]], groups: dict[str, Tensor]) -> None:
    curves = {"Test": [line["test_top1"] for line in epochs]}
    if "validation_top1" in epochs[-1]:
        curves["Validation"] = [line["validation_top1"] for line in epochs]
    plot_accuracy(path / "accuracy.png", curves)
    if groups and (path / "tables.npy").exists():
        known = groups["clean"] | groups["corrupted"]
        tables = [snapshot.log_instance for snapshot in read_tables(path / "tables.npy")]
        temperatures = [torch.from_numpy(t).float()[known].exp() for t in tables if t is not None]
        if temperatures:
            changed = groups["corrupted"][known]
            plot_temperature(path / "temperature.png", temperatures, changed)
