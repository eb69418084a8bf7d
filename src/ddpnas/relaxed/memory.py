"""StepMemory: what a step of a mixture holds in memory, and which batch fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ddpnas.errors import OptionError
from ddpnas.utils.memory import free_memory

__all__ = ["StepMemory", "free_bytes"]

_MARGIN = 1.5  # over what is kept for the gradient, for what operations need meanwhile


@dataclass(frozen=True)
class StepMemory:
    """Memory of a step in bytes, at least: what the gradient needs, and the gradient itself.

    Attributes:
        fixed: Gradients and momenta of all weights.
        image: Bytes kept for each image until the gradient is computed.

    Example:
        >>> StepMemory(fixed=1000, image=200).of(64)
        13800
    """

    fixed: int
    image: int

    @classmethod
    def measured(
        cls, weights: Sequence[Tensor], sizes: Sequence[int], held: Sequence[int]
    ) -> StepMemory:
        """Return the memory of a step, from two small batches.

        Args:
            weights: Weights of the network.
            sizes: Numbers of images, the smaller first.
            held: Bytes that are kept for the gradient of each.
        """
        fixed = 2 * sum(weight.numel() * weight.element_size() for weight in weights)
        image = (held[1] - held[0]) / max(1, sizes[1] - sizes[0])
        return cls(fixed, max(0, round(image)))

    def of(self, images: int) -> int:
        """Return the bytes of a step on a batch of this size."""
        return self.fixed + self.image * images

    def require(self, images: int, free: int | None) -> None:
        """Check that a batch fits.

        Args:
            images: Images in the batch of one process.
            free: Bytes that are free; None if that is unknown.

        Raises:
            OptionError: It does not fit; names a batch that does.
        """
        if free is None or self.of(images) <= free:
            return
        most = int((free - self.fixed) / (_MARGIN * max(1, self.image)))
        says = (
            f"a step on {images} images needs at least {_gigabytes(self.of(images))} of memory, "
            f"and {_gigabytes(free)} are free"
        )
        if most < 1:
            raise OptionError(f"{says}; search a smaller space (fewer channels, cells or pixels)")
        fitting = most // 8 * 8 or most
        raise OptionError(f"{says}; give --strategy-options.batch-size {fitting}")


def free_bytes(device: torch.device) -> int | None:
    """Return the bytes that a step can still use on a device; None if that is unknown.

    Example:
        >>> free_bytes(torch.device("cpu")) > 0
        True
    """
    if device.type == "cpu":
        return free_memory()
    if device.type != "cuda":
        return None
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB"
