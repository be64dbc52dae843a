"""The demo on the terminal and in its run folder."""

from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import Tensor

from data_parameters.training.demo import DemoConfig, DemoResult, Epoch, run_demo
from data_parameters.training.plots import plot_accuracy, plot_temperature
from data_parameters.training.run_folder import RunFolder, new_run_folder

__all__ = ["demo"]

NAMES = {"plain": "without data parameters", "instance": "with instance parameters"}


def demo(config: DemoConfig) -> RunFolder:
    """Run the demo, show its progress and its result, and write its folder.

    Args:
        config: Settings of the demo.

    Returns:
        The run folder.

    Raises:
        FileExistsError: The run folder is taken.
    """
    console = Console()
    folder = new_run_folder("demo", config.output)
    folder.write_config(config)
    console.print(f"Run folder: {folder.path}", highlight=False, soft_wrap=True)
    console.print(
        f"1,797 handwritten digits, {config.fraction:.0%} of the training labels permuted.",
        highlight=False,
    )
    with _progress(console) as progress:
        tasks = {
            name: progress.add_task(NAMES[name], total=config.epochs, accuracy="", start=False)
            for name in NAMES
        }

        def on_epoch(name: str, epoch: Epoch, changed: Tensor) -> None:
            folder.log({"run": name, **_metrics(epoch, changed)})
            progress.start_task(tasks[name])
            accuracy = f"test accuracy {epoch.test_accuracy:6.1%}"
            progress.update(tasks[name], completed=epoch.number, accuracy=accuracy)

        result = run_demo(config, on_epoch)

    _write(folder, result)
    console.print(_accuracy_table(result))
    console.print(
        f"σ finds the {int(result.changed.sum())} changed among {len(result.changed)} labels: "
        f"AUROC {result.auroc:.3f}, average precision {result.average_precision:.3f}.",
        highlight=False,
    )
    console.print(
        f"\nLook at {folder.path / 'accuracy.png'} and {folder.path / 'temperature.png'};\n"
        f"{folder.path / 'temperatures.csv'} lists every training instance, highest σ first.",
        highlight=False,
        soft_wrap=True,
    )
    return folder


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:24}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[accuracy]}"),
        TimeElapsedColumn(),
        console=console,
    )


def _accuracy_table(result: DemoResult) -> Table:
    table = Table("test accuracy", title_justify="left")
    table.add_column("last epoch", justify="right")
    table.add_column("best epoch", justify="right")
    for name, epochs in (("plain", result.plain), ("instance", result.instance)):
        accuracies = [epoch.test_accuracy for epoch in epochs]
        table.add_row(NAMES[name], f"{accuracies[-1]:.1%}", f"{max(accuracies):.1%}")
    return table


def _write(folder: RunFolder, result: DemoResult) -> None:
    changed = result.changed
    temperatures = [epoch.temperature for epoch in result.instance if epoch.temperature is not None]
    folder.write_table(
        "accuracy",
        (
            {
                "run": name,
                "last_epoch": epochs[-1].test_accuracy,
                "best_epoch": max(epoch.test_accuracy for epoch in epochs),
            }
            for name, epochs in (("plain", result.plain), ("instance", result.instance))
        ),
    )
    folder.write_table(
        "label_issues",
        [{"auroc": result.auroc, "average_precision": result.average_precision}],
    )
    order = temperatures[-1].argsort(descending=True, stable=True)
    folder.write_table(
        "temperatures",
        (
            {
                "index": index,
                "temperature": float(temperatures[-1][index]),
                "given_label": int(result.given_labels[index]),
                "true_label": int(result.true_labels[index]),
                "changed": bool(changed[index]),
            }
            for index in order.tolist()
        ),
    )
    curves = {
        "Without": [epoch.test_accuracy for epoch in result.plain],
        "With instance parameters": [epoch.test_accuracy for epoch in result.instance],
    }
    plot_accuracy(folder.path / "accuracy.png", curves)
    plot_temperature(folder.path / "temperature.png", temperatures, changed)


def _metrics(epoch: Epoch, changed: Tensor) -> dict[str, Any]:
    metrics = {
        "epoch": epoch.number,
        "train_loss": epoch.train_loss,
        "test_accuracy": epoch.test_accuracy,
    }
    if epoch.temperature is not None:
        for name, mask in (("changed", changed), ("unchanged", ~changed)):
            values = epoch.temperature[mask]
            metrics[f"temperature_{name}_mean"] = float(values.mean())
            metrics[f"temperature_{name}_median"] = float(torch.median(values))
    return metrics
