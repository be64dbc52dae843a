"""Configurations as files, and how two of them differ."""

import dataclasses
import json
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_parameters.training.config import TrainConfig

__all__ = ["config_from_dict", "config_to_dict", "differences", "flat", "read_config"]


def config_to_dict(config: Any) -> dict[str, Any]:
    """Plain values of a configuration, as they go into JSON.

    Args:
        config: A dataclass.

    Returns:
        Its fields; paths as text, tuples as lists.
    """
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    return plain


def config_from_dict(values: Mapping[str, Any]) -> TrainConfig:
    """The configuration of plain values; what is left out keeps its default.

    Args:
        values: Fields, nested as the dataclasses are.

    Returns:
        The configuration, checked.

    Raises:
        ValueError: A field is unknown, or a value is out of its range.
    """
    built: TrainConfig = _build(TrainConfig, values, "")
    return built


def read_config(path: Path) -> TrainConfig:
    """Read a configuration, such as the ``config.json`` of a run folder.

    Args:
        path: A JSON or TOML file.

    Returns:
        The configuration.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON or TOML, or not a configuration.
    """
    text = path.read_text(encoding="utf-8")
    try:
        values = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} should be a JSON or TOML file. Found: {error}.") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} should hold fields of a configuration. Found {values!r:.50}.")
    return config_from_dict(values)


def differences(saved: TrainConfig, given: TrainConfig) -> list[str]:
    """What differs between two configurations, apart from where and how a run is carried out.

    Args:
        saved: The configuration of the run.
        given: The configuration to continue with.

    Returns:
        One line for each difference that changes the mathematics.
    """
    old, new = (flat(config) for config in (saved, given))
    free = ("runtime.", "output", "data.download", "data.path", "labels")
    return [
        f"{name}: {old.get(name)!r} in the run, {new.get(name)!r} now"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and not name.startswith(free)
    ]


def flat(config: TrainConfig) -> dict[str, Any]:
    """The plain values of a configuration under dotted names.

    Args:
        config: The configuration.

    Returns:
        Such as ``{"optimizer.lr": 0.1}``.
    """
    return _flatten(config_to_dict(config))


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, Mapping)
        flat.update(_flatten(value, f"{prefix}{name}.") if nested else {prefix + name: value})
    return flat


def _build(kind: Any, values: Mapping[str, Any], prefix: str) -> Any:
    hints = typing.get_type_hints(kind)
    unknown = values.keys() - hints.keys()
    if unknown:
        raise ValueError(
            f"A configuration should have fields of {kind.__name__}: {', '.join(hints)}. Found "
            f"{', '.join(prefix + name for name in sorted(unknown))}."
        )
    fields = {name: _value(hints[name], value, prefix + name) for name, value in values.items()}
    return kind(**fields)


def _value(hint: Any, value: Any, name: str) -> Any:
    """A plain value as the type that the field asks for."""
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ValueError(f"`{name}` should hold fields of its own. Found {value!r}.")
        return _build(hint, value, f"{name}.")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType or origin is typing.Union:
        if value is None and type(None) in arguments:
            return None
        [inner] = [each for each in arguments if each is not type(None)]
        return _value(inner, value, name)
    if origin is typing.Literal:
        if value not in arguments:
            raise ValueError(f"`{name}` should be one of {arguments}. Found {value!r}.")
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(_value(arguments[0], each, name) for each in value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and (not isinstance(value, hint) or (hint is int and value is True)):
        raise ValueError(f"`{name}` should be of type {hint.__name__}. Found {value!r}.")
    return value
