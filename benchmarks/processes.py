"""What data parameters add to a training step of several processes: time, and bytes exchanged.

python benchmarks/processes.py [--rounds 60] [--processes 1 2 4]

A ResNet-18 on random images of 64x64 pixels, 32 a process, over gloo on this machine. Steps with
and without data parameters take turns, and turns at going first, because the machine drifts more
than they cost; the processes wait for each other before each step. A quarter of a minibatch is one
instance, so that rows occur several times.

Rows of the table that `benchmarks/results/processes.jsonl` holds are not measured again: remove the
file to start anew.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
import torchvision
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from data_parameters import DataParameters, SparseSGD, functional
from data_parameters.distributed import gathering
from timing import RESULTS, machine, markdown

SIZES = (10**4, 10**6, 10**8)
BATCH_SIZE, NUM_CLASSES = 32, 1000
ENTRY = 16  # bytes of a row, its gradient and its number of occurrences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60, help="steps of each kind")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--note", default="", help="what else a reader should know")
    flags = parser.parse_args()
    done = RESULTS / "processes.jsonl"
    lines = done.read_text(encoding="utf-8").splitlines() if done.exists() else []
    rows = {tuple(row[:2]): row for row in map(json.loads, lines)}
    for num_processes in flags.processes:
        for num_instances in SIZES:
            if (str(num_processes), f"{num_instances:,}") in rows:
                continue
            with tempfile.TemporaryDirectory() as folder:
                arguments = (num_processes, num_instances, flags.rounds, folder)
                mp.spawn(process, arguments, nprocs=num_processes)
                found = torch.load(Path(folder) / "0.pt", weights_only=False)
            new = [*row(num_processes, num_instances, found), str(flags.rounds), machine()]
            rows[tuple(new[:2])] = new
            with done.open("a", encoding="utf-8") as file:
                file.write(json.dumps(new) + "\n")
            print(" | ".join(new), flush=True)
    (RESULTS / "processes.md").write_text(report([*rows.values()], flags.note), encoding="utf-8")


def report(rows: list[list[str]], note: str) -> str:
    """The page: what was measured, and what follows by arithmetic."""
    header = [
        "processes",
        "instances",
        "step without, ms",
        "extra, ms",
        "extra",
        "of it `step()`, ms",
        "first step, s",
        "bytes a process sends",
        "the model's",
    ]
    rounds, machines = ({row[-2] for row in rows}, {row[-1] for row in rows})
    return (
        "# Many processes\n\n"
        f"ResNet-18, {BATCH_SIZE} images of 64x64 pixels a process, joint level; gloo, all "
        "processes on one machine, one thread each. The extra is the median over "
        f"{'/'.join(sorted(rounds))} rounds of the difference within a round, with its 95 % "
        "interval (from order statistics), in process 0. The first step compares the whole tables. "
        "Bytes are those that a process gives to collectives each step; the model's are its "
        f"float32 gradients.\n\n{' '.join(sorted(machines))} {note}\n\n"
        f"{markdown(header, [row[:-2] for row in rows])}\n{arithmetic()}"
    )


def row(num_processes: int, num_instances: int, found: dict[str, Any]) -> list[str]:
    without = statistics.median(found["without"])
    pairs = zip(found["with"], found["without"], strict=True)
    low, middle, high = median_interval([a - b for a, b in pairs])
    return [
        str(num_processes),
        f"{num_instances:,}",
        f"{1e3 * without:.0f}",
        f"{1e3 * middle:.1f} ({1e3 * low:.1f} to {1e3 * high:.1f})",
        f"{middle / without:.1%} ({low / without:.1%} to {high / without:.1%})",
        f"{1e3 * statistics.median(found['step']):.2f}",
        f"{found['first']:.2f}",
        f"{found['bytes']:,}",
        f"{found['model_bytes'] if num_processes > 1 else 0:,}",
    ]


def median_interval(values: list[float]) -> tuple[float, float, float]:
    """The median between the order statistics that hold it with 95 % confidence."""
    ordered, half = sorted(values), 0.98 * len(values) ** 0.5
    low, high = int(len(values) / 2 - half), int(len(values) / 2 + half)
    return ordered[max(low, 0)], statistics.median(values), ordered[min(high, len(values) - 1)]


def process(rank: int, num_processes: int, num_instances: int, rounds: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=num_processes
    )
    sent = count_bytes()
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=NUM_CLASSES)
    network = model if num_processes == 1 else DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    tables = DataParameters(num_classes=NUM_CLASSES, num_instances=num_instances, init_instance=1.0)
    data_optimizer = SparseSGD(tables.param_groups(lr_class=0.1, lr_instance=0.1), momentum=0.9)
    generator = torch.Generator().manual_seed(rank)
    images = torch.randn(BATCH_SIZE, 3, 64, 64, generator=generator)
    found: dict[str, list[float]] = {"with": [], "without": [], "step": []}

    def step(kind: str, target: Tensor, index: Tensor) -> None:
        dist.barrier()
        start = time.perf_counter()
        optimizer.zero_grad()
        logits = network(images)
        if kind == "with":
            data_optimizer.zero_grad()
            loss = functional.cross_entropy(logits, target, tables(target, index))
        else:
            loss = F.cross_entropy(logits, target)
        loss.backward()
        optimizer.step()
        if kind == "with":
            before = time.perf_counter()
            data_optimizer.step()
            found["step"].append(time.perf_counter() - before)
        found[kind].append(time.perf_counter() - start)

    bytes_of_a_step = 0
    for number in range(rounds + 1):
        target = torch.randint(NUM_CLASSES, (BATCH_SIZE,), generator=generator)
        index = torch.randint(num_instances, (BATCH_SIZE,), generator=generator)
        index[: BATCH_SIZE // 4] = index[0]
        before = sum(sent)
        for kind in ("without", "with") if number % 2 else ("with", "without"):
            step(kind, target, index)
        bytes_of_a_step = sum(sent) - before
    first = found["step"][0]  # the first round warms up
    torch.save(
        {
            **{name: times[1:] for name, times in found.items()},
            "first": first,
            "bytes": bytes_of_a_step,
            "model_bytes": 4 * sum(p.numel() for p in model.parameters()),
        },
        f"{folder}/{rank}.pt",
    )
    dist.barrier()
    dist.destroy_process_group()


def count_bytes() -> list[int]:
    """Bytes that the tables' exchange gives to each of its collectives, as they are called."""
    sent: list[int] = []
    all_gather = dist.all_gather

    def counting(parts: list[Tensor], mine: Tensor, **options: Any) -> Any:
        sent.append(mine.numel() * mine.element_size())
        return all_gather(parts, mine, **options)

    gathering.dist.all_gather = counting  # type: ignore[assignment]
    return sent


def arithmetic() -> str:
    """What the exchange is at sizes that no machine here has."""
    models = {"ResNet-18": 11_689_512, "ResNet-50": 25_557_032}
    rows = []
    for num_processes, samples in ((4, 512), (8, 2_048), (16, 8_192), (64, 65_536)):
        entries = 2 * ENTRY * samples
        shares = [f"{entries / (2 * 4 * weights):.2%}" for weights in models.values()]
        rows.append(
            [
                f"{num_processes}",
                f"{samples:,}",
                f"{entries / num_processes / 1024:,.0f}",
                f"{entries / 1024:,.0f}",
                *shares,
                f"{8 * entries / 10e9 * 1e3:.2f}",
            ]
        )
    header = [
        "processes",
        "samples a step",
        "a process sends, KiB",
        "and receives, KiB",
        *(f"of {model}'s gradients" for model in models),
        "at 10 Gbit/s, ms",
    ]
    return (
        f"\n## By arithmetic\n\nJoint level, two entries a sample, {ENTRY} bytes an entry. The "
        "gradients of a model of P float32 weights move 2·4·P bytes through each process in a ring "
        f"all-reduce.\n\n{markdown(header, rows)}"
    )


if __name__ == "__main__":
    main()
