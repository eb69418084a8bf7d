"""GDAS and SNAS: weights drawn from a Gumbel softmax whose temperature falls.

GDAS
Paper:       Dong and Yang, "Searching for a Robust Neural Architecture in Four GPU Hours", CVPR
             2019, arXiv 1910.04465
Relaxation:  gumbel-hard; one option of a decision runs, the gradient is that of the soft weights
Schedule:    250 epochs, temperature 10 to 0.1 in equal steps
Decoding:    as DARTS, the most likely option by the softmax of the logits
Published:   93.61 +- 0.09 % on CIFAR-10 in NAS-Bench-201 (the table in the README of RMI-NAS)
Departures:  SGD without Nesterov momentum, weight decay 3e-4 instead of 5e-4. The options
             are drawn once for the weights and once for the logits, as in the authors' code, which
             also draws again where a draw is infinite or NaN; here the loss says so.

SNAS
Paper:       Xie et al., "SNAS: Stochastic Neural Architecture Search", ICLR 2019, arXiv 1812.09926
Relaxation:  gumbel; all options run
Schedule:    100 epochs, temperature 10 to 1, as in the code of DrNAS
Decoding:    as DARTS, the most likely option by the softmax of the logits
Published:   92.77 +- 0.83 % on CIFAR-10 in NAS-Bench-201 (the table in the README of DrNAS)
Departures:  as in that code the logits learn from validation images; the paper trains logits and
             weights on the same loss, and adds a term for resources
"""

from __future__ import annotations

from typing import Annotated, Any

from ddpnas.space.decisions import DecisionSpace
from ddpnas.strategies.gradient import GradientStrategy
from ddpnas.utils.settings import Epochs, Seed, checks_arguments
from ddpnas.utils.shapes import Range

__all__ = ["GDAS", "SNAS"]

Temperature = Annotated[float, Range(1e-3, 1000)]


class SNAS(GradientStrategy):
    """SNAS: weights drawn from a Gumbel softmax, all options run.

    Args:
        space: Decisions to search over.
        seed: Seed for the network that is asked for before the first epoch.
        epochs: Passes over the training images.
        first_temperature: Temperature in the first epoch.
        last_temperature: Temperature in the last epoch.
        **options: Options of :class:`ddpnas.strategies.gradient.GradientStrategy`.

    Example:
        >>> from ddpnas.space import Decision
        >>> strategy = SNAS(DecisionSpace([Decision("op", ("conv", "skip"))]), epochs=4)
        >>> [strategy.temperature(epoch) for epoch in range(4)]
        [10.0, 7.0, 4.0, 1.0]
    """

    relaxation = "gumbel"

    @checks_arguments
    def __init__(
        self,
        space: DecisionSpace,
        seed: Seed = 0,
        *,
        epochs: Epochs = 100,
        first_temperature: Temperature = 10.0,
        last_temperature: Temperature = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(space, seed, epochs=epochs, **options)
        self.first_temperature, self.last_temperature = first_temperature, last_temperature

    def temperature(self, epoch: int) -> float:
        """Return the temperature of the relaxation in an epoch, counted from 0."""
        share = epoch / max(1, self.epochs - 1)
        return self.first_temperature + share * (self.last_temperature - self.first_temperature)


class GDAS(SNAS):
    """GDAS: one option of each decision runs, drawn from a Gumbel softmax.

    Args:
        space: Decisions to search over.
        seed: Seed for the network that is asked for before the first epoch.
        epochs: Passes over the training images.
        last_temperature: Temperature in the last epoch.
        **options: Options of :class:`SNAS`.

    Example:
        >>> from ddpnas.space import Decision
        >>> strategy = GDAS(DecisionSpace([Decision("op", ("conv", "skip"))]), epochs=2)
        >>> strategy.temperature(0)
        10.0
    """

    relaxation = "gumbel-hard"

    @checks_arguments
    def __init__(
        self,
        space: DecisionSpace,
        seed: Seed = 0,
        *,
        epochs: Epochs = 250,
        last_temperature: Temperature = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(space, seed, epochs=epochs, last_temperature=last_temperature, **options)
