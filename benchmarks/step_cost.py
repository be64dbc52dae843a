"""What a step costs as the number of instances N grows from 10^4 to 10^9.

A step is lookup, loss, backward and update of an instance table (SparseSGD with momentum) at fixed
logits, beside plain `F.cross_entropy` forward and backward. With `--peer PATH`, a clone of the
published code, its step is timed too, as far as memory and patience go.
"""

import argparse
import contextlib
import io
import math
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from data_parameters import DataParameters, SparseSGD, functional
from timing import RESULTS, interleaved, machine, markdown, microseconds, ratio, resident_bytes

SIZES = [10**exponent for exponent in range(4, 10)]
SHAPES = [(256, 1000), (128, 100)]
PAGE = 4096  # bytes
POOL = 512  # minibatches whose rows are visited again and again


def our_step(
    num_instances: int, logits: torch.Tensor, target: torch.Tensor, *, first_touch: bool
) -> Callable[[], None]:
    """A step on random rows: each time new ones, or ones of a pool that was visited before."""
    data_parameters = DataParameters(num_instances=num_instances)
    optimizer = SparseSGD(data_parameters.param_groups(lr_instance=0.1), momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    batch_size = len(target)

    def draw() -> torch.Tensor:
        return torch.randint(num_instances, (batch_size,), generator=generator)

    def step(index: torch.Tensor) -> None:
        loss = functional.cross_entropy(logits, target, data_parameters(index=index))
        optimizer.zero_grad()
        logits.grad = None
        loss.backward()
        optimizer.step()

    # Drawn beforehand, so that drawing is not timed.
    pool = [draw() for _ in range(4_000 if first_touch else POOL)]
    if not first_touch:
        for index in pool:
            step(index)
    place = iter(range(10**9))
    return lambda: step(pool[next(place) % len(pool)])


def plain_step(logits: torch.Tensor, target: torch.Tensor) -> Callable[[], None]:
    def step() -> None:
        logits.grad = None
        F.cross_entropy(logits, target).backward()

    return step


def published_step(
    num_instances: int, logits: torch.Tensor, target: torch.Tensor, peer: Path
) -> Callable[[], None]:
    """The published step of an instance table, dense as it is."""
    from parity_live import load_peer

    load_peer(peer)
    warnings.filterwarnings("ignore", message="(?s).*This overload of add_? is deprecated")
    from optimizer.sparse_sgd import SparseSGD as PublishedSGD

    table = torch.zeros(num_instances, requires_grad=True)
    optimizer = PublishedSGD([table], lr=0.1, momentum=0.9, skip_update_zero_grad=True)
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        index = torch.randint(num_instances, target.shape, generator=generator)
        loss = F.cross_entropy(logits / table[index].exp().view(-1, 1), target)
        optimizer.zero_grad()
        logits.grad = None
        loss.backward()
        optimizer.step()
        table.data.clamp_(math.log(1 / 20), math.log(20))

    return step


def time_steps(rounds: int, peer: Path | None) -> str:
    report = ""
    for batch_size, num_classes in SHAPES:
        torch.manual_seed(0)
        logits = torch.randn(batch_size, num_classes, requires_grad=True)
        target = torch.randint(num_classes, (batch_size,))
        rows = []
        columns = {}
        for first_touch in (False, True):
            functions = {"plain": plain_step(logits, target)}
            for size in SIZES:
                functions[f"{size}"] = our_step(size, logits, target, first_touch=first_touch)
            columns[first_touch] = interleaved(functions, rounds=rounds, block=20)
        for name in ("plain", *map(str, SIZES)):
            shown = "plain cross-entropy" if name == "plain" else f"10^{len(name) - 1}"
            row = [shown]
            for times in columns.values():
                base = times[str(SIZES[0])]
                row += [microseconds(times[name]), f"{ratio(times[name], base):.2f}"]
            rows.append(row)
        report += f"\n## B = {batch_size}, C = {num_classes}\n\n" + markdown(
            ["N", "rows visited before: µs", "ratio to 10^4", "new rows: µs", "ratio to 10^4"], rows
        )
        new, visited = (
            statistics.median(columns[first_touch][str(SIZES[-1])]) for first_touch in (True, False)
        )
        page_seconds = (new - visited) / (2 * batch_size)  # table and momentum
        report += (
            f"\nAt 10^9 rows a new page costs {1e6 * page_seconds:.1f} µs, once: "
            f"{page_seconds * 2 * 4 * SIZES[-1] / PAGE:.0f} s in a whole training that visits all "
            "rows.\n"
        )
        if peer is not None:
            functions = {}
            with contextlib.redirect_stdout(io.StringIO()):
                for size in SIZES[:4]:
                    functions[f"{size}"] = published_step(size, logits, target, peer)
            times = interleaved(functions, rounds=5, block=3, warmup=2)
            report += "\nThe published step:\n\n" + markdown(
                ["N", "µs", "times ours (rows visited before)"],
                [
                    [
                        f"10^{len(name) - 1}",
                        microseconds(seconds),
                        f"{sorted(seconds)[2] / sorted(columns[False][name])[rounds // 2]:.1f}",
                    ]
                    for name, seconds in times.items()
                ],
            )
    return report


def measure_memory(num_instances: int) -> None:
    """Print bytes a row: looked up only, and stepped on. In a process of its own."""
    data_parameters = DataParameters(num_instances=num_instances)
    optimizer = SparseSGD(data_parameters.param_groups(lr_instance=0.1), momentum=0.9)
    num_rows, batch_size = 100 * 1024, 1024
    generator = torch.Generator().manual_seed(0)

    def visit(*, step: bool) -> None:
        rows = torch.randint(num_instances, (num_rows,), generator=generator)
        for index in rows.split(batch_size):
            temperature = data_parameters(index=index)
            if step:
                optimizer.zero_grad()
                temperature.sum().backward()
                optimizer.step()

    small = DataParameters(num_instances=batch_size)  # what is allocated once
    for _ in range(5):
        small(index=torch.arange(batch_size)).sum().backward()
        SparseSGD(small.parameters(), momentum=0.9).step()
    start = resident_bytes()
    visit(step=False)
    looked_up = resident_bytes()
    visit(step=True)
    stepped = resident_bytes()
    print((looked_up - start) / num_rows, (stepped - looked_up) / num_rows)


def memory_table() -> str:
    rows = []
    for size in SIZES:
        output = subprocess.run(
            [sys.executable, __file__, "--memory-of", str(size)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        looked_up, stepped = map(float, output.split())
        rows.append([f"10^{len(str(size)) - 1}", f"{looked_up:.0f}", f"{stepped:.0f}"])
    return "\n## Resident memory, bytes for each of 102,400 random rows\n\n" + markdown(
        ["N", "looked up only", "stepped on (table and momentum)"], rows
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", type=Path, help="a clone of the published code")
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of is not None:
        measure_memory(arguments.memory_of)
        return
    report = (
        "# Cost of a step against the number of instances\n\n"
        f"`python benchmarks/step_cost.py`. {machine()}\n\n"
        f"Median (quartiles) of {arguments.rounds} rounds of 20 steps, all sizes taking turns. "
        f'"Rows visited before" come from a pool of {POOL} minibatches drawn from all N rows; '
        '"new rows" are random over all N, so that a large table commits a page of memory for '
        "nearly every row, in the table and in the momentum. A page holds 1,024 rows, so in random "
        "order nearly all pages are there after the first hundredth of an epoch.\n"
    )
    report += time_steps(arguments.rounds, arguments.peer) + memory_table()
    (RESULTS / "step_cost.md").write_text(report, encoding="utf-8")
    print(report)


if __name__ == "__main__":
    main()
