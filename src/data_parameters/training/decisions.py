"""What people decided about labels: the CSV file, and the labels after it.

One row a decision, with the columns

index        row of the instance in the tables of the run
source_row   its row in the data set, or empty
given_label  what it was labelled, a class name
decision     `wrong`, `fine`, `unclear` or `exclude`
label        the right class where the decision is `wrong`, else empty
note         free text
dataset      fingerprint of the labels that were reviewed: `dataset` in the run's data.json

`source_row` and `note` may be left out, and other columns are ignored. A class may be written as
its number where no class is named by a number.

Legend: N training instances, C classes.
"""

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from torch import Tensor

__all__ = [
    "COLUMNS",
    "Decision",
    "dataset_fingerprint",
    "read_decisions",
    "write_decisions",
]

COLUMNS = ("index", "source_row", "given_label", "decision", "label", "note", "dataset")
NEEDED = ("index", "given_label", "decision", "label", "dataset")
Verdict = Literal["wrong", "fine", "unclear", "exclude"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was decided about the label of one instance.

    Attributes:
        index: The row it owns.
        given_label: What it was labelled, in ``[0, C)``.
        decision: ``"wrong"``, ``"fine"``, ``"unclear"`` or ``"exclude"``.
        label: The right class where the decision is ``"wrong"``; else ``None``.
        source_row: Its row in the data set, where that is known.
        note: Free text.
    """

    index: int
    given_label: int
    decision: Verdict
    label: int | None = None
    source_row: int | None = None
    note: str = ""


def dataset_fingerprint(given_labels: Tensor, class_names: Sequence[str]) -> str:
    """A short name of labelled data: 16 hexadecimal digits of a SHA-256.

    It is that of the class names as compact JSON (UTF-8, not escaped), a newline, and the given
    labels as little-endian 64-bit integers. Inputs have no part in it.

    Args:
        given_labels: The labels a run trains on, shape ``(N,)``.
        class_names: Names of the C classes.

    Returns:
        The fingerprint.

    Example:
        >>> import torch
        >>> dataset_fingerprint(torch.tensor([0, 1, 1]), ("cat", "dog"))
        '79c4515c680d39ee'
    """
    names = json.dumps(list(class_names), ensure_ascii=False, separators=(",", ":"))
    digest = hashlib.sha256(names.encode() + b"\n")
    digest.update(given_labels.cpu().numpy().astype("<i8").tobytes())
    return digest.hexdigest()[:16]


def write_decisions(
    path: Path, decisions: Iterable[Decision], class_names: Sequence[str], dataset: str
) -> None:
    """Write decisions as CSV.

    Args:
        path: The file.
        decisions: The decisions.
        class_names: Names of the C classes.
        dataset: Fingerprint of the labels that were reviewed.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for decision in decisions:
            label, source_row = decision.label, decision.source_row
            writer.writerow(
                {
                    "index": decision.index,
                    "source_row": "" if source_row is None else source_row,
                    "given_label": class_names[decision.given_label],
                    "decision": decision.decision,
                    "label": "" if label is None else class_names[label],
                    "note": decision.note,
                    "dataset": dataset,
                }
            )


def read_decisions(
    path: Path,
    given_labels: Tensor,
    class_names: Sequence[str],
    *,
    source_rows: Tensor | None = None,
) -> list[Decision]:
    """Read decisions, and check each against the data that it is about.

    Args:
        path: A CSV file with the columns above, in UTF-8.
        given_labels: The labels that were reviewed, shape ``(N,)``.
        class_names: Names of the C classes.
        source_rows: Which row of the source each instance is, shape ``(N,)``.

    Returns:
        The decisions, in the order of the file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A decision is about other data, about an instance or a class that does not
            exist, given twice, or incomplete; the message names the line.
    """
    dataset = dataset_fingerprint(given_labels, class_names)
    classes = _classes(class_names)
    seen: dict[int, int] = {}
    decisions = []
    for line, row in _rows(path):
        where = f"{path}, line {line}"
        if row["dataset"].strip() != dataset:
            raise ValueError(
                f"{where}: `dataset` should be {dataset}, the fingerprint of these labels. Found "
                f"{row['dataset']!r}. The decisions are about other data, or about the same data "
                "before other decisions; give the files in the order in which they were made."
            )
        index = _number(where, "index", row["index"], len(given_labels))
        if index in seen:
            raise ValueError(
                f"{where}: each instance should have one decision. Found instance {index} a second "
                f"time, after line {seen[index]}. Remove one of the two lines."
            )
        seen[index] = line
        decision = _decision(where, index, row, int(given_labels[index]), classes)
        _check_instance(where, decision, given_labels, class_names, source_rows)
        decisions.append(decision)
    return decisions


def _rows(path: Path) -> Iterable[tuple[int, Mapping[str, str]]]:
    # Spreadsheets put a mark at the beginning of what they save as UTF-8.
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            reader = csv.DictReader(file, restval="", strict=True)
            missing = [name for name in NEEDED if name not in (reader.fieldnames or ())]
            if missing:
                raise ValueError(
                    f"{path} should have the columns {', '.join(NEEDED)} in its first line. Found "
                    f"{', '.join(reader.fieldnames or ()) or 'an empty file'}. Add "
                    f"{', '.join(missing)}, or export the decisions anew."
                )
            for row in reader:
                yield reader.line_num, {k: v for k, v in row.items() if isinstance(v, str)}
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(
                f"{path} should be a CSV file in UTF-8. Found: {error}. Export it anew."
            ) from error


def _classes(class_names: Sequence[str]) -> dict[str, list[int]]:
    """Classes by what a file may call them; several classes may have the same name."""
    classes: dict[str, list[int]] = {}
    for number, name in enumerate(class_names):
        classes.setdefault(name.strip(), []).append(number)
    # A number is no name for a class where another class may be named so.
    if not any(name.isdecimal() for name in classes):
        classes |= {str(number): [number] for number in range(len(class_names))}
    return classes


def _number(where: str, column: str, text: str, size: int) -> int:
    number = int(text) if text.strip().isdecimal() else -1
    if not 0 <= number < size:
        raise ValueError(
            f"{where}: `{column}` should be an instance of the data set, 0 to {size - 1}. Found "
            f"{text!r}."
        )
    return number


def _class(
    where: str, column: str, text: str, classes: Mapping[str, list[int]], preferred: int = -1
) -> int:
    """The class of a name; of several that share it the preferred one."""
    found = classes.get(text.strip(), [])
    if not found:
        raise ValueError(
            f"{where}: `{column}` should be a class of the data set, such as "
            f"{', '.join(list(classes)[:5])}. Found {text[:100]!r}."
        )
    if len(found) > 1 and preferred not in found:
        raise ValueError(
            f"{where}: `{column}` should say which class is meant. Found {text[:100]!r}, the name "
            f"of the classes {', '.join(map(str, found))}. Write the number."
        )
    return preferred if preferred in found else found[0]


def _decision(
    where: str,
    index: int,
    row: Mapping[str, str],
    given_label: int,
    classes: Mapping[str, list[int]],
) -> Decision:
    verdict = next((name for name in VERDICTS if name == row["decision"].strip()), None)
    if verdict is None:
        raise ValueError(
            f"{where}: `decision` should be one of {', '.join(VERDICTS)}. Found "
            f"{row['decision'][:100]!r}."
        )
    given = _class(where, "given_label", row["given_label"], classes, preferred=given_label)
    label = None
    if row["label"].strip():
        preferred = -1 if verdict == "wrong" else given
        label = _class(where, "label", row["label"], classes, preferred=preferred)
    if verdict == "wrong" and (label is None or label == given):
        found = "none" if label is None else "the given one"
        raise ValueError(
            f"{where}: a wrong label should come with the right one in `label`. Found {found}. "
            "Name it, or decide `exclude` or `unclear`."
        )
    if verdict != "wrong" and label not in (None, given):
        raise ValueError(
            f"{where}: `label` should be empty where the decision is {verdict!r}. Found "
            f"{row['label'][:100]!r}. Empty it, or decide `wrong`."
        )
    source_row = row.get("source_row", "").strip()
    return Decision(
        index=index,
        given_label=given,
        decision=verdict,
        label=label if verdict == "wrong" else None,
        source_row=int(source_row) if source_row.isdecimal() else None,
        note=row.get("note", ""),
    )


def _check_instance(
    where: str,
    decision: Decision,
    given_labels: Tensor,
    class_names: Sequence[str],
    source_rows: Tensor | None,
) -> None:
    index, given = decision.index, int(given_labels[decision.index])
    if decision.given_label != given:
        raise ValueError(
            f"{where}: `given_label` of instance {index} should be {class_names[given]!r}. Found "
            f"{class_names[decision.given_label]!r}. The line is about another instance."
        )
    if decision.source_row is not None and source_rows is not None:
        expected = int(source_rows[index])
        if decision.source_row != expected:
            raise ValueError(
                f"{where}: `source_row` of instance {index} should be {expected}. Found "
                f"{decision.source_row}. The line is about another instance."
            )
