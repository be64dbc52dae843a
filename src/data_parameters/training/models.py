"""Models by name.

Legend: B samples in the minibatch, C channels, H and W pixels, D features.
"""

import difflib
import math
import re
from dataclasses import dataclass
from typing import Any

from torch import nn

from data_parameters.training.user_function import load_function
from data_parameters.training.wide_resnet import WideResNet

__all__ = ["ModelConfig", "build_model"]

WIDE_RESNET = re.compile(r"wrn-(\d+)-(\d+)")
WITH_DROPOUT = re.compile(r"mlp|cnn|wrn-.*")
# Their second outputs would be lost, and torchvision warns where the initialisation is not chosen.
WITHOUT_SECOND_OUTPUT = {"aux_logits": False, "init_weights": True}
TORCHVISION_OPTIONS = {
    "googlenet": WITHOUT_SECOND_OUTPUT,
    "inception_v3": WITHOUT_SECOND_OUTPUT,
}


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network."""

    name: str = "mlp"
    """`mlp`, `linear`, `cnn`, `wrn-DEPTH-WIDTH` (published: wrn-28-10), a classifier of torchvision
    such as `resnet18`, `timm:NAME`, or `module:function` of your own, which is called with
    `input_shape` and `num_classes`. None brings trained weights."""

    hidden: int = 512
    """Width of the two hidden layers of `mlp`."""

    dropout: float = 0.0
    """Dropout of `mlp`, `cnn` and `wrn-DEPTH-WIDTH`."""

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise ValueError(f"`model.hidden` should be at least 1. Found {self.hidden}.")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"`model.dropout` should lie in [0, 1). Found {self.dropout}.")
        if self.dropout and not WITH_DROPOUT.fullmatch(self.name):
            raise ValueError(
                f"`model.dropout` should be 0 for {self.name!r}. Found {self.dropout}. It serves "
                "mlp, cnn and wrn-DEPTH-WIDTH; build other models in a `module:function`."
            )


def build_model(config: ModelConfig, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Build a network with untrained weights, drawn from torch's global generator.

    Args:
        config: Which one.
        input_shape: Of one input: ``(C, H, W)`` for images, ``(D,)`` for features.
        num_classes: Number of logits.

    Returns:
        A module from inputs ``(B, *input_shape)`` to logits ``(B, num_classes)``.

    Raises:
        ValueError: There is no such model, or it does not take such inputs.
        ModuleNotFoundError: The model's library is not installed.

    Example:
        >>> build_model(ModelConfig(name="linear"), (1, 8, 8), num_classes=10)
        Sequential(
          (0): Flatten(start_dim=1, end_dim=-1)
          (1): Linear(in_features=64, out_features=10, bias=True)
        )
    """
    name = config.name
    if name == "mlp":
        return _mlp(config, math.prod(input_shape), num_classes)
    if name == "linear":
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), num_classes))
    if name == "cnn":
        return _cnn(config, input_shape, num_classes)
    if match := WIDE_RESNET.fullmatch(name):
        depth, width = int(match[1]), int(match[2])
        in_channels = _num_channels(name, input_shape)
        return WideResNet(
            depth, width, num_classes, in_channels=in_channels, dropout=config.dropout
        )
    if name.startswith("timm:"):
        return _timm(name.removeprefix("timm:"), input_shape, num_classes)
    if ":" in name:
        return _of_user(name, input_shape, num_classes)
    return _torchvision(name, input_shape, num_classes)


def _num_channels(name: str, input_shape: tuple[int, ...]) -> int:
    if len(input_shape) != 3:
        raise ValueError(
            f"`{name}` should be given images, shape (C, H, W). Found inputs of shape "
            f"{input_shape}. Take mlp or linear for features."
        )
    return input_shape[0]


def _mlp(config: ModelConfig, num_features: int, num_classes: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    for size in (num_features, config.hidden):
        layers += [nn.Linear(size, config.hidden), nn.ReLU(), nn.Dropout(config.dropout)]
    return nn.Sequential(*layers, nn.Linear(config.hidden, num_classes))


def _cnn(config: ModelConfig, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Three convolutions that halve the image, and the mean over what is left of it."""
    channels = _num_channels("cnn", input_shape)
    if min(input_shape[1:]) < 8:
        raise ValueError(
            f"`cnn` should be given images of 8x8 pixels or more. Found {input_shape}. Take mlp."
        )
    layers: list[nn.Module] = []
    for width in (32, 64, 128):
        layers += [nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(config.dropout))
    return nn.Sequential(*layers, *head, nn.Linear(channels, num_classes))


def _torchvision(name: str, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    try:
        import torchvision
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"`{name}` is none of our models, and torchvision, which may have it, is an optional "
            "dependency. Install it with: pip install 'data-parameters[vision]'",
            name=error.name,
        ) from error

    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        raise ValueError(_unknown(name, ["mlp", "linear", "cnn", "wrn-28-10", *names]))
    channels = _num_channels(name, input_shape)
    if channels != 3:
        raise ValueError(
            f"`{name}` of torchvision should be given images of 3 channels. Found {channels}. "
            "Take cnn, wrn-DEPTH-WIDTH or timm:NAME, whose first layer follows the images."
        )
    options: dict[str, Any] = TORCHVISION_OPTIONS.get(name, {})
    model: nn.Module = torchvision.models.get_model(
        name, weights=None, num_classes=num_classes, **options
    )
    return model


def _timm(name: str, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"`timm:{name}` needs timm, an optional dependency. Install it with: "
            "pip install 'data-parameters[timm]'",
            name=error.name,
        ) from error

    if not timm.is_model(name):
        raise ValueError(_unknown(name, timm.list_models(), prefix="timm:"))
    channels = _num_channels(f"timm:{name}", input_shape)
    return timm.create_model(name, pretrained=False, num_classes=num_classes, in_chans=channels)


def _of_user(reference: str, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    model = load_function(reference)(input_shape=input_shape, num_classes=num_classes)
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"`{reference}` should return a torch.nn.Module. Found {type(model).__name__}."
        )
    return model


def _unknown(name: str, names: list[str], prefix: str = "") -> str:
    close = [prefix + match for match in difflib.get_close_matches(name, names, n=5)]
    remedy = f"Did you mean {', '.join(close)}?" if close else "No name comes close."
    return (
        "`model.name` should be mlp, linear, cnn, wrn-DEPTH-WIDTH, a classifier of torchvision, "
        f"timm:NAME or module:function. Found {prefix}{name}. {remedy}"
    )
