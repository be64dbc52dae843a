"""The class level on ten classes of ImageNet at the published learning rate, and at smaller ones.

With C classes a class holds 1/C of a minibatch, so the mean loss gives its row 1/C of the gradient:
the published learning rate is tied to 1,000 classes as it is tied to the batch size.
"""

import argparse
import csv
import json
import math
import tempfile
from dataclasses import replace
from pathlib import Path

from data_parameters.training.config import TrainConfig
from data_parameters.training.run import start_run
from real_data import CLASS, DEFAULT_DATA, spread, tiny_imagenet
from timing import RESULTS, machine, markdown


def measure(config: TrainConfig, seeds: int) -> list[str]:
    """The last test accuracy, and the geometric mean of the class temperatures at the end."""
    last, temperatures = [], []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "run"
            result = start_run(replace(config, seed=seed, output=folder))
            last.append(100 * result.last["top1"])
            if config.classes.learn:
                with (folder / "class_temperatures.csv").open(encoding="utf-8") as file:
                    logs = [math.log(float(row["temperature"])) for row in csv.DictReader(file)]
                temperatures.append(math.exp(sum(logs) / len(logs)))
    return [spread(last), spread(temperatures) if temperatures else ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument(
        "--lr",
        type=float,
        nargs="+",
        default=[0.0, 0.1, 0.01, 0.001],
        help="0: no class parameters",
    )
    arguments = parser.parse_args()
    config = tiny_imagenet(arguments.data / "tiny_imagenet10", arguments.epochs)
    rows = []
    for lr in arguments.lr:
        classes = config.classes if lr == 0 else replace(CLASS, lr=lr)
        found = measure(replace(config, classes=classes), arguments.seeds)
        rows.append(["without" if lr == 0 else f"class, `lr_class={lr:g}`", *found])
        print(json.dumps(rows[-1]), flush=True)
    report = (
        "# The learning rate of class parameters and the number of classes\n\n"
        f"`python benchmarks/class_lr.py --seeds {arguments.seeds} --lr "
        f"{' '.join(f'{lr:g}' for lr in arguments.lr)}`. {machine()}\n\n"
        f"Ten classes of ImageNet at 32×32, the network and the {arguments.epochs} epochs of "
        f"`real_data.py`; the test accuracy after the last epoch in %, and the geometric mean of "
        f"the class temperatures then, both as the median over the seeds "
        "(lowest–highest). 0.1 is the published learning rate, for 1,000 classes; 0.001 gives a "
        "row of ten classes the step that it has there.\n\n"
        + markdown(["parameters", "last epoch", "class temperature"], rows)
    )
    (RESULTS / "class_lr.md").write_text(report, encoding="utf-8")
    print(report)


if __name__ == "__main__":
    main()
