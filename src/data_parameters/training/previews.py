"""What a person sees of an instance: the text, or a small image, and where it came from."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from data_parameters.report.content import Preview
from data_parameters.training.data import Split
from data_parameters.training.extremes import images_of

__all__ = ["previews"]

MAX_TEXT = 20_000  # characters of one text


def previews(split: Split, rows: Sequence[int], *, budget: int) -> list[Preview]:
    """Previews of some instances, as long as they fit.

    Args:
        split: The training split.
        rows: Which instances.
        budget: Bytes that all previews may take up together, about.

    Returns:
        Previews of the first rows; empty ones where there is nothing to see.

    Raises:
        ModuleNotFoundError: Pillow is missing, and there are images.
    """
    found: list[Preview] = []
    for preview in _each(split.to_evaluate(), rows):
        budget -= len(preview.text or "") + len(preview.image or "") + len(preview.name)
        if budget < 0:
            break
        found.append(preview)
    return found


def _each(split: Split, rows: Sequence[int]) -> Iterator[Preview]:
    encoded = getattr(split.inputs, "images", None)
    for row in rows:
        if split.texts is not None:
            yield Preview(text=_shortened(split.texts[row]))
        elif encoded is not None:
            yield _of_file(encoded.read(row), encoded.file(row))
        else:
            image = images_of(split, [row])
            yield Preview() if image is None else Preview(image=_of_pixels(image[0]))


def _shortened(text: str) -> str:
    more = len(text) - MAX_TEXT
    return text if more <= 0 else f"{text[:MAX_TEXT]}… ({more:,} more characters)"


def _of_file(content: bytes, name: str) -> Preview:
    from data_parameters.report.thumbnails import thumbnail_of_file

    try:
        return Preview(name=name, image=thumbnail_of_file(content))
    # Pillow's decoders stumble in many ways over bytes that they do not expect.
    except Exception:
        return Preview(name=name)


def _of_pixels(image: Tensor) -> str:
    """An image of shape ``(1, H, W)`` or ``(3, H, W)`` in [0, 1]."""
    from data_parameters.report.thumbnails import thumbnail_of_pixels

    pixels = (255 * image).round().to(torch.uint8).cpu()
    array = pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)
    return thumbnail_of_pixels(array.numpy())
