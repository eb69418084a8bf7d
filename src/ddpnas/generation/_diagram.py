"""Diagram: all architectures that obey the rules, as the paths of a small layered graph.

A layer a decision, an arc an option. Two ways through the first decisions end in the same node
when every rule and every joint cost that is still open sees no difference between them; so the
graph of a space without rules is a chain, and that of DARTS has a few nodes a layer. Paths and
legal architectures are the same thing, and each arc carries what it adds to each cost. Least and
most of a cost are shortest paths; :mod:`ddpnas.generation._labels` and
:mod:`ddpnas.generation.frontier` do the rest.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from ddpnas.costs.table import CostTable
from ddpnas.space.decisions import Architecture, DecisionSpace, Rule

__all__ = ["Diagram", "Layer", "Vector", "to_go"]

Vector = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
State = tuple[tuple[int | None, ...], frozenset[int]]

_MOST_ARCS = 50_000
_EXACT = 2.0**51  # sums of whole numbers below this are exact in float64, with room to compare


@dataclass(frozen=True)
class Layer:
    """The arcs of one decision, sorted by the node they start from.

    Attributes:
        decision: its position in the space.
        source, target: node before and after, of each arc.
        option: index of the option, of each arc.
        cost: what each arc adds to each cost, tables x arcs, in ``Diagram.units``.
        nodes: how many there are before this layer.
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

    Costs are whole numbers of a unit, so that sums are exact in any order. The unit of a table of
    whole numbers is 1; that of any other is so small (2**-51 of the largest sum) that it changes
    no cost by more than the rounding of a sum of floats does.

    Args:
        space: decisions and rules.
        tables: the costs, in the order of the rows of ``Layer.cost``.
        rules: further rules.
        allowed: which options of each decision may be chosen; all if left out.

    Raises:
        OverflowError: the rules distinguish too many partial sums; the programme takes them.
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
        self.fixed = self.fixed + terms.pop(frozenset(), 0.0)
        self._order = _order(space, rules, terms)
        place = {space.decisions[d].name: i for i, d in enumerate(self._order)}
        self._tracked = [_TrackedRule(rule, space, place) for rule in rules]
        self._terms = [_TrackedTerm(pairs, cost, place) for pairs, cost in terms.items()]
        self._alone: dict[tuple[str, str], Vector] = {}
        self._joint_at: list[list[int]] = [[] for _ in self._order]  # terms that ask a layer
        for t, term in enumerate(self._terms):
            if len(term.pairs) == 1:
                self._alone.update(dict.fromkeys(term.pairs.items(), term.cost))
                continue
            for name in term.pairs:
                self._joint_at[place[name]].append(t)
        self.layers = self._build(allowed)

    @property
    def empty(self) -> bool:
        """Whether no architecture obeys the rules."""
        return not self.layers

    def decode(self, options: Sequence[int]) -> Architecture:
        """Return the architecture of a path, one option index a layer."""
        indices = [0] * len(self.layers)
        for layer, option in zip(self.layers, options, strict=True):
            indices[layer.decision] = int(option)
        return self.space.decode(indices)

    def values(self, rows: Sequence[Vector]) -> list[Vector]:
        """Return, for each layer, the value of each arc; ``rows`` has one of every option."""
        return [rows[layer.decision][layer.option] for layer in self.layers]

    def in_units(self, table: int, amount: float) -> float:
        """Return an amount of a cost in its unit, without the fixed part; may be infinite."""
        if not math.isfinite(amount):
            return amount
        exact = Fraction(amount) / Fraction(float(self.units[table]))
        return float(exact - Fraction(float(self.fixed[table])))

    def _build(self, allowed: Sequence[npt.NDArray[np.bool_]] | None) -> tuple[Layer, ...]:
        start: State = (tuple(0 for _ in self._tracked), frozenset())
        if not all(rule.open(0, 0) for rule in self._tracked):
            return ()
        states = {(tuple(r.settle(0, 0) for r in self._tracked), start[1]): 0}
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
        """Return the state after choosing ``pair`` and its cost; None if illegal."""
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
        alive = set()
        for t in self._joint_at[at]:
            term = self._terms[t]
            begun = term.first == at or t in state[1]
            if begun and term.pairs[pair[0]] == pair[1]:
                if term.last == at:
                    cost = cost + term.cost
                else:
                    alive.add(t)
        alive.update(t for t in state[1] if not self._terms[t].asks(at))
        return (tuple(sums), frozenset(alive)), cost


class _TrackedRule:
    """A rule whose partial sum is known after each layer, in exact whole numbers."""

    def __init__(self, rule: Rule, space: DecisionSpace, place: Mapping[str, int]) -> None:
        self.lower, self.upper = rule.lower, rule.upper
        exact = {pair: Fraction(weight) for pair, weight in rule.weights.items() if weight}
        self._scale = math.lcm(1, *(w.denominator for w in exact.values()))
        self._weights = {pair: int(w * self._scale) for pair, w in exact.items()}
        self._concerned = {place[decision] for decision, _ in exact}
        self._least, self._most = [0], [0]  # what the layers from the last on can add
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


class _TrackedTerm:
    """A cost that is paid when all its pairs are chosen, in the last layer that it asks."""

    def __init__(
        self, pairs: frozenset[tuple[str, str]], cost: Vector, place: Mapping[str, int]
    ) -> None:
        self.pairs, self.cost = dict(pairs), cost
        self._layers = {place[decision] for decision, _ in pairs}
        self.first, self.last = min(self._layers), max(self._layers)

    def asks(self, at: int) -> bool:
        """Return whether the decision of this layer is in the term."""
        return at in self._layers


def _terms(tables: Sequence[CostTable], units: Vector) -> dict[frozenset[tuple[str, str]], Vector]:
    """Return the terms of all tables that can be paid: pairs -> cost in each table."""
    terms: dict[frozenset[tuple[str, str]], Vector] = {}
    for i, table in enumerate(tables):
        for pairs, cost in table.terms.items():
            key = frozenset(pairs)
            if len({decision for decision, _ in key}) == len(key):
                terms.setdefault(key, np.zeros(len(tables)))[i] += _whole(cost, units[i])
    return terms


def _unit(table: CostTable) -> float:
    """Return the unit in which the costs of a table are whole numbers; see :class:`Diagram`."""
    largest: dict[frozenset[str], float] = {}  # of terms of the same decisions at most one is paid
    for pairs, cost in table.terms.items():
        decisions = frozenset(decision for decision, _ in pairs)
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


def _order(
    space: DecisionSpace, rules: Sequence[Rule], terms: Mapping[frozenset[tuple[str, str]], Vector]
) -> list[int]:
    """Return positions of the decisions, those tied by rules or joint costs together."""
    index = {d.name: i for i, d in enumerate(space.decisions)}
    group = list(range(len(index)))
    tied = [{index[d] for (d, _), w in rule.weights.items() if w} for rule in rules]
    tied += [{index[d] for d, _ in pairs} for pairs in terms if len(pairs) > 1]
    for members in tied:
        joined = {group[i] for i in members}
        if joined:
            group = [min(joined) if g in joined else g for g in group]
    return sorted(range(len(group)), key=lambda i: (group[i], i))


def to_go(layers: Sequence[Layer], weights: Sequence[Vector]) -> list[Vector]:
    """Return the largest sum of weights from each node to the end, for each boundary of layers.

    ``weights`` has one number an arc, a layer at a time.
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
