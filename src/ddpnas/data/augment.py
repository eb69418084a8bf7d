"""Augmentation of a batch of training images, on the device where the batch is.

Each image of a batch is changed independently. Crops, mirroring and cutout draw random numbers
for the whole batch from a generator on the CPU; every process draws the same and takes its shard.
Policies (torchvision) and random erasing (timm) draw from the global generators, which a training
seeds for every epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Augmentation", "Shard", "crop_and_flip", "cutout", "resized_crop"]


@dataclass(frozen=True)
class Shard:
    """The part of every batch that one of several processes has: each ``size``-th image.

    All processes draw random numbers for the whole batch and keep those of their shard. Together
    they do what a single process would do.

    Args:
        rank: Number of the process, from 0; the first image of its shard.
        size: Number of processes.

    Example:
        >>> Shard(rank=1, size=3).take(torch.arange(8))
        tensor([1, 4, 7])
    """

    rank: int = 0
    size: int = 1

    def take(self, values: Tensor, dim: int = 0) -> Tensor:
        """Return the values that belong to the shard."""
        if self.size == 1:
            return values
        return values.index_select(
            dim, torch.arange(self.rank, values.shape[dim], self.size, device=values.device)
        )


@dataclass(frozen=True)
class Augmentation:
    """How training images are augmented; see :class:`ddpnas.Recipe` for the settings.

    Args:
        crop: "shift", "resized" or "none".
        flip: Whether half of the images are mirrored left to right.
        policy: "none" or a policy of torchvision: "cifar10", "imagenet", "svhn", "rand", "trivial".
        cutout: Side of the blanked square in pixels; 0 for none.
        erase: Probability of random erasing.

    Example:
        >>> images = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
        >>> generator = torch.Generator().manual_seed(0)
        >>> Augmentation(crop="shift").of_images(images, 4, Shard(), generator).shape
        torch.Size([4, 1, 8, 8])
    """

    crop: str = "shift"
    flip: bool = True
    policy: str = "none"
    cutout: int = 0
    erase: float = 0.0

    def of_images(
        self, images: Tensor, count: int, shard: Shard, generator: torch.Generator
    ) -> Tensor:
        """Return uint8 images (N, C, H, W), cropped, mirrored and changed by the policy.

        Args:
            images: Images of the shard.
            count: Number of images in the whole batch.
            shard: See :class:`Shard`.
            generator: Generator on the CPU.
        """
        if self.crop == "resized":
            images = resized_crop(images, self.flip, count, shard, generator)
        else:
            pad = max(1, round(images.shape[-1] / 8))  # 4 pixels at 32, as is usual there
            pad = pad if self.crop == "shift" else 0
            images = crop_and_flip(images, pad, self.flip, generator, count, shard)
        if self.policy != "none":
            change = _policy(self.policy)
            images = torch.stack([change(image) for image in images])
        return images

    def of_inputs(
        self, inputs: Tensor, count: int, shard: Shard, generator: torch.Generator
    ) -> Tensor:
        """Return normalised images with parts blanked (to the mean) or made noise."""
        if self.cutout > 0:
            inputs = cutout(inputs, self.cutout, generator, count, shard)
        if self.erase > 0:
            from timm.data.random_erasing import RandomErasing

            erasing = RandomErasing(self.erase, mode="pixel", device=inputs.device)
            inputs = erasing(inputs)
        return inputs


def _policy(name: str) -> Callable[[Tensor], Tensor]:
    from torchvision.transforms import v2

    made: Any = {
        "rand": v2.RandAugment,
        "trivial": v2.TrivialAugmentWide,
        "cifar10": lambda: v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
        "imagenet": lambda: v2.AutoAugment(v2.AutoAugmentPolicy.IMAGENET),
        "svhn": lambda: v2.AutoAugment(v2.AutoAugmentPolicy.SVHN),
    }[name]()
    change: Callable[[Tensor], Tensor] = made
    return change


_ALL = Shard()


def crop_and_flip(
    images: Tensor,
    pad: int,
    flip: bool,
    generator: torch.Generator,
    count: int | None = None,
    shard: Shard = _ALL,
) -> Tensor:
    """Return each image shifted by up to ``pad`` pixels (zeros come in) and perhaps mirrored.

    Args:
        images: (N, C, H, W).
        pad: Largest shift in either direction, in pixels.
        flip: Whether half of them, at random, are mirrored left to right.
        generator: Generator on the CPU, so that every device sees the same shifts.
        count: Number of images in the whole batch; by default N.
        shard: The shard that the images belong to.
    """
    n, channels, height, width = images.shape
    count = n if count is None else count
    shift = shard.take(torch.randint(0, 2 * pad + 1, (2, count), generator=generator), dim=1)
    mirror = shard.take(torch.rand(count, generator=generator) < 0.5)
    padded = functional.pad(images, (pad, pad, pad, pad))
    device = images.device
    if device.type == "cpu":  # there, copying whole rows is several times faster than gathering
        shifted = torch.empty_like(images)
        for target, source, (row, column) in zip(shifted, padded, shift.t().tolist(), strict=True):
            target.copy_(source[:, row : row + height, column : column + width])
        if flip:
            shifted[mirror] = shifted[mirror].flip(-1)
        return shifted
    rows = shift[0, :, None] + torch.arange(height)
    columns = shift[1, :, None] + torch.arange(width)
    if flip:
        columns = torch.where(mirror[:, None], columns.flip(1), columns)
    return padded[
        torch.arange(n, device=device)[:, None, None, None],
        torch.arange(channels, device=device)[None, :, None, None],
        rows.to(device)[:, None, :, None],
        columns.to(device)[:, None, None, :],
    ]


def resized_crop(
    images: Tensor, flip: bool, count: int, shard: Shard, generator: torch.Generator
) -> Tensor:
    """Return a random part of each image at full size, perhaps mirrored.

    The part has 8 % to 100 % of the area and sides in a ratio of 3:4 to 4:3, as is usual for
    ImageNet (Szegedy et al., arXiv 1409.4842); sides longer than the image's are cut to it.
    Arguments as for :func:`crop_and_flip`.
    """
    drawn = torch.rand((5, count), generator=generator)
    area, ratio, row, column, mirror = shard.take(drawn, dim=1)
    side = (0.08 + 0.92 * area).sqrt()
    stretch = torch.exp((2 * ratio - 1) * 0.5 * torch.log(torch.tensor(4 / 3)))
    tall, wide = (side / stretch).clamp(max=1), (side * stretch).clamp(max=1)
    theta = torch.zeros(len(images), 2, 3)
    theta[:, 0, 0] = torch.where(mirror < 0.5, -wide, wide) if flip else wide
    theta[:, 1, 1] = tall
    theta[:, 0, 2] = (2 * column - 1) * (1 - wide)
    theta[:, 1, 2] = (2 * row - 1) * (1 - tall)
    grid = functional.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
    parts = functional.grid_sample(
        images.float(), grid, padding_mode="reflection", align_corners=False
    )
    return parts.round().clamp(0, 255).to(torch.uint8)


def cutout(
    inputs: Tensor,
    side: int,
    generator: torch.Generator,
    count: int | None = None,
    shard: Shard = _ALL,
) -> Tensor:
    """Return images with a square set to 0, its centre anywhere in the image.

    DeVries and Taylor, arXiv 1708.04552, as in DARTS: the part of the square outside the image is
    lost, so the blanked part may be smaller. Arguments as for :func:`crop_and_flip`.
    """
    n, _, height, width = inputs.shape
    count = n if count is None else count
    centre_row = shard.take(torch.randint(0, height, (count,), generator=generator))
    centre_column = shard.take(torch.randint(0, width, (count,), generator=generator))

    def inside(centre: Tensor, length: int) -> Tensor:
        place = torch.arange(length) - centre[:, None] + side // 2
        return (place >= 0) & (place < side)

    blank = inside(centre_row, height)[:, :, None] & inside(centre_column, width)[:, None, :]
    return inputs.masked_fill(blank[:, None].to(inputs.device), 0.0)
