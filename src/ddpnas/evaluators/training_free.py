"""What an untrained network tells of itself: NASWOT, synflow and jacobian covariance.

Written from their papers. They say little more than how large a network is and how freely signals
flow through it, but they cost a thousandth of a training, and their errors are others than those
of shared weights: these favour networks that learn quickly, so shallow ones.
"""

from __future__ import annotations

import copy
import math
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

__all__ = ["Patterns", "jacobian_covariance", "naswot", "synflow"]

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
    with Patterns(network, inputs) as patterns, torch.no_grad():
        network(inputs)
    return patterns.naswot()


class Patterns:
    """Takes down the activation patterns of all that a network does with a batch; a context.

    Args:
        network: see :func:`naswot`.
        inputs: the batch.
    """

    def __init__(self, network: nn.Module, inputs: Tensor) -> None:
        n = len(inputs)
        self._kernel = torch.zeros(n, n, dtype=torch.float64, device=inputs.device)
        self._activations = [module for module in network.modules() if _activates(module)]
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        self._hooks = [m.register_forward_hook(self._count) for m in self._activations]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def naswot(self) -> float:
        """Return the score of the patterns so far, see :func:`naswot`."""
        return float(torch.linalg.slogdet(self._kernel.cpu()).logabsdet)

    def _count(self, module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        output = output.detach()
        if output.dim() == 4:  # in the order of memory; any order of the units will do
            output = output.permute(0, 2, 3, 1)
        on = (output > 0).flatten(1).to(torch.float32)
        if len(on) == len(self._kernel):  # else not a row an item of the batch
            active = on.sum(dim=1)
            agree = on.shape[1] - active[:, None] - active[None, :] + 2 * (on @ on.T)
            self._kernel.add_(agree.double())


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


def jacobian_covariance(network: nn.Module, inputs: Tensor) -> float:
    """Return how differently a network responds to the inputs of a batch; higher is better.

    With v the eigenvalues of the correlations between the gradients of the summed outputs by each
    input: minus the sum of log(v + k) + 1 / (v + k), k = 1e-5. -inf where a gradient does not
    vary. Mellor et al., arXiv 2006.04647, version 1.

    Args:
        network: untrained, in training mode, so that BatchNorm uses the batch.
        inputs: the batch, of floating-point numbers, prepared as for training.
    """
    inputs = inputs.detach().clone().requires_grad_(True)
    outputs = network(inputs)
    if not outputs.requires_grad:
        return -math.inf
    gradients: tuple[Tensor | None, ...] = torch.autograd.grad(
        outputs.sum(), inputs, allow_unused=True
    )
    if (gradient := gradients[0]) is None:
        return -math.inf
    correlations = torch.corrcoef(gradient.flatten(1).double()).cpu()
    if not bool(correlations.isfinite().all()):
        return -math.inf
    shifted = torch.linalg.eigvalsh(correlations) + 1e-5
    return -float((shifted.log() + 1 / shifted).sum())


def _activates(module: nn.Module) -> bool:
    return isinstance(module, _ACTIVATIONS)
