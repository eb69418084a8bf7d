"""score_candidates(): the best networks within limits, scored as a whole.

A sum of rises (:mod:`ddpnas.shrinking.sensitivity`) does not know how groups act together. So the
networks with the smallest sums are built, recalibrated and scored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from ddpnas.costs.table import CostTable
from ddpnas.data.data import Data
from ddpnas.generation.best import top_k
from ddpnas.generation.limits import Limits
from ddpnas.shrinking.recalibration import recalibrate
from ddpnas.shrinking.sensitivity import Sensitivity, batches_of, mean_loss
from ddpnas.shrinking.shrinkable_space import ShrinkableSpace
from ddpnas.space.decisions import Architecture
from ddpnas.space.distribution import JointDistribution
from ddpnas.utils.settings import Count, MostImages, Seed, checked

__all__ = ["Candidate", "score_candidates"]


@dataclass(frozen=True)
class Candidate:
    """Widths of a network within limits, and what they are worth.

    Attributes:
        architecture: The widths.
        predicted: Sum of the rises of its widths: how much larger its loss should be than that of
            the whole network.
        loss: Its loss on the validation images, after recalibration, before any fine-tuning.
        costs: Its cost by every table.

    Example:
        >>> Candidate(Architecture({"conv": "8"}), 0.1, 0.7, {"macs": 1e6}).loss
        0.7
    """

    architecture: Architecture
    predicted: float
    loss: float
    costs: dict[str, float]


def score_candidates(
    space: ShrinkableSpace,
    data: Data,
    sensitivity: Sensitivity,
    limits: Limits,
    costs: Mapping[str, CostTable],
    *,
    candidates: Count = 50,
    images: MostImages = 500,
    seed: Seed = 0,
    device: torch.device | None = None,
    known: Mapping[Architecture, float] | None = None,
    on_candidate: Callable[[Candidate], object] | None = None,
) -> list[Candidate]:
    """Return the networks within limits whose rises have the smallest sums, the best one first.

    Args:
        space: The widths of a network, with the order of channels that :func:`measure_sensitivity`
            set.
        data: Data with inputs of the shape that the network takes.
        sensitivity: What each width costs in loss.
        limits: See :func:`ddpnas.generate`.
        costs: Cost name -> table, one for every limit.
        candidates: Number of networks to score.
        images: Number of images for recalibration, and for scoring, at most.
        seed: Seed for choosing the images.
        device: Where networks run; by default the CPU.
        known: Widths -> loss that was measured before and is not measured again.
        on_candidate: Called with each network that is scored.

    Raises:
        InfeasibleError: The limits cannot be met.

    Example:
        >>> import ddpnas
        >>> from ddpnas.shrinking import measure_sensitivity
        >>> data = ddpnas.make_data((torch.randn(80, 4), torch.arange(80) % 2))
        >>> layers = torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2)
        >>> space = ddpnas.shrinkable(torch.nn.Sequential(*layers), (4,))
        >>> sensitivity, costs = measure_sensitivity(space, data), ddpnas.count_costs(space)
        >>> [best] = score_candidates(space, data, sensitivity, {"macs": 50}, costs)
        >>> best.architecture, best.costs["macs"]
        (Architecture({'0': '8'}), 48.0)
    """
    checked("candidates of score_candidates()", Count, candidates)
    device = device or torch.device("cpu")
    batches = batches_of(data, data.train, images, seed, device)
    validation = batches_of(data, data.valid, images, seed, device)
    uniform = JointDistribution.uniform(space.decisions)
    found = top_k(uniform, space, candidates, limits, costs, objective=sensitivity.objective)
    losses, scored = dict(known or {}), []
    for generated in found:
        architecture = generated.architecture
        new = architecture not in losses
        if new:
            network = space.build(architecture).to(device)
            recalibrate(network, batches)
            losses[architecture] = mean_loss(network, validation)
        predicted, loss = -generated.certificate.objective, losses[architecture]
        scored.append(Candidate(architecture, predicted, loss, generated.costs))
        if new and on_candidate is not None:
            on_candidate(scored[-1])
    return sorted(scored, key=lambda candidate: (math.isnan(candidate.loss), candidate.loss))
