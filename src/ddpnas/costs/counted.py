"""count_costs(): multiply-adds and parameters of every choice, exactly, without running anything.

The final network is made once on the meta device with every decision open and run once, each
option counted where it stands. All options of a choice have the same output shape (the space
checks it), so what one choice costs does not depend on any other, and the sum is exact. What an
option holds inside a nested choice is counted for that choice alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ddpnas.cost_table import CostTable
from ddpnas.space import Pairs, SearchSpace, own_parts

__all__ = ["count_costs"]

_BATCH = 2  # inputs in the run of SearchSpace.visit


def count_costs(space: SearchSpace) -> dict[str, CostTable]:
    """Return the cost tables "macs" and "params" of the space's final networks.

    MACs are multiply-adds of one input (papers' "FLOPs" of mobile networks): half of what
    :class:`torch.utils.flop_counter.FlopCounterMode` counts, which covers convolutions, matrix
    products and attention, and leaves out pooling, normalisation and additions.
    """
    flops: dict[Pairs, int] = {}
    nested = [0]  # flops counted inside, by depth

    with FlopCounterMode(display=False) as counter:

        @contextlib.contextmanager
        def around(pairs: Pairs) -> Iterator[None]:
            before = counter.get_total_flops()
            nested.append(0)
            yield
            total = counter.get_total_flops() - before
            inside = nested.pop()
            nested[-1] += total
            _pay(flops, pairs, total - inside)

        network = space.visit(around)
        fixed_flops = counter.get_total_flops() - nested[0]

    params: dict[Pairs, int] = {}
    fixed_params = _count_parameters(network, (), params)
    about = {"space": space.name, "options": space.plain_options}
    per_mac = 2 * _BATCH
    return {
        "macs": CostTable(
            "macs",
            "MACs",
            fixed_flops // per_mac,
            {pairs: count // per_mac for pairs, count in flops.items()},
            about,
        ),
        "params": CostTable("params", "parameters", fixed_params, params, about),
    }


def _count_parameters(module: nn.Module, under: Pairs, params: dict[Pairs, int]) -> int:
    """Return the parameters outside all choices; note those of every option in ``params``."""
    own, choices = own_parts(module)
    for choice in choices:
        for name, option in zip(choice.names, choice.options, strict=True):
            pairs = (*under, (choice.decision, name))
            _pay(params, pairs, _count_parameters(option, pairs, params))
    return sum(p.numel() for p in {id(p): p for p in own}.values())


def _pay(costs: dict[Pairs, int], pairs: Pairs, cost: int) -> None:
    """Add a cost to the term of these choices, each named once, the same in any order."""
    key = tuple(sorted(set(pairs)))
    if len({decision for decision, _ in key}) == len(key):  # else it can never be active
        costs[key] = costs.get(key, 0) + cost
