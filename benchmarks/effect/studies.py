"""Which runs belong to which study."""

from collections.abc import Iterator
from dataclasses import dataclass

from effect.grids import (
    A_SAMPLE,
    CAPACITIES,
    CROSSED,
    DEFAULT,
    JUDGEMENTS,
    MANY_CLASSES,
    METHODS,
    ORACLE,
    REGIMES,
    SETTINGS,
)

MAIN = ["permute/0.4", "clean", "pair/0.4"]
NOISES = [f"{kind}/{f:g}" for kind in ("permute", "symmetric") for f in (0.2, 0.4, 0.6, 0.8)]
FULL_GRID = [*MAIN, *(noise for noise in NOISES if noise not in MAIN)]


@dataclass(frozen=True)
class Study:
    """Every method on every cell, with the same seeds."""

    title: str
    cells: tuple[str, ...]
    methods: tuple[str, ...]
    num_seeds: int
    num_main: int = 3
    first_seed: int = 0

    def runs(self) -> Iterator[tuple[str, str, int]]:
        """Cell, method and seed of each run: the main cells first, seed by seed."""
        for cells in (self.cells[: self.num_main], self.cells[self.num_main :]):
            for seed in range(self.first_seed, self.first_seed + self.num_seeds):
                for cell in cells:
                    for method in self.methods:
                        yield cell, method, seed


STUDIES = {
    "digits": Study(
        "Digits", tuple(f"digits/{noise}" for noise in FULL_GRID), tuple(METHODS), num_seeds=5
    ),
    "banking77": Study(
        "Sentences: banking77",
        tuple(f"banking77/{noise}" for noise in FULL_GRID),
        (*METHODS, A_SAMPLE.name, *MANY_CLASSES),
        num_seeds=5,
    ),
    "trec6": Study(
        "Questions: trec6",
        tuple(f"trec6/{noise}" for noise in ("weak", *FULL_GRID)),
        tuple(METHODS),
        num_seeds=5,
        num_main=4,
    ),
    "cifar100": Study(
        "CIFAR-100, 10 classes, 16 pixels a side",
        tuple(f"cifar100/{noise}" for noise in ("permute/0.4", "human", "clean")),
        (*METHODS, A_SAMPLE.name),
        num_seeds=3,
    ),
    "cifar100-full": Study(
        "CIFAR-100, 10 classes, 32 pixels a side",
        tuple(f"cifar100-full/{noise}" for noise in ("permute/0.4", "human", "clean")),
        tuple(METHODS),
        num_seeds=3,
    ),
    "capacity": Study(
        "Digits: width of the network, and learning rate of the instances",
        ("digits/permute/0.4", "digits/clean", "digits/pair/0.4"),
        tuple(CAPACITIES),
        num_seeds=3,
    ),
    "settings": Study(
        "Digits: one setting at a time",
        ("digits/permute/0.4", "digits/clean", "digits/pair/0.4"),
        tuple(SETTINGS),
        num_seeds=3,
    ),
    "judgements": Study(
        "The second phase: one setting at a time",
        (
            "digits/permute/0.4",
            "digits/clean",
            "banking77/permute/0.4",
            "banking77/clean",
            "trec6/permute/0.4",
            "trec6/clean",
        ),
        tuple(JUDGEMENTS),
        num_seeds=2,
    ),
    "blurred": Study(
        "Clean labels of blurred inputs",
        tuple(f"{data}/blurred/{blur}" for data in ("digits", "trec6") for blur in (1, 2, 3, 5)),
        ("cross-entropy", "cross-entropy, second phase", DEFAULT),
        num_seeds=3,
        num_main=8,
    ),
    # Seeds and splits that no setting was chosen by, and the peers that led on those seen.
    "unseen": Study(
        "Seeds that nobody had seen when the settings were chosen",
        (
            *(f"{d}/{n}" for d in ("digits", "banking77", "trec6", "cifar100") for n in MAIN[:2]),
            "cifar100/human",
        ),
        ("cross-entropy", "GCE 0.7", "ELR", DEFAULT, A_SAMPLE.name),
        num_seeds=5,
        num_main=9,
        first_seed=5,
    ),
    "human": Study(
        "CIFAR-100: ten classes that people mix up, 16 pixels a side",
        ("cifar100-water/human", "cifar100-water/clean"),
        (
            "cross-entropy",
            "GCE 0.7",
            "mixup",
            "ELR",
            "instance lr 1",
            "cross-entropy, second phase",
            DEFAULT,
        ),
        num_seeds=3,
    ),
    "limits": Study(
        "If it were known which labels are wrong",
        tuple(f"{d}/permute/0.4" for d in ("digits", "banking77", "trec6", "cifar100")),
        ("cross-entropy", ORACLE.name, DEFAULT),
        num_seeds=3,
        num_main=4,
    ),
    "crossed": Study(
        "Digits: width, schedule, length, batch size and learning rate, crossed",
        ("digits/permute/0.4", "digits/clean", "digits/pair/0.4"),
        tuple(CROSSED),
        num_seeds=2,
    ),
    "regimes": Study(
        "Digits: ways of training", ("digits/permute/0.4",), tuple(REGIMES), num_seeds=3
    ),
}
