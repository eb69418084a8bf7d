"""Sums: decisions that multiply a sum over other decisions, found in the terms of a cost.

Behind a concatenation a layer of width w costs w times the sum of the widths before it. A table has
that as products of w with each of them, d K^2 terms for d widths of K options. In the 0-1 program a
variable for each option of w is enough.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ddpnas.space.decisions import DecisionSpace

__all__ = ["Sum", "sums_of"]

Choices = tuple[tuple[str, str], ...]
_LARGE = 2**20  # a sum from here on would blur in the tolerance of the solver, 1e-6
Factors = tuple[int, tuple[int, ...], tuple[int, ...]]  # a constant, and what each option counts


@dataclass(frozen=True)
class Sum:
    """A sum over choices, to be multiplied by a decision.

    Attributes:
        decision: The decision that multiplies it.
        weights: (choice, what it adds), whole numbers.
    """

    decision: str
    weights: tuple[tuple[tuple[str, str], int], ...]

    @property
    def ends(self) -> tuple[int, int]:
        """The least and the most that the sum can be."""
        added: dict[str, list[int]] = {}
        for (name, _), weight in self.weights:
            added.setdefault(name, []).append(weight)
        return sum(map(min, added.values())), sum(map(max, added.values()))


def sums_of(
    terms: Mapping[Choices, int], space: DecisionSpace
) -> tuple[dict[Choices, int], dict[Sum, dict[str, int]]]:
    """Return the terms that are no products with sums, and the sums.

    Args:
        terms: Whole numbers by choices.
        space: The decisions.

    Returns:
        The other terms; and for each sum what a unit of it costs with each option of its decision.
    """
    blocks: dict[tuple[str, str], dict[tuple[str, str], int]] = {}
    for choices, count in terms.items():
        if len(choices) == 2:
            (a, o), (b, p) = choices
            blocks.setdefault((a, b), {})[o, p] = count
    products: dict[tuple[str, str], Factors] = {}
    for (a, b), block in blocks.items():
        rows = [[block.get((o, p), 0) for p in space[b].options] for o in space[a].options]
        factors = _factors(rows)
        if factors is not None:
            products[a, b] = factors
    rest = dict(terms)
    sums: dict[Sum, dict[str, int]] = {}
    while True:
        sides = collections.Counter(
            side for (a, b), (_, f, g) in products.items() for side in ((a, f), (b, g))
        )
        (name, each), count = sides.most_common(1)[0] if sides else (("", ()), 0)
        if count < 2:
            return rest, sums
        weights: dict[tuple[str, str], int] = {}
        taken = []
        for (a, b), (constant, f, g) in list(products.items()):
            if (name, each) not in ((a, f), (b, g)):
                continue
            other, adds = (b, g) if (name, each) == (a, f) else (a, f)
            for option, weight in zip(space[other].options, adds, strict=True):
                weights[other, option] = constant * weight
            del products[a, b]
            taken.append((a, b))
        unit = math.gcd(*weights.values())
        found = Sum(name, tuple((pair, weight // unit) for pair, weight in weights.items()))
        if max(map(abs, found.ends)) >= _LARGE:
            continue
        for a, b in taken:
            for o, p in blocks[a, b]:
                del rest[(a, o), (b, p)]
        sums[found] = {o: unit * n for o, n in zip(space[name].options, each, strict=True)}


def _factors(rows: Sequence[Sequence[int]]) -> Factors | None:
    """Return the constant and the two vectors without a common divisor whose product this is."""
    first = next((row for row in rows if any(row)), None)
    if first is None:
        return None
    at = next(i for i, n in enumerate(first) if n)
    divisor = math.gcd(*first) * (1 if first[at] > 0 else -1)
    g = [n // divisor for n in first]
    f = [row[at] // g[at] for row in rows]
    if any(f[i] * n != cost for i, row in enumerate(rows) for n, cost in zip(g, row, strict=True)):
        return None
    constant = math.gcd(*f) * (1 if next(n for n in f if n) > 0 else -1)
    return constant, tuple(n // constant for n in f), tuple(g)
