"""ProxylessNAS: two paths at a time for the logits, one for the weights, and a cost in the loss.

Paper:       Cai, Zhu and Han, "ProxylessNAS: Direct Neural Architecture Search on Target Task and
             Hardware", ICLR 2019, arXiv 1812.00332
Relaxation:  two-path. Options that were not drawn keep their probability.
Schedule:    120 epochs; the logits learn after the first third, by Adam at 1e-3 without decay.
             These numbers are from secondary sources.
Decoding:    the most likely option; see :attr:`GradientStrategy.architecture` for cells
Published:   75.1 % top-1 on ImageNet at 5.1 ms on a GPU (the authors' README; others print 74.8 %);
             nothing on NAS-Bench-201 that we could check
Departures:  a cost counts through the mean weights, so its gradient is exact, but only the logits
             of the two drawn options move in a step. Adam has betas 0.5 and 0.999.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from ddpnas.errors import OptionError, nearest
from ddpnas.space.decisions import DecisionSpace
from ddpnas.strategies.gradient import GradientStrategy, Rate
from ddpnas.utils.settings import Decay, Epochs, Seed, checks_arguments
from ddpnas.utils.shapes import Range

__all__ = ["Proxyless"]

_COUNTED = ("macs", "params", "size_bytes", "activation_bytes")


class Proxyless(GradientStrategy):
    """ProxylessNAS: logits learn from two sampled paths, and from the expected cost.

    Args:
        space: Decisions to search over.
        seed: Seed for the network that is asked for before the first epoch.
        epochs: Passes over the training images.
        warmup: Part of the epochs in which only the weights learn.
        cost: A cost in the loss of the logits: "macs", "params", "size_bytes" or
            "activation_bytes", which are counted, or the .json file of a table, such as measured
            latency; None leaves costs to :func:`ddpnas.generate`.
        cost_form: How it counts, see :mod:`ddpnas.relaxed.expected_cost`.
        cost_weight: How much it counts.
        cost_reference: The cost to which it is compared; None is that of uniform weights.
        alpha_lr: Learning rate of the logits.
        alpha_decay: Weight decay of the logits.
        **options: Options of :class:`ddpnas.strategies.gradient.GradientStrategy`.

    Example:
        >>> from ddpnas.space import Decision
        >>> strategy = Proxyless(DecisionSpace([Decision("op", ("conv", "skip"))]), epochs=6)
        >>> [strategy.learns(epoch) for epoch in range(6)]
        [False, False, True, True, True, True]
    """

    relaxation = "two-path"

    @checks_arguments
    def __init__(
        self,
        space: DecisionSpace,
        seed: Seed = 0,
        *,
        epochs: Epochs = 120,
        warmup: Annotated[float, Range(0, below=1)] = 1 / 3,
        cost: str | None = None,
        cost_form: Literal["penalty", "product", "hinge"] = "product",
        cost_weight: Annotated[float, Range(0, 1000)] = 0.1,
        cost_reference: Annotated[float, Range(above=0, most=1e18)] | None = None,
        alpha_lr: Rate = 1e-3,
        alpha_decay: Decay = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(
            space, seed, epochs=epochs, alpha_lr=alpha_lr, alpha_decay=alpha_decay, **options
        )
        if cost is not None and cost not in _COUNTED and not cost.endswith(".json"):
            raise OptionError(
                f"{nearest('cost', cost, _COUNTED)}; or give the .json file of a measured table "
                f"(`ddpnas latency`)"
            )
        self.warmup = warmup
        self.cost, self.cost_form = cost, cost_form
        self.cost_weight, self.cost_reference = cost_weight, cost_reference
