"""One real step of the published CIFAR-100 recipe, with its network, on a CPU."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data_parameters.training.config import NoiseConfig
from data_parameters.training.data import DataConfig
from data_parameters.training.recipes import RECIPES
from data_parameters.training.run import start_run

CIFAR = Path(__file__).parents[3] / "shared" / "data" / "cifar100"


@pytest.mark.long
@pytest.mark.skipif(not CIFAR.is_dir(), reason="needs the images of CIFAR-100, which lie elsewhere")
def test_one_step_of_the_cifar_recipe(tmp_path: Path) -> None:
    config = replace(
        RECIPES["cifar100"],
        data=DataConfig(name="parquet", path=CIFAR, label_column="fine_label", limit=2_000),
        noise=NoiseConfig(kind="permute", fraction=0.4),
        epochs=1,
        limit_batches=1,
        read_epochs=(),
        output=tmp_path / "run",
    )
    result = start_run(config)
    weights = torch.load(tmp_path / "run" / "model.pt", weights_only=True)
    num_parameters = sum(
        value.numel()
        for name, value in weights.items()
        if "running" not in name and "num_batches" not in name
    )
    assert num_parameters == 36_546_980
    assert all(value.isfinite().all() for value in weights.values())
    assert 0.0 <= result.last["top1"] <= 1.0
    touched = (tmp_path / "run" / "instances.csv").read_text().splitlines()[1:]
    assert sum(line.endswith(",1") for line in touched) == 128
