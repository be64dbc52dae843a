"""Parquet files and data sets of the Hugging Face Hub: a column of images or text, and labels.

Legend: N rows.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from data_parameters.training.data import DataConfig, Split, TrainingData
from data_parameters.training.sources.folder import existing_folder
from data_parameters.training.sources.memory import channel_statistics
from data_parameters.training.sources.rows import (
    check_labels,
    first_classes,
    kept_rows,
    numbered_classes,
)

try:
    import datasets

    from data_parameters.training.sources.columns import (
        check_same_classes,
        input_column,
        is_text,
        label_column,
    )
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "Parquet files and the Hugging Face Hub need datasets, an optional dependency. Install it "
        "with: pip install 'data-parameters[datasets]'",
        name=error.name,
    ) from error

__all__ = ["ImageColumn", "load_hub", "load_parquet"]

FILES = {"train": "train*.parquet", "test": "test*.parquet", "validation": "val*.parquet"}


class ImageColumn:
    """Encoded images of a column.

    Args:
        dataset: A table of ``datasets``.
        column: Which column.
        rows: Which rows.
        split: What to call the table in a message.
    """

    def __init__(self, dataset: Any, column: str, rows: Tensor, split: str) -> None:
        encoded = dataset.select_columns([column])
        self.dataset = encoded.cast_column(column, datasets.Image(decode=False))
        self.column, self.rows, self.split = column, rows, split

    def __len__(self) -> int:
        """Number of images."""
        return len(self.rows)

    def read(self, index: int) -> bytes:
        """The content of an image, of the table or of the file that it names; none is empty."""
        image = self.dataset[int(self.rows[index])][self.column] or {"bytes": b""}
        content: bytes | None = image["bytes"]
        return Path(image["path"]).read_bytes() if content is None else content

    def name(self, index: int) -> str:
        """The row in the table."""
        return f"row {int(self.rows[index])} of `{self.column}` in the {self.split} split"

    def file(self, index: int) -> str:
        """Name of the file that the image was; mostly the table holds the image itself."""
        image = self.dataset[int(self.rows[index])][self.column] or {"path": None}
        return Path(image["path"] or "").name


class _Part(NamedTuple):
    """The rows of a table that are kept, and what to say about the others."""

    dataset: Any
    split: str
    rows: Tensor
    labels: Tensor
    true_labels: Tensor | None
    notes: tuple[str, ...]

    def with_inputs(self, inputs: Tensor | Dataset[Any], sound: Tensor | None = None) -> Split:
        labels, true_labels, rows = self.labels, self.true_labels, self.rows
        if sound is not None:
            labels, rows = labels[sound], rows[sound]
            true_labels = None if true_labels is None else true_labels[sound]
        return Split(inputs=inputs, labels=labels, true_labels=true_labels, rows=rows)


def load_parquet(config: DataConfig) -> TrainingData:
    """Load a folder of Parquet files: ``train*``, and ``test*`` or else ``val*``.

    Args:
        config: Its path is the folder.

    Returns:
        Texts as features in memory; images in memory if they are of one size, else decoded when
        they are asked for. The files themselves are held in memory as long as that needs them.

    Raises:
        FileNotFoundError: The folder, or a file in it, is not there.
        OSError: A file is damaged, or two files of a split have other columns.
        ValueError: Columns or labels are not as they should be.
    """
    folder = existing_folder(config)
    files = {split: sorted(map(str, folder.glob(pattern))) for split, pattern in FILES.items()}
    if not files["train"] or not (files["test"] or files["validation"]):
        found = sorted(path.name for path in folder.iterdir())[:10]
        raise FileNotFoundError(
            f"{folder} should hold train*.parquet, and test*.parquet or val*.parquet. Found "
            f"{', '.join(found) or 'nothing'}. Name the folder of the files with --data.path."
        )
    splits = {split: _read(names) for split, names in files.items() if names}
    return _load(config, splits)


def load_hub(config: DataConfig) -> TrainingData:
    """Load a data set of the Hugging Face Hub, through its cache.

    Args:
        config: The name is ``hub:NAME``, for a name on the Hub or the path of a folder.

    Returns:
        As :func:`load_parquet`; images of various sizes are read from the cache.

    Raises:
        ValueError: It has no training or no test split, or columns or labels are not as they
            should be.
    """
    splits = datasets.load_dataset(config.name.removeprefix("hub:"))
    if "train" not in splits or not {"test", "validation"} & set(splits):
        raise ValueError(
            f"{config.name} should have a split `train`, and `test` or `validation`. Found "
            f"{', '.join(splits)}. Save other splits as Parquet files, and train with "
            "--data.name parquet."
        )
    return _load(config, splits)


def _read(files: list[str]) -> Any:
    # Not `load_dataset`, which asks the Hub for a page on each call. The cache, a copy of the files
    # in another format, is of no use to anybody afterwards.
    with tempfile.TemporaryDirectory() as cache, _without_progress_bars():
        try:
            return datasets.Dataset.from_parquet(files, cache_dir=cache, keep_in_memory=True)
        except (datasets.exceptions.DatasetsError, ValueError) as error:
            raise OSError(
                f"{', '.join(files)} should be Parquet files with the same columns. Found: "
                f"{error.__cause__ or error}. Write them anew."
            ) from error


@contextlib.contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Reading local files takes a moment; a bar for it would only disturb the run's own lines."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _load(config: DataConfig, splits: Mapping[str, Any]) -> TrainingData:
    features = splits["train"].features
    column, label = input_column(features, config), label_column(features, config)
    noisy = config.noisy_label_column
    # Those to train on come first.
    columns = [label] if noisy is None else [noisy, label]
    labels = [_integers(splits["train"], name) for name in columns]
    names = getattr(features[label], "names", numbered_classes(torch.cat(labels)))
    check_same_classes(features[label], features[columns[0]], f"the column `{columns[0]}`")
    train = _part(config, splits["train"], "train", labels, len(names))

    test_split, notes = _test_split(splits, label)
    dataset = splits[test_split]
    if not {column, label} <= set(dataset.features):
        raise ValueError(
            f"The {test_split} split should have the columns `{column}` and `{label}`, as the "
            f"train split has. Found {', '.join(dataset.features)}. Add what is missing."
        )
    check_same_classes(features[label], dataset.features[label], f"the {test_split} split")
    test = _part(config, dataset, test_split, [_integers(dataset, label)], len(names))

    with_inputs = _texts if is_text(features[column]) else _images
    data = with_inputs(config, column, train, test, first_classes(config, names))
    return replace(data, notes=(*notes, *train.notes, *test.notes, *data.notes))


def _integers(dataset: Any, column: str) -> Tensor:
    """A column of labels; a missing one is -1, as a negative one is none."""
    values = [-1 if value is None else value for value in dataset[column][:]]
    return torch.tensor(values, dtype=torch.int64)


def _test_split(splits: Mapping[str, Any], label: str) -> tuple[str, list[str]]:
    """Which split to test on, and a note where there is a choice."""
    found = [name for name in ("test", "validation") if name in splits]
    labelled = [
        name
        for name in found
        if label in splits[name].features and bool((_integers(splits[name], label) >= 0).any())
    ]
    chosen = (labelled or found)[0]
    others = [name for name in found if name != chosen]
    return chosen, [f"Tested on the {chosen} split; {name} is left alone." for name in others]


def _part(
    config: DataConfig, dataset: Any, split: str, labels: Sequence[Tensor], num_classes: int
) -> _Part:
    # Only the labels to train on choose: the true ones are for reporting.
    rows = kept_rows(config, split, labels[0])
    for each in labels:
        check_labels(each.clamp(min=0), num_classes, split)
    given, *true = (each[rows] for each in labels)
    without = int((labels[0] < 0).sum())
    note = f"{without:,} of {len(dataset):,} rows of the {split} split have no label: left out."
    notes = (note,) if without else ()
    return _Part(dataset, split, rows, given, true[0] if true else None, notes)


def _texts(
    config: DataConfig, column: str, train: _Part, test: _Part, class_names: tuple[str, ...]
) -> TrainingData:
    # Here and below: text needs scikit-learn and no torchvision, and images the other way round.
    from data_parameters.training.sources.text import text_features

    texts = _strings(train, column)
    train_features, test_features = text_features(
        texts, _strings(test, column), max_features=config.max_features
    )
    return TrainingData(
        train=replace(train.with_inputs(train_features), texts=texts),
        test=test.with_inputs(test_features),
        class_names=class_names,
    )


def _strings(part: _Part, column: str) -> list[str]:
    texts = part.dataset[column][:]
    for row in part.rows.tolist():
        if texts[row] is None:
            raise ValueError(
                f"Each row should have a text. Found none in row {row} of `{column}` in the "
                f"{part.split} split. Give it one, or the label -1, which leaves it out."
            )
    return [texts[row] for row in part.rows.tolist()]


def _images(
    config: DataConfig, column: str, train: _Part, test: _Part, class_names: tuple[str, ...]
) -> TrainingData:
    from data_parameters.training.sources.images import (
        Images,
        decode_into_memory,
        evaluation_transform,
        training_transform,
    )

    train_images, test_images = (
        ImageColumn(part.dataset, column, part.rows, part.split) for part in (train, test)
    )
    test_in_memory = None
    train_in_memory = decode_into_memory(train_images, config.corrupt)
    if train_in_memory is not None:
        height, width = train_in_memory[0].shape[2:]
        test_in_memory = decode_into_memory(test_images, config.corrupt, (height, width))
    if train_in_memory is None or test_in_memory is None:
        size, corrupt = config.image_size, config.corrupt
        plain = evaluation_transform(size)
        changed = train.with_inputs(Images(train_images, training_transform(size), corrupt))
        return TrainingData(
            train=replace(changed, inputs_to_evaluate=Images(train_images, plain, corrupt)),
            test=test.with_inputs(Images(test_images, plain, corrupt)),
            class_names=class_names,
        )
    mean, std = channel_statistics(train_in_memory[0])
    return TrainingData(
        train=train.with_inputs(*train_in_memory),
        test=test.with_inputs(*test_in_memory),
        class_names=class_names,
        mean=mean,
        std=std,
        notes=tuple(
            f"{len(images) - len(sound):,} corrupt images of the {images.split} split: left out."
            for images, (_, sound) in (
                (train_images, train_in_memory),
                (test_images, test_in_memory),
            )
            if len(sound) < len(images)
        ),
    )
