"""What the temperature adds: to plain cross-entropy, and to a training step of ResNet-18.

The second part needs torchvision. The extra of a whole step is timed apart, at fixed logits,
because the step itself varies by more than the extra.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F

from data_parameters import DataParameters, SparseAdamW, SparseSGD, functional
from timing import RESULTS, interleaved, machine, markdown, microseconds, ratio

SHAPES = [(256, 1000), (128, 100), (64, 1000)]


def loss_ratios(rounds: int) -> list[list[float]]:
    """For each shape: seconds of plain and of ours, and the ratios of ours and of the division."""
    results = []
    for batch_size, num_classes in SHAPES:
        torch.manual_seed(0)
        logits = torch.randn(batch_size, num_classes, requires_grad=True)
        target = torch.randint(num_classes, (batch_size,))
        sigma = (0.5 + torch.rand(batch_size)).requires_grad_()
        losses = {
            "plain": partial(F.cross_entropy, logits, target),
            "ours": partial(functional.cross_entropy, logits, target, sigma),
            "division": partial(divided, logits, target, sigma),
        }
        functions = {
            name: partial(differentiate, loss, [logits, sigma]) for name, loss in losses.items()
        }
        times = interleaved(functions, rounds=rounds, block=50)
        medians = [statistics.median(times[name]) for name in ("plain", "ours")]
        ratios = [ratio(times[name], times["plain"]) for name in ("ours", "division")]
        results.append([*medians, *ratios])
    return results


def differentiate(loss: Callable[[], torch.Tensor], leaves: list[torch.Tensor]) -> None:
    for leaf in leaves:
        leaf.grad = None
    loss().backward()


def divided(logits: torch.Tensor, target: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits / sigma.unsqueeze(1), target)


def loss_table(rounds: int, num_processes: int) -> str:
    command = [sys.executable, __file__, "--loss-only", "--rounds", str(rounds)]
    runs = [
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(num_processes)
    ]
    rows = []
    for place, (batch_size, num_classes) in enumerate(SHAPES):
        plain, ours, *ratios = zip(*(run[place] for run in runs), strict=True)
        rows.append(
            [
                f"B = {batch_size}, C = {num_classes}",
                f"{1e6 * statistics.median(plain):.0f}",
                f"{1e6 * statistics.median(ours):.0f}",
                *(f"{statistics.median(r):.2f} ({min(r):.2f}–{max(r):.2f})" for r in ratios),
            ]
        )
    return markdown(
        [
            "forward and backward",
            "plain: µs",
            "with temperature: µs",
            "ratio",
            "ratio of `F.cross_entropy(logits / sigma)`",
        ],
        rows,
    )


def resnet_table(rounds: int) -> str:
    from torchvision.models import resnet18

    batch_size, num_classes, num_instances = 64, 1000, 1_281_167
    torch.manual_seed(0)
    model = resnet18(num_classes=num_classes)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    images = torch.randn(batch_size, 3, 64, 64)
    target = torch.randint(num_classes, (batch_size,))
    logits = torch.randn(batch_size, num_classes, requires_grad=True)
    joint = DataParameters(num_classes=num_classes, num_instances=num_instances)
    indices = [torch.randint(num_instances, (batch_size,)) for _ in range(500)]
    place = iter(range(10**9))

    def whole_step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), target).backward()
        optimizer.step()

    def plain_loss() -> None:
        logits.grad = None
        F.cross_entropy(logits, target).backward()

    def with_data_parameters(data_optimizer: SparseSGD | SparseAdamW) -> None:
        logits.grad = None
        temperature = joint(target, indices[next(place) % len(indices)])
        data_optimizer.zero_grad()
        functional.cross_entropy(logits, target, temperature).backward()
        data_optimizer.step()

    whole = interleaved({"step": whole_step}, rounds=max(rounds // 3, 5), block=1, warmup=2)
    sgd = SparseSGD(joint.param_groups(), momentum=0.9)
    adamw = SparseAdamW(joint.param_groups())
    losses = interleaved(
        {
            "plain": plain_loss,
            "SparseSGD": lambda: with_data_parameters(sgd),
            "SparseAdamW": lambda: with_data_parameters(adamw),
        },
        rounds=rounds,
        block=20,
    )
    step = sorted(whole["step"])[len(whole["step"]) // 2]
    rows = []
    for name in ("SparseSGD", "SparseAdamW"):
        extra = sorted(a - b for a, b in zip(losses[name], losses["plain"], strict=True))
        rows.append(
            [
                f"class and instance table, {name}",
                microseconds(extra),
                f"{100 * extra[len(extra) // 2] / step:.2f} %",
            ]
        )
    return (
        f"ResNet-18 at 64×64, B = {batch_size}: {microseconds(whole['step'])} µs a step.\n\n"
        + markdown(["extra of a step", "µs", "share of the step"], rows)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--processes", type=int, default=7)
    parser.add_argument("--loss-only", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.loss_only:
        print(json.dumps(loss_ratios(arguments.rounds)))
        return
    report = (
        "# Cost of the temperature\n\n"
        f"`python benchmarks/loss_cost.py`. {machine()}\n\n"
        f"Median (lowest–highest) of {arguments.processes} fresh processes, each the median of "
        f"{arguments.rounds} rounds in which the variants take turns. Processes differ, because "
        "the C library may or may not give the (B, C) buffers of a step back to the system, which "
        "then has to clear them again for the next one.\n\n"
        + loss_table(arguments.rounds, arguments.processes)
        + "\n## A training step\n\n"
        + resnet_table(arguments.rounds)
    )
    (RESULTS / "loss_cost.md").write_text(report, encoding="utf-8")
    print(report)


if __name__ == "__main__":
    main()
