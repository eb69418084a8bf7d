"""compare(): a found architecture and random ones, trained alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ddpnas.architecture import Architecture
from ddpnas.cost_table import CostTable
from ddpnas.data import Data
from ddpnas.generate import sample_within
from ddpnas.limits import Limit
from ddpnas.space import SearchSpace
from ddpnas.training.recipe import Recipe, TrainResult, train

__all__ = ["Trained", "compare"]


@dataclass(frozen=True)
class Trained:
    """One architecture of a comparison: what it costs and what it reached.

    ``name`` is "found" or "random 1", "random 2", ...
    """

    name: str
    text: str
    architecture: Architecture
    costs: dict[str, float]
    result: TrainResult


def compare(
    space: SearchSpace,
    architecture: Architecture,
    data: Data,
    *,
    costs: Mapping[str, CostTable],
    limits: Mapping[str, Limit] | None = None,
    random: int = 0,
    recipe: Recipe | str = "quick",
    epochs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    on_epoch: Callable[[str, dict[str, float]], object] | None = None,
) -> list[Trained]:
    """Train the architecture, and ``random`` others within the same limits by the same recipe.

    Args:
        space: builds the networks.
        architecture: trained first.
        data: see :func:`ddpnas.train`.
        costs: reported for each; those named in ``limits`` have to be among them.
        limits: within which the random architectures are drawn (uniformly, see
            :func:`ddpnas.sample_within`).
        random: how many.
        recipe: see :func:`ddpnas.train`.
        epochs: other than the recipe's.
        seed: of the draw, the initial weights and the training; the same for each network.
        device: "auto", "cpu", "cuda", ...
        on_epoch: given the name of the network and the record of each epoch.
    """
    rng = np.random.default_rng(seed)
    candidates = [("found", architecture)]
    candidates += [
        (f"random {i + 1}", sample_within(space, limits or {}, costs, rng)) for i in range(random)
    ]
    trained = []
    for name, candidate in candidates:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = space.build(candidate)

        def report(record: dict[str, float], name: str = name) -> None:
            if on_epoch is not None:
                on_epoch(name, record)

        result = train(
            network, data, recipe, epochs=epochs, seed=seed, device=device, on_epoch=report
        )
        reached = {key: table.cost(candidate) for key, table in costs.items()}
        trained.append(Trained(name, space.format(candidate), candidate, reached, result))
    return trained
