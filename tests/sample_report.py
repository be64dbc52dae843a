"""A report with everything in it, made up: for tests of the page that shows it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from data_parameters.report.content import (
    Classes,
    Curves,
    Instances,
    Noise,
    Preview,
    ReportContent,
    RunFacts,
)
from data_parameters.report.spread import bin_edges, follow
from data_parameters.report.thumbnails import thumbnail_of_pixels
from data_parameters.training.decisions import dataset_fingerprint

CLASSES = ("cat", "dog", "emu", "fox")
NUM_EPOCHS = 6
PLAIN = np.full((32, 32, 3), 120, np.uint8)

# What a data set may hold and a page should only ever show.
HOSTILE = (
    "<script>window.ran = 1</script>",
    "</script><script>window.ran = 2</script>",
    "<img src=x onerror='window.ran = 3'>",
    "<!-- <script> ]]> &lt;b&gt; &amp;",
    "\"quotes\" 'and' `ticks` ${window.ran = 4} \\u003c \\",
    "right to left \u202e txet desrever \u202c \u2067עברית\u2069",
    "🦊 emoji 👩‍👩‍👧 and z\u0351a\u0352lgo",
    "lines\nbroken\r\nand\u2028separated\u2029, with\ttabs",
    "=1+1, a formula for a spreadsheet",
    "javascript:window.ran=5",
    "long " + "x" * 10_000,
)


def given_labels(num_instances: int, num_classes: int = len(CLASSES)) -> np.ndarray:
    return np.random.default_rng(3).integers(num_classes, size=num_instances)


def sample_report(
    num_instances: int = 130,
    *,
    num_rows: int | None = None,
    class_names: Sequence[str] = CLASSES,
    texts: Sequence[str] | None = None,
    names: Sequence[str] = (),
    epochs: int = NUM_EPOCHS,
    image: np.ndarray = PLAIN,
) -> ReportContent:
    """Half of the instances carry wrong labels; with texts, or with images named so."""
    rng = np.random.default_rng(5)
    num_classes = len(class_names)
    given = given_labels(num_instances, num_classes)
    wrong = rng.random(num_instances) < 0.5
    true = np.where(wrong, (given + 1) % num_classes, given)
    slope = np.where(wrong, 0.4, -0.2) + 0.1 * rng.standard_normal(num_instances)
    tables = [(e + 1, (slope * (e + 1)).astype(np.float16)) for e in range(epochs)]
    temperature = np.exp(tables[-1][1].astype(np.float64))
    score = 1 / (1 + temperature)
    order = np.argsort(score, kind="stable")[:num_rows]
    groups = {"All": np.ones(num_instances, bool), "Clean": ~wrong, "Changed": wrong}
    found = follow(
        tables,
        edges=bin_edges(table for _, table in tables),
        groups=groups,
        labels=given,
        num_classes=num_classes,
        rows=order,
    )
    pairs = np.zeros((num_classes, num_classes), int)
    np.add.at(pairs, (given[wrong], true[wrong]), 1)
    counts = np.bincount(given, minlength=num_classes)
    if texts is None:
        address = thumbnail_of_pixels(image)
        previews = [
            Preview(image=address, name=names[index] if index < len(names) else f"{index}.png")
            for index in order
        ]
    else:
        previews = [Preview(text=texts[index % len(texts)]) for index in order]
    numbers = [round(0.5 + 0.05 * epoch, 3) for epoch in range(epochs)]
    after = [epoch for epoch, _ in tables]
    return ReportContent(
        run=RunFacts(
            name="sample run",
            key="0123456789abcdef",
            dataset=dataset_fingerprint(torch.from_numpy(given), class_names),
            finished=True,
            num_instances=num_instances,
            class_names=class_names,
            summary=("sample", f"{num_instances:,} training instances"),
            settings={"epochs": epochs, "data": {"name": "sample", "path": None}},
            versions={"data-parameters": "0", "torch": "0"},
        ),
        accuracy=Curves(epochs=after, series={"Test": numbers, "Training": numbers[::-1]}),
        loss=Curves(epochs=after, series={"Training": numbers[::-1]}),
        spread=found.spread,
        classes=Classes(
            count=counts,
            estimated_wrong=np.bincount(given[wrong], minlength=num_classes) / counts,
            known_wrong=np.bincount(given[wrong], minlength=num_classes) / counts,
            epochs=after,
            log_temperature=found.class_means,
            meaning="Mean temperature of the instances of each class.",
        ),
        noise=Noise(rate=0.5, num_issues=int((score < 0.5).sum()), known_rate=0.5, pairs=pairs),
        instances=Instances(
            index=order,
            given_label=given[order],
            label_score=score[order],
            is_label_issue=(score < 0.5)[order],
            source_row=10 * order,
            predicted_label=true[order],
            true_label=true[order],
            temperature=temperature[order],
            margin=rng.standard_normal(num_instances)[order],
            epochs=after,
            log_temperature=found.rows,
            previews=previews,
        ),
    )


def bare_report() -> ReportContent:
    """What is left of a run without instance parameters and dynamics."""
    content = sample_report()
    return ReportContent(
        run=replace(content.run, missing=("There are no instance parameters.",)),
        accuracy=content.accuracy,
        classes=Classes(count=np.array([1, 2, 3, 4])),
    )
