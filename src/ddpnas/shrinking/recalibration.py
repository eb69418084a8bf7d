"""recalibrate(): running statistics of BatchNorm, estimated anew after channels were cut."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["recalibrate"]


def recalibrate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Set the running statistics of BatchNorm layers to their means over batches.

    All other layers run as in evaluation, unlike with ``torch.optim.swa_utils.update_bn``: without
    dropout.

    Args:
        model: The network; only its statistics are changed. It stays in its mode.
        batches: (inputs, labels) on the network's device. Without any, nothing changes.

    Example:
        >>> model = nn.Sequential(nn.BatchNorm1d(2))
        >>> recalibrate(model, [(torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([0, 1]))])
        >>> model[0].running_mean
        tensor([2., 0.])
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    modes = {module: module.training for module in model.modules()}
    momenta = [norm.momentum for norm in norms]
    model.eval()
    with torch.no_grad():
        for number, (inputs, _) in enumerate(batches):
            for norm in norms:
                norm.train()
                norm.momentum = 1 / (number + 1)  # the mean of all batches so far
            model(inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for module, mode in modes.items():
        module.training = mode
