"""Images of the instances with the highest and the lowest temperatures."""

import torch
from torch import Tensor

from data_parameters import DataParameters
from data_parameters.training.data import Split

__all__ = ["extreme_images"]

NUM_IMAGES = 16


def extreme_images(split: Split, data_parameters: DataParameters) -> dict[str, Tensor]:
    """The images to look at first, and the easiest ones.

    Args:
        split: The training split.
        data_parameters: Tables with an instance table.

    Returns:
        Images in [0, 1], shape ``(K, C, H, W)``, by name; none where the inputs are not images in
        memory.
    """
    inputs, table = split.inputs, data_parameters.log_instance
    if not isinstance(inputs, Tensor) or inputs.dtype != torch.uint8 or table is None:
        return {}
    num_images = min(NUM_IMAGES, len(table))
    images = {}
    for name, largest in (("highest", True), ("lowest", False)):
        rows = table.detach().topk(num_images, largest=largest).indices.cpu()
        images[f"instance/{name}"] = inputs[rows].float() / 255
    return images
