"""Prior: a training-free score beside that of shared weights, both on one scale."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ddpnas.data.data import Data
from ddpnas.data.loader import Loader
from ddpnas.evaluators.base import Evaluation
from ddpnas.space.decisions import Architecture
from ddpnas.space.search_space import SearchSpace
from ddpnas.utils.seeds import seeded

__all__ = [
    "Prior",
    "Scale",
    "measured",
    "naswot",
    "synflow",
    "weighed",
]

_CPU = torch.device("cpu")
_BATCH = 128  # items that NASWOT compares, as in its paper
_WORST = -3.0  # in standard deviations: how much worse does not matter


class Prior:
    """NASWOT and synflow of architectures, untrained, with the same seed for all.

    Args:
        space: builds them.
        data: its training items are what NASWOT compares.
        seed: of the initial weights and the items.
        device: where they are computed, or else the CPU if it has no double precision, as Apple's
            GPUs; initial weights are those of the CPU.
    """

    def __init__(
        self, space: SearchSpace, data: Data, seed: int, device: torch.device = _CPU
    ) -> None:
        device = _CPU if device.type == "mps" else device
        self._space, self._seed, self._device = space, seed, device
        loader = Loader(data, [data.train], device)
        self._inputs, _ = next(loader.train_batches(min(_BATCH, len(data.train)), seed))

    def measure(self, architecture: Architecture) -> dict[str, float]:
        """Return ``naswot`` and ``synflow``, logarithms; NaN what the inputs do not allow."""
        with seeded(self._seed):
            network = self._space.build(architecture, path=True).to(self._device)
            flow = math.nan
            if self._inputs.is_floating_point():
                flow = synflow(network, tuple(self._inputs.shape[1:]))
            network.train()
            return {"naswot": naswot(network, self._inputs), "synflow": flow}


class Scale:
    """Brings numbers of different units to one: standard deviations from the median.

    Median and spread (the distance of the quartiles, for a normal variable 1.349 standard
    deviations) are those of the architectures that it learned from. What is far below the median
    or not finite counts as 3 below it: that a network is broken is enough to know. A number that
    does not vary says nothing.
    """

    def __init__(self) -> None:
        self._of: dict[str, tuple[float, float]] = {}  # median, standard deviation

    @property
    def known(self) -> bool:
        """Whether it has learned yet."""
        return bool(self._of)

    def learn(self, values_of: Sequence[Mapping[str, float]]) -> None:
        """Take median and spread from these architectures."""
        for name in values_of[0]:
            column = np.array([values[name] for values in values_of], dtype=np.float64)
            column = column[np.isfinite(column)]
            low, middle, high = np.quantile(column, [0.25, 0.5, 0.75]) if len(column) else (0,) * 3
            self._of[name] = float(middle), float(high - low) / 1.349

    def __call__(self, name: str, value: float) -> float:
        """Return the number in standard deviations from the median."""
        middle, deviation = self._of[name]
        if deviation == 0:
            return 0.0
        return max(_WORST, (value - middle) / deviation) if math.isfinite(value) else _WORST

    def to_dict(self) -> dict[str, Any]:
        """Return the scale as plain data for JSON."""
        return {name: list(pair) for name, pair in self._of.items()}

    def restore(self, data: Mapping[str, Any]) -> None:
        """Restore what :meth:`to_dict` returned."""
        self._of = {name: (pair[0], pair[1]) for name, pair in data.items()}


def measured(
    prior: Prior, plain: Sequence[Evaluation], architectures: Sequence[Architecture]
) -> list[dict[str, float]]:
    """Return ``shared``, the score of each evaluation, beside what the prior measures."""
    found = []
    for evaluation, architecture in zip(plain, architectures, strict=True):
        started = time.perf_counter()
        untrained = prior.measure(architecture)
        seconds = time.perf_counter() - started
        found.append({"shared": evaluation.score, **untrained, "prior_seconds": seconds})
    return found


def weighed(
    plain: Sequence[Evaluation],
    values: Sequence[Mapping[str, float]],
    scale: Scale,
    weight: float,
) -> list[Evaluation]:
    """Return evaluations whose score is weighed against the prior's, all on the scale.

    Args:
        plain: of the shared weights.
        values: what :func:`measured` gave for them.
        scale: of the values.
        weight: of the prior, in [0, 1]; NASWOT and synflow have half of it each.
    """
    weights = {"shared": 1 - weight, "naswot": weight / 2, "synflow": weight / 2}
    return [
        Evaluation(
            sum(w * scale(name, of[name]) for name, w in weights.items()),
            {**evaluation.details, **{k: v for k, v in of.items() if k != "shared"}},
        )
        for evaluation, of in zip(plain, values, strict=True)
    ]


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
