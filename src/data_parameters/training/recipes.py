"""Published settings, and small ones that finish on a CPU."""

from dataclasses import replace

from data_parameters.training.config import (
    AugmentConfig,
    OptimizerConfig,
    ScheduleConfig,
    SecondPhaseConfig,
    TableConfig,
    TemperatureConfig,
    TrainConfig,
)
from data_parameters.training.data import DataConfig
from data_parameters.training.models import ModelConfig

__all__ = ["DEFAULT", "RECIPES"]

# What `data-parameters train` starts from where nothing else is named (docs/how_to_set.md).
DEFAULT = TrainConfig(
    instances=TemperatureConfig(learn=True),
    tables=TableConfig(per_sample=True),
    phase2=SecondPhaseConfig(run=True),
)

DIGITS = TrainConfig(
    data=DataConfig(name="digits"),
    model=ModelConfig(name="mlp"),
    optimizer=OptimizerConfig(lr=0.1, weight_decay=0.0),
    schedule=ScheduleConfig(milestones=(40, 50)),
    instances=TemperatureConfig(learn=True),
    epochs=60,
    batch_size=64,
)

# Saxena, Tuzel and DeCoste 2019: CIFAR-100 with wrong labels, read at epoch 84 and at the end.
CIFAR100 = TrainConfig(
    data=DataConfig(name="cifar100"),
    model=ModelConfig(name="wrn-28-10"),
    optimizer=OptimizerConfig(lr=0.1, momentum=0.9, weight_decay=5e-4),
    schedule=ScheduleConfig(milestones=(80, 100, 160)),
    instances=TemperatureConfig(learn=True, init=1.0, lr=0.2),
    augment=AugmentConfig(crop_padding=4, flip=True),
    epochs=120,
    batch_size=128,
    read_epochs=(84,),
)

# The same source: ImageNet with class parameters, read at epoch 100.
IMAGENET = TrainConfig(
    data=DataConfig(name="imagefolder", image_size=224),
    model=ModelConfig(name="resnet18"),
    optimizer=OptimizerConfig(lr=0.1, momentum=0.9, weight_decay=1e-4),
    schedule=ScheduleConfig(milestones=(30, 60, 90)),
    classes=TemperatureConfig(learn=True, init=1.0, lr=0.1, weight_decay=1e-4),
    epochs=120,
    batch_size=256,
    read_epochs=(100,),
)

RECIPES: dict[str, TrainConfig] = {
    "digits": DIGITS,
    "cifar100": CIFAR100,
    "imagenet": IMAGENET,
    # The published recipe names 0.001 for the instances, which its first step turned into 1/20.
    "imagenet-joint": replace(
        IMAGENET,
        instances=TemperatureConfig(learn=True, init=1 / 20, lr=0.8, weight_decay=1e-8),
    ),
    "cifar100-small": replace(
        CIFAR100,
        model=ModelConfig(name="cnn"),
        optimizer=OptimizerConfig(lr=0.05, momentum=0.9, weight_decay=5e-4),
        schedule=ScheduleConfig(milestones=(20, 26)),
        epochs=30,
        read_epochs=(),
    ),
    "text": TrainConfig(
        data=DataConfig(name="parquet"),
        model=ModelConfig(name="linear"),
        optimizer=OptimizerConfig(lr=1.0, weight_decay=0.0),
        schedule=ScheduleConfig(kind="cosine"),
        instances=TemperatureConfig(learn=True),
        epochs=30,
        batch_size=64,
    ),
}
