"""Parquet folders: labels, splits, columns, and what is refused of them."""

from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from data_parameters.training.data import DataConfig, load_data
from tables import load, offline, write, write_texts

__all__ = ["offline"]

pytestmark = pytest.mark.usefixtures("offline")


def test_rows_without_a_label_are_left_out_and_counted(tmp_path: Path) -> None:
    text = ["red", "blue", "green", "white"]
    folder = write(
        tmp_path,
        train={"text": text, "label": [1, -1, 0, None]},
        test={"text": text, "label": [0, 1, -1, 1]},
    )
    data = load(folder)
    assert data.train.labels.tolist() == [1, 0] and data.test.labels.tolist() == [0, 1, 1]
    assert data.train.inputs.shape[0] == 2 and data.test.inputs.shape[0] == 3
    assert data.notes == (
        "2 of 4 rows of the train split have no label: left out.",
        "1 of 4 rows of the test split have no label: left out.",
    )


def test_noisy_labels_are_trained_on_and_the_true_ones_known(tmp_path: Path) -> None:
    data = load(write_texts(tmp_path, guess=[1, -1, 0]), noisy_label_column="guess")
    assert data.train.labels.tolist() == [1, 0]
    assert data.train.true_labels.tolist() == [0, 0]
    assert data.test.labels.tolist() == [1, 0] and data.test.true_labels is None
    assert "1 of 3" in data.notes[0]


def test_classes_hold_for_the_labels_to_train_on(tmp_path: Path) -> None:
    text = [f"word{row}" for row in range(4)]
    train = {"text": text, "label": [0, 1, 2, 1], "guess": [0, 2, 1, 0]}
    folder = write(tmp_path, train=train, test={"text": text[:3], "label": [0, 1, 2]})
    data = load(folder, noisy_label_column="guess", classes=2)
    assert data.train.labels.tolist() == [0, 1, 0]
    assert data.train.true_labels.tolist() == [0, 2, 1]
    assert data.test.labels.tolist() == [0, 1] and data.class_names == ("0", "1")
    with pytest.raises(ValueError, match="at most 3"):
        load(folder, noisy_label_column="guess", classes=2, limit=4)


def test_class_names_travel_in_the_files(tmp_path: Path) -> None:
    columns = {"text": ["red", "blue"], "label": [0, 1]}
    write(tmp_path, classes=["cat", "dog"], train=columns, test=columns)
    assert load(tmp_path).class_names == ("cat", "dog")
    write(tmp_path, classes=["dog", "cat"], test=columns)
    with pytest.raises(ValueError, match="one list of classes"):
        load(tmp_path)


@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_outside_the_classes_are_refused(tmp_path: Path, split: str) -> None:
    columns = {"text": ["red", "blue", "green"], "label": [0, 1, 0]}
    write(tmp_path, classes=["cat", "dog"], train=columns, test=columns)
    table = datasets.Dataset.from_parquet(str(tmp_path / f"{split}.parquet"), keep_in_memory=True)
    raw = table.data.table.set_column(1, "label", pyarrow.array([0, 1, 5]))
    pyarrow.parquet.write_table(
        raw.replace_schema_metadata(table.features.arrow_schema.metadata),
        tmp_path / f"{split}.parquet",
    )
    with pytest.raises(ValueError, match=rf"\[0, 1\].*Found 5 in row 2 of the {split} split"):
        load(tmp_path)


def test_test_labels_are_those_of_training(tmp_path: Path) -> None:
    folder = write_texts(tmp_path)
    write(folder, test={"text": ["red"], "label": [2]})
    with pytest.raises(ValueError, match="Found 2 in row 0 of the test split"):
        load(folder)


def test_the_test_split_is_test_or_else_validation(tmp_path: Path) -> None:
    columns = {"text": ["red", "blue"], "label": [0, 1]}
    write(tmp_path, train=columns, validation={"text": ["red"], "label": [1]})
    assert load(tmp_path).test.labels.tolist() == [1] and load(tmp_path).notes == ()
    write(tmp_path, test=columns)
    data = load(tmp_path)
    assert data.test.labels.tolist() == [0, 1]
    assert data.notes == ("Tested on the test split; validation is left alone.",)
    # As where the labels of the test split are kept secret.
    write(tmp_path, test={"text": ["red"], "label": [-1]})
    data = load(tmp_path)
    assert data.test.labels.tolist() == [1] and "Tested on the validation split" in data.notes[0]


def test_absent_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"--data\.path"):
        load_data(DataConfig(name="parquet"))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"train\*\.parquet"):
        load(tmp_path)
    write(tmp_path, train={"text": ["red"], "label": [0]})
    with pytest.raises(FileNotFoundError, match=r"val\*\.parquet\. Found train\.parquet"):
        load(tmp_path)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    folder = write_texts(tmp_path)
    (folder / "test.parquet").write_text("no table")
    with pytest.raises(OSError, match=r"test\.parquet should be"):
        load(folder)
    write(folder, train2={"sentence": ["red"], "label": [1]})
    with pytest.raises(OSError, match=r"train2\.parquet should be.*same columns"):
        load(folder)


@pytest.mark.parametrize(
    ("columns", "options", "remedy"),
    [
        ({"text": ["a"], "label": [0]}, {"input_column": "img"}, "text, label"),
        ({"text": ["a"], "label": [0]}, {"input_column": "label"}, "images or text"),
        ({"sentence": ["a"], "label": [0]}, {}, r"--data\.input-column"),
        ({"a": [b"a"], "b": [b"a"], "label": [0]}, {}, r"Found a, b.*--data\.input-column"),
        ({"text": ["a"], "label": ["cat"]}, {}, "class_encode_column"),
        ({"text": ["a"], "label": [0.5]}, {}, "class_encode_column"),
        ({"text": ["a"], "a": [0], "b": [0]}, {}, r"Found a, b.*--data\.label-column"),
        ({"text": ["a"]}, {}, r"--data\.label-column"),
        ({"text": ["a"], "label": [0]}, {"label_column": "y"}, "text, label"),
        ({"text": ["a"], "label": [0]}, {"noisy_label_column": "y"}, "noisy_label_column"),
        ({"text": ["a"], "label": [-1]}, {}, "rows with a label"),
    ],
)
def test_columns_that_cannot_be_used(
    tmp_path: Path, columns: dict[str, Any], options: dict[str, Any], remedy: str
) -> None:
    folder = write(tmp_path, train=columns, test=columns)
    with pytest.raises(ValueError, match=remedy):
        load(folder, **options)


def test_columns_are_found_or_named(tmp_path: Path) -> None:
    columns = {"id": [7, 8], "title": ["red", "blue"], "text": ["one", "two"], "kind": [0, 1]}
    folder = write(tmp_path, train=columns, test=columns)
    data = load(folder, label_column="kind", input_column="title", max_features=9)
    assert data.train.labels.tolist() == [0, 1]
    del columns["id"]
    assert load(write(folder, train=columns, test=columns)).train.labels.tolist() == [0, 1]


def test_a_test_split_without_the_columns(tmp_path: Path) -> None:
    folder = write_texts(tmp_path)
    write(folder, test={"sentence": ["red"], "label": [0]})
    with pytest.raises(ValueError, match="`text` and `label`"):
        load(folder)
