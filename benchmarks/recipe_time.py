"""What the full recipes compute, and how long that takes at a given speed: counted, not timed."""

import argparse

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from data_parameters.training.models import build_model
from data_parameters.training.recipes import RECIPES
from timing import RESULTS, markdown

NUM_TRAINING = {"cifar100": 50_000, "imagenet": 1_281_167}
SHAPES = {"cifar100": (3, 32, 32), "imagenet": (3, 224, 224)}
NUM_CLASSES = {"cifar100": 100, "imagenet": 1000}
SPEEDS = (10, 50, 200)


def operations_of_a_sample(name: str) -> float:
    """Floating point operations of forward and backward of one image."""
    model = build_model(RECIPES[name].model, SHAPES[name], NUM_CLASSES[name])
    images = torch.randn(2, *SHAPES[name])
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(model(images), torch.tensor([0, 1])).backward()
    return counter.get_total_flops() / 2


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    rows = []
    for name, num_training in NUM_TRAINING.items():
        epochs = RECIPES[name].epochs
        operations = operations_of_a_sample(name)
        total = operations * num_training * epochs
        hours = [f"{total / (speed * 1e12) / 3600:.1f}" for speed in SPEEDS]
        rows.append([name, f"{operations / 1e9:.1f}", f"{epochs}", f"{total:.1e}", *hours])
    report = (
        "# What the full recipes compute\n\n"
        "`python benchmarks/recipe_time.py` counts the operations of matrix products and "
        "convolutions. Hours are these operations divided by a speed that a device sustains; they "
        "leave out decoding, which ImageNet at 224×224 may need more cores for than a GPU needs "
        "time.\n\n"
        + markdown(
            [
                "recipe",
                "GFLOP a sample",
                "epochs",
                "FLOP in all",
                *(f"hours at {speed} TFLOP/s" for speed in SPEEDS),
            ],
            rows,
        )
    )
    (RESULTS / "recipe_time.md").write_text(report, encoding="utf-8")
    print(report)


if __name__ == "__main__":
    main()
