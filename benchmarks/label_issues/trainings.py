"""The trainings of the comparison, one thread each; every one that is done leaves a file.

A run with instance temperatures; the same without; five that each leave out a fifth, for cleanlab;
and two with threshold samples, for the area under the margin. Fresh data sets: the first alone.

Legend: N training instances, C classes.
"""

import argparse
import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from data_parameters.training.batches import generator, input_shape, make_batches
from data_parameters.training.config import TrainConfig
from data_parameters.training.data import TrainingData, load_data
from data_parameters.training.labels import Labels, make_labels
from data_parameters.training.loop import Progress, train
from data_parameters.training.parts import Parts, build_parts
from data_parameters.training.processes import Processes
from other_classes import write_other_classes
from settings import DEFAULT_DATA, NAMES, settings

NUM_FOLDS = 5
PARTS = ("instance", "plain", *(f"fold{k}" for k in range(NUM_FOLDS)), "samples0", "samples1")
CPU = torch.device("cpu")
DYNAMICS = ("margin", "clipped_margin", "confidence", "wrong_fraction", "last_loss", "rival")


def measure(name: str, config: TrainConfig, seed: int, part: str, folder: Path) -> None:
    """One training, written into the folder unless it is there."""
    path = folder / f"{name}-{seed}-{part}.npz"
    if path.exists():
        return
    config = replace(config, seed=seed, noise=replace(config.noise, seed=seed))
    if part != "instance":
        config = replace(config, instances=replace(config.instances, learn=False))
    data = load_data(config.data)
    labels = make_labels(data, config.noise)
    found = trained(config, data, labels, part)
    true = labels.given if labels.true is None else labels.true
    temporary = path.with_suffix(".tmp.npz")
    np.savez_compressed(
        temporary, given=labels.given, true=true, num_classes=len(data.class_names), **found
    )
    temporary.replace(path)
    print(f"{path.stem}: {found['seconds']:.1f} s", flush=True)


def trained(
    config: TrainConfig, data: TrainingData, labels: Labels, part: str
) -> dict[str, np.ndarray]:
    given, num_classes = labels.given, len(data.class_names)
    rows = torch.arange(len(given))
    if part.startswith("fold"):
        held_out = folds(len(given), config.seed)[int(part.removeprefix("fold"))]
        parts, seconds = fit(config, data, given, num_classes, rows[~torch.isin(rows, held_out)])
        return {
            "rows": held_out.numpy(),
            "probabilities": probabilities(config, parts.model, data, held_out),
            "seconds": np.array(seconds),
        }
    if part.startswith("samples"):
        # A class of its own for a (C + 1)-th of the instances, other ones in the second training.
        place = int(part.removeprefix("samples"))
        size = len(given) // (num_classes + 1)
        order = torch.randperm(len(given), generator=generator(config.seed, 1))
        samples = order[place * size : (place + 1) * size]
        given = given.index_fill(0, samples, num_classes)
        parts, seconds = fit(config, data, given, num_classes + 1, rows)
        extra = {"samples": samples.numpy()}
    else:
        parts, seconds = fit(config, data, given, num_classes, rows)
        extra = {}
    assert parts.dynamics is not None
    columns = {name: getattr(parts.dynamics, name).numpy() for name in DYNAMICS}
    if parts.data_parameters is not None:
        columns["temperature"] = parts.data_parameters.instance_temperature.numpy()
    return {**columns, **extra, "seconds": np.array(seconds)}


def fit(
    config: TrainConfig, data: TrainingData, given: Tensor, num_classes: int, rows: Tensor
) -> tuple[Parts, float]:
    parts = build_parts(
        config,
        input_shape=input_shape(data.train),
        num_classes=num_classes,
        num_instances=len(given),
        device=CPU,
    )
    batches = make_batches(
        data,
        data.train,
        rows,
        batch_size=config.batch_size,
        device=CPU,
        seed=config.seed,
        shuffle=True,
    )
    start = time.perf_counter()
    train(
        config,
        parts,
        batches,
        given,
        Progress(),
        processes=Processes(),
        before_step=lambda num_samples: (1.0, num_samples),
        after_step=lambda progress: None,
        after_epoch=lambda progress, means: None,
        stop=lambda: False,
    )
    return parts, time.perf_counter() - start


def folds(num_instances: int, seed: int) -> list[Tensor]:
    order = torch.randperm(num_instances, generator=generator(seed, 0))
    return [part.sort().values for part in order.tensor_split(NUM_FOLDS)]


@torch.no_grad()
def probabilities(
    config: TrainConfig, model: nn.Module, data: TrainingData, rows: Tensor
) -> np.ndarray:
    model.eval()
    batches = make_batches(data, data.train, rows, batch_size=500, device=CPU)
    found = [model(batch.inputs).float().softmax(1) for batch in batches.epoch(0)]
    return torch.cat(found).numpy()


def work(job: tuple[str, TrainConfig, int, str, Path]) -> None:
    torch.set_num_threads(1)
    measure(*job)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--output", type=Path, default=Path("runs/label_issues"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="*", help="names of settings")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    other_classes = arguments.output / "cifar100-other"
    write_other_classes(arguments.data / "cifar100", other_classes)
    # Long ones first, so that all processes end at about the same time.
    jobs = [
        (name, config, seed, part, arguments.output)
        for name, config in settings(arguments.data, other_classes).items()
        if arguments.only is None or name in arguments.only
        for seed in range(arguments.seeds)
        for part in (PARTS if name in NAMES else PARTS[:1])
    ]
    context = multiprocessing.get_context("spawn")
    with context.Pool(arguments.jobs) as pool:
        for _ in pool.imap_unordered(work, jobs, chunksize=1):
            pass


if __name__ == "__main__":
    main()
