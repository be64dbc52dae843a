"""What `TrainingDynamics` costs beside a training step of the small convolutional network.

The step is that of `data-parameters train`: forward, loss at instance temperatures, backward, and
both optimizers, on images of 3x32x32 that are held in memory. What counts is the processor time
of one thread, which other programs on the machine disturb least.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from data_parameters.training.batches import Batch
from data_parameters.training.config import TemperatureConfig, TrainConfig
from data_parameters.training.loop import train_step
from data_parameters.training.models import ModelConfig
from data_parameters.training.parts import build_parts
from timing import RESULTS, machine, markdown, microseconds

NUM_INSTANCES = 50_000
CONFIG = TrainConfig(
    model=ModelConfig(name="cnn"), instances=TemperatureConfig(learn=True, lr=0.2), batch_size=128
)


def step(num_classes: int, *, dynamics: bool) -> Callable[[], None]:
    parts = build_parts(
        replace(CONFIG, dynamics=dynamics),
        input_shape=(3, 32, 32),
        num_classes=num_classes,
        num_instances=NUM_INSTANCES,
        device=torch.device("cpu"),
    )
    labels = torch.randint(num_classes, (NUM_INSTANCES,))
    images = torch.randn(CONFIG.batch_size, 3, 32, 32)
    index = torch.randperm(NUM_INSTANCES)[: CONFIG.batch_size]

    def run() -> None:
        train_step(CONFIG, parts.model, parts, Batch(images, index), labels)

    return run


def update(num_classes: int) -> Callable[[], None]:
    parts = build_parts(
        CONFIG,
        input_shape=(3, 32, 32),
        num_classes=num_classes,
        num_instances=NUM_INSTANCES,
        device=torch.device("cpu"),
    )
    dynamics = parts.dynamics
    assert dynamics is not None
    logits = torch.randn(CONFIG.batch_size, num_classes)
    target = torch.randint(num_classes, (CONFIG.batch_size,))
    index = torch.randperm(NUM_INSTANCES)[: CONFIG.batch_size]
    return lambda: dynamics.update(logits, target, index)


def processor_times(
    functions: dict[str, tuple[Callable[[], None], int]], rounds: int
) -> dict[str, list[float]]:
    """Seconds of a call, one number a round; blocks of calls take turns."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for measured in (False, True):  # once to warm up
        for _ in range(rounds if measured else 1):
            for name, (function, block) in functions.items():
                start = time.process_time()
                for _ in range(block):
                    function()
                if measured:
                    times[name].append((time.process_time() - start) / block)
    return times


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    rows = []
    for num_classes in (10, 100):
        functions = {
            "with": (step(num_classes, dynamics=True), 2),
            "without": (step(num_classes, dynamics=False), 2),
            "update": (update(num_classes), 50),
        }
        times = processor_times(functions, arguments.rounds)
        share = statistics.median(times["update"]) / statistics.median(times["without"])
        rows.append(
            [
                str(num_classes),
                microseconds(times["without"]),
                microseconds(times["with"]),
                microseconds(times["update"]),
                f"{100 * share:.2f} %",
            ]
        )
    report = (
        "# What the training dynamics cost\n\n"
        f"`python benchmarks/dynamics_cost.py`. {machine()}\n\n"
        f"A training step of the small convolutional network on {CONFIG.batch_size} images of "
        "3×32×32 with instance temperatures, without and with `TrainingDynamics`, and its update "
        f"alone. Microseconds of processor time, the median of {arguments.rounds} rounds that take "
        "turns (quartiles).\n\n"
        + markdown(
            ["classes", "step without", "step with", "update alone", "update of the step"], rows
        )
    )
    (RESULTS / "dynamics_cost.md").write_text(report, encoding="utf-8")
    print(report)


if __name__ == "__main__":
    main()
