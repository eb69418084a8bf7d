"""Scores of an untrained network: NASWOT and synflow, written from their papers."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

__all__ = ["naswot", "synflow"]


def naswot(network: nn.Module, images: Tensor) -> float:
    """Return log |det K| of the kernel of ReLU patterns of a batch; higher is better.

    K[i, j] counts the ReLUs that images i and j agree on (both on, or both off). Mellor et al.,
    "Neural Architecture Search without Training", ICML 2021, arXiv 2006.04647.

    Args:
        network: untrained, in training mode, so that BatchNorm uses the batch.
        images: the batch, prepared as for training; the paper's has 128.
    """
    kernel = torch.zeros(len(images), len(images), dtype=torch.float64)

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        on = (output > 0).flatten(1).to(torch.float32)
        off = 1.0 - on
        kernel.add_((on @ on.T + off @ off.T).double())

    relus = [module for module in network.modules() if isinstance(module, nn.ReLU | nn.ReLU6)]
    hooks = [relu.register_forward_hook(count) for relu in relus]
    with torch.no_grad():
        network(images)
    for hook in hooks:
        hook.remove()
    return float(torch.linalg.slogdet(kernel).logabsdet)


def synflow(network: nn.Module, input_shape: tuple[int, ...]) -> float:
    """Return the logarithm of the synaptic flow, sum of w dR/dw; higher is better.

    R is the sum of the outputs for an input of ones with all weights replaced by their absolute
    values. Tanaka et al., NeurIPS 2020, arXiv 2006.05467; as a score of architectures without
    BatchNorm: Abdelfattah et al., ICLR 2021, arXiv 2101.08134.

    Args:
        network: untrained; left as it is.
        input_shape: of one input.
    """
    linear = copy.deepcopy(network).double().eval()
    for module in linear.modules():
        if isinstance(module, nn.BatchNorm2d | nn.ReLU | nn.ReLU6):  # nothing is negative here
            module.forward = lambda x: x  # type: ignore[method-assign]
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.abs_()
    linear(torch.ones(1, *input_shape, dtype=torch.float64)).sum().backward()
    flow = sum(
        float((p.detach() * p.grad).sum()) for p in linear.parameters() if p.grad is not None
    )
    return float(torch.log(torch.tensor(flow, dtype=torch.float64)))
