"""The report of a run of ImageNet's size: how large the file is, and how soon it is there.

The run is made up, image files included; the report is built as `data-parameters report` builds it,
and opened in headless Chromium.
"""

import argparse
import io
import platform
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch.utils.data import Dataset

from data_parameters import DataParameters, TrainingDynamics
from data_parameters.training.checkpoint import save_checkpoint
from data_parameters.training.config import TemperatureConfig, TrainConfig
from data_parameters.training.data import DataConfig, Split, TrainingData
from data_parameters.training.decisions import dataset_fingerprint
from data_parameters.training.history import append_dynamics, append_tables
from data_parameters.training.labels import Labels
from data_parameters.training.models import ModelConfig
from data_parameters.training.run_folder import RunFolder, new_run_folder
from data_parameters.training.run_report import ReportConfig, write_report
from timing import RESULTS, machine, markdown

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from browser import browser, console

NUM_CLASSES, NUM_FILES = 1000, 64
MEGABYTE = 1_000_000


class Files:
    """JPEGs of 500x375, as long as photographs are."""

    def __init__(self, num_instances: int) -> None:
        rng = np.random.default_rng(0)
        self.num_instances, self.contents = num_instances, []
        for _ in range(NUM_FILES):
            coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            image = Image.fromarray(coarse).resize((500, 375)).filter(ImageFilter.GaussianBlur(2))
            noise = rng.normal(0, 14, (375, 500, 3))
            pixels = (np.asarray(image) + noise).clip(0, 255).astype(np.uint8)
            content = io.BytesIO()
            Image.fromarray(pixels).save(content, "jpeg", quality=90)
            self.contents.append(content.getvalue())

    def __len__(self) -> int:
        return self.num_instances

    def read(self, index: int) -> bytes:
        """The content of a file."""
        return self.contents[index % NUM_FILES]

    def file(self, index: int) -> str:
        """The path of a file."""
        return f"n{index % NUM_CLASSES:08}/n{index % NUM_CLASSES:08}_{index}.JPEG"


class Inputs(Dataset[Any]):
    """What an image folder hands out; the report asks for its files alone."""

    def __init__(self, images: Files) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)


def make_run(folder: RunFolder, num_instances: int, num_epochs: int) -> TrainingData:
    """A run in which 8 % of the labels are wrong and their temperatures rise."""
    generator = torch.Generator().manual_seed(0)
    names = tuple(f"class {number}" for number in range(NUM_CLASSES))
    true = torch.randint(NUM_CLASSES, (num_instances,), generator=generator)
    wrong = torch.rand(num_instances, generator=generator) < 0.08
    given = torch.where(wrong, (true + 1) % NUM_CLASSES, true)
    labels = Labels(given=given, true=true, source_rows=torch.arange(num_instances))
    config = TrainConfig(
        data=DataConfig(name="imagefolder"),
        model=ModelConfig(name="resnet18"),
        instances=TemperatureConfig(learn=True),
        epochs=num_epochs,
    )
    folder.write_config(config)
    folder.write_json(
        "data.json",
        {"class_names": names, "dataset": dataset_fingerprint(given, names), "versions": {}},
    )
    labels.write(folder.path / "labels.npz")
    tables = DataParameters(num_classes=None, num_instances=num_instances)
    dynamics = TrainingDynamics(num_instances)
    assert tables.log_instance is not None
    slope = torch.where(wrong, 1.5, -1.0) / num_epochs
    index = torch.arange(num_instances)
    for epoch in range(1, num_epochs + 1):
        with torch.no_grad():
            noise = torch.randn(num_instances, generator=generator)
            tables.log_instance.copy_(slope * epoch + 0.15 * noise)
        append_tables(folder.path / "tables.npy", epoch, tables)
        if epoch in (1, num_epochs):
            for rows in index.split(4096):
                logits = torch.randn(len(rows), NUM_CLASSES, generator=generator)
                logits[torch.arange(len(rows)), true[rows]] += 6
                dynamics.update(logits, given[rows], rows)
        append_dynamics(folder.path / "dynamics.npy", epoch, dynamics)
        share = epoch / num_epochs
        folder.log(
            {
                "event": "epoch",
                "epoch": epoch,
                "train_loss": 7 - 5 * share,
                "train_accuracy": 0.6 * share,
                "test_top1": 0.7 * share,
                "test_top5": 0.9 * share,
            }
        )
    parts = {"dynamics": dynamics.state_dict(), "data_parameters": tables.state_dict()}
    save_checkpoint(folder.checkpoints, num_epochs, {"parts": parts})
    split = Split(inputs=Inputs(Files(num_instances)), labels=given)
    return TrainingData(train=split, test=split, class_names=names)


def opening_seconds(page: Path, folder: Path, repeats: int) -> list[float]:
    """From the start of the navigation until the table of instances is painted."""
    painted = (
        "const done = arguments[0];"
        "if (!document.querySelector('table.review tbody tr')) throw new Error('no table');"
        "requestAnimationFrame(() => setTimeout(() => done(performance.now() / 1000)));"
    )
    seconds = []
    with browser(folder) as driver:
        for _ in range(repeats):
            driver.get("about:blank")
            driver.get(page.as_uri())
            seconds.append(float(driver.execute_async_script(painted)))
        complaints = console(driver)
    if complaints:
        raise RuntimeError(f"The page should open without a complaint. Found {complaints}.")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=1_281_167)
    parser.add_argument("--epochs", type=int, default=90)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        folder = new_run_folder("report", root / "run")
        data = make_run(folder, arguments.instances, arguments.epochs)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        page = write_report(ReportConfig(run=folder.path), data)
        building = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        size = page.stat().st_size
        opening = opening_seconds(page, root, arguments.repeats)
    low, middle, high = statistics.quantiles(opening, n=4)
    rows = [
        ["size of the file", f"{size / MEGABYTE:.1f} MB"],
        ["building it, image files included", f"{building:.1f} s"],
        ["highest memory of the process meanwhile", f"{peak / 1024:.0f} MiB"],
        ["the same before", f"{before / 1024:.0f} MiB"],
        ["from opening it to a painted table", f"{middle:.2f} ({low:.2f}–{high:.2f}) s"],
    ]
    report = (
        "# The report of a run of ImageNet's size\n\n"
        f"`python benchmarks/report_scale.py`. {machine()} Headless Chromium, "
        f"{platform.machine()}.\n\n"
        f"A made-up run: {arguments.instances:,} instances, {NUM_CLASSES:,} classes, "
        f"{arguments.epochs} epochs, JPEG files of 500×375. The 4,000 instances with the lowest "
        "scores are in the table, with thumbnails as far as 10 MB of them go. Opening: median "
        f"(quartiles) of {arguments.repeats}.\n\n" + markdown(["", ""], rows)
    )
    (RESULTS / "report_scale.md").write_text(report, encoding="utf-8")
    print(report)


if __name__ == "__main__":
    main()
