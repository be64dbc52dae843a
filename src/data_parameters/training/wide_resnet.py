"""Wide residual networks as the data-parameters experiments on CIFAR-100 used them.

Legend: B samples in the minibatch, C channels, H and W pixels.
"""

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["WideResNet"]


class WideResNet(nn.Module):
    r"""A residual network of three stages of pre-activated blocks, wide instead of deep.

    The depth counts the :math:`6 n + 4` convolutions on the way, :math:`n` blocks in each stage.
    Stages have :math:`16 k`, :math:`32 k` and :math:`64 k` channels; the second and the third halve
    the image. Set apart from the original by what the published data-parameters code has: every
    convolution has a bias, all weights start as torch's layers start, and the last batch norm has
    momentum 0.9. Parameters carry the names of the published checkpoints.

    Args:
        depth: :math:`6 n + 4`: 10, 16, 22, 28, …
        width: The factor :math:`k`.
        num_classes: Number of logits.
        in_channels: Channels of an image.
        dropout: Between the two convolutions of a block.

    Shape:
        - input: ``(B, in_channels, H, W)``
        - output: ``(B, num_classes)``

    Raises:
        ValueError: The depth is not of the form, or the width is below 1.

    Example:
        >>> import torch
        >>> model = WideResNet(10, 1, num_classes=7)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 7])

    References:
        Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016. Saxena, Tuzel and DeCoste,
        "Data Parameters", NeurIPS 2019.
    """

    def __init__(
        self,
        depth: int,
        width: int,
        num_classes: int,
        *,
        in_channels: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if depth < 10 or depth % 6 != 4 or width < 1:
            raise ValueError(
                "A wide residual network should have depth 6n + 4 (10, 16, 22, 28, …) and width 1 "
                f"or more. Found depth {depth} and width {width}. The published one is wrn-28-10."
            )
        num_blocks = (depth - 4) // 6
        self.conv1 = nn.Conv2d(in_channels, 16, kernel_size=3, padding=1)
        self.layer1 = _stage(num_blocks, 16, 16 * width, 1, dropout)
        self.layer2 = _stage(num_blocks, 16 * width, 32 * width, 2, dropout)
        self.layer3 = _stage(num_blocks, 32 * width, 64 * width, 2, dropout)
        self.bn1 = nn.BatchNorm2d(64 * width, momentum=0.9)
        self.linear = nn.Linear(64 * width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the logits of a minibatch.

        Args:
            images: Normalized images.

        Returns:
            The logits.
        """
        features = self.layer3(self.layer2(self.layer1(self.conv1(images))))
        logits: Tensor = self.linear(F.relu(self.bn1(features)).mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    """Two convolutions, each after batch norm and ReLU, beside a shortcut from the raw input."""

    def __init__(self, in_channels: int, channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, kernel_size=3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, stride=stride, padding=1)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != channels:
            self.shortcut.append(nn.Conv2d(in_channels, channels, kernel_size=1, stride=stride))

    def forward(self, features: Tensor) -> Tensor:
        residual = self.conv1(F.relu(self.bn1(features)))
        residual = self.conv2(F.relu(self.bn2(self.dropout(residual))))
        total: Tensor = residual + self.shortcut(features)
        return total


def _stage(
    num_blocks: int, in_channels: int, channels: int, stride: int, dropout: float
) -> nn.Sequential:
    first = _Block(in_channels, channels, stride, dropout)
    return nn.Sequential(
        first, *(_Block(channels, channels, 1, dropout) for _ in range(1, num_blocks))
    )
