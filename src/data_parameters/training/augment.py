"""Random crops and flips of a whole batch at once.

Legend: B samples in the minibatch, K channels, H x W pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from data_parameters.training.config import AugmentConfig

__all__ = ["augment"]


def augment(
    images: Tensor,
    config: AugmentConfig,
    generator: torch.Generator,
    *,
    batch_size: int | None = None,
    start: int = 0,
) -> Tensor:
    """Shift and flip each image by chance of its own.

    Args:
        images: Shape ``(B, K, H, W)``, any type, on any device.
        config: Padding around an image before a crop of its own size, with zeros; and whether to
            flip left to right.
        generator: On the CPU, so that a run sees the same images on every device.
        batch_size: Of the minibatch that the images are a part of, if they are one: each image is
            changed as it would be in the whole.
        start: Place of the first image in that minibatch.

    Returns:
        Images of the same shape and type.
    """
    if config.crop_padding == 0 and not config.flip:
        return images
    num_images, channels, height, width = images.shape
    padding, device = config.crop_padding, images.device
    num_drawn = num_images if batch_size is None else batch_size
    mine = slice(start, start + num_images)
    down, right = torch.randint(2 * padding + 1, (2, num_drawn, 1), generator=generator)[:, mine]
    columns = torch.arange(width).expand(num_images, width)
    if config.flip:
        flipped = torch.rand(num_drawn, 1, generator=generator)[mine] < 0.5
        columns = torch.where(flipped, width - 1 - columns, columns)
    rows = (torch.arange(height) + down) * (width + 2 * padding)
    # Where each pixel comes from in the padded image, as one number.
    places = (rows.unsqueeze(2) + (columns + right).unsqueeze(1)).flatten(1).unsqueeze(1)
    padded = F.pad(images, (padding,) * 4).flatten(2)
    places = places.to(device, non_blocking=True).expand(num_images, channels, -1)
    return padded.gather(2, places).reshape(images.shape)
