"""WidthTerms: a cost that was counted at some widths, as terms over the decisions about widths.

What one operation costs is a constant times the widths of a few axes: a convolution multiplies
once for each pair of an input and an output channel. So a network is counted at some widths, and
for every operation the widths of the network are found whose product explains all counts.

    counted at the largest, ...    explained by    terms
    1152, 576, 288, ...            18 a b          (a = 8, b = 8): 1152, (a = 4, b = 8): 576, ...

A width that is a sum, as behind a concatenation, gives a term for each of its parts. What the
concatenation itself writes is such a sum.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from ddpnas.errors import SpaceError
from ddpnas.space.decisions import Decision
from ddpnas.space.slices import Slices
from ddpnas.space.supernet import Condition
from ddpnas.space.widths import Part, Width, trial_sizes

__all__ = ["WidthTerms"]

_MOST_FACTORS = 3  # widths in a product: the two sides of a layer, and groups or heads
_CLOSE = 1e-9  # of two sums of logarithms that may be equal
_MOST_DECISIONS = 3  # of a term, which has a value for each combination of their options


class WidthTerms:
    """Explains counts by the widths of a network.

    Args:
        widths: The decisions about widths.
        slices: The layers that have such widths.

    Attributes:
        trials: Sizes of the widths at which costs have to be counted, the largest first. Each
            decision takes every value, which tells its functions apart, and any two decisions are
            told apart.

    Example:
        >>> from torch import nn
        >>> decision = Decision("a", ("2", "4"), values=(2, 4))
        >>> terms = WidthTerms([decision], Slices(nn.Linear(3, Width.of("a", (2, 4)))))
        >>> terms.explain([3 * sizes["a"] for sizes in terms.trials], "Linear")
        {(('a', '2'),): 6, (('a', '4'),): 12}
    """

    def __init__(self, widths: Sequence[Decision], slices: Slices) -> None:
        self._options = {d.name: {int(o): o for o in d.options} for d in widths}
        self.trials = _trials({name: list(sizes) for name, sizes in self._options.items()})
        self._explained: dict[tuple[int, ...], dict[Condition, int]] = {}
        self._by_ratios: dict[_Ratios, Width] = {}
        for width in slices.widths():
            self._by_ratios.setdefault(_ratios([width.at(sizes) for sizes in self.trials]), width)
        self._numbers = np.array([_number(ratios) for ratios in self._by_ratios])

    def explain(self, counts: Sequence[int], what: str) -> dict[Condition, int]:
        """Return terms whose sum is the count at every width.

        Args:
            counts: The count at each of :attr:`trials`.
            what: What was counted, for messages.

        Raises:
            SpaceError: No product or sum of the network's widths gives the count.
        """
        key = tuple(counts)
        if key not in self._explained:
            self._explained[key] = self._terms(key, what)
        return self._explained[key]

    def _terms(self, counts: tuple[int, ...], what: str) -> dict[Condition, int]:
        if len(set(counts)) == 1:
            return {(): counts[0]}
        factors = self._factors(counts) or self._summands(counts)
        if factors is None:
            raise SpaceError(
                f"the cost of {what} cannot be told from the widths of the network: it is "
                f"{counts[0]} at the largest, but neither a sum of widths at others nor a "
                f"constant times up to {_MOST_FACTORS} of them. Keep each size that it depends on "
                f"in a module as a width"
            )
        at_largest = math.prod(width.at(self.trials[0]) for width in factors)
        terms: dict[Condition, int] = {}
        for factor, parts in _expanded(factors, Fraction(counts[0], at_largest)):
            names = sorted({name for part in parts for name in part.decisions})
            if len(names) > _MOST_DECISIONS:
                raise SpaceError(
                    f"the cost of {what} depends on {len(names)} widths at once "
                    f"({', '.join(names)}); at most {_MOST_DECISIONS} can be counted"
                )
            for chosen in itertools.product(*(self._options[name] for name in names)):
                sizes = dict(zip(names, chosen, strict=True))
                cost = factor * math.prod(part.at(sizes) for part in parts)
                assert cost.denominator == 1, f"{what} costs {cost} at {sizes}"
                pairs = tuple((name, self._options[name][size]) for name, size in sizes.items())
                terms[pairs] = terms.get(pairs, 0) + int(cost)
        return terms

    def _factors(self, counts: tuple[int, ...]) -> tuple[Width, ...] | None:
        """Return widths whose product has the same ratios as the counts."""
        if 0 in counts:
            return None
        known = list(self._by_ratios.items())
        for number in range(_MOST_FACTORS):
            for places in self._likely(counts, number):
                first = [known[i] for i in places]
                rest = _ratios(counts)
                for ratios, _ in first:
                    rest = tuple(a / b for a, b in zip(rest, ratios, strict=True))
                if rest in self._by_ratios:
                    return (*(width for _, width in first), self._by_ratios[rest])
        return None

    def _likely(self, counts: tuple[int, ...], number: int) -> Iterator[tuple[int, ...]]:
        """Yield combinations of widths, by their places, after which one more may explain counts.

        Exact fractions are slow, so sums of logarithms are compared first: a product of ratios has
        the sum of their numbers.

        Args:
            counts: The counts.
            number: How many widths a combination has.
        """
        if not self._numbers.size:
            return
        drawn = [*itertools.combinations_with_replacement(range(self._numbers.size), number)]
        places = np.array(drawn, dtype=np.int64).reshape(len(drawn), number)
        rest = _number(_ratios(counts)) - self._numbers[places].sum(axis=1)
        above = np.sort(self._numbers)
        nearest = above[np.clip(np.searchsorted(above, rest - _CLOSE), 0, above.size - 1)]
        yield from map(tuple, places[np.abs(nearest - rest) <= _CLOSE].tolist())

    def _summands(self, counts: tuple[int, ...]) -> tuple[Width] | None:
        """Return a sum of widths that is the counts, as what a concatenation writes."""
        values = [Width.of(name, sizes) for name, sizes in self._options.items()]
        columns = [[*(width.at(sizes) for width in values), 1] for sizes in self.trials]
        solved = np.linalg.lstsq(np.array(columns, dtype=np.float64), np.array(counts), rcond=None)
        *factors, constant = [round(factor) for factor in solved[0]]
        total = sum((n * width for n, width in zip(factors, values, strict=True)), constant)
        same = isinstance(total, Width) and all(
            total.at(sizes) == count for sizes, count in zip(self.trials, counts, strict=True)
        )
        return (total,) if same else None


_Ratios = tuple[Fraction, ...]


def _number(ratios: _Ratios) -> float:
    """Return a sum of logarithms with fixed random weights, which differs for other ratios."""
    weights = np.random.default_rng(0).random(len(ratios))
    return float(np.log([float(ratio) for ratio in ratios]) @ weights)


def _ratios(counts: Sequence[int]) -> _Ratios:
    """Return counts relative to the first."""
    return tuple(Fraction(count, counts[0]) for count in counts)


def _trials(values: dict[str, list[int]]) -> list[dict[str, int]]:
    """Return the largest sizes, sizes that tell decisions apart, and every value of each."""
    largest = {name: sizes[-1] for name, sizes in values.items()}
    most = max((len(sizes) for sizes in values.values()), default=0)
    rng = np.random.default_rng(0)
    # Each decision takes its values in another random order, so that no two go in step.
    orders = {name: rng.permutation(most) % len(sizes) for name, sizes in values.items()}
    every = [{name: values[name][order[k]] for name, order in orders.items()} for k in range(most)]
    return [largest, *trial_sizes(values), *every]


def _expanded(
    factors: Sequence[Width], constant: Fraction
) -> Iterator[tuple[Fraction, tuple[Part, ...]]]:
    """Yield the products of a product of sums: (constant, parts that are multiplied)."""
    sums = [
        [*(((part,), n) for part, n in width.parts.items()), ((), width.constant)]
        for width in factors
    ]
    for product in itertools.product(*sums):
        factor = constant * math.prod(n for _, n in product)
        if factor:
            yield factor, tuple(part for parts, _ in product for part in parts)
