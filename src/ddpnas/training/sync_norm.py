"""BatchNorm over the batch of all processes.

``torch.nn.SyncBatchNorm`` works on GPUs only; this works on any device, and for every call of
``functional.batch_norm``. Mean and variance of the whole batch are combined from those of its
shards (Chan et al., "Algorithms for Computing the Sample Variance", 1983), which loses no
precision.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from ddpnas.training.distributed import Processes

__all__ = ["synchronize_norms"]


def synchronize_norms(model: nn.Module, processes: Processes) -> None:
    """Let ``functional.batch_norm`` in a model train on the statistics of all processes together.

    With a single process nothing changes, and evaluation never changes.

    Args:
        model: Changed in place, whatever layers call the function.
        processes: The processes that train together, each on its shard of every batch.
    """
    if processes.size == 1:
        return
    for module in model.modules():
        if isinstance(module, nn.SyncBatchNorm):  # else it would synchronize too, or refuse to
            module.forward = functools.partial(_BatchNorm.forward, module)  # type: ignore[method-assign]
    model.forward = functools.partial(_forward, model, model.forward, processes)


def _forward(
    model: nn.Module, alone: Callable[..., Any], processes: Processes, *args: Any, **kwargs: Any
) -> Any:
    if not model.training:
        return alone(*args, **kwargs)
    with _Together(processes):
        return alone(*args, **kwargs)


class _Together(TorchFunctionMode):
    """Computes ``functional.batch_norm`` in training with all processes."""

    def __init__(self, processes: Processes) -> None:
        super().__init__()
        self._processes = processes

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is functional.batch_norm:
            return _batch_norm(self._processes, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _batch_norm(
    processes: Processes,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Do what ``functional.batch_norm`` does, which names the arguments so."""
    if not training:
        return functional.batch_norm(input, running_mean, running_var, weight, bias, False, 0, eps)
    result, mean, var, count = _Normalize.apply(input, eps, processes)
    if running_mean is not None and running_var is not None:
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(var * count / (count - 1).clamp_min(1), momentum)
    shape = (1, -1, *[1] * (input.ndim - 2))
    if weight is not None:
        result = result * weight.view(shape)
    if bias is not None:
        result = result + bias.view(shape)
    normalized: Tensor = result
    return normalized


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
