"""What the studies of effect say in one table, and the pictures that are drawn from them.

    python benchmarks/effect_summary.py

Reads `benchmarks/results/effect/*.jsonl`, which `effect_study.py` writes; trains nothing.
"""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import effect_study
from effect.grids import DEFAULT, MANY_CLASSES
from effect.studies import STUDIES
from effect.training import Record
from timing import RESULTS, markdown

IMAGES = Path(__file__).parents[1] / "docs" / "images"
JUDGED = "cross-entropy, second phase"
PEERS = ("label smoothing 0.1", "GCE 0.7", "SCE", "NCE+RCE", "SuperLoss", "mixup", "ELR")
# Told apart without colour vision too (Okabe and Ito).
COLOURS = ("#D55E00", "#E69F00", "#0072B2", "#009E73")


def read(study: str) -> list[Record]:
    return effect_study.read(RESULTS / "effect" / f"{study}.jsonl")


def mean(records: Sequence[Record], of: Callable[[Record], float]) -> float:
    return statistics.fmean(of(record) for record in records)


def summary() -> str:
    """A row a cell in two tables: what was reached, and what did it."""
    reached, parts, machines = [], [], set()
    for name in ("digits", "banking77", "trec6", "cifar100"):
        records = read(name)
        machines |= {record.machine for record in records}
        for cell in STUDIES[name].cells:
            by_method: dict[str, list[Record]] = {}
            for record in records:
                if record.cell == cell:
                    by_method.setdefault(record.method, []).append(record)
            if len(by_method.get(DEFAULT, [])) > 1:
                named = cell.replace("/", ", ", 1).replace("/", " ")
                first, second = row(by_method)
                reached.append([named, *first])
                parts.append([named, *second])
    header = [
        "data",
        "seeds",
        "cross-entropy",
        "default",
        "best peer",
        "against cross-entropy",
        "against the best peer",
    ]
    more = [
        "data",
        "cross-entropy, second phase",
        "instance lr 1",
        "default: against its best epoch",
        "selected: default",
        "selected: best peer",
        "estimated noise",
        "left out",
        "of them wrong",
    ]
    return (
        "# The default against cross-entropy and the best peer\n\n"
        "Test accuracy at the last epoch, %, means over the seeds that all have, and ± the "
        "standard error of differences of the same seeds. The default is instance parameters at "
        "a rate of 1, which is that of the program at these batches of 64 and 128, with a second "
        f"phase; the best peer is the best of {', '.join(PEERS)} on that row, on banking77 also of "
        f"{'; '.join(MANY_CLASSES)}, which nobody knows beforehand. Selected is the epoch that "
        "noisy validation labels select. The last columns "
        "are those of the second phase, in % of the instances. Its settings were chosen on "
        "digits, banking77 and trec6 with 40 % permuted and clean, seeds 0 and 1, and on one seed "
        "of CIFAR-100; the rate at batches above 64, 1 in place of 2, with all seeds in sight. "
        f"`python benchmarks/effect_summary.py`; the runs: {' '.join(sorted(machines))}\n\n"
        f"{markdown(header, reached)}\n"
        f"The parts of the default, and what its second phase did:\n\n{markdown(more, parts)}"
    )


def row(by_method: dict[str, list[Record]]) -> tuple[list[str], list[str]]:
    """The columns of both tables, over the seeds that all methods have."""
    seeds = {record.seed for record in by_method[DEFAULT]}
    peers = [peer for peer in (*PEERS, *MANY_CLASSES) if peer in by_method]
    for method in ("cross-entropy", JUDGED, "instance lr 1", *peers):
        seeds &= {record.seed for record in by_method[method]}
    chosen = {
        method: [record for record in records if record.seed in seeds]
        for method, records in by_method.items()
    }
    last = {method: mean(chosen[method], lambda r: r.last) for method in chosen if chosen[method]}
    peer = max(peers, key=lambda method: last[method])
    chooser = max(peers, key=lambda method: mean(chosen[method], _selected))
    ours = chosen[DEFAULT]

    def difference(other: str) -> str:
        gain, error = paired([*ours, *chosen[other]], ours[0].cell, DEFAULT, other)
        return f"{gain:+z.1f} ± {error:.1f}"

    precise = [r.judged["precision"] for r in ours if "precision" in r.judged]
    reached = [
        str(len(seeds)),
        f"{last['cross-entropy']:.1f}",
        f"{last[DEFAULT]:.1f}",
        f"{last[peer]:.1f} ({peer})",
        difference("cross-entropy"),
        difference(peer),
    ]
    parts = [
        f"{last[JUDGED]:.1f}",
        f"{last['instance lr 1']:.1f}",
        f"{last[DEFAULT] - mean(ours, lambda r: r.best):+z.1f}",
        f"{mean(ours, _selected):.1f}",
        f"{mean(chosen[chooser], _selected):.1f} ({chooser})",
        f"{100 * mean(ours, lambda r: r.judged['rate']):.0f}",
        f"{100 * mean(ours, lambda r: r.judged['left_out']):.0f}",
        f"{100 * statistics.fmean(precise):.0f}" if precise else "",
    ]
    return reached, parts


def draw_memorisation(path: Path) -> None:
    """Test accuracy over the epochs: where plain training learns wrong labels by heart."""
    figure, axes = _figure("Epoch", "Test accuracy (%)")
    records = [r for r in read("digits") if r.cell == "digits/permute/0.4"]
    for method, colour in zip(
        ("cross-entropy", "instance lr 1", DEFAULT, "ELR"), COLOURS, strict=True
    ):
        runs = [r.test for r in records if r.method == method]
        curve = [statistics.fmean(values) for values in zip(*runs, strict=True)]
        label = f"{method}: {curve[-1]:.1f} % at the end"
        axes.plot(range(1, len(curve) + 1), curve, color=colour, label=label)
    _save(figure, axes, path)


def draw_region(path: Path) -> None:
    """Gain over cross-entropy by width and learning rate, where labels are wrong and where not."""
    records = read("capacity")
    widths = sorted({int(r.method.split(", ")[1].split()[0]) for r in records})
    lrs = ["0.2", "1", "3"]
    titles = {
        "digits/permute/0.4": "40 % permuted",
        "digits/pair/0.4": "40 % moved to the next class",
        "digits/clean": "clean",
    }
    figure = Figure(figsize=(10.8, 3.6), layout="constrained")
    for place, (cell, title) in enumerate(titles.items()):
        axes = figure.add_subplot(1, 3, place + 1)
        gains = [
            [
                paired(records, cell, f"instance lr {lr}, {w} wide", f"cross-entropy, {w} wide")
                for w in widths
            ]
            for lr in lrs
        ]
        image = axes.imshow(
            [[gain for gain, _ in line] for line in gains],
            cmap=matplotlib.colormaps["RdBu"], vmin=-20, vmax=20, aspect="auto",
        )  # fmt: skip
        for y, line in enumerate(gains):
            for x, (gain, error) in enumerate(line):
                colour = "white" if abs(gain) > 14 else "black"
                axes.text(
                    x, y, f"{gain:+z.1f}\n± {error:.1f}", color=colour, ha="center", va="center",
                    size=7.5,
                )  # fmt: skip
        axes.set_xticks(range(len(widths)), [str(width) for width in widths])
        axes.set_yticks(range(len(lrs)), lrs)
        axes.set(title=title, xlabel="Width of the two hidden layers")
        if place == 0:
            axes.set_ylabel("lr_instance")
    figure.colorbar(image, ax=figure.axes, label="Points over cross-entropy, last epoch")
    figure.savefig(path, dpi=150)


def paired(records: Sequence[Record], cell: str, ours: str, other: str) -> tuple[float, float]:
    """Mean difference at the last epoch over pairs of one seed, and its standard error."""
    last = {(r.method, r.seed): r.last for r in records if r.cell == cell}
    seeds = [seed for method, seed in last if method == ours and (other, seed) in last]
    found = [last[ours, seed] - last[other, seed] for seed in seeds]
    error = statistics.stdev(found) / len(found) ** 0.5 if len(found) > 1 else 0.0
    return statistics.fmean(found), error


def _selected(record: Record) -> float:
    return record.selected


def _figure(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.6, 4.0), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, axes: Axes, path: Path) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    (RESULTS / "effect_summary.md").write_text(summary(), encoding="utf-8")
    draw_memorisation(IMAGES / "effect-memorisation.png")
    if read("capacity"):
        draw_region(IMAGES / "effect-region.png")
    print(summary())


if __name__ == "__main__":
    main()
