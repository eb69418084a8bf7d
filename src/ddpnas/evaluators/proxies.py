"""ProxyScores: scores of untrained networks, and the scale on which they join trained ones."""

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
    "ProxyScores",
    "Scale",
    "naswot",
    "synflow",
    "with_proxies",
    "with_proxy_weight",
]

_CPU = torch.device("cpu")
_BATCH = 128  # inputs that NASWOT compares, as in its paper
_WORST = -3.0  # in standard deviations; how much worse a broken network is does not matter


class ProxyScores:
    """NASWOT and synflow of untrained architectures, all initialized with the same seed.

    Args:
        space: Builds the networks.
        data: NASWOT compares some of its training inputs.
        seed: Seed for the initial weights and the choice of inputs.
        device: Where the scores are computed; the CPU instead if it has no double precision, as
            Apple's GPUs. Initial weights are always those of the CPU.

    Example:
        >>> import ddpnas
        >>> data = ddpnas.load_data("sign-digits-small")
        >>> space = ddpnas.create_space("toy", input_shape=data.input_shape)
        >>> sorted(ProxyScores(space, data, 0).measure(space.decode([0] * len(space.decisions))))
        ['naswot', 'synflow']
    """

    def __init__(
        self, space: SearchSpace, data: Data, seed: int, device: torch.device = _CPU
    ) -> None:
        device = _CPU if device.type == "mps" else device
        self._space, self._seed, self._device = space, seed, device
        loader = Loader(data, [data.train], device)
        self._inputs, _ = next(loader.train_batches(min(_BATCH, len(data.train)), seed))

    def measure(self, architecture: Architecture) -> dict[str, float]:
        """Return ``naswot`` and ``synflow``, both logarithms.

        Synflow is NaN for inputs that are not floating point, such as token numbers.
        """
        with seeded(self._seed):
            network = self._space.build(architecture, path=True).to(self._device)
            flow = math.nan
            if self._inputs.is_floating_point():
                flow = synflow(network, tuple(self._inputs.shape[1:]))
            network.train()
            # The network may change them in place.
            return {"naswot": naswot(network, self._inputs.clone()), "synflow": flow}


class Scale:
    """Brings numbers of different units to one: standard deviations from the median.

    Median and spread are those of the architectures that it learned from. The spread is the
    interquartile range over 1.349, which is the standard deviation of a normal variable. Values far
    below the median, or not finite, count as 3 below it. A number that does not vary becomes 0, and
    so does one that was finite in none of these architectures.

    Example:
        >>> scale = Scale()
        >>> scale.learn([{"naswot": value} for value in (1.0, 2.0, 3.0)])
        >>> scale("naswot", 2.0), scale("naswot", float("-inf"))
        (0.0, -3.0)
    """

    def __init__(self) -> None:
        self._of: dict[str, tuple[float, float]] = {}  # median, standard deviation

    @property
    def known(self) -> bool:
        """Whether it has learned from architectures yet."""
        return bool(self._of)

    def learn(self, values_of: Sequence[Mapping[str, float]]) -> None:
        """Take median and spread from the values of these architectures.

        Args:
            values_of: For each architecture, its values by name.
        """
        for name in values_of[0]:
            column = np.array([values[name] for values in values_of], dtype=np.float64)
            column = column[np.isfinite(column)]
            if len(column):
                low, middle, high = np.quantile(column, [0.25, 0.5, 0.75])
                self._of[name] = float(middle), float(high - low) / 1.349

    def __call__(self, name: str, value: float) -> float:
        """Return the value of that name in standard deviations from the median."""
        if name not in self._of:
            return 0.0
        if not math.isfinite(value):
            return _WORST
        middle, deviation = self._of[name]
        return max(_WORST, (value - middle) / deviation) if deviation else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the scale as plain data for JSON."""
        return {name: list(pair) for name, pair in self._of.items()}

    def restore(self, data: Mapping[str, Any]) -> None:
        """Restore what :meth:`to_dict` returned."""
        self._of = {name: (pair[0], pair[1]) for name, pair in data.items()}


def with_proxies(
    proxies: ProxyScores, shared: Sequence[Evaluation], architectures: Sequence[Architecture]
) -> list[dict[str, float]]:
    """Return for each architecture its score by shared weights, its proxies and their time.

    Args:
        proxies: Computes ``naswot`` and ``synflow``; how long it took is ``proxy_seconds``.
        shared: Evaluations by shared weights; their score is called ``shared``.
        architectures: What was evaluated.
    """
    found = []
    for evaluation, architecture in zip(shared, architectures, strict=True):
        started = time.perf_counter()
        untrained = proxies.measure(architecture)
        seconds = time.perf_counter() - started
        found.append({"shared": evaluation.score, **untrained, "proxy_seconds": seconds})
    return found


def with_proxy_weight(
    shared: Sequence[Evaluation],
    values: Sequence[Mapping[str, float]],
    scale: Scale,
    weight: float,
) -> list[Evaluation]:
    """Return evaluations whose score is the weighted mean of shared weights and proxies.

    Args:
        shared: Evaluations by shared weights.
        values: What :func:`with_proxies` returned for them.
        scale: Brings all values to standard deviations from their median.
        weight: Weight of the proxies, in [0, 1]; NASWOT and synflow get half of it each.
    """
    weights = {"shared": 1 - weight, "naswot": weight / 2, "synflow": weight / 2}
    return [
        Evaluation(
            sum(w * scale(name, of[name]) for name, w in weights.items()),
            {**evaluation.details, **{k: v for k, v in of.items() if k != "shared"}},
        )
        for evaluation, of in zip(shared, values, strict=True)
    ]


_ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Mish
)  # fmt: skip


def naswot(network: nn.Module, inputs: Tensor) -> float:
    """Return log |det K| of the kernel of activation patterns of a batch; higher is better.

    K[i, j] counts the units on which inputs i and j agree: both above zero, or both not. The value
    is -inf if two inputs have the same pattern, or if no unit has one. Mellor et al., "Neural
    Architecture Search without Training", ICML 2021, arXiv 2006.04647.

    Args:
        network: Untrained, in training mode, so that BatchNorm uses the batch.
        inputs: The batch, prepared as for training; 128 in the paper.

    Example:
        >>> naswot(nn.ReLU(), torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))  # K = [[2, 0], [0, 2]]
        1.3862943611198906
    """
    kernel = torch.zeros(len(inputs), len(inputs), dtype=torch.float64, device=inputs.device)

    def count(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        if output.dim() == 4:  # channels last lie in memory; the order of the units is irrelevant
            output = output.permute(0, 2, 3, 1)
        on = (output > 0).flatten(1).to(torch.float32)
        if len(on) == len(kernel):  # otherwise its rows are not the inputs of the batch
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

    R is the sum of the outputs for an input of ones when all weights are replaced by their absolute
    values. The value is -inf if nothing flows. Tanaka et al., NeurIPS 2020, arXiv 2006.05467; as a
    score of architectures, without BatchNorm: Abdelfattah et al., ICLR 2021, arXiv 2101.08134.

    Args:
        network: Untrained; a copy is used.
        input_shape: Shape of one input, without the batch.

    Example:
        >>> network = nn.Linear(2, 1, bias=False)
        >>> _ = nn.init.constant_(network.weight, -3.0)
        >>> synflow(network, (2,)) == math.log(6.0)
        True
    """
    linear = copy.deepcopy(network).double().eval()
    for module in linear.modules():
        # All weights and inputs are positive, so activations would change nothing.
        if isinstance(module, _BatchNorm) or _activates(module):
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
