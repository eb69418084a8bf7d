"""Relaxations: how the logits of a decision become weights of its options.

Notation.  a  (K,)  logits of the surviving options of one decision
           t        temperature
           w  (K,)  weights of the options in one run of the network
           p  (K,)  mean weights, which become theta

    softmax      w = p = softmax(a)                                  DARTS, arXiv 1806.09055
    gumbel       w = softmax((log softmax(a) + G) / t)               SNAS, arXiv 1812.09926
    gumbel-hard  the same, rounded to one-hot with the soft gradient GDAS, arXiv 1910.04465
    dirichlet    w ~ Dir(ELU(a) + 1),  p = (ELU(a) + 1) / sum        DrNAS, arXiv 2006.10355

G are independent draws from Gumbel(0, 1); p of both Gumbel forms is softmax(a).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, distributions
from torch.nn import functional

__all__ = ["RELAXATIONS", "Relaxation"]


def _softmax(logits: Tensor, temperature: float = 1.0) -> Tensor:
    return logits.softmax(0)


def _gumbel(logits: Tensor, temperature: float) -> Tensor:
    return functional.gumbel_softmax(logits.log_softmax(0), temperature, dim=0)


def _gumbel_hard(logits: Tensor, temperature: float) -> Tensor:
    return functional.gumbel_softmax(logits.log_softmax(0), temperature, hard=True, dim=0)


def _concentration(logits: Tensor) -> Tensor:
    return functional.elu(logits) + 1


def _dirichlet(logits: Tensor, temperature: float) -> Tensor:
    if len(logits) == 1:  # nothing is left to draw
        return _concentration(logits).detach() ** 0
    return distributions.Dirichlet(_concentration(logits), validate_args=False).rsample()


def _dirichlet_mean(logits: Tensor) -> Tensor:
    concentration = _concentration(logits)
    return concentration / concentration.sum()


@dataclass(frozen=True)
class Relaxation:
    """How weights are drawn, and their mean.

    Attributes:
        draw: (logits, temperature) -> weights, by torch's global generator.
        mean: logits -> mean weights.
        hard: Whether weights are one-hot, so that one option runs.

    Example:
        >>> import torch
        >>> RELAXATIONS["dirichlet"].mean(torch.zeros(4))
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """

    draw: Callable[[Tensor, float], Tensor]
    mean: Callable[[Tensor], Tensor] = _softmax
    hard: bool = False


RELAXATIONS = {
    "softmax": Relaxation(_softmax),
    "gumbel": Relaxation(_gumbel),
    "gumbel-hard": Relaxation(_gumbel_hard, hard=True),
    "dirichlet": Relaxation(_dirichlet, _dirichlet_mean),
}
"""The relaxations by the name that a strategy gives."""
