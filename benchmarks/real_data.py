"""The training application end to end on real images, on a CPU: three seeds of each setting.

CIFAR-100 (10 classes) with 40 % of the labels permuted, and ten classes of ImageNet at 32x32.
`--data` is a folder with `cifar100/` (Parquet files as on the Hugging Face Hub) and
`tiny_imagenet10/` (an image folder). A network as small as this one says something about the
program, and little about the method on large ones.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from data_parameters.training.config import (
    AugmentConfig,
    NoiseConfig,
    OptimizerConfig,
    RuntimeConfig,
    ScheduleConfig,
    TemperatureConfig,
    TrainConfig,
)
from data_parameters.training.data import DataConfig
from data_parameters.training.models import ModelConfig
from data_parameters.training.run import start_run
from timing import RESULTS, machine, markdown

DEFAULT_DATA = Path(__file__).parents[2] / "shared" / "data"


def cifar(path: Path, epochs: int) -> TrainConfig:
    return TrainConfig(
        data=DataConfig(name="parquet", path=path, label_column="fine_label", classes=10),
        noise=NoiseConfig(kind="permute", fraction=0.4),
        model=ModelConfig(name="cnn"),
        optimizer=OptimizerConfig(lr=0.05, weight_decay=5e-4),
        schedule=ScheduleConfig(milestones=(round(0.67 * epochs), round(0.84 * epochs))),
        augment=AugmentConfig(crop_padding=4, flip=True),
        batch_size=128,
        epochs=epochs,
    )


def tiny_imagenet(path: Path, epochs: int) -> TrainConfig:
    return TrainConfig(
        data=DataConfig(name="imagefolder", path=path, image_size=32),
        model=ModelConfig(name="cnn"),
        optimizer=OptimizerConfig(lr=0.05, weight_decay=1e-4),
        schedule=ScheduleConfig(milestones=(round(0.67 * epochs), round(0.84 * epochs))),
        batch_size=128,
        epochs=epochs,
        runtime=RuntimeConfig(num_workers=2),
    )


CLASS = TemperatureConfig(learn=True, init=1.0, lr=0.1, weight_decay=1e-4)
INSTANCE = TemperatureConfig(learn=True, init=1.0, lr=1.0)
LEVELS = {
    "without": {},
    "class": {"classes": CLASS},
    "instance": {"instances": INSTANCE},
    "joint": {"classes": CLASS, "instances": replace(INSTANCE, init=1 / 20, weight_decay=1e-8)},
}


def measure(config: TrainConfig, seeds: int) -> list[str]:
    """A row of the table: the last test accuracy, how well σ finds wrong labels, seconds."""
    last, auroc, seconds = [], [], []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            result = start_run(
                replace(
                    config,
                    seed=seed,
                    noise=replace(config.noise, seed=seed),
                    output=Path(folder) / "run",
                )
            )
            seconds.append(time.perf_counter() - start)
        last.append(100 * result.last["top1"])
        if result.auroc is not None:
            auroc.append(result.auroc)
    found = f"{statistics.median(auroc):.3f}" if auroc else ""
    return [*map(spread, (last, seconds)), found]


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cifar-epochs", type=int, default=20)
    parser.add_argument("--imagenet-epochs", type=int, default=10)
    arguments = parser.parse_args()
    studies = {
        "CIFAR-100, 10 classes, 40 % permuted": (
            cifar(arguments.data / "cifar100", arguments.cifar_epochs),
            ("without", "instance"),
        ),
        "ImageNet, 10 classes at 32×32": (
            tiny_imagenet(arguments.data / "tiny_imagenet10", arguments.imagenet_epochs),
            ("without", "class", "instance", "joint"),
        ),
    }
    rows = []
    for study, (config, levels) in studies.items():
        for level in levels:
            rows.append([study, level, *measure(replace(config, **LEVELS[level]), arguments.seeds)])
            print(json.dumps(rows[-1]), flush=True)
    report = (
        "# The application on real images\n\n"
        f"`python benchmarks/real_data.py`. {machine()}\n\n"
        f"A small convolutional network, {arguments.cifar_epochs} epochs on CIFAR-100 and "
        f"{arguments.imagenet_epochs} on ImageNet; the test accuracy after the last epoch in %, as "
        f"the median of {arguments.seeds} seeds (lowest–highest). The labels of the ImageNet "
        "classes are those of the data set.\n\n"
        + markdown(["data", "parameters", "last epoch", "seconds", "AUROC of σ"], rows)
    )
    (RESULTS / "real_data.md").write_text(report, encoding="utf-8")
    print(report)


if __name__ == "__main__":
    main()
