"""Preprocessing: from any image to the input of a network, the same in training and in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ddpnas.data._images import as_image_batch, fit_file, fit_image, resized_images
from ddpnas.data._inputs import as_numbers
from ddpnas.errors import DataError
from ddpnas.utils.settings import Interpolation

__all__ = ["Normalizer", "Preprocessing"]


@dataclass(frozen=True)
class Preprocessing:
    """Turns images into inputs of a network: resizing, conversion of channels, normalization.

    Every image becomes what the training images became, in whatever form it comes.

    Args:
        shape: Shape of one input, (channels, height, width) for images.
        mean: Mean of each channel, for images scaled to [0, 1]. Empty for inputs that are not
            images: they are taken unchanged.
        std: Standard deviation of each channel, for images scaled to [0, 1].
        interpolation: How images are resized.

    Example:
        >>> preprocessing = Preprocessing((3, 8, 8), mean=(0.5,) * 3, std=(0.25,) * 3)
        >>> grey = np.full((10, 20), 255, dtype=np.uint8)
        >>> inputs = preprocessing(grey)
        >>> inputs.shape, float(inputs.max())
        (torch.Size([1, 3, 8, 8]), 2.0)
    """

    shape: tuple[int, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    interpolation: Interpolation = "bilinear"

    def __call__(self, images: Any) -> Tensor:
        """Return the inputs for these images, (N, *shape), float32 and normalized.

        Args:
            images: A path, a PIL image, a uint8 array or tensor ((H, W), (H, W, C) or, for
                several images, (N, H, W), (N, H, W, C), (N, C, H, W)), or a list of any of these.
                Floating-point arrays and tensors (N, *shape) are taken unchanged.

        Raises:
            DataError: Something cannot be read as an image, or has another shape.
        """
        if isinstance(images, (str, Path, Image.Image)):
            images = [images]
        if isinstance(images, Sequence):
            if not images:
                raise DataError("there is no image to preprocess")
            return torch.cat([self._input(image) for image in images])
        return self._input(images)

    def fit(self, images: Any) -> Tensor:
        """Return the images at the shape of an input, uint8 (N, C, H, W), not normalized.

        They are cropped to cover the shape, resized, and converted to grey or color.

        Args:
            images: A path, a PIL image, or a uint8 array or tensor, see :meth:`__call__`.

        Raises:
            DataError: The images cannot be read.
        """
        channels, height, width = self.image_shape
        mode = "L" if channels == 1 else "RGB"
        if isinstance(images, (str, Path)):
            return fit_file(images, (height, width), mode, self.interpolation)[None]
        if isinstance(images, Image.Image):
            return fit_image(images, (height, width), mode, self.interpolation)[None]
        batch = resized_images(
            as_image_batch(images, channels), (height, width), self.interpolation
        )
        return batch.contiguous()

    def normalize(self, images: Tensor) -> Tensor:
        """Return uint8 images (N, *shape) as normalized float32, channels last in memory."""
        return Normalizer(self.mean, self.std, images.device)(images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image; :class:`DataError` if inputs are no images."""
        if len(self.shape) != 3:
            raise DataError(f"this network takes tensors of shape {self.shape}, not images")
        channels, height, width = self.shape
        return channels, height, width

    def require_images(self) -> None:
        """Check that the inputs are images.

        Raises:
            DataError: They are taken unchanged, so there is nothing to resize and normalize.
        """
        if not self.mean:
            raise DataError(
                f"this network takes tensors of shape {self.shape} unchanged, not images"
            )

    def _input(self, image: Any) -> Tensor:
        if isinstance(image, Sequence) and not isinstance(image, str):
            raise DataError("give images in one list, not in lists of lists")
        if not isinstance(image, (str, Path, Image.Image, np.ndarray, Tensor)):
            raise DataError(
                f"an image is a path, a PIL image, an array or a tensor, not {type(image).__name__}"
            )
        if isinstance(image, (np.ndarray, Tensor)) and image.dtype not in (np.uint8, torch.uint8):
            numbers = image if isinstance(image, Tensor) else as_numbers(image)
            return self._check(self._numbers(numbers))
        self.require_images()
        return self.normalize(self._check(self.fit(image)))

    def _numbers(self, inputs: Tensor) -> Tensor:
        if inputs.is_floating_point():
            return inputs.float()
        if self.mean:
            raise DataError(
                f"give images as uint8, or prepared inputs as floats, not {inputs.dtype}"
            )
        return inputs

    def _check(self, inputs: Tensor) -> Tensor:
        if tuple(inputs.shape[1:]) != self.shape:
            raise DataError(
                f"an input has shape {tuple(inputs.shape[1:])}; this network takes {self.shape}"
            )
        return inputs


class Normalizer:
    """Turns uint8 images into normalized float32 ones, with statistics kept on a device.

    Args:
        mean: Mean of each channel, for images scaled to [0, 1].
        std: Standard deviation of each channel, for images scaled to [0, 1].
        device: Device of the images.

    Example:
        >>> Normalizer((0.5,), (0.25,), "cpu")(torch.zeros(1, 1, 1, 1, dtype=torch.uint8)).item()
        -2.0
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], device: torch.device | str
    ) -> None:
        shape = (1, -1, 1, 1)
        # The pixels' own range: one subtraction and one multiplication a batch.
        self._mean = torch.tensor(mean, device=device).mul(255).view(shape)
        self._scale = torch.tensor(std, device=device).mul(255).reciprocal().view(shape)

    def __call__(self, images: Tensor) -> Tensor:
        """Return (N, C, H, W) float32, channels last in memory."""
        inputs = images.to(torch.float32, memory_format=torch.channels_last)
        return inputs.sub_(self._mean).mul_(self._scale)
