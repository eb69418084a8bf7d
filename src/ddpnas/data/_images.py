"""Open images, and bring single ones or whole arrays to one layout and size."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ddpnas.errors import DataError
from ddpnas.utils.settings import Interpolation

__all__ = [
    "as_image_batch",
    "brightest",
    "channels_first",
    "file_status",
    "fit_file",
    "fit_image",
    "is_gray",
    "note_few_levels",
    "open_image",
    "reading",
    "resized_images",
]

logger = logging.getLogger(__name__)

_CHANNELS = (1, 3, 4)  # gray, color, color with transparency, which is dropped
_SPARE = 3  # times the pixels a side that a large JPEG file is decoded to
_FULL_RANGE = 2**14  # 16-bit pixels that stay below have fewer than 64 levels in 8 bits
_DAMAGED = (  # what Pillow raises for damaged files: it has no exception class for them
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    struct.error,
    zlib.error,
)
_ORIENTATION = 0x0112  # EXIF tag: how the camera was held
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@contextlib.contextmanager
def open_image(path: str | Path) -> Iterator[Image.Image]:
    """Open an image file; its pixels are read when they are first used.

    Raises:
        DataError: The file cannot be read, now or while its pixels are used.
    """
    file_status(path)
    with reading(f"the image {path}"), Image.open(path) as image:
        yield image


def file_status(path: str | Path) -> os.stat_result:
    """Return the status of a file.

    Raises:
        DataError: It is not there, or something else, such as a pipe, which would never end.
    """
    file = Path(path)
    try:
        status = file.stat()
    except (OSError, ValueError) as error:  # ValueError: a null character
        link = f"; it is a link to {file.readlink()}" if file.is_symlink() else ""
        raise DataError(
            f"the image {path} cannot be read: {getattr(error, 'strerror', error)}{link}"
        ) from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise DataError(f"the image {path} cannot be read: it is {kind}, not a file")
    return status


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what Pillow raises inside into a sentence: the image cannot be read.

    Args:
        name: What to call the image.

    Raises:
        DataError: In place of an error of Pillow.
    """
    try:
        yield
    except DataError:
        raise
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise DataError(
            f"{name} cannot be read: it has more than {most:,} pixels; make it smaller"
        ) from None
    except _DAMAGED as error:
        raise DataError(f"{name} cannot be read: {error}") from None


def channels_first(images: np.ndarray[Any, Any] | Tensor, name: str) -> Tensor:
    """Return images as (N, C, H, W) with 1 or 3 channels, whether channels come first or last.

    Args:
        images: (N, H, W), (N, H, W, C) or (N, C, H, W) with 1, 3 or 4 channels. A fourth channel,
            transparency, is dropped.
        name: What to call the images in messages.

    Raises:
        DataError: The images have another shape, or their channels may be first or last.
    """
    batch = images if isinstance(images, Tensor) else torch.from_numpy(np.ascontiguousarray(images))
    if batch.ndim == 3:
        return batch[:, None]
    first, last = (batch.ndim == 4 and batch.shape[i] in _CHANNELS for i in (1, -1))
    shape = "x".join(map(str, batch.shape))
    if not (first or last):
        raise DataError(
            f"{name} have the shape {shape}; it must be (N, H, W), (N, H, W, C) or (N, C, H, W) "
            f"with 1, 3 or 4 channels (more can be given from Python, as tensors of floats)"
        )
    if first and last and not isinstance(images, Tensor):
        raise DataError(
            f"{name} have the shape {shape}, so that their channels may be first or last; give "
            f"images of more than 4 pixels a side"
        )
    return batch[:, :3] if first else batch[..., :3].movedim(-1, 1).contiguous()


def as_image_batch(images: Any, channels: int) -> Tensor:
    """Return uint8 images as (N, channels, H, W), converted between gray and color as needed.

    Args:
        images: An array or tensor of shape (H, W), (H, W, C), (N, H, W), (N, H, W, C) or
            (N, C, H, W), with 1, 3 or 4 channels. A fourth channel, transparency, is dropped. A
            tensor may also be (C, H, W). With ``channels`` channels, which come first, a tensor is
            taken unchanged.
        channels: Number of channels to return. Only 1 and 3 are converted to each other.

    Raises:
        DataError: The images have another shape.
    """
    if isinstance(images, Tensor) and images.ndim in (3, 4) and images.shape[-3] == channels:
        return images if images.ndim == 4 else images[None]
    batch = images if isinstance(images, Tensor) else torch.from_numpy(np.ascontiguousarray(images))
    if batch.ndim == 2:
        batch = batch[None, None]
    elif batch.ndim == 3 and isinstance(images, Tensor) and batch.shape[0] in (1, 3):
        batch = batch[None]
    elif batch.ndim == 3 and batch.shape[-1] in _CHANNELS:
        batch = batch[..., :3].movedim(-1, 0)[None]
    else:
        batch = channels_first(images, "uint8 images")
    if batch.shape[1] == channels:
        return batch
    if batch.shape[1] == 1:
        return batch.expand(-1, channels, -1, -1)
    from torchvision.transforms.v2 import functional

    grey: Tensor = functional.rgb_to_grayscale(batch)
    return grey


def fit_file(
    path: str | Path,
    size: int | tuple[int, int],
    mode: str,
    interpolation: Interpolation = "bilinear",
) -> Tensor:
    """Return the image in a file as :func:`fit_image` does.

    Raises:
        DataError: The file cannot be read.
    """
    with open_image(path) as image:
        # A JPEG file can be decoded at a fraction of its size, which takes a tenth of the time.
        # It stays several times larger than needed, so that resizing has enough pixels. An image
        # that the user opened would stay that small.
        image.draft(None, (_SPARE * max(np.atleast_1d(size).tolist()),) * 2)
        return fit_image(image, size, mode, interpolation)


def fit_image(
    image: Image.Image,
    size: int | tuple[int, int],
    mode: str,
    interpolation: Interpolation = "bilinear",
) -> Tensor:
    """Return the image as (C, height, width) uint8: upright, cropped, resized, converted.

    Args:
        image: An image of any size. It is turned as its EXIF orientation says, transparent pixels
            become white, and 16 bits per pixel become 8. Pixels of 32 bits that are all below 256
            are taken for 8 bits, others for 16. Those of a PGM file have 16, as its header says.
        size: Pixels on each side, or (height, width).
        mode: "L" for one gray channel, or "RGB".
        interpolation: How it is resized.

    Raises:
        ValueError: The pixels have 32 bits, so that their range is unknown.
    """
    height, width = (size, size) if isinstance(size, int) else size
    image = _upright(image)
    if image.mode.startswith("I"):
        pixels = np.asarray(image)
        if pixels.min() < 0 or pixels.max() > 0xFFFF:
            raise ValueError("it has pixels of 32 bits; convert it to 8 or 16")
        image = Image.fromarray(
            (pixels if _holds_8_bits(image) else pixels // 256).astype(np.uint8)
        )
    elif image.mode == "F":
        raise ValueError("it has pixels of 32 bits; convert it to 8 or 16")
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert(mode)
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling[interpolation.upper()])
    array = np.asarray(image, dtype=np.uint8)
    return torch.from_numpy(array[None].copy() if mode == "L" else array.transpose(2, 0, 1).copy())


def is_gray(mode: str) -> bool:
    """Return whether images of a mode of Pillow have no colors.

    Example:
        >>> is_gray("I;16"), is_gray("P")
        (True, False)
    """
    return mode in ("1", "L") or mode.startswith("I")


def brightest(image: Image.Image) -> int | None:
    """Return the largest pixel of an image whose 16 bits become 8; None for another image."""
    if not image.mode.startswith("I") or _holds_8_bits(image):
        return None
    return int(np.asarray(image).max())


def note_few_levels(name: str, pixels: Iterable[int | None]) -> None:
    """Warn if hardly anything is left of 16-bit images in 8 bits.

    Args:
        name: What to call the images.
        pixels: :func:`brightest` of the images.
    """
    most = max((one for one in pixels if one is not None), default=_FULL_RANGE)
    if most < _FULL_RANGE:
        logger.warning(
            "%s have 16 bits, but their pixels end at %d of 65535, so that %d of 256 levels are "
            "left in 8 bits; multiply all pixels by %d, or save them with 8 bits",
            name,
            most,
            most // 256 + 1,
            0xFFFF // max(1, most),
        )


def _holds_8_bits(image: Image.Image) -> bool:
    """Return whether an image of 32 bits has only pixels of 8, as some programs save them.

    Pillow opens a PGM file of 16 bits as one of 32, and a dark one has small pixels.
    """
    if image.mode != "I" or image.format == "PPM":
        return False
    return int(np.asarray(image).max()) <= 0xFF


def _upright(image: Image.Image) -> Image.Image:
    """Return the image as a viewer shows it; unchanged if its EXIF data cannot be read.

    ``ImageOps.exif_transpose`` also rewrites the EXIF data, which fails if they are damaged.
    """
    image.load()  # turns a TIFF, which then no longer has an orientation
    try:
        turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except _DAMAGED:
        return image
    return image if turn is None else image.transpose(turn)


def resized_images(
    images: Tensor, size: tuple[int, int], interpolation: Interpolation = "bilinear"
) -> Tensor:
    """Return images as (N, C, height, width) uint8: resized to cover that size, then cropped."""
    height, width = images.shape[-2:]
    if (height, width) == size:
        return images
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional

    covering = [max(size[0], height * size[1] // width), max(size[1], width * size[0] // height)]
    mode = InterpolationMode(interpolation)
    larger = functional.resize(images, covering, mode, antialias=True)
    result: Tensor = functional.center_crop(larger, list(size))
    return result
