"""Batched crops and flips against a loop over images."""

import pytest
import torch
import torch.nn.functional as F

from data_parameters.training.augment import augment
from data_parameters.training.config import AugmentConfig


def candidates(image: torch.Tensor, config: AugmentConfig) -> list[torch.Tensor]:
    """Every crop of the padded image, as it is and flipped."""
    padding = config.crop_padding
    padded = F.pad(image, (padding,) * 4)
    height, width = image.shape[1:]
    crops = [
        padded[:, y : y + height, x : x + width]
        for y in range(2 * padding + 1)
        for x in range(2 * padding + 1)
    ]
    return crops + [crop.flip(2) for crop in crops] if config.flip else crops


@pytest.mark.parametrize(
    "config",
    [
        AugmentConfig(crop_padding=2, flip=True),
        AugmentConfig(crop_padding=1),
        AugmentConfig(flip=True),
    ],
)
def test_each_image_is_a_crop_of_its_own(config: AugmentConfig) -> None:
    images = torch.randint(0, 256, (800, 3, 5, 6), dtype=torch.uint8)
    found = augment(images, config, torch.Generator().manual_seed(0))
    assert found.dtype == torch.uint8
    kinds = set()
    for image, changed in zip(images, found, strict=True):
        equal = [torch.equal(changed, each) for each in candidates(image, config)]
        assert any(equal)
        kinds.add(equal.index(True))
    assert len(kinds) == len(candidates(images[0], config))


def test_same_seed_same_images_and_nothing_where_nothing_is_asked() -> None:
    images = torch.rand(8, 1, 4, 4)
    config = AugmentConfig(crop_padding=2, flip=True)
    first, second = (augment(images, config, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert augment(images, AugmentConfig(), torch.Generator()) is images
