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
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from ddpnas.costs.table import CostTable
from ddpnas.space.decisions import Architecture, DecisionSpace, Rule

__all__ = ["Diagram", "Layer", "Vector", "to_go"]

Vector = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Choices = frozenset[tuple[str, str]]
State = tuple[tuple[int | None, ...], tuple[int, ...]]  # a sum for each rule, a node for each tree

_MOST_ARCS = 50_000  # bounds the time to build a diagram to about a second
_EXACT = 2.0**51  # sums of whole numbers below this are exact in float64, with room to compare
_DEAD = -1  # in a tree of joint costs: what was chosen is in none of its terms


@dataclass(frozen=True)
class Layer:
    """The arcs of one decision, sorted by the node they start from.

    Attributes:
        decision: Position of the decision in the space.
        source, target: Nodes before and after each arc.
        option: Index of the option of each arc.
        cost: What each arc adds to each cost, tables x arcs, in ``Diagram.units``.
        nodes: Number of nodes before this layer.
    """

    decision: int
    source: Indices
    target: Indices
    option: Indices
    cost: Vector
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

    Costs are whole numbers of a unit, kept in floats. Sums of whole numbers below 2**53 are exact
    in any order, so that a path costs the same from the front and from the back, equal costs
    compare as equal, and nothing is lost to a tolerance. The unit of a table of whole numbers is
    1. That of any other is so small (2**-51 of the largest sum) that it changes no cost by more
    than the rounding of a sum of floats does.

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
        self._tables = len(tables)
        self.units = np.array([_unit(table) for table in tables])
        self.fixed = np.array([_whole(t.fixed, u) for t, u in zip(tables, self.units, strict=True)])
        rules = (*space.rules, *rules)
        terms = _terms(tables, self.units)
        self._order = _order(space, rules, terms)
        place = {space.decisions[d].name: i for i, d in enumerate(self._order)}
        self._tracked = [_TrackedRule(rule, space, place) for rule in rules]
        self._alone: dict[tuple[str, str], Vector] = {}  # costs of one choice
        joint: dict[frozenset[int], list[tuple[dict[int, str], Vector]]] = {}  # by their layers
        for choices, cost in terms.items():
            if len(choices) == 1:
                self._alone[next(iter(choices))] = cost
            else:
                options = {place[decision]: option for decision, option in choices}
                joint.setdefault(frozenset(options), []).append((options, cost))
        self._trees = [_CostTree(sorted(layers), group) for layers, group in joint.items()]
        self._trees_at = [
            [i for i, tree in enumerate(self._trees) if at in tree.layers]
            for at in range(len(self._order))
        ]
        self.layers = self._build(allowed)

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

    def in_units(self, table: int, amount: float) -> float:
        """Return an amount of a cost in its unit, without the fixed part; may be infinite."""
        if not math.isfinite(amount):
            return amount
        exact = Fraction(amount) / Fraction(float(self.units[table]))
        return float(exact - Fraction(float(self.fixed[table])))

    def _build(self, allowed: Sequence[npt.NDArray[np.bool_]] | None) -> tuple[Layer, ...]:
        if not all(rule.open(0, 0) for rule in self._tracked):
            return ()
        start = tuple(rule.settle(0, 0) for rule in self._tracked), (0,) * len(self._trees)
        # The nodes before a layer, by what is still known of the choices that lead to them.
        states: dict[State, int] = {start: 0}
        layers = []
        arcs = 0
        for at, d in enumerate(self._order):
            decision = self.space.decisions[d]
            after: dict[State, int] = {}
            rows: list[tuple[int, int, int]] = []
            costs: list[Vector] = []
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
            if arcs > _MOST_ARCS:
                raise OverflowError("the rules of the space have too many partial sums")
            if not rows:
                return ()
            source, target, option = np.array(rows, dtype=np.intp).T
            cost = np.array(costs).T.reshape(self._tables, len(rows))
            layers.append(Layer(d, source, target, option, cost, len(states)))
            states = after
        return _trimmed(layers)

    def _step(self, state: State, at: int, pair: tuple[str, str]) -> tuple[State, Vector] | None:
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
        cost = np.zeros(self._tables) if cost is None else cost
        nodes = list(state[1])
        for i in self._trees_at[at]:
            nodes[i], paid = self._trees[i].step(nodes[i], at, pair[1])
            if paid is not None:
                cost = cost + paid
        return (tuple(sums), tuple(nodes)), cost


class _TrackedRule:
    """A rule whose partial sum is known after each layer, in exact whole numbers.

    Weights are fractions of floats. Multiplied by their common denominator they are whole numbers,
    so that equal partial sums are equal whatever path led to them, and their nodes are one.
    """

    def __init__(self, rule: Rule, space: DecisionSpace, place: Mapping[str, int]) -> None:
        self.lower, self.upper = rule.lower, rule.upper
        exact = {pair: Fraction(weight) for pair, weight in rule.weights.items() if weight}
        self._scale = math.lcm(1, *(w.denominator for w in exact.values()))
        self._weights = {pair: int(w * self._scale) for pair, w in exact.items()}
        self._concerned = {place[decision] for decision, _ in exact}
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
        """Return whether layers ``at``, ... can still meet the rule; rounded as in Rule.holds."""
        most, least = total + self._most[at], total + self._least[at]
        return self.lower <= most / self._scale and least / self._scale <= self.upper

    def settle(self, total: int, at: int) -> int | None:
        """Return the partial sum, or None where nothing that follows can break the rule."""
        most, least = total + self._most[at], total + self._least[at]
        safe = self.lower <= least / self._scale and most / self._scale <= self.upper
        return None if safe else total


class _CostTree:
    """All costs of joint choices of the same decisions: a level for each, costs at the leaves.

    A path through the diagram is at one node of the tree, so that a step is one look-up, however
    many terms there are: also where every whole architecture has a term.

    Args:
        layers: The layers of the decisions, in order.
        terms: For each term its option by layer, and its costs.
    """

    def __init__(
        self, layers: Sequence[int], terms: Sequence[tuple[Mapping[int, str], Vector]]
    ) -> None:
        self.layers = frozenset(layers)
        self._last = layers[-1]
        self._next: dict[tuple[int, str], int] = {}  # (node, option) -> node one level down
        self._paid: dict[tuple[int, str], Vector] = {}  # the same for the last level
        for options, cost in terms:
            node = 0
            for layer in layers[:-1]:
                node = self._next.setdefault((node, options[layer]), len(self._next) + 1)
            self._paid[node, options[self._last]] = cost

    def step(self, node: int, at: int, option: str) -> tuple[int, Vector | None]:
        """Return the node after an option of layer ``at``, and what is paid there."""
        if at == self._last:  # back at the root, so that paths which differ here alone can meet
            return 0, self._paid.get((node, option))
        return self._next.get((node, option), _DEAD), None


def _terms(tables: Sequence[CostTable], units: Vector) -> dict[Choices, Vector]:
    """Return the terms of all tables: choices -> cost in each table, in its unit."""
    terms: dict[Choices, Vector] = {}
    for i, table in enumerate(tables):
        for choices, cost in table.terms.items():
            found = terms.setdefault(frozenset(choices), np.zeros(len(tables)))
            found[i] += _whole(cost, units[i])
    return terms


def _unit(table: CostTable) -> float:
    """Return the unit in which the costs of a table are whole numbers; see :class:`Diagram`."""
    largest: dict[frozenset[str], float] = {}  # of terms of the same decisions at most one is paid
    for choices, cost in table.terms.items():
        decisions = frozenset(decision for decision, _ in choices)
        largest[decisions] = max(largest.get(decisions, 0.0), abs(cost))
    total = abs(table.fixed) + math.fsum(largest.values())
    whole = all(float(cost).is_integer() for cost in (table.fixed, *table.terms.values()))
    if total == 0 or (whole and total <= _EXACT):
        return 1.0
    return 2.0 ** math.ceil(math.log2(total / _EXACT))


def _whole(amount: float, unit: float) -> float:
    if unit == 1.0 and float(amount).is_integer():
        return float(amount)
    return float(round(Fraction(amount) / Fraction(float(unit))))


def _order(space: DecisionSpace, rules: Sequence[Rule], terms: Iterable[Choices]) -> list[int]:
    """Return positions of the decisions, those tied by rules or joint costs together.

    What is open between two tied decisions is part of every node between them, so that neighbors
    make a small diagram.
    """
    index = {d.name: i for i, d in enumerate(space.decisions)}
    group = list(range(len(index)))
    tied = [{index[d] for (d, _), w in rule.weights.items() if w} for rule in rules]
    tied += [{index[d] for d, _ in choices} for choices in terms if len(choices) > 1]
    for members in {frozenset(members): None for members in tied}:  # each once, in this order
        joined = {group[i] for i in members}
        if joined:
            group = [min(joined) if g in joined else g for g in group]
    return sorted(range(len(group)), key=lambda i: (group[i], i))


def to_go(layers: Sequence[Layer], weights: Sequence[Vector]) -> list[Vector]:
    """Return the largest sum of weights from each node to the end: an array for each boundary.

    The longest paths, from the end backwards.

    Args:
        layers: The n layers of a diagram.
        weights: For each layer the weight of each of its arcs.

    Returns:
        n + 1 arrays: entry i has a number for each node before layer i, the last one a zero.
    """
    ahead = [np.zeros(1)]
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
