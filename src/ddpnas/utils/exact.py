"""Exact sums: numbers as they were written, as whole multiples of one unit.

Weights of rules, costs and limits are given as floats, and 0.1 + 0.1 + 0.1 is not 0.3 in floats.
So they are read as the decimals that a user wrote. All numbers of a rule or a table are then whole
multiples of one unit, and sums of whole numbers are exact, whoever adds them and in any order.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral
from typing import Any

__all__ = ["Unit", "add", "exact", "plain"]

_DIGITS = 15  # decimals of this many digits have a float each
_WHOLE = 2**53  # from here on floats leave out whole numbers


def exact(number: Any) -> Fraction:
    """Return the number that a float stands for.

    A float that prints with at most 15 digits stands for what it prints as. Any other is the result
    of a calculation, and stands for its binary value.

    Args:
        number: A finite number, also a fraction or one of NumPy.

    Example:
        >>> exact(0.1), exact(0.1 + 0.2) == exact(0.3), exact(2**60 + 1) == 2**60 + 1
        (Fraction(1, 10), False, True)
    """
    if isinstance(number, Fraction):
        return number
    if isinstance(number, Integral):
        return Fraction(int(number))
    number = float(number)
    text = repr(number)
    digits = text.partition("e")[0].replace(".", "").strip("-0")
    return Fraction(text) if len(digits) <= _DIGITS else Fraction(number)


def plain(number: Any) -> float:
    """Return a number as a float, or as an int where floats leave out whole numbers.

    Args:
        number: Any number, also a fraction or one of NumPy. Beyond all floats it is infinite.

    Example:
        >>> plain(3), plain(2**53 + 1), plain(1e23)
        (3.0, 9007199254740993, 100000000000000000000000)
    """
    if abs(number) > sys.float_info.max:
        return math.inf if number > 0 else -math.inf
    if abs(number) >= _WHOLE:
        return round(exact(number))
    return float(number)


def add(one: float, other: float) -> float:
    """Return the sum of two numbers, rounded once.

    Example:
        >>> add(0.1, 0.2), add(2**53, 1)
        (0.3, 9007199254740993)
    """
    if isinstance(one, int) and isinstance(other, int):
        return one + other
    return plain(float(exact(one) + exact(other)))


@dataclass(frozen=True)
class Unit:
    """What a set of numbers is whole multiples of.

    Attributes:
        size: One unit, above 0.

    Example:
        >>> unit = Unit.of([Fraction(1, 10), Fraction(3, 4)])
        >>> unit.size, unit.count(Fraction(3, 4)), unit.amount(21), unit.most(0.3)
        (Fraction(1, 20), 15, 1.05, 6)
    """

    size: Fraction

    @classmethod
    def of(cls, numbers: Iterable[Fraction]) -> Unit:
        """Return the largest unit of the numbers; 1 if all are 0."""
        numbers = list(numbers)
        below = math.lcm(*(n.denominator for n in numbers))
        above = math.gcd(*(n.numerator * (below // n.denominator) for n in numbers))
        return cls(Fraction(above or below, below))

    def count(self, number: Fraction) -> int:
        """Return how many units a number is, one of those that the unit was made for."""
        return int(number / self.size)

    def amount(self, count: int) -> float:
        """Return the number of that many units, see :func:`plain`; rounded if no float holds it.

        Raises:
            OverflowError: It is larger than every float.
        """
        above, below = self.size.as_integer_ratio()
        return plain(count * above if below == 1 else count * above / below)

    def most(self, end: float) -> float:
        """Return the largest count whose amount is at most ``end``; infinite if that is."""
        end = plain(end)
        if math.isinf(end):
            return end
        if self.size.denominator == 1:
            return math.floor(exact(end) / self.size)
        # Amounts are rounded to floats: what is nearer to the float at the end than to the next
        # one counts, too.
        last = float(end)
        if exact(last) > exact(end):
            last = math.nextafter(last, -math.inf)
        above = math.nextafter(last, math.inf)
        middle = (Fraction(last) + Fraction(above if above < math.inf else last)) / 2
        count = math.floor(middle / self.size)
        return count if self.amount(count) <= end else count - 1

    def least(self, end: float) -> float:
        """Return the smallest count whose amount is at least ``end``; infinite if that is."""
        return -self.most(-end)
