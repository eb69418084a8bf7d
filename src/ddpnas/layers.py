"""Ordinary layers that the published spaces share and user spaces may use.

They know nothing of the search: a finished network holds these and torch's own modules only.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["Nothing", "add", "batch_norm"]


class Nothing(nn.Module):
    """The option "no connection": gives None for any input, at no cost.

    Sum such outputs with :func:`add`, which leaves None out.
    """

    def forward(self, *inputs: Tensor) -> None:
        """Return None."""
        return


def add(outputs: Iterable[Tensor | None], like: Tensor) -> Tensor:
    """Return the sum of the outputs that are there; zeros of the shape of ``like`` if none is."""
    total: Tensor | None = None
    for output in outputs:
        if output is not None:
            total = output if total is None else total + output
    return torch.zeros_like(like) if total is None else total


def batch_norm(channels: int, *, searching: bool, option: bool = False) -> nn.BatchNorm2d:
    """Return BatchNorm for a network or, while ``searching``, for a supernet.

    In a supernet every path has its own statistics, so running averages over paths would belong
    to none of them: the statistics of the batch are used, in evaluation too. Inside an option
    (``option=True``) the affine terms are left out as well, as is usual for weight sharing.
    """
    return nn.BatchNorm2d(
        channels, affine=not (searching and option), track_running_stats=not searching
    )
