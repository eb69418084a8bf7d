"""Width: the number of channels of a layer while it is undecided, an int that knows its decision.

A search space computes with widths as with any number, ``6 * width`` or ``width // 4``, and gives
the results to torch's layers, which keep them as attributes. So it can be told afterwards which
layer depends on which decision, and how.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

__all__ = ["Part", "Width", "trial_sizes"]


@dataclasses.dataclass(frozen=True)
class Part:
    """What a width is a sum of: the value of one decision, or a function of other widths.

    Attributes:
        key: Equal for parts that are the same function of the same decisions.
        decisions: Names of the decisions that it depends on.
        at: Returns the value, given the value of every decision.
    """

    key: Any
    decisions: tuple[str, ...]
    at: Callable[[Mapping[str, int]], int] = dataclasses.field(compare=False)


class Width(int):
    """A whole number that depends on decisions. Its value as an int is the largest one.

    Sums, differences, products with whole numbers and ``//`` are widths again. Any other function
    makes one by :meth:`map`: ``width.map(lambda w: max(8, w // 4))``. What Python computes in other
    ways, such as ``max(8, width)``, is a plain number that no longer knows its decision.

    Args:
        largest: The value at the largest value of every decision.
        parts: Part -> its factor.
        constant: What is added to the sum of parts times factors.

    Example:
        >>> width = Width.of("stage1", (16, 24, 32))
        >>> hidden = 6 * width
        >>> hidden, hidden.at({"stage1": 16}), hidden.decisions
        (192, 96, ('stage1',))
        >>> squeezed = hidden.map(lambda w: max(8, w // 16))
        >>> squeezed, squeezed.at({"stage1": 16})
        (12, 8)
    """

    parts: dict[Part, int]
    constant: int

    def __new__(cls, largest: int, parts: Mapping[Part, int], constant: int = 0) -> Self:
        """Return the number."""
        width = super().__new__(cls, largest)
        width.parts = {part: factor for part, factor in parts.items() if factor}
        width.constant = constant
        return width

    @classmethod
    def of(cls, decision: str, values: Iterable[int]) -> Self:
        """Return the width that is the value of a decision.

        Args:
            decision: Name of the decision.
            values: Its values.
        """
        part = Part(decision, (decision,), lambda chosen: chosen[decision])
        return cls(max(values), {part: 1})

    @classmethod
    def fixed(cls, value: int) -> Self:
        """Return a width that depends on nothing, with which a built network computes."""
        return cls(value, {}, value)

    @property
    def decisions(self) -> tuple[str, ...]:
        """The names of the decisions that the width depends on."""
        return tuple(dict.fromkeys(itertools.chain(*(part.decisions for part in self.parts))))

    def at(self, chosen: Mapping[str, int]) -> int:
        """Return the width as a plain int.

        Args:
            chosen: The value of every decision that it depends on; others are ignored.
        """
        return self.constant + sum(n * part.at(chosen) for part, n in self.parts.items())

    def map(self, function: Callable[[int], int]) -> Width:
        """Return the width that a function makes of this one, for every value.

        Args:
            function: Returns a whole number.
        """
        key = ("map", function, self._key)
        return _derived(int(function(int(self))), key, self, lambda value: int(function(value)))

    @property
    def _key(self) -> Any:
        return frozenset((part.key, n) for part, n in self.parts.items()), self.constant

    def __add__(self, other: Any) -> Any:
        if isinstance(other, Width):
            parts = dict(self.parts)
            for part, n in other.parts.items():
                parts[part] = parts.get(part, 0) + n
            return Width(int(self) + int(other), parts, self.constant + other.constant)
        if isinstance(other, int):
            return Width(int(self) + other, self.parts, self.constant + other)
        return int(self) + other

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, Width) and self.parts and other.parts:
            names = tuple(dict.fromkeys((*self.decisions, *other.decisions)))
            product = Part(
                ("product", frozenset((self._key, other._key))),
                names,
                lambda chosen: self.at(chosen) * other.at(chosen),
            )
            return Width(int(self) * int(other), {product: 1})
        if isinstance(other, Width) and other.parts:
            return other * int(self)
        if isinstance(other, int):
            parts = {part: n * int(other) for part, n in self.parts.items()}
            return Width(int(self) * int(other), parts, self.constant * int(other))
        return int(self) * other

    def __sub__(self, other: Any) -> Any:
        return self + (-1 * other)

    def __rsub__(self, other: Any) -> Any:
        return -1 * self + other

    def __neg__(self) -> Width:
        return self * -1  # type: ignore[no-any-return]

    def __floordiv__(self, other: Any) -> Any:
        if isinstance(other, Width) and other.parts:
            names = tuple(dict.fromkeys((*self.decisions, *other.decisions)))
            quotient = Part(
                ("quotient", self._key, other._key),
                names,
                lambda chosen: self.at(chosen) // other.at(chosen),
            )
            return Width(int(self) // int(other), {quotient: 1})
        if isinstance(other, int):
            divisor = int(other)
            key = ("quotient", self._key, divisor)
            return _derived(int(self) // divisor, key, self, lambda value: value // divisor)
        return int(self) // other

    __radd__ = __add__
    __rmul__ = __mul__

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def _derived(value: int, key: Any, width: Width, function: Callable[[int], int]) -> Width:
    if not width.parts:  # nothing is undecided
        return Width.fixed(value)
    part = Part(key, width.decisions, lambda chosen: function(width.at(chosen)))
    return Width(value, {part: 1})


_ONE_BY_ONE = 6  # decisions that are tried alone; codes tell more apart in fewer trials
_RANDOM = 5


def trial_sizes(values: Mapping[str, Sequence[int]]) -> list[dict[str, int]]:
    """Return sizes of widths at which a network is tried, besides the largest.

    They tell decisions apart: for any two, one is at its smallest where the other is at its
    largest, both ways. If there are few, each is at its smallest alone. Random sizes follow.

    Args:
        values: The values of each decision, in increasing order.

    Example:
        >>> trial_sizes({"a": (2, 4), "b": (3, 5, 7)})[:2]
        [{'a': 2, 'b': 7}, {'a': 4, 'b': 3}]
    """
    names = [name for name, sizes in values.items() if len(sizes) > 1]
    if len(names) <= _ONE_BY_ONE:
        groups = [{name} for name in names]
    else:
        groups = []
        for bit in range((len(names) - 1).bit_length()):
            marked = {name for i, name in enumerate(names) if i >> bit & 1}
            groups += [marked, set(names) - marked]
    trials = [
        {name: sizes[0 if name in group else -1] for name, sizes in values.items()}
        for group in groups
    ]
    rng = np.random.default_rng(0)
    random = [
        {name: int(rng.choice(sizes)) for name, sizes in values.items()} for _ in range(_RANDOM)
    ]
    return trials + random if names else []
