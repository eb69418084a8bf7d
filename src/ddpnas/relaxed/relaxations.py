"""Relaxations: how the logits of a decision become weights of its options.

Notation.  a  (K,)  logits of the options of one decision that take part
           t        temperature
           w  (K,)  weights of the options in one run of the network
           p  (K,)  mean weights, which become theta

    softmax      w = p = softmax(a)                                  DARTS, arXiv 1806.09055
    gumbel       w = softmax((log softmax(a) + G) / t)               SNAS, arXiv 1812.09926
    gumbel-hard  the same, rounded to one-hot with the soft gradient GDAS, arXiv 1910.04465
    dirichlet    w ~ Dir(ELU(a) + 1),  p = (ELU(a) + 1) / sum        DrNAS, arXiv 2006.10355
    two-path     two options by softmax(a); w one-hot, drawn by      ProxylessNAS,
                 softmax over these two, whose gradient it has       arXiv 1812.00332

G are independent draws from Gumbel(0, 1); p of all but the Dirichlet form is softmax(a). With
two-path, the weights of the network train on a single option drawn by softmax(a).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, distributions
from torch.nn import functional

__all__ = ["RELAXATIONS", "Relaxation"]


_LEAST = 1e-30  # probability of an option

Drawn = tuple[Tensor, list[int]]
"""Weights (K,), and the positions of the options that run."""


def _mean(logits: Tensor) -> Tensor:
    return logits.softmax(0)


def _softmax(logits: Tensor, temperature: float) -> Drawn:
    return logits.softmax(0), list(range(len(logits)))


def _gumbel(logits: Tensor, temperature: float) -> Drawn:
    weights = functional.gumbel_softmax(logits.log_softmax(0), temperature, dim=0)
    return weights, list(range(len(logits)))


def _gumbel_hard(logits: Tensor, temperature: float) -> Drawn:
    weights = functional.gumbel_softmax(logits.log_softmax(0), temperature, hard=True, dim=0)
    return weights, [int(weights.argmax())]


def _drawn(logits: Tensor, number: int) -> Tensor:
    """Return the positions of different options, drawn by their probabilities.

    Torch draws no two options where all but one are as unlikely as 0, and none where the training
    has diverged, which the epoch's loss then says.
    """
    likely = logits.detach().softmax(0).nan_to_num(nan=1.0).clamp(min=_LEAST)
    return likely.multinomial(number)


def _two_paths(logits: Tensor, temperature: float) -> Drawn:
    if len(logits) == 1:
        return _softmax(logits, temperature)
    pair = _drawn(logits, 2)
    soft = logits[pair].softmax(0)
    hard = functional.one_hot(_drawn(logits[pair], 1)[0], 2).to(soft)
    weights = torch.zeros_like(logits).index_copy(0, pair, hard + soft - soft.detach())
    return weights, sorted(pair.tolist())


def _one_path(logits: Tensor, temperature: float) -> Drawn:
    chosen = _drawn(logits, 1)[0]
    return functional.one_hot(chosen, len(logits)).to(logits), [int(chosen)]


def _concentration(logits: Tensor) -> Tensor:
    return functional.elu(logits) + 1


def _dirichlet(logits: Tensor, temperature: float) -> Drawn:
    if len(logits) == 1:  # nothing is left to draw
        return _softmax(logits, temperature)
    weights = distributions.Dirichlet(_concentration(logits), validate_args=False).rsample()
    return weights, list(range(len(logits)))


def _dirichlet_mean(logits: Tensor) -> Tensor:
    concentration = _concentration(logits)
    return concentration / concentration.sum()


@dataclass(frozen=True)
class Relaxation:
    """How weights are drawn, and their mean.

    Attributes:
        draw: (logits, temperature) -> weights and positions of what runs, by the global generator.
        mean: logits -> mean weights.
        adds: Whether the weights of options that do not run are added to the output.
        path: As ``draw``, for the step of the network's weights; None is ``draw``.

    Example:
        >>> RELAXATIONS["dirichlet"].mean(torch.zeros(4))
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """

    draw: Callable[[Tensor, float], Drawn]
    mean: Callable[[Tensor], Tensor] = _mean
    adds: bool = False
    path: Callable[[Tensor, float], Drawn] | None = None


RELAXATIONS = {
    "softmax": Relaxation(_softmax),
    "gumbel": Relaxation(_gumbel),
    "gumbel-hard": Relaxation(_gumbel_hard, adds=True),
    "dirichlet": Relaxation(_dirichlet, _dirichlet_mean),
    "two-path": Relaxation(_two_paths, path=_one_path),
}
"""The relaxations by the name that a strategy gives."""
