"""Configurations: checks, files, differences and recipes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data_parameters.training.config import (
    NoiseConfig,
    RuntimeConfig,
    ScheduleConfig,
    TableConfig,
    TemperatureConfig,
    TrainConfig,
)
from data_parameters.training.config_file import (
    config_from_dict,
    config_to_dict,
    differences,
    read_config,
)
from data_parameters.training.recipes import DEFAULT, RECIPES
from data_parameters.training.schedule import lr_factor


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_written_configuration_can_be_fed_back(name: str, tmp_path: Path) -> None:
    config = replace(RECIPES[name], output=tmp_path / "run")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config_to_dict(config)))
    assert read_config(path) == config


def test_toml_and_what_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("epochs = 3\n[instances]\nlearn = true\nlr = 1\n")
    config = read_config(path)
    assert config == replace(
        TrainConfig(), epochs=3, instances=replace(TrainConfig().instances, learn=True, lr=1.0)
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 3}, "Found epoch"),
        ({"data": {"nam": "digits"}}, r"Found data\.nam"),
        ({"epochs": "3"}, "`epochs` should be of type int"),
        ({"epochs": 0}, "`epochs` should lie in"),
        ({"instances": 3}, "fields of its own"),
        ({"precision": "half"}, "should be one of"),
        ({"noise": {"fraction": 0.4}}, "come together"),
        ({"noise": {"kind": "permute", "fraction": 40}}, r"in \[0.0, 1.0\]"),
        ({"patience": 3}, "validation_fraction"),
        ({"schedule": {"milestones": [5, 3]}}, "should rise"),
        ({"optimizer": {"lr": -1.0}}, "above 0"),
        ({"seed": -1}, "`seed`"),
    ],
)
def test_wrong_values(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_from_dict(values)


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("{")
    with pytest.raises(ValueError, match="JSON or TOML"):
        read_config(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="fields of a configuration"):
        read_config(path)


def test_differences_name_what_changes_the_mathematics() -> None:
    saved = TrainConfig()
    assert differences(saved, replace(saved, runtime=RuntimeConfig(num_workers=2))) == []
    changed = replace(saved, epochs=7, noise=NoiseConfig(kind="pair", fraction=0.1))
    assert differences(saved, changed) == [
        "epochs: 60 in the run, 7 now",
        "noise.fraction: 0.0 in the run, 0.1 now",
        "noise.kind: 'none' in the run, 'pair' now",
    ]


def test_published_settings() -> None:
    cifar, imagenet, joint = (RECIPES[n] for n in ("cifar100", "imagenet", "imagenet-joint"))
    assert (cifar.model.name, cifar.epochs, cifar.batch_size) == ("wrn-28-10", 120, 128)
    assert cifar.schedule.milestones == (80, 100, 160)
    assert (cifar.instances.lr, cifar.instances.weight_decay) == (0.2, 0.0)
    assert (imagenet.classes.lr, imagenet.classes.weight_decay) == (0.1, 1e-4)
    assert (joint.instances.lr, joint.instances.weight_decay) == (0.8, 1e-8)


@pytest.mark.parametrize(
    ("batch_size", "mean_rate", "sample_rate"),
    [(16, 1 / 4, 1 / 64), (64, 1.0, 1 / 64), (128, 1.0, 1 / 128)],
)
def test_the_rate_of_instances_where_none_is_named(
    batch_size: int, mean_rate: float, sample_rate: float
) -> None:
    config = TrainConfig(batch_size=batch_size)
    assert (config.lr_class, config.lr_instance) == (0.1, mean_rate)
    assert replace(config, tables=TableConfig(per_sample=True)).lr_instance == sample_rate
    assert replace(config, tables=TableConfig(optimizer="adamw")).lr_instance == 0.1
    named = replace(config, instances=TemperatureConfig(lr=0.3), classes=TemperatureConfig(lr=0.4))
    assert (named.lr_class, named.lr_instance) == (0.4, 0.3)
    assert replace(DEFAULT, batch_size=batch_size).lr_instance == sample_rate


def test_schedules() -> None:
    step = ScheduleConfig(milestones=(2, 4))
    factors = [lr_factor(step, s, 10, 6) for s in (0, 19, 20, 39, 40, 59)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    cosine = ScheduleConfig(kind="cosine")
    assert [lr_factor(cosine, s, 10, 6) for s in (0, 30, 60)] == pytest.approx([1, 0.5, 0])
    warm = ScheduleConfig(kind="constant", warmup_epochs=1)
    factors = [lr_factor(warm, s, 10, 6) for s in range(12)]
    assert factors == sorted(factors)
    assert 0 < factors[0] < 0.2
    assert factors[10] == 1
