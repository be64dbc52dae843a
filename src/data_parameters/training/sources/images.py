"""Images in files or tables: decoded on demand and transformed one by one, or once into memory.

Legend: N instances, H and W height and width of images.
"""

import io
import logging
from collections.abc import Callable
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data_parameters.training.data import CorruptImageError

try:
    from PIL import Image
    from torchvision.transforms import v2
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "Images need torchvision and Pillow, optional dependencies. Install them with: "
        "pip install 'data-parameters[vision]'",
        name=error.name,
    ) from error

__all__ = [
    "EncodedImages",
    "Images",
    "decode_into_memory",
    "evaluation_transform",
    "training_transform",
]

IMAGENET_MEAN = [0.485, 0.456, 0.406]
IMAGENET_STD = [0.229, 0.224, 0.225]

logger = logging.getLogger(__name__)


class EncodedImages(Protocol):
    """Images as JPEG, PNG or another format that Pillow reads."""

    def __len__(self) -> int:
        """Number of images."""

    def read(self, index: int) -> bytes:
        """The content of an image file."""

    def name(self, index: int) -> str:
        """What to call the image in a message."""

    def file(self, index: int) -> str:
        """Name of the image file within the data set; empty where it is none."""


class Images(Dataset[Tensor | None]):
    """Images that are decoded each time they are asked for.

    Args:
        images: The encoded images.
        transform: Makes a float tensor of a Pillow image in RGB.
        corrupt: Whether an image that cannot be decoded raises ``CorruptImageError``, or is named
            in the log and handed out as ``None``.
    """

    def __init__(
        self,
        images: EncodedImages,
        transform: Callable[[Image.Image], Tensor],
        corrupt: Literal["refuse", "skip"],
    ) -> None:
        self.images, self.transform, self.corrupt = images, transform, corrupt

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor | None:
        """An image as the model takes it.

        Args:
            index: Which image.

        Returns:
            The transformed image, or ``None`` for a corrupt one.
        """
        image = _decoded(self.images, index, self.corrupt)
        return None if image is None else self.transform(image)


def training_transform(image_size: int) -> Callable[[Image.Image], Tensor]:
    """A random crop of random area and shape, a flip of every other image, and a normalisation.

    Args:
        image_size: Height and width of the result.

    Returns:
        The transform, which draws from torch's global generator.
    """
    return _compose(v2.RandomResizedCrop(image_size), v2.RandomHorizontalFlip())


def evaluation_transform(image_size: int) -> Callable[[Image.Image], Tensor]:
    """The centre of an image whose shorter side is 256 for 224, and a normalisation.

    Args:
        image_size: Height and width of the result.

    Returns:
        The transform.
    """
    return _compose(v2.Resize(round(image_size * 256 / 224)), v2.CenterCrop(image_size))


def _compose(*transforms: Any) -> Callable[[Image.Image], Tensor]:
    to_float = v2.ToDtype(torch.float32, scale=True)
    normalize = v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)
    transform: Callable[[Image.Image], Tensor] = v2.Compose(
        [*transforms, v2.ToImage(), to_float, v2.ToPureTensor(), normalize]
    )
    return transform


def decode_into_memory(
    images: EncodedImages,
    corrupt: Literal["refuse", "skip"],
    size: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor] | None:
    """Decode images of one size once and for all.

    Args:
        images: The encoded images.
        corrupt: Whether an image that cannot be decoded raises ``CorruptImageError``, or is named
            in the log and left out.
        size: Height and width that they should have; by default those of the first.

    Returns:
        uint8 images of shape ``(N, 3, H, W)`` and which ones they are, shape ``(N,)``; or ``None``
        as soon as one has another size.

    Raises:
        CorruptImageError: An image cannot be decoded; or none can, if they may be left out.
    """
    pixels = None if size is None else torch.empty(len(images), 3, *size, dtype=torch.uint8)
    sound = torch.zeros(len(images), dtype=torch.bool)
    for index in range(len(images)):
        image = _decoded(images, index, corrupt)
        if image is None:
            continue
        if pixels is None:
            pixels = torch.empty(len(images), 3, image.height, image.width, dtype=torch.uint8)
        if (image.height, image.width) != pixels.shape[2:]:
            return None
        pixels[index] = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        sound[index] = True
    if pixels is None or not bool(sound.any()):
        raise CorruptImageError(
            f"There should be images that can be decoded. Found {len(images)}, all of them "
            "corrupt. Check that the column holds images."
        )
    return (pixels if bool(sound.all()) else pixels[sound]), sound.nonzero().squeeze(1)


def _decoded(
    images: EncodedImages, index: int, corrupt: Literal["refuse", "skip"]
) -> Image.Image | None:
    content = images.read(index)
    try:
        return Image.open(io.BytesIO(content)).convert("RGB")
    except MemoryError:
        raise
    # Pillow's decoders stumble in many ways over bytes that they do not expect.
    except Exception as error:
        message = (
            f"An image should be one that Pillow can decode. Found {images.name(index)} "
            f"({type(error).__name__}: {error}). Replace it, or go on without it with "
            "--data.corrupt skip; the default is --data.corrupt refuse."
        )
        if corrupt == "refuse":
            raise CorruptImageError(message) from error
        logger.warning("Skipped %s: it cannot be decoded.", images.name(index))
        return None
