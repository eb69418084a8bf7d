"""What an untrained network tells of itself: NASWOT and synflow, written from their papers.

Both say little more than how large a network is and how freely signals flow through it, but they
cost a thousandth of a training, and their errors are others than those of shared weights: these
favour networks that learn quickly, so shallow ones.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["naswot", "synflow"]

_ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Mish
)  # fmt: skip


def naswot(network: nn.Module, inputs: Tensor) -> float:
    """Return log |det K| of the kernel of activation patterns of a batch; higher is better.

    K[i, j] counts the units that inputs i and j agree on (both above zero, or both not). -inf where
    two inputs have the same pattern, or nothing has one. Mellor et al., "Neural Architecture
    Search without Training", ICML 2021, arXiv 2006.04647.

    Args:
        network: untrained, in training mode, so that BatchNorm uses the batch.
        inputs: the batch, prepared as for training; the paper's has 128.
    """
    kernel = torch.zeros(len(inputs), len(inputs), dtype=torch.float64, device=inputs.device)

    def count(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        if output.dim() == 4:  # in the order of memory; any order of the units will do
            output = output.permute(0, 2, 3, 1)
        on = (output > 0).flatten(1).to(torch.float32)
        if len(on) == len(kernel):  # else not a row an item of the batch
            active = on.sum(dim=1)
            agree = on.shape[1] - active[:, None] - active[None, :] + 2 * (on @ on.T)
            kernel.add_(agree.double())

    hooks = [m.register_forward_hook(count) for m in network.modules() if _activates(m)]
    with torch.no_grad():
        network(inputs)
    for hook in hooks:
        hook.remove()
    return float(torch.linalg.slogdet(kernel.cpu()).logabsdet)


def synflow(network: nn.Module, input_shape: tuple[int, ...]) -> float:
    """Return the logarithm of the synaptic flow, sum of w dR/dw; higher is better.

    R is the sum of the outputs for an input of ones with all weights replaced by their absolute
    values. -inf where nothing flows. Tanaka et al., NeurIPS 2020, arXiv 2006.05467; as a score of
    architectures without BatchNorm: Abdelfattah et al., ICLR 2021, arXiv 2101.08134.

    Args:
        network: untrained; left as it is.
        input_shape: of one input.
    """
    linear = copy.deepcopy(network).double().eval()
    for module in linear.modules():
        if isinstance(module, _BatchNorm) or _activates(module):  # nothing is negative here
            module.forward = lambda x: x
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.abs_()
    device = next((p.device for p in linear.parameters()), None)
    linear(torch.ones(1, *input_shape, dtype=torch.float64, device=device)).sum().backward()
    flows = [(p.detach() * p.grad).sum() for p in linear.parameters() if p.grad is not None]
    flow = float(sum(flows, torch.zeros((), dtype=torch.float64, device=device)))
    return math.log(flow) if flow > 0 else -math.inf


def _activates(module: nn.Module) -> bool:
    return isinstance(module, _ACTIVATIONS)
