"""What the demo gains over five seeds: `data-parameters demo`, without its pictures."""

import argparse
import statistics
import time

from data_parameters.training.demo import DemoConfig, run_demo
from timing import RESULTS, machine, markdown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    rows, columns = [], []
    for seed in range(arguments.seeds):
        start = time.perf_counter()
        result = run_demo(DemoConfig(seed=seed))
        seconds = time.perf_counter() - start
        plain, instance = (
            [100 * epoch.test_accuracy for epoch in epochs]
            for epochs in (result.plain, result.instance)
        )
        values = [
            plain[-1],
            instance[-1],
            instance[-1] - plain[-1],
            max(plain),
            max(instance),
            result.auroc,
            result.average_precision,
            seconds,
        ]
        columns.append(values)
        rows.append([f"seed {seed}", *map(shown, values)])
    by_column = list(zip(*columns, strict=True))
    for name, reduce in (("median", statistics.median), ("lowest", min), ("highest", max)):
        rows.append([name, *(shown(reduce(column)) for column in by_column)])
    report = (
        "# The demo over five seeds\n\n"
        f"`python benchmarks/demo_effect.py`. {machine()}\n\n"
        "Digits, 40 % of the training labels permuted, an MLP of two 512-wide layers, 60 epochs. "
        "The seed is that of the split, the noise, the first weights and the order. Accuracies are "
        "those of 500 test images, in %; AUROC and average precision are those of σ against the "
        "changed labels.\n\n"
        + markdown(
            [
                "",
                "last epoch, without",
                "last epoch, with",
                "gain",
                "best epoch, without",
                "best epoch, with",
                "AUROC",
                "average precision",
                "seconds",
            ],
            rows,
        )
    )
    (RESULTS / "demo_effect.md").write_text(report, encoding="utf-8")
    print(report)


def shown(value: float) -> str:
    return f"{value:.1f}" if abs(value) > 1.5 else f"{value:.3f}"


if __name__ == "__main__":
    main()
