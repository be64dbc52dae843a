"""Why σ grows: one run on digits with 40 % permuted labels, looked at after every epoch.

    python benchmarks/effect_sigma.py

The gradient of a temperature is (z_y − Σ_j p_j z_j) / σ² in its logit z_y and the logit expected
under the softmax at σ. Where z_y is the smaller one, σ rises; it rests where both are equal.
"""

from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from data_parameters import DataParameters, SparseSGD, functional
from effect.cells import BUDGETS, Cell, draw
from effect.training import perceptron
from timing import RESULTS, machine, markdown

IMAGES = Path(__file__).parents[1] / "docs" / "images"
ORANGE, BLUE = "#D55E00", "#0072B2"


def main() -> None:
    problem = draw(Cell.parse("digits/permute/0.4"), seed=0)
    budget = BUDGETS["digits"]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = perceptron(problem, budget.layers, budget.hidden)
    optimizer = torch.optim.SGD(model.parameters(), lr=budget.lr, momentum=0.9)
    tables = DataParameters(num_instances=len(problem.given))
    data_optimizer = SparseSGD(tables.param_groups(lr_instance=1.0), momentum=0.9)
    chance = torch.Generator().manual_seed(0)
    changed = (problem.given != problem.true)[problem.train]
    sigmas, gaps = [], []
    for epoch in range(budget.epochs):
        drops = sum(epoch >= round(share * budget.epochs) for share in (0.67, 0.84))
        for group in optimizer.param_groups:
            group["lr"] = budget.lr * 0.1**drops
        order = problem.train[torch.randperm(len(problem.train), generator=chance)]
        for index in order.split(budget.batch_size):
            target = problem.given[index]
            loss = functional.cross_entropy(
                model(problem.inputs[index]), target, tables(target, index)
            )
            optimizer.zero_grad()
            data_optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            data_optimizer.step()
        with torch.no_grad():
            logits = model(problem.inputs[problem.train])
            sigma = tables.instance_temperature[problem.train]
            p = (logits / sigma.unsqueeze(1)).softmax(1)
            given = logits.gather(1, problem.given[problem.train].unsqueeze(1)).squeeze(1)
            gaps.append(given - (p * logits).sum(1))
            sigmas.append(sigma)
    plot(IMAGES / "effect-why-sigma.png", sigmas, gaps, changed)
    rows = []
    for epoch in (1, 5, 10, 20, 40, 60):
        sigma, gap = sigmas[epoch - 1], gaps[epoch - 1]
        for name, mask in (("wrong", changed), ("right", ~changed)):
            rows.append(
                [
                    f"{epoch}",
                    name,
                    f"{sigma[mask].median():.2f}",
                    f"{gap[mask].median():+.2f}",
                    f"{(gap[mask] < -0.01).float().mean():.0%}",
                    f"{(sigma[mask] > 19.9).float().mean():.1%}",
                ]
            )
    header = ["epoch", "labels", "median σ", "median gap", "σ rises", "σ at its bound of 20"]
    (RESULTS / "effect_sigma.md").write_text(
        "# Why σ grows\n\nDigits, 40 % permuted, instance parameters at 1, seed 0. The gap is the "
        "logit of the given label less the logit expected under the softmax at σ; σ rises where it "
        f"is below 0 (counted below −0.01).\n\n{machine()}\n\n{markdown(header, rows)}",
        encoding="utf-8",
    )


def plot(path: Path, sigmas: list[Tensor], gaps: list[Tensor], changed: Tensor) -> None:
    """σ and the gap over the epochs: medians, 10th to 90th percentile."""
    figure = Figure(figsize=(8.8, 3.6), layout="constrained")
    for place, (values, label) in enumerate(
        ((sigmas, "σ"), (gaps, "Logit of the given label − expected logit")), start=1
    ):
        axes = figure.add_subplot(1, 2, place)
        table = torch.stack(values)
        epochs = range(1, len(values) + 1)
        for name, mask, colour in (("wrong", changed, ORANGE), ("right", ~changed, BLUE)):
            low, middle, high = table[:, mask].quantile(torch.tensor([0.1, 0.5, 0.9]), dim=1)
            axes.plot(epochs, middle, color=colour, label=f"{name} labels ({int(mask.sum())})")
            axes.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.set(xlabel="Epoch", ylabel=label)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if place == 1:
            axes.set_yscale("log")
            axes.set_yticks([0.1, 0.2, 0.5, 1, 2, 5, 10, 20], minor=False)
            axes.set_yticks([], minor=True)
            axes.yaxis.set_major_formatter("{x:g}")
            axes.legend(frameon=False)
        else:
            axes.axhline(0, color="black", linewidth=0.8)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
