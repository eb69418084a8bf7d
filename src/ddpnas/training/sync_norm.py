"""BatchNorm over the batch of all processes.

``torch.nn.SyncBatchNorm`` works on GPUs only; this works on any device. Mean and variance of the
whole batch are combined from those of its shards (Chan et al., "Algorithms for Computing the
Sample Variance", 1983), which loses no precision.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddpnas.training.distributed import Processes

__all__ = ["synchronize_norms"]


def synchronize_norms(model: nn.Module, processes: Processes) -> None:
    """Let the model's BatchNorm layers train on the statistics of all processes together.

    With a single process nothing changes, and evaluation never changes.
    """
    if processes.size == 1:
        return
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.forward = functools.partial(  # type: ignore[method-assign]
                _forward, module, module.forward, processes
            )


def _forward(
    norm: nn.modules.batchnorm._BatchNorm, alone: Any, processes: Processes, x: Tensor
) -> Tensor:
    if not norm.training:
        evaluated: Tensor = alone(x)
        return evaluated
    result, mean, var, count = _Normalize.apply(x, norm.eps, processes)
    if norm.running_mean is not None and norm.running_var is not None:
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked += 1
        part = norm.momentum
        if part is None:
            part = 1.0 / float(norm.num_batches_tracked)
        norm.running_mean.lerp_(mean, part)
        norm.running_var.lerp_(var * count / (count - 1).clamp_min(1), part)
    if norm.affine:
        shape = (1, -1, *[1] * (x.ndim - 2))
        result = result * norm.weight.view(shape) + norm.bias.view(shape)
    scaled: Tensor = result
    return scaled


class _Normalize(torch.autograd.Function):
    """x less its mean, over its standard deviation, by channel over all processes' batches."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, eps: float, processes: Processes
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return (normalised x, mean, var, count)."""
        dims = [d for d in range(x.ndim) if d != 1]
        var, mean = torch.var_mean(x, dims, correction=0)
        items = torch.full_like(mean, x.numel() / x.shape[1])
        means, variances, counts = processes.gather(torch.stack([mean, var, items])).unbind(1)
        count = counts.sum(0)
        parts = counts / count
        mean = (parts * means).sum(0)
        var = (parts * (variances + (means - mean) ** 2)).sum(0)
        result = functional.batch_norm(x, mean, var, eps=eps)
        ctx.save_for_backward(result, (var + eps).rsqrt(), count)
        ctx.processes = processes
        ctx.mark_non_differentiable(mean, var, count)
        return result, mean, var, count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the sum of all processes' losses."""
        result, scale, count = ctx.saved_tensors
        dims = [d for d in range(gradient.ndim) if d != 1]
        sums = torch.stack([gradient.sum(dims), (gradient * result).sum(dims)])
        along, across = (ctx.processes.sum(sums) / count).view(2, 1, -1, *[1] * (gradient.ndim - 2))
        inner = gradient - along - result * across
        return inner * scale.view(1, -1, *[1] * (gradient.ndim - 2)), None, None
