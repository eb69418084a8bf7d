"""Diagram: all architectures that obey the rules, as the paths of a layered graph.

This is a decision diagram: one layer for each decision, one arc for each option. Two partial
architectures end in the same node if no rule and no joint cost can still tell them apart, so that
the diagram of a space without rules is a chain and that of DARTS has a few nodes a layer. Three
decisions of options 0 and 1, with the rule that at most two of them are 1:

           a             b             c
    start --0-->( free )--0,1-->( free )--0,1--> end
      |                            ^              ^
      |                            0              |
      +----1-->( sum 1 )-----------+              |
                   |                              |
                   +-------1-->( sum 2 )----0-----+

After a = 0 nothing can break the rule any more: its sum is forgotten, and the node is "free". The
diagram has 8 arcs and 7 paths, one for each legal architecture. Each arc carries what it adds to
each cost, so that the least and the most of a cost are shortest and longest paths.
:mod:`ddpnas.generation._labels` and :mod:`ddpnas.generation._paths` find the best path within
limits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ddpnas.costs.table import CostTable
from ddpnas.generation.limits import Limit
from ddpnas.generation.objective import whole_rows
from ddpnas.space.decisions import Architecture, DecisionSpace, Rule

__all__ = ["SAFE", "Costs", "Diagram", "Layer", "Vector", "to_go"]

Vector = npt.NDArray[np.float64]
Costs = npt.NDArray[Any]  # whole numbers: float64, int64, or Python ints where these are too small
Indices = npt.NDArray[np.intp]
Choices = frozenset[tuple[str, str]]
# A sum for each rule, a node for each tree of joint costs, and what is due at each decision.
State = tuple[tuple[int | None, ...], tuple[int, ...], tuple[int, ...]]

# Bound the time to build a diagram to about a second. From _MANY_ARCS on it is given up where it
# would become larger than _MOST_ARCS if its layers stayed as wide as they are. A table with a term
# for every architecture needs as many arcs as terms, and the 0-1 program far longer for it.
_MANY_ARCS, _MOST_ARCS = 50_000, 200_000
SAFE = 2**51  # sums of whole numbers below are exact in float64, with room to compare
_KINDS = ((SAFE, np.dtype(np.float64)), (2**61, np.dtype(np.int64)))
_DEAD = -1  # in a tree of joint costs: what was chosen is in none of its terms


@dataclass(frozen=True)
class Layer:
    """The arcs of one decision, sorted by the node they start from.

    Attributes:
        decision: Position of the decision in the space.
        source, target: Nodes before and after each arc.
        option: Index of the option of each arc.
        cost: What each arc adds to each cost, tables x arcs, in the units of the tables.
        nodes: Number of nodes before this layer.
    """

    decision: int
    source: Indices
    target: Indices
    option: Indices
    cost: Costs
    nodes: int

    @functools.cached_property
    def starts(self) -> Indices:
        """The first arc of each node."""
        return np.searchsorted(self.source, np.arange(self.nodes))

    def only(self, arcs: npt.NDArray[np.bool_]) -> Layer:
        """Return the layer with these arcs alone."""
        return Layer(
            self.decision,
            self.source[arcs],
            self.target[arcs],
            self.option[arcs],
            self.cost[:, arcs],
            self.nodes,
        )


class Diagram:
    """The legal architectures of a space and what each choice costs.

    Costs are whole numbers (:attr:`ddpnas.CostTable.whole`), kept in the fastest type in which
    their sums are exact. So a path costs the same from the front and from the back, equal costs
    compare as equal, and nothing is lost to a tolerance. Where prices are put on costs, floats of
    about their size will do (:meth:`rough`).

    Args:
        space: Decisions and rules.
        tables: The costs, in the order of the rows of ``Layer.cost``.
        rules: Further rules.
        allowed: Which options of each decision may be chosen; all if left out.

    Raises:
        OverflowError: The rules and joint costs tell too many partial architectures apart. The 0-1
            program takes such spaces.
    """

    def __init__(
        self,
        space: DecisionSpace,
        tables: Sequence[CostTable],
        rules: Sequence[Rule] = (),
        allowed: Sequence[npt.NDArray[np.bool_]] | None = None,
    ) -> None:
        self.space = space
        self.tables = len(tables)
        self._whole = [table.whole for table in tables]
        largest = max((whole.largest for whole in self._whole), default=0)
        self.dtype = next((kind for end, kind in _KINDS if largest < end), np.dtype(object))
        # What costs are divided by to become floats. Many whole numbers are too large for one.
        self._scales = [
            1 if self.dtype == np.float64 else max(1, whole.largest >> 53) for whole in self._whole
        ]
        rules = (*space.rules, *rules)
        terms = self._terms()
        self._order = _order(space, rules, terms)
        place = {space.decisions[d].name: i for i, d in enumerate(self._order)}
        self._tracked = [_TrackedRule(rule, space, place) for rule in rules]
        self._alone: dict[tuple[str, str], Costs] = {}  # costs of one choice
        # Joint costs by the layers of all their choices but the last, then by these choices.
        joint: dict[tuple[int, ...], dict[tuple[str, ...], list[tuple[int, str, Costs]]]] = {}
        for choices, cost in terms.items():
            if len(choices) == 1:
                self._alone[next(iter(choices))] = cost
            else:
                *first, (last, option) = sorted((place[name], option) for name, option in choices)
                layers, options = zip(*first, strict=True)
                group = joint.setdefault(layers, {}).setdefault(options, [])
                group.append((last, option, cost))
        self._dues = [_Dues(space.decisions[d].options, self._nothing()) for d in self._order]
        self._trees = [_CostTree(layers, group, self._dues) for layers, group in joint.items()]
        self._trees_at = [
            [i for i, tree in enumerate(self._trees) if at in tree.layers]
            for at in range(len(self._order))
        ]
        self.layers = self._build(allowed, len(terms))

    @property
    def empty(self) -> bool:
        """Whether no architecture obeys the rules."""
        return not self.layers

    def decode(self, options: Sequence[int]) -> Architecture:
        """Return the architecture of a path, given as one option index for each layer."""
        indices = [0] * len(self.layers)
        for layer, option in zip(self.layers, options, strict=True):
            indices[layer.decision] = int(option)
        return self.space.decode(indices)

    def values(self, rows: Sequence[Vector]) -> list[Vector]:
        """Return the value of each arc for each layer; ``rows`` has that of each option."""
        return [rows[layer.decision][layer.option] for layer in self.layers]

    def values_of(self, table: int, factor: float) -> list[Vector]:
        """Return a cost of each arc as its value, in whole numbers, rounded if they are large."""
        if self.dtype == np.float64:
            return [factor * layer.cost[table] for layer in self.layers]
        rows = [factor * self.rough(table, layer.cost[table]) for layer in self.layers]
        return whole_rows(rows) if rows else []

    def ends(self, table: int, limit: Limit) -> tuple[float, float]:
        """Return the ends of a limit in whole numbers, without the fixed part; may be infinite."""
        unit, fixed, _, largest = self._whole[table]
        # An end beyond every sum says no more than one just outside.
        lower, upper = (
            end if abs(end) == math.inf else max(-largest - 1, min(int(end) - fixed, largest + 1))
            for end in (unit.least(limit.lower), unit.most(limit.upper))
        )
        return lower, upper

    def rough(self, table: int, amounts: Any) -> Any:
        """Return whole numbers of a cost as floats, divided by a number of that cost."""
        scale = self._scales[table]
        if isinstance(amounts, np.ndarray) and amounts.dtype != np.float64:
            return (amounts / scale).astype(np.float64)
        return amounts / scale if scale != 1 else amounts

    def _terms(self) -> dict[Choices, Costs]:
        """Return the terms of all tables: choices -> cost in each table."""
        terms: dict[Choices, Costs] = {}
        for i, whole in enumerate(self._whole):
            for choices, cost in whole.terms.items():
                found = terms.setdefault(frozenset(choices), self._nothing())
                found[i] += cost
        return terms

    def _nothing(self) -> Costs:
        return np.zeros(self.tables, dtype=self.dtype)

    def _build(
        self, allowed: Sequence[npt.NDArray[np.bool_]] | None, terms: int
    ) -> tuple[Layer, ...]:
        if not all(rule.open(0, 0) for rule in self._tracked):
            return ()
        sums = tuple(rule.settle(0, 0) for rule in self._tracked)
        start = sums, (0,) * len(self._trees), (0,) * len(self._order)
        # The nodes before a layer, by what is still known of the choices that lead to them.
        states: dict[State, int] = {start: 0}
        layers = []
        arcs = 0
        for at, d in enumerate(self._order):
            decision = self.space.decisions[d]
            after: dict[State, int] = {}
            rows: list[tuple[int, int, int]] = []
            costs: list[Costs] = []
            steps = [
                (o, (decision.name, option))
                for o, option in enumerate(decision.options)
                if allowed is None or allowed[d][o]
            ]
            for state, source in states.items():
                for o, pair in steps:
                    step = self._step(state, at, pair)
                    if step is None:
                        continue
                    target = after.setdefault(step[0], len(after))
                    rows.append((source, target, o))
                    costs.append(step[1])
            arcs += len(rows)
            estimate = arcs + len(rows) * (len(self._order) - at - 1)
            if arcs > _MANY_ARCS and estimate > max(_MOST_ARCS, 2 * terms):
                raise OverflowError(
                    "rules and joint costs tell too many partial architectures apart"
                )
            if not rows:
                return ()
            source, target, option = np.array(rows, dtype=np.intp).T
            cost = np.array(costs, dtype=self.dtype).T.reshape(self.tables, len(rows))
            layers.append(Layer(d, source, target, option, cost, len(states)))
            states = after
        return _trimmed(layers)

    def _step(self, state: State, at: int, pair: tuple[str, str]) -> tuple[State, Costs] | None:
        """Return the state after choosing ``pair`` and what that costs; None if it is illegal."""
        sums: list[int | None] = []
        for rule, total in zip(self._tracked, state[0], strict=True):
            if total is None or not rule.concerns(at):
                sums.append(total)
                continue
            total += rule.weight(pair)
            if not rule.open(total, at + 1):
                return None
            sums.append(rule.settle(total, at + 1))
        cost = self._alone.get(pair)
        cost = self._nothing() if cost is None else cost
        nodes, due = list(state[1]), list(state[2])
        if due[at]:
            cost = cost + self._dues[at].paid(due[at], pair[1])
            due[at] = 0
        for i in self._trees_at[at]:
            nodes[i], further = self._trees[i].step(nodes[i], at, pair[1])
            for later, number in further:
                due[later] = self._dues[later].sum(due[later], number)
        return (tuple(sums), tuple(nodes), tuple(due)), cost


class _TrackedRule:
    """A rule whose partial sum is known after each layer."""

    def __init__(self, rule: Rule, space: DecisionSpace, place: Mapping[str, int]) -> None:
        self._weights, self._lower, self._upper = rule.whole
        self._concerned = {place[decision] for decision, _ in self._weights}
        # What the layers from each one on can add at least and at most, from the last one back.
        self._least, self._most = [0], [0]
        for d in sorted(space.decisions, key=lambda d: -place[d.name]):
            weights = [self.weight((d.name, option)) for option in d.options]
            self._least.append(self._least[-1] + min(weights))
            self._most.append(self._most[-1] + max(weights))
        self._least.reverse()
        self._most.reverse()

    def concerns(self, at: int) -> bool:
        """Return whether the rule speaks of the decision of this layer."""
        return at in self._concerned

    def weight(self, pair: tuple[str, str]) -> int:
        """Return what a choice adds."""
        return self._weights.get(pair, 0)

    def open(self, total: int, at: int) -> bool:
        """Return whether layers ``at``, ... can still meet the rule."""
        most, least = total + self._most[at], total + self._least[at]
        return self._lower <= most and least <= self._upper

    def settle(self, total: int, at: int) -> int | None:
        """Return the partial sum, or None where nothing that follows can break the rule."""
        most, least = total + self._most[at], total + self._least[at]
        return None if self._lower <= least and most <= self._upper else total


class _Dues:
    """What joint costs make the options of one decision cost, once all else in them is chosen.

    For each option a cost in each table. Partial architectures of equal dues can meet in a node,
    as behind a concatenation, where only the sum of the widths counts. Dues are numbered; 0 is
    nothing due.

    Args:
        options: The options of the decision.
        nothing: A zero for each table.
    """

    def __init__(self, options: Sequence[str], nothing: Costs) -> None:
        self._index = {option: i for i, option in enumerate(options)}
        self._dues: list[Costs] = []
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._sums: dict[tuple[int, int], int] = {}
        self.number({option: nothing for option in options})

    def number(self, costs: Mapping[str, Costs]) -> int:
        """Return the number of dues, given as the costs of some options; others cost nothing."""
        due = np.zeros_like(self._dues[0]) if self._dues else np.array(list(costs.values()))
        for option, cost in costs.items():
            due[self._index[option]] = cost
        return self._numbered(due)

    def sum(self, one: int, other: int) -> int:
        """Return the number of the sum of two dues."""
        if not one or not other:
            return one or other
        pair = one, other
        if pair not in self._sums:
            self._sums[pair] = self._numbered(self._dues[one] + self._dues[other])
        return self._sums[pair]

    def paid(self, number: int, option: str) -> Costs:
        """Return what an option costs when these dues are paid."""
        return np.asarray(self._dues[number][self._index[option]])

    def _numbered(self, due: Costs) -> int:
        number = self._numbers.setdefault(tuple(due.ravel().tolist()), len(self._dues))
        if number == len(self._dues):
            self._dues.append(due)
        return number


class _CostTree:
    """All joint costs whose choices but the last are of the same decisions: a level for each.

    A path through the diagram is at one node of the tree, so that a step is one look-up, however
    many terms there are: also where every whole architecture has a term.

    Args:
        layers: The layers of the decisions, in order, without the last one of each term.
        terms: The options at these layers -> (last layer, option there, costs) of each term.
        dues: The dues of each layer, which number those of the terms.
    """

    def __init__(
        self,
        layers: Sequence[int],
        terms: Mapping[tuple[str, ...], Sequence[tuple[int, str, Costs]]],
        dues: Sequence[_Dues],
    ) -> None:
        self.layers = frozenset(layers)
        self._last = layers[-1]
        self._next: dict[tuple[int, str], int] = {}  # (node, option) -> node one level down
        # The same for the last level: (layer, number of what is due there).
        self._due: dict[tuple[int, str], list[tuple[int, int]]] = {}
        for options, group in terms.items():
            node = 0
            for option in options[:-1]:
                node = self._next.setdefault((node, option), len(self._next) + 1)
            costs: dict[int, dict[str, Costs]] = {}
            for layer, option, cost in group:
                costs.setdefault(layer, {})[option] = cost
            numbered = [(layer, dues[layer].number(one)) for layer, one in costs.items()]
            self._due[node, options[-1]] = numbered

    def step(self, node: int, at: int, option: str) -> tuple[int, Sequence[tuple[int, int]]]:
        """Return the node after an option of layer ``at``, and what becomes due where."""
        if at == self._last:  # back at the root, so that paths which differ here alone can meet
            return 0, self._due.get((node, option), ())
        return self._next.get((node, option), _DEAD), ()


def _order(space: DecisionSpace, rules: Sequence[Rule], terms: Iterable[Choices]) -> list[int]:
    """Return positions of the decisions, those tied by rules or joint costs together.

    What is open between two tied decisions is part of every node between them, so that neighbors
    make a small diagram.
    """
    index = {d.name: i for i, d in enumerate(space.decisions)}
    group = list(range(len(index)))
    tied = [{index[d] for d, _ in rule.whole.weights} for rule in rules]
    tied += [{index[d] for d, _ in choices} for choices in terms if len(choices) > 1]
    for members in {frozenset(members): None for members in tied}:  # each once, in this order
        joined = {group[i] for i in members}
        if joined:
            group = [min(joined) if g in joined else g for g in group]
    return sorted(range(len(group)), key=lambda i: (group[i], i))


def to_go(layers: Sequence[Layer], weights: Sequence[Costs]) -> list[Costs]:
    """Return the largest sum of weights from each node to the end: an array for each boundary.

    The longest paths, from the end backwards.

    Args:
        layers: The n layers of a diagram.
        weights: For each layer the weight of each of its arcs.

    Returns:
        n + 1 arrays: entry i has a number for each node before layer i, the last one a zero.
    """
    ahead = [np.zeros(1, dtype=weights[0].dtype if weights else None)]
    for layer, weight in zip(reversed(layers), reversed(weights), strict=True):
        through = weight + ahead[-1][layer.target]
        ahead.append(np.maximum.reduceat(through, layer.starts))
    return ahead[::-1]


def _trimmed(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Return the arcs that lie on a path from start to end, nodes renumbered; none if none do."""
    forward = []
    alive = np.ones(1, dtype=np.bool_)
    for layer in layers:
        kept = layer.only(alive[layer.source])
        alive = np.zeros(int(layer.target.max(initial=-1)) + 1, dtype=np.bool_)
        alive[kept.target] = True
        forward.append(kept)
    backward = []
    number = np.zeros(len(alive), dtype=np.intp)  # of each node after the layer, -1 for none
    for layer in reversed(forward):
        kept = layer.only(number[layer.target] >= 0)
        if not kept.option.size:
            return ()
        alive = np.zeros(layer.nodes, dtype=np.bool_)
        alive[kept.source] = True
        before = np.where(alive, np.cumsum(alive) - 1, -1)
        source, target = before[kept.source], number[kept.target]
        nodes = int(alive.sum())
        backward.append(Layer(kept.decision, source, target, kept.option, kept.cost, nodes))
        number = before
    return tuple(reversed(backward))
