"""Small Parquet files, and a check that nothing is looked for on the network."""

import io
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from data_parameters.training.data import DataConfig, load_data


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without a network, and with a cache of its own."""
    asked = []

    def refuse(*arguments: Any) -> None:
        asked.append(arguments)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    yield
    assert not asked, "data were looked for on the network"


def pixels(number: int, size: int = 4) -> np.ndarray[Any, Any]:
    return np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8)


def png(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "png")
    return file.getvalue()


def write(folder: Path, *, classes: list[str] | None = None, **splits: dict[str, Any]) -> Path:
    """Write splits of columns; with class names the column ``label`` is one of classes."""
    for name, columns in splits.items():
        path = folder / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        if classes is None:
            pyarrow.parquet.write_table(pyarrow.table(columns), path)
        else:
            table = datasets.Dataset.from_dict(columns)
            table = table.cast_column("label", datasets.ClassLabel(names=classes))
            table.to_parquet(path)
    return folder


def write_texts(folder: Path, **columns: Any) -> Path:
    train = {"text": ["a red cat", "a red dog", "one blue cat"], "label": [0, 1, 0], **columns}
    return write(folder, train=train, test={"text": ["red bird", "blue"], "label": [1, 0]})


def load(folder: Path, **options: Any) -> Any:
    return load_data(DataConfig(name="parquet", path=folder, **options))
