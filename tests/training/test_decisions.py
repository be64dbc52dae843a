"""The file of decisions: what is written is read, and what does not fit is refused by its line."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_parameters.training.decisions import (
    COLUMNS,
    Decision,
    dataset_fingerprint,
    read_decisions,
    write_decisions,
)
from data_parameters.training.labels import Labels, label_differences
from data_parameters.training.review import apply_reviews

NAMES = ("cat", 'a "dog", they say', "<b>bird</b>\u202e", "fish\nand 🐟")
GIVEN = torch.tensor([0, 1, 2, 3, 0, 1])
ROWS = torch.tensor([10, 11, 12, 13, 14, 15])
DATASET = dataset_fingerprint(GIVEN, NAMES)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
DECISIONS = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sampled_from(["wrong", "fine", "unclear", "exclude"]),
        st.integers(1, 3),
        TEXT,
        st.booleans(),
    ),
    unique_by=lambda row: row[0],
    max_size=6,
)


@given(DECISIONS)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple]) -> None:  # type: ignore[type-arg]
    decisions = []
    for index, decision, shift, note, with_row in rows:
        label = (int(GIVEN[index]) + shift) % 4 if decision == "wrong" else None
        decisions.append(
            Decision(
                index=index,
                given_label=int(GIVEN[index]),
                decision=decision,
                label=label,
                source_row=int(ROWS[index]) if with_row else None,
                note=note,
            )
        )
    path = tmp_path_factory.mktemp("decisions") / "decisions.csv"
    write_decisions(path, decisions, NAMES, DATASET)
    found = read_decisions(path, GIVEN, NAMES, source_rows=ROWS)
    assert found == decisions


def test_the_fingerprint_is_that_of_names_and_labels() -> None:
    assert dataset_fingerprint(GIVEN, NAMES[::-1]) != DATASET
    assert dataset_fingerprint(GIVEN.flip(0), NAMES) != DATASET
    assert dataset_fingerprint(GIVEN.int(), list(NAMES)) == DATASET


def written(folder: Path, *lines: str, header: str = ",".join(COLUMNS)) -> Path:
    path = folder / "decisions.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def line(
    index: str = "0", row: str = "", given: str = "cat", decision: str = "fine",
    label: str = "", note: str = "", dataset: str = DATASET,
) -> str:  # fmt: skip
    return ",".join([index, row, given, decision, label, note, dataset])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([line(dataset="0123456789abcdef")], "line 2: `dataset` should be .* about other data"),
        ([line(dataset="")], "line 2: `dataset`"),
        ([line(index="6")], "line 2: `index` should be an instance of the data set, 0 to 5"),
        ([line(index="-1")], "line 2: `index`"),
        ([line(index="one")], "line 2: `index`.*'one'"),
        ([line(), line(index="4"), line()], "line 4: each instance .* a second time, after line 2"),
        ([line(given="cow")], "line 2: `given_label` should be a class of the data set"),
        ([line(index="2")], "line 2: `given_label` of instance 2 should be .*another instance"),
        ([line(row="11")], "line 2: `source_row` of instance 0 should be 10"),
        ([line(decision="maybe")], "line 2: `decision` should be one of wrong, fine, unclear, e"),
        ([line(), line(index="4", decision="wrong")], "line 3: a wrong label should come with"),
        ([line(decision="wrong", label="cat")], "Found the given one"),
        ([line(decision="wrong", label="cow")], "line 2: `label` should be a class"),
        ([line(decision="wrong", label="4")], "line 2: `label` should be a class"),
        ([line(label="3")], "`label` should be empty"),
        (['"0'], "should be a CSV file in UTF-8"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_line(
    lines: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        read_decisions(written(tmp_path, *lines), GIVEN, NAMES, source_rows=ROWS)


def test_columns_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Add label, dataset"):
        read_decisions(written(tmp_path, header="index,given_label,decision"), GIVEN, NAMES)
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match="an empty file"):
        read_decisions(tmp_path / "empty.csv", GIVEN, NAMES)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ValueError, match="UTF-8"):
        read_decisions(tmp_path / "binary.csv", GIVEN, NAMES)
    with pytest.raises(FileNotFoundError):
        read_decisions(tmp_path / "none.csv", GIVEN, NAMES)


def test_a_spreadsheet_may_have_touched_the_file(tmp_path: Path) -> None:
    """A byte order mark, other line ends, another order of columns, and columns of its own."""
    path = tmp_path / "decisions.csv"
    text = f"mine,dataset,decision,label,given_label,index\r\nx,{DATASET},wrong,3,0,0\r\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    [decision] = read_decisions(path, GIVEN, NAMES)
    assert (decision.index, decision.given_label, decision.label) == (0, 0, 3)


def test_a_number_is_a_name_where_classes_are_named_by_numbers(tmp_path: Path) -> None:
    names = ("1", "2", "3")
    given = torch.tensor([0, 1, 2])
    dataset = dataset_fingerprint(given, names)
    path = written(tmp_path, line(given="1", decision="wrong", label="3", dataset=dataset))
    assert read_decisions(path, given, names)[0].label == 2
    path = written(tmp_path, line(given="0", dataset=dataset))
    with pytest.raises(ValueError, match="`given_label` should be a class"):
        read_decisions(path, given, names)


def test_a_name_that_two_classes_share_asks_for_a_number(tmp_path: Path) -> None:
    names = ("crane", "heron", "crane")
    given = torch.tensor([2, 1])
    dataset = dataset_fingerprint(given, names)
    fine = line(given="crane", dataset=dataset)
    assert read_decisions(written(tmp_path, fine), given, names)[0].given_label == 2
    wrong = line(index="1", given="heron", decision="wrong", label="crane", dataset=dataset)
    with pytest.raises(ValueError, match=r"the classes 0, 2\. Write the number"):
        read_decisions(written(tmp_path, wrong), given, names)
    wrong = wrong.replace(",crane,", ",2,")
    assert read_decisions(written(tmp_path, wrong), given, names)[0].label == 2


def test_reviews_follow_one_another(tmp_path: Path) -> None:
    """The second file is about the labels that the first one left."""
    labels = Labels(given=GIVEN, true=torch.tensor([1, 1, 2, 3, 0, 1]), source_rows=ROWS)
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    decisions = [
        Decision(index=0, given_label=0, decision="wrong", label=1),
        Decision(index=3, given_label=3, decision="exclude"),
        Decision(index=4, given_label=0, decision="unclear"),
    ]
    write_decisions(first, decisions, NAMES, DATASET)
    once, reviews = apply_reviews(labels, [first], NAMES)
    assert once.given.tolist() == [1, 1, 2, 3, 0, 1]
    assert once.excluded is not None
    assert once.excluded.tolist() == [False, False, False, True, False, False]
    assert once.changed is not None
    assert not once.changed.any()
    assert str(reviews[0]).endswith("1 labels changed, 1 instances excluded, 1 left as they were.")

    decisions = [Decision(index=1, given_label=1, decision="exclude")]
    write_decisions(second, decisions, NAMES, dataset_fingerprint(once.given, NAMES))
    twice, _ = apply_reviews(labels, [first, second], NAMES)
    assert twice.excluded is not None
    assert twice.excluded.tolist() == [False, True, False, True, False, False]
    with pytest.raises(ValueError, match="in the order in which they were made"):
        apply_reviews(labels, [second, first], NAMES)
    assert labels.given is GIVEN
    assert label_differences(once, twice) == [
        "exclusions: 1 of 6 differ; the first at index 1: 0 in the run, 1 now"
    ]
    assert label_differences(labels, once)[-1] == "exclusions: none in the run"


def test_something_should_be_left(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    given = GIVEN.tolist()
    decisions = [
        Decision(index=i, given_label=label, decision="exclude") for i, label in enumerate(given)
    ]
    write_decisions(path, decisions, NAMES, DATASET)
    with pytest.raises(ValueError, match="leave instances to train on"):
        apply_reviews(Labels(given=GIVEN), [path], NAMES)
