"""compare(): a found architecture, random ones and known networks, trained alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import numpy as np
from torch import nn

from ddpnas.costs.count import count_costs
from ddpnas.costs.network import count_network
from ddpnas.costs.table import CostTable
from ddpnas.data.data import Data
from ddpnas.data.load import as_data
from ddpnas.errors import OptionError
from ddpnas.generation.best import sample_within
from ddpnas.generation.limits import Limit, Limits, checked_limits, tightened_limits, within
from ddpnas.space.decisions import Architecture, DecisionSpace, Rule
from ddpnas.space.search_space import SearchSpace
from ddpnas.training.final_spaces import inference_space
from ddpnas.training.networks import find_baseline
from ddpnas.training.options import TrainOptions, complete
from ddpnas.training.recipes import Recipe
from ddpnas.training.results import Compared
from ddpnas.training.saving import folder_name
from ddpnas.training.train import train
from ddpnas.utils.seeds import seeded
from ddpnas.utils.settings import Extra, checked, checks_arguments

__all__ = ["compare"]

_TRIES = 100  # random architectures whose canonical form may be outside the limits
_SAME_SIZE = (0.9, 1.1)  # of the multiply-adds


@checks_arguments
def compare(
    space: SearchSpace,
    architecture: Architecture,
    data: Data | Any,
    recipe: Recipe | str = "quick",
    *,
    costs: Mapping[str, CostTable] | None = None,
    limits: Limits | None = None,
    margin: float | str | None = None,
    rules: Sequence[Rule] = (),
    random: Extra = 0,
    same_size: Extra = 0,
    baselines: Sequence[str] = (),
    on_epoch: Callable[[str, dict[str, float]], object] | None = None,
    **options: Unpack[TrainOptions],
) -> list[Compared]:
    """Train an architecture, random ones and known networks, all with the same recipe.

    Args:
        space: Space that builds the networks; see :func:`ddpnas.training.final_space`.
        architecture: The architecture to train first.
        data: See :func:`ddpnas.data.as_data`.
        recipe: See :func:`ddpnas.training.create_recipe`.
        costs: Cost tables to report for each network, among them those named in ``limits``. By
            default counted, without auxiliary heads.
        limits: Limits of the random architectures, see :func:`ddpnas.generate`. They are drawn
            uniformly (:func:`ddpnas.generation.sample_within`) and trained in their canonical
            form, so that they pay for no part that reaches no output.
        margin: See :func:`ddpnas.generate`.
        rules: Rules that the random architectures obey in addition to those of the space.
        random: Number of random architectures.
        same_size: Number of further random architectures within 10 % of the multiply-adds of
            ``architecture``. Most architectures within a limit are far smaller than the limit,
            so a lead over ``random`` ones may come from size alone.
        baselines: Untrained networks, such as "resnet18" or "mobilenet_v2_x0.5" of torchvision,
            "timm:NAME", or "FILE.py:function"; see :func:`ddpnas.open_network`.
        on_epoch: Called with the name of the network and each record of its history.
        options: See :class:`ddpnas.training.TrainOptions`. Every network gets the same seed and
            a separate folder in ``folder``; finished ones are not trained again.

    Raises:
        OptionError: ``same_size`` needs multiply-adds ("macs") among the costs.

    Example:
        >>> import ddpnas, torch
        >>> images = torch.randint(0, 256, (60, 1, 8, 8), dtype=torch.uint8)
        >>> data = ddpnas.make_data((images, torch.arange(60) % 2))
        >>> space = ddpnas.create_space("toy", num_classes=2, input_shape=(1, 8, 8))
        >>> architecture = space.sample(np.random.default_rng(0))
        >>> found, other = compare(space, architecture, data, random=1, epochs=1, device="cpu")
        >>> found.name, other.name, sorted(found.costs)[:2]
        ('found', 'random 1', ['activation_bytes', 'macs'])
    """
    checked("space of compare()", SearchSpace, space)
    checked("architecture of compare()", Mapping, architecture)
    run, data = complete(options), as_data(data)
    seed = run["seed"]
    random, same_size = checked("random", Extra, random), checked("same_size", Extra, same_size)
    tables = count_costs(inference_space(space)) if costs is None else costs
    rng = np.random.default_rng(seed)
    within_all = tightened_limits(checked_limits(limits or {}, tables), tables, margin)
    chosen = {"found": architecture}
    for i in range(random):
        chosen[f"random {i + 1}"] = _drawn(space, rules, tables, within_all, rng)
    if same_size:
        alike = _same_size(space, architecture, tables, within_all)
        for i in range(same_size):
            chosen[f"same size {i + 1}"] = _drawn(space, rules, tables, alike, rng)
    # All are built before the first is trained: a name that cannot be built costs no training.
    untrained = [_built(space, name, one, tables, seed) for name, one in chosen.items()]
    untrained += [_baseline(name, data, tables, seed) for name in baselines]
    results = []
    for name, text, one, reached, network in untrained:
        own = run
        if run["folder"] is not None:
            own = {**run, "folder": Path(run["folder"]) / folder_name(name)}
        report = None if on_epoch is None else partial(on_epoch, name)
        result = train(network, data, recipe, on_epoch=report, **own)
        results.append(Compared(name, text, one, reached, result))
    return results


class _Untrained(NamedTuple):
    """A network before its training, with what the comparison says of it."""

    name: str
    text: str
    architecture: Architecture
    costs: dict[str, float]
    network: nn.Module


def _built(
    space: SearchSpace,
    name: str,
    architecture: Architecture,
    costs: Mapping[str, CostTable],
    seed: int,
) -> _Untrained:
    reached = {key: table.cost(architecture) for key, table in costs.items()}
    with seeded(seed):
        network = space.build(architecture)
    return _Untrained(name, space.format(architecture), architecture, reached, network)


def _baseline(name: str, data: Data, costs: Mapping[str, CostTable], seed: int) -> _Untrained:
    with seeded(seed):
        network = find_baseline(name).build(len(data.classes), data.input_shape)
    counted = count_network(network, data.input_shape)
    reached = {key: float(counted[key]) for key in costs if key in counted}
    return _Untrained(name, name, Architecture({}), reached, network)


def _drawn(
    space: SearchSpace,
    rules: Sequence[Rule],
    costs: Mapping[str, CostTable],
    limits: Mapping[str, Limit],
    rng: np.random.Generator,
) -> Architecture:
    """Return a random architecture within limits and rules, in its canonical form if that is."""
    drawn_from = DecisionSpace(space.decisions, (*space.rules, *rules))
    for _ in range(_TRIES):
        drawn = sample_within(drawn_from, limits, costs, rng, margin=0.0)
        form = space.canonical(drawn)
        if within(form, limits, costs) and all(rule.holds(form) for rule in drawn_from.rules):
            return form
    return drawn


def _same_size(
    space: SearchSpace,
    architecture: Architecture,
    costs: Mapping[str, CostTable],
    limits: Mapping[str, Limit],
) -> dict[str, Limit]:
    """Return the limits, and that the multiply-adds are about the architecture's."""
    if "macs" not in costs:
        raise OptionError("same_size compares multiply-adds: give a table for the cost 'macs'")
    size = costs["macs"].cost(space.canonical(architecture))
    lowest, highest = (share * size for share in _SAME_SIZE)
    given = limits.get("macs", Limit())
    return {**limits, "macs": Limit(max(given.lower, lowest), min(given.upper, highest))}
