"""compare(): a found architecture, random ones and known networks, trained alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ddpnas.costs.count import count_costs
from ddpnas.costs.network import count_network
from ddpnas.costs.table import CostTable
from ddpnas.data.data import Data
from ddpnas.data.load import as_data
from ddpnas.errors import OptionError
from ddpnas.generation.best import sample_within
from ddpnas.generation.limits import Limit, Limits, checked_limits, within
from ddpnas.space.decisions import Architecture, DecisionSpace, Rule
from ddpnas.space.search_space import SearchSpace
from ddpnas.training.baselines import build_baseline
from ddpnas.training.final_spaces import inference_space
from ddpnas.training.recipes import Recipe
from ddpnas.training.results import Compared
from ddpnas.training.train import train
from ddpnas.utils.options import check_seed
from ddpnas.utils.seeds import seeded

__all__ = ["compare"]

_TRIES = 100  # random architectures whose canonical form may be outside the limits
_SAME_SIZE = (0.9, 1.1)  # of the multiply-adds


def compare(
    space: SearchSpace,
    architecture: Architecture,
    data: Data | Any,
    *,
    costs: Mapping[str, CostTable] | None = None,
    limits: Limits | None = None,
    rules: Sequence[Rule] = (),
    random: int = 0,
    same_size: int = 0,
    baselines: Sequence[str] = (),
    recipe: Recipe | str = "quick",
    epochs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    mixed_precision: str = "no",
    track: str | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    on_epoch: Callable[[str, dict[str, float]], object] | None = None,
) -> list[Compared]:
    """Train the architecture, random others, and known networks alike.

    Args:
        space: builds the networks; see :func:`final_space`.
        architecture: trained first.
        data: see :func:`ddpnas.train`.
        costs: reported for each, those named in ``limits`` among them; counted if left out,
            without auxiliary heads.
        limits: within which the random architectures are drawn (uniformly, see
            :func:`ddpnas.generation.sample_within`). Where the space has equal ones, each is taken
            in its canonical form, without parts that reach no output, so that its costs are
            those of what runs.
        rules: beside those of the space, that they obey, too.
        random: how many.
        same_size: how many more random architectures whose multiply-adds are within a tenth of the
            found one's. Most of those within a limit are far smaller than it allows, so that its
            lead over ``random`` ones may be its size alone.
        baselines: networks of torchvision, such as "resnet18" or "mobilenet_v2_x0.5".
        recipe: see :func:`ddpnas.train`.
        epochs: other than the recipe's.
        seed: of the draw, the initial weights and the training; the same for each network.
        device: "auto", "cpu", "cuda", ...
        mixed_precision: see :func:`ddpnas.train`.
        track: likewise.
        folder: for the checkpoints, one folder a network; None keeps none.
        resume: go on with what is in the folder; networks that are done are not trained again.
        on_epoch: given the name of the network and the record of each epoch.

    Raises:
        OptionError: ``same_size`` without multiply-adds ("macs") among the costs.
    """
    check_seed(seed)
    data = as_data(data)
    tables = count_costs(inference_space(space)) if costs is None else costs
    trained = []
    rng = np.random.default_rng(seed)
    chosen_by_name = {"found": architecture}
    for i in range(random):
        chosen_by_name[f"random {i + 1}"] = _drawn(space, rules, tables, limits or {}, rng)
    if same_size:
        alike = _same_size(space, architecture, tables, limits or {})
        for i in range(same_size):
            chosen_by_name[f"same size {i + 1}"] = _drawn(space, rules, tables, alike, rng)
    for name, chosen in chosen_by_name.items():
        reached = {key: table.cost(chosen) for key, table in tables.items()}
        with seeded(seed):
            network = space.build(chosen)
        trained.append((name, space.format(chosen), chosen, reached, network))
    for name in baselines:
        with seeded(seed):
            network = build_baseline(name, data.input_shape, len(data.classes))
        counted = count_network(network, data.input_shape)
        reached = {key: counted[key] for key in tables if key in counted}
        trained.append((name, name, Architecture({}), reached, network))
    results = []
    for name, text, chosen, reached, network in trained:

        def report(record: dict[str, float], name: str = name) -> None:
            if on_epoch is not None:
                on_epoch(name, record)

        result = train(
            network,
            data,
            recipe,
            epochs=epochs,
            seed=seed,
            device=device,
            mixed_precision=mixed_precision,
            track=track,
            folder=None if folder is None else Path(folder) / name.replace(" ", "-"),
            resume=resume,
            on_epoch=report,
        )
        results.append(Compared(name, text, chosen, reached, result))
    return results


def _drawn(
    space: SearchSpace,
    rules: Sequence[Rule],
    costs: Mapping[str, CostTable],
    limits: Limits,
    rng: np.random.Generator,
) -> Architecture:
    """Return a random architecture within limits and rules, in its canonical form if that is."""
    checked = checked_limits(limits, costs)
    drawn_from = DecisionSpace(space.decisions, (*space.rules, *rules))
    for _ in range(_TRIES):
        drawn = sample_within(drawn_from, limits, costs, rng)
        form = space.canonical(drawn)
        if within(form, checked, costs) and all(rule.holds(form) for rule in drawn_from.rules):
            return form
    return drawn


def _same_size(
    space: SearchSpace,
    architecture: Architecture,
    costs: Mapping[str, CostTable],
    limits: Limits,
) -> dict[str, Limit]:
    """Return the limits, and that the multiply-adds are about the architecture's."""
    if "macs" not in costs:
        raise OptionError("same_size compares multiply-adds, and there is no cost 'macs'")
    size = costs["macs"].cost(space.canonical(architecture))
    lowest, highest = (share * size for share in _SAME_SIZE)
    checked = checked_limits(limits, costs)
    given = checked.get("macs", Limit())
    return {**checked, "macs": Limit(max(given.lower, lowest), min(given.upper, highest))}
