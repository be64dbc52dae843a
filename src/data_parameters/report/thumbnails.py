"""Small images as ``data:`` addresses, which a page carries within itself."""

import base64
import io

import numpy as np
import numpy.typing as npt

try:
    from PIL import Image
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "Thumbnails need Pillow, an optional dependency. Install it with: "
        "pip install 'data-parameters[report]'",
        name=error.name,
    ) from error

__all__ = ["thumbnail_of_file", "thumbnail_of_pixels"]

SIZE = 96
TINY = 16  # pixels a side; up to here PNG is smaller, and every pixel is seen


def thumbnail_of_file(content: bytes) -> str:
    """Scale the image of a file down to at most 96 pixels a side.

    Args:
        content: An image file that Pillow reads.

    Returns:
        A ``data:image/webp`` or ``data:image/png`` address.

    Raises:
        Exception: Pillow cannot decode the content; its decoders stumble in many ways.
    """
    image = Image.open(io.BytesIO(content))
    image.draft("RGB", (2 * SIZE, 2 * SIZE))  # JPEG: decode no more than is needed
    return _encoded(image)


def thumbnail_of_pixels(pixels: npt.NDArray[np.uint8]) -> str:
    """Scale an array down to at most 96 pixels a side.

    Args:
        pixels: Shape ``(H, W)`` or ``(H, W, 3)``.

    Returns:
        A ``data:image/webp`` or ``data:image/png`` address.

    Example:
        >>> thumbnail_of_pixels(np.zeros((8, 8), np.uint8))[:22]
        'data:image/png;base64,'
    """
    return _encoded(Image.fromarray(pixels))


def _encoded(image: Image.Image) -> str:
    image = image.convert("L" if image.mode in ("1", "L") else "RGB")
    image.thumbnail((SIZE, SIZE))
    content = io.BytesIO()
    if max(image.size) <= TINY:
        kind = "png"
        image.save(content, kind, optimize=True)
    else:
        kind = "webp"
        image.save(content, kind, quality=80)
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
