"""count_costs(): multiply-adds, parameters and memory of every choice, without running anything.

The final network is made once on the meta device with every decision open, runs once, and falls
into units (:mod:`ddpnas.costs._units`), each of which is counted where it stands. All options of a
choice have the same output shape (the space checks it), so the cost of one choice does not depend
on any other, and the sum is exact. What an operation costs depends on the two or three undecided
widths that it meets, too (:mod:`ddpnas.costs._width_terms`). A network that does less where an
option returns None would be an exception. :func:`count_costs` looks for that and refuses it. What
an option holds inside a nested choice is counted for that choice alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ddpnas.costs._units import CostUnit, bind, find_units
from ddpnas.costs._width_terms import WidthTerms
from ddpnas.costs.network import (
    OwnParameter,
    Weights,
    operation_costs,
    own_tensors,
    stored_bytes,
    total_costs,
)
from ddpnas.costs.table import CostTable, add_term
from ddpnas.errors import SpaceError
from ddpnas.space.copies import advice_on_weights
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.slices import Slices
from ddpnas.space.supernet import Condition, walk
from ddpnas.utils.memory import without_collections
from ddpnas.utils.settings import checked, checks_arguments

__all__ = ["count_costs"]

_UNITS = {
    "macs": "MACs",
    "params": "parameters",
    "size_bytes": "bytes",
    "activation_bytes": "bytes",
}


_MOST_TERMS = 5_000  # of a weight that options of several decisions share


@checks_arguments
def count_costs(space: SearchSpace, *, weights: Weights = "float32") -> dict[str, CostTable]:
    """Return the cost tables of the space's final networks, by name.

    * "macs": multiply-adds of one input (the "FLOPs" of papers on mobile networks). Convolutions,
      products of matrices and vectors, and attention count; pooling, normalization and additions do
      not. An operation of your own counts by the formula that you register with
      ``torch.utils.flop_counter.register_flop_formula``.
    * "params": parameters.
    * "size_bytes": parameters and buffers as they are stored; see ``weights``.
    * "activation_bytes": what the operations write for one input. Elementwise ones (activation
      functions, normalization, additions) do not count, since they can run in place or as part of
      the operation before them.

    The peak memory is not a sum over choices, and so there is no table of it.
    :func:`ddpnas.count_network` tells it for a network that is built.

    Args:
        space: The space.
        weights: Type in which weights are stored: "float32", "float16", or "int8" (with a
            float32 scale for each output channel; tensors of one dimension stay float32).

    Raises:
        SpaceError: The network does less where an option returns None, beyond leaving out
            additions, so that its cost is not a sum over choices.

    Example:
        >>> import ddpnas, numpy as np
        >>> space = ddpnas.create_space("toy")
        >>> costs = ddpnas.count_costs(space)
        >>> architecture = space.sample(np.random.default_rng(0))
        >>> costs["macs"].unit, costs["macs"].cost(architecture) > 0
        ('MACs', True)
    """
    checked("space of count_costs()", SearchSpace, space)
    known = _COUNTED.setdefault(space, {})
    if weights not in known:
        known[weights] = _counted(space, weights)
    return dict(known[weights])


# A space does not change, and many parts of a run ask for its costs.
_COUNTED: WeakKeyDictionary[SearchSpace, dict[str, dict[str, CostTable]]] = WeakKeyDictionary()


def _counted(space: SearchSpace, weights: Weights) -> dict[str, CostTable]:
    with torch.device("meta"):
        opened = space.opened()
    slices = Slices(opened)
    widths = WidthTerms([d for d in space.decisions if d.ordered], slices)
    counter = _Counter(space, opened, weights)
    terms: dict[str, dict[Condition, int]] = {name: {} for name in _UNITS}
    trials: list[list[_Piece]] = []
    with without_collections():
        for sizes in widths.trials:
            slices.set(sizes)
            trials.append(counter.count(check_absent=not trials))
    if len({len(pieces) for pieces in trials}) > 1:
        advice = advice_on_weights(opened)
        raise SpaceError(
            f"the network of space {space.name!r} runs different operations at different widths, "
            f"so its costs are not a sum over its choices{advice and f'; {advice}'}"
        )
    for pieces in zip(*trials, strict=True):
        [first, *_] = pieces
        explained = widths.explain([piece.cost for piece in pieces], first.what)
        for pairs, cost in explained.items():
            add_term(terms[first.name], (*first.condition, *pairs), cost)
    about = {**space.identity, "options": space.plain_options, "counted": True}
    about_of = {name: about for name in _UNITS} | {"size_bytes": {**about, "weights": weights}}
    return {
        name: CostTable(name, unit, 0, terms[name], about_of[name]) for name, unit in _UNITS.items()
    }


def _tensors_by_conditions(
    opened: nn.Module,
) -> Iterator[tuple[frozenset[Condition], list[OwnParameter], list[Tensor]]]:
    """Yield the network's tensors by the conditions under which they stand.

    A tensor has several if it is shared. It is there if any of them holds.
    """
    places: dict[int, tuple[OwnParameter | Tensor, set[Condition]]] = {}
    for condition, modules, _ in walk(opened):
        parameters, buffers = own_tensors(modules)
        for own in parameters:
            places.setdefault(id(own.tensor), (own, set()))[1].add(condition)
        for buffer in buffers:
            places.setdefault(id(buffer), (buffer, set()))[1].add(condition)
    groups: dict[frozenset[Condition], tuple[list[OwnParameter], list[Tensor]]] = {}
    for found, conditions in places.values():
        parameters, buffers = groups.setdefault(frozenset(conditions), ([], []))
        if isinstance(found, OwnParameter):
            parameters.append(found)
        else:
            buffers.append(found)
    for together, (parameters, buffers) in groups.items():
        yield together, parameters, buffers


def _any_of(space: SearchSpace, conditions: frozenset[Condition]) -> dict[Condition, int]:
    """Return terms whose sum is 1 where any of the conditions holds and 0 elsewhere.

    By inclusion and exclusion: [A or B] = [A] + [B] - [A and B].
    """
    terms: dict[Condition, int] = {}
    for condition in sorted(conditions, key=len):
        both: dict[Condition, int] = {}
        for other, sign in terms.items():
            add_term(both, other + condition, -sign)
        add_term(both, condition, 1)
        for choices, sign in both.items():
            add_term(terms, choices, sign)
        terms = {choices: sign for choices, sign in terms.items() if sign}
        if len(terms) > _MOST_TERMS:
            decisions = sorted({pairs[-1][0] for pairs in conditions})
            raise SpaceError(
                f"space {space.name!r} shares a weight among options of {len(decisions)} decisions "
                f"({', '.join(decisions[:4])}, ...), too many to count it exactly; use it in a "
                f"module outside all options too, or share it among fewer"
            )
    return terms


class _Piece(NamedTuple):
    """A part of a cost.

    Attributes:
        name: The cost.
        condition: The choices under which it is paid.
        what: What costs it.
        cost: How much, at the present widths.
    """

    name: str
    condition: Condition
    what: str
    cost: int


class _Counter:
    """Counts a network at the widths that it has.

    Args:
        space: The space of the network.
        opened: ``space.opened()`` on the meta device.
        weights: Type in which weights are stored.
    """

    def __init__(self, space: SearchSpace, opened: nn.Module, weights: Weights) -> None:
        self._space, self._opened, self._weights = space, opened, weights
        self._checked: set[str] = set()  # keys of units

    def count(self, *, check_absent: bool) -> list[_Piece]:
        """Return the costs of every choice, in the same order at all widths.

        Args:
            check_absent: Whether to refuse a network that does less where an option returns None,
                which it does at all widths or at none.
        """
        pieces = []
        for conditions, parameters, buffers in _tensors_by_conditions(self._opened):
            stored = stored_bytes(parameters, buffers, self._weights)
            elements = [own.tensor.numel() for own in parameters]
            for condition, sign in _any_of(self._space, conditions).items():
                for name, costs in (("params", elements), ("size_bytes", stored)):
                    what = f"{name} of a layer"
                    pieces += [_Piece(name, condition, what, sign * c) for c in (*costs, 0)]
        for unit in find_units(self._space, self._opened, keys=check_absent):
            absent = check_absent and any(slot.absent for slot in unit.slots)
            if absent and unit.key not in self._checked:
                self._check_absent(unit)
                self._checked.add(unit.key)
            for op in unit.costs:
                what = f"{op.name} in {unit.path or 'the network'}"
                pieces.append(_Piece("macs", unit.choices, what, op.macs))
                pieces.append(_Piece("activation_bytes", unit.choices, what, op.written))
            pieces.append(_Piece("macs", unit.choices, "", 0))  # a term even if nothing runs
            pieces.append(_Piece("activation_bytes", unit.choices, "", 0))
        return pieces

    def _check_absent(self, unit: CostUnit) -> None:
        """Refuse a unit that costs less when some of its slots are given None."""
        fillings = [None if slot.absent else slot.output for slot in unit.slots]
        without = operation_costs(bind(self._opened, unit, unit.inputs, fillings))
        if total_costs(without) != total_costs(unit.costs):
            decisions = sorted({slot.decision for slot in unit.slots if slot.absent})
            raise SpaceError(
                f"the costs of space {self._space.name!r} are not a sum over its choices: the "
                f"network runs different operations when a choice returns None "
                f"({', '.join(decisions)}); sum such outputs with ddpnas.space.layers.add, or "
                f"use a module that returns zeros"
            )
