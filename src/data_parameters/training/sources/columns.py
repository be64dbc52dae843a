"""Which columns of a table hold the inputs and the labels."""

from collections.abc import Mapping
from typing import Any

from datasets import ClassLabel, Image, Value

from data_parameters.training.data import DataConfig

__all__ = ["check_same_classes", "input_column", "is_text", "label_column"]


def input_column(features: Mapping[str, Any], config: DataConfig) -> str:
    """The column of images or text.

    Args:
        features: Of each column, as ``datasets`` describes it.
        config: May name the column.

    Returns:
        Its name: the only column of images, or ``text``, unless the configuration names one.

    Raises:
        ValueError: There is no such column, or several columns of images, or it holds something
            else.
    """
    if config.input_column is not None:
        column = _existing(features, config.input_column, "input_column")
        if not (is_text(features[column]) or _is_image(features[column])):
            raise ValueError(
                f"`data.input_column` should hold images or text. Found {column!r} of "
                f"{features[column]}. Name another column."
            )
        return column
    images = [name for name, feature in features.items() if _is_image(feature)]
    if len(images) == 1:
        return images[0]
    if not images and "text" in features and is_text(features["text"]):
        return "text"
    raise ValueError(
        "The data should have one column of images, or a column `text`. Found "
        f"{', '.join(images) or 'none'} with images in the columns {', '.join(features)}. Name the "
        "column with --data.input-column."
    )


def label_column(features: Mapping[str, Any], config: DataConfig) -> str:
    """The column of labels; the true ones, if noisy ones are in another column.

    Args:
        features: Of each column, as ``datasets`` describes it.
        config: May name the column.

    Returns:
        Its name: ``label``, or the only column of classes, or the only column of integers, unless
        the configuration names one.

    Raises:
        ValueError: There is no such column, or several, or one does not hold integers.
    """
    noisy, column = config.noisy_label_column, config.label_column
    if noisy is not None:
        _check_integers(features, _existing(features, noisy, "noisy_label_column"))
    if column is None and "label" in features:
        column = "label"
    if column is not None:
        _check_integers(features, _existing(features, column, "label_column"))
        return column
    others = {key: value for key, value in features.items() if key != noisy}
    classes = [name for name, feature in others.items() if isinstance(feature, ClassLabel)]
    integers = [name for name, feature in others.items() if _is_integer(feature)]
    for candidates in (classes, integers):
        if len(candidates) == 1:
            return candidates[0]
    raise ValueError(
        "The data should have a column `label`, or one column of classes or integers. Found "
        f"{', '.join(classes or integers) or 'none'} in the columns {', '.join(features)}. Name "
        "the column with --data.label-column."
    )


def check_same_classes(first: Any, second: Any, second_name: str) -> None:
    """Refuse two columns of labels whose classes have other names or another order.

    Args:
        first: Feature of one column.
        second: Feature of the other.
        second_name: What to call the other in the message.

    Raises:
        ValueError: The names differ.
    """
    if isinstance(first, ClassLabel) and isinstance(second, ClassLabel):
        for place, (name, other) in enumerate(zip(first.names, second.names, strict=False)):
            if name != other:
                raise ValueError(
                    f"The classes of {second_name} should be those of the training labels, in "
                    f"their order. Found {other!r} for class {place}, which is {name!r} there. "
                    "Write the labels with one list of classes."
                )


def is_text(feature: Any) -> bool:
    """Whether a column holds text.

    Args:
        feature: Of the column, as ``datasets`` describes it.

    Returns:
        Whether it is one of strings.
    """
    return isinstance(feature, Value) and feature.dtype in ("string", "large_string")


def _is_image(feature: Any) -> bool:
    if isinstance(feature, Value):
        return bool(feature.dtype in ("binary", "large_binary"))
    return isinstance(feature, Image) or (isinstance(feature, Mapping) and "bytes" in feature)


def _is_integer(feature: Any) -> bool:
    return isinstance(feature, ClassLabel) or (
        isinstance(feature, Value) and feature.dtype.startswith(("int", "uint"))
    )


def _existing(features: Mapping[str, Any], column: str, option: str) -> str:
    if column not in features:
        raise ValueError(
            f"`data.{option}` should name a column. Found {column!r}, but the columns are "
            f"{', '.join(features)}."
        )
    return column


def _check_integers(features: Mapping[str, Any], column: str) -> None:
    if not _is_integer(features[column]):
        raise ValueError(
            f"Labels should be integers. Found the column {column!r} of {features[column]}. Write "
            "the files anew after `dataset.class_encode_column` of datasets, or name another "
            "column with --data.label-column."
        )
