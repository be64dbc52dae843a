"""Images of the instances with the highest and the lowest temperatures."""

import torch
from torch import Tensor

from data_parameters import DataParameters
from data_parameters.training.data import Split

__all__ = ["extreme_images", "images_of"]

NUM_IMAGES = 16


def extreme_images(
    split: Split, data_parameters: DataParameters, trained: Tensor
) -> dict[str, Tensor]:
    """The images to look at first, and the easiest ones.

    Args:
        split: The training split.
        data_parameters: The tables.
        trained: Which instances to choose from, shape ``(N,)``.

    Returns:
        Images in [0, 1], shape ``(K, C, H, W)``, by name; none where there is no instance table or
        the inputs are not images.
    """
    table = data_parameters.log_instance
    if table is None:
        return {}
    candidates = trained.nonzero().flatten()
    order = table.detach().cpu()[candidates].argsort(descending=True, stable=True)
    rows = {
        "instance/highest": candidates[order[:NUM_IMAGES]],
        "instance/lowest": candidates[order[-NUM_IMAGES:].flip(0)],
    }
    found = {name: images_of(split.to_evaluate(), which.tolist()) for name, which in rows.items()}
    return {name: images for name, images in found.items() if images is not None}


def images_of(split: Split, rows: list[int]) -> Tensor | None:
    """Some inputs as images to look at.

    Args:
        split: A split, as a model is evaluated on it.
        rows: Which instances; those that cannot be decoded are left out.

    Returns:
        Images in [0, 1], shape ``(K, C, H, W)``; ``None`` where the inputs are not images.
    """
    if isinstance(split.inputs, Tensor) and split.inputs.dtype == torch.uint8:
        return split.inputs[rows].float() / 255
    if isinstance(split.inputs, Tensor):
        return None
    # A sample may draw by chance, and looking at it should not change the run.
    with torch.random.fork_rng(devices=[]):
        inputs = [sample for row in rows if (sample := split.inputs[row]) is not None]
    if not inputs or inputs[0].ndim != 3 or inputs[0].shape[0] not in (1, 3):
        return None
    # Normalised by mean and deviation: spread each over [0, 1] again.
    images = torch.stack(inputs)
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    return (images - low) / (high - low).clamp(min=1e-6)
