"""Limits on costs: read from numbers, pairs and texts, checked, kept in files, put into words."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real
from typing import Any

from ddpnas.costs.table import CostTable
from ddpnas.errors import OptionError, nearest
from ddpnas.utils.exact import exact, plain

__all__ = [
    "Limit",
    "LimitForm",
    "LimitLike",
    "Limits",
    "amount",
    "checked_limits",
    "parse_limits",
    "percent",
    "tightened_limits",
    "within",
]

LimitForm = float | tuple[float | None, float | None]  # what files keep of a limit
_SCALES = {"K": 10**3, "M": 10**6, "G": 10**9}


@dataclass(frozen=True)
class Limit:
    """The values that a cost may have, from ``lower`` to ``upper``, both included.

    Attributes:
        lower: Least allowed cost, in the unit of the cost table; minus infinity for none.
        upper: Largest allowed cost; infinity for none.

    Raises:
        OptionError: The ends are not numbers, or ``lower`` is above ``upper``.

    Examples:
        >>> limit = Limit.parse("10M..20M")
        >>> limit.holds(20e6), limit.margin(18e6)
        (True, 2000000.0)
        >>> str(limit)
        '10,000,000..20,000,000'
    """

    lower: float = -math.inf
    upper: float = math.inf

    def __post_init__(self) -> None:
        for end in ("lower", "upper"):
            object.__setattr__(self, end, plain(getattr(self, end)))
        ends = self.lower < math.inf and self.upper > -math.inf
        if not (ends and self.lower <= self.upper):  # false for NaN, too
            raise OptionError(
                f"a limit cannot range from {amount(self.lower)} to {amount(self.upper)}"
            )

    @classmethod
    def parse(cls, limit: LimitLike, *, of: float | None = None) -> Limit:
        """Return the limit that a number, a pair or a text stands for.

        A number is the largest allowed cost, and a pair is (lower, upper). The texts are those of
        the command line: ``"20M"`` (at most), ``">=10M"`` (at least), ``"10M..20M"`` (a range whose
        ends may be left out) and ``"50%"`` (a share of ``of``). K, M and G stand for thousands,
        millions and billions, commas may separate thousands (``"2,500,000"``), and decimals follow
        a point. A limit is returned unchanged.

        Args:
            limit: What to read.
            of: The cost that percentages refer to, such as that of a network to be shrunk.

        Raises:
            OptionError: It cannot be read, or a percentage has nothing to refer to.

        Examples:
            >>> Limit.parse(2_000_000) == Limit.parse("2M") == Limit(upper=2e6)
            True
            >>> Limit.parse("50%", of=3e8)
            Limit(lower=-inf, upper=150000000.0)
        """
        if isinstance(limit, Limit):
            return limit
        given: Any = limit
        if isinstance(given, Real):
            return cls(upper=plain(given))
        if isinstance(given, tuple) and [isinstance(end, Real) for end in given] == [True, True]:
            return cls(*given)
        if not isinstance(limit, str):
            raise OptionError(
                f"a limit is a number, a pair (lower, upper) or a text, not {limit!r}"
            )
        text = limit.strip()
        relation = next((sign for sign in ("<=", ">=", "=") if text.startswith(sign)), "")
        lower, dots, upper = text.removeprefix(relation).partition("..")
        try:
            if not dots:
                value = _number(lower, of)
                ends = (value, math.inf) if relation == ">=" else (-math.inf, value)
            elif relation in ("", "="):
                ends = (
                    _number(lower, of) if lower.strip() else -math.inf,
                    _number(upper, of) if upper.strip() else math.inf,
                )
            else:
                raise ValueError(text)
        except ValueError:
            if "%" in text and of is None:
                raise OptionError(
                    f"{limit!r} is a share of a network's cost, which only `ddpnas shrink` has; "
                    f"give a number, such as 20M"
                ) from None
            raise OptionError(
                f"cannot read the limit {limit!r}; write 20M (at most), >=10M (at least) or "
                f"10M..20M"
            ) from None
        return cls(*ends)

    def __str__(self) -> str:
        """Return the exact text that :meth:`parse` reads."""
        lower, upper = ("" if math.isinf(end) else _exact(end) for end in (self.lower, self.upper))
        return upper if upper and not lower else f"{lower}..{upper}"

    def describe(self) -> str:
        """Return the limit for a sentence.

        Examples:
            >>> Limit.parse(">=1.5M").describe()
            'at least 1,500,000'
        """
        if math.isinf(self.lower):
            return "unlimited" if math.isinf(self.upper) else f"at most {amount(self.upper)}"
        if math.isinf(self.upper):
            return f"at least {amount(self.lower)}"
        return f"{amount(self.lower)} to {amount(self.upper)}"

    def to_json(self) -> float | list[float | None]:
        """Return plain data: a number for an upper limit alone, else [lower, upper] or None."""
        if math.isinf(self.lower) and math.isfinite(self.upper):
            return self.upper
        return [end if math.isfinite(end) else None for end in (self.lower, self.upper)]

    @classmethod
    def from_json(cls, data: float | Sequence[float | None]) -> Limit:
        """Return the limit that :meth:`to_json` described."""
        if not isinstance(data, Sequence):
            return cls(upper=data)
        lower, upper = data
        return cls(-math.inf if lower is None else lower, math.inf if upper is None else upper)

    def holds(self, cost: float) -> bool:
        """Return whether the cost is within the limit."""
        return self.lower <= plain(cost) <= self.upper

    def tightened(self, share: float) -> Limit:
        """Return the limit that a cost has to meet so that it may be wrong by this share.

        Args:
            share: Largest error of the cost, relative to what it is in truth; below 1.

        Raises:
            OptionError: Nothing is left between the ends.

        Examples:
            >>> Limit(upper=0.7).tightened(0.1), Limit(lower=10).tightened(0.1)
            (Limit(lower=-inf, upper=0.63), Limit(lower=11.0, upper=inf))
        """
        if not share:
            return self
        lower, upper = (
            end if math.isinf(end) else plain(exact(end) + sign * abs(exact(end)) * exact(share))
            for end, sign in ((self.lower, 1), (self.upper, -1))
        )
        if lower > upper:
            raise OptionError(
                f"a margin of {percent(share)} leaves nothing of {self.describe()}; give a smaller "
                f"margin or a wider range"
            )
        return Limit(lower, upper)

    def margin(self, cost: float) -> float:
        """Return how far the cost is from the nearer end of the limit; negative outside it."""
        cost = plain(cost)
        return min(self.upper - cost, cost - self.lower)


LimitLike = Limit | float | tuple[float, float] | str  # what Limit.parse reads
Limits = Mapping[str, LimitLike]  # cost name -> limit


def parse_limits(
    limits: Limits | Iterable[str], *, of: Mapping[str, float] | None = None
) -> dict[str, Limit]:
    """Return the limits by name of the cost.

    Args:
        limits: A mapping from cost names to whatever :meth:`Limit.parse` reads, or texts such as
            ``macs=20M``, ``macs>=10M`` and ``macs=10M..20M``, at most one for each cost.
        of: Cost name -> the cost that percentages refer to.

    Raises:
        OptionError: A limit cannot be read, two limits name the same cost, or nothing is known of
            a cost that percentages could refer to.

    Examples:
        >>> parse_limits(["macs=20M", "params>=1K"])["macs"] == parse_limits({"macs": 2e7})["macs"]
        True
    """
    if isinstance(limits, Mapping):
        return {name: _named(name, limit, _whole(name, of)) for name, limit in limits.items()}
    parsed: dict[str, Limit] = {}
    for text in [limits] if isinstance(limits, str) else limits:
        found = re.fullmatch(r"\s*([^<>=\s]+)\s*([<>=].*)", text)
        if found is None:
            raise OptionError(
                f"cannot read the limit {text!r}; name the cost, such as macs=20M, macs>=10M or "
                "macs=10M..20M"
            )
        name, limit = found.groups()
        if name in parsed:
            raise OptionError(f"two limits on {name}; write a range: {name}=10M..20M")
        parsed[name] = _named(name, limit.removeprefix("="), _whole(name, of))
    return parsed


def checked_limits(limits: Limits, costs: Mapping[str, CostTable]) -> dict[str, Limit]:
    """Return the limits by name of the cost, each of which has a table.

    Args:
        limits: Cost name -> whatever :meth:`Limit.parse` reads.
        costs: Cost name -> table.

    Raises:
        OptionError: A limit cannot be read, or its cost has no table.

    Examples:
        >>> checked_limits({"macs": "2K"}, {"macs": CostTable("macs", "MACs", 0, {})})
        {'macs': Limit(lower=-inf, upper=2000.0)}
    """
    for name in limits:
        if name not in costs:
            raise _unknown(name, costs)
    return parse_limits(limits)


def _whole(name: str, of: Mapping[str, float] | None) -> float | None:
    """Return what a percentage of a cost refers to; None where there are no percentages."""
    if of is None:
        return None
    if name not in of:
        raise _unknown(name, of)
    return of[name]


def _unknown(name: str, known: Iterable[str]) -> OptionError:
    return OptionError(
        f"{nearest('limit', name, known)}; any other cost needs a table: --costs TABLE.json, which "
        f"`ddpnas latency` makes for milliseconds"
    )


def tightened_limits(
    limits: Mapping[str, Limit], costs: Mapping[str, CostTable], margin: float | str | None = None
) -> dict[str, Limit]:
    """Return the limits that predictions have to meet: those on measured costs are tighter.

    A counted cost is exact, and its limit stays. A measured one is a prediction, which may be wrong
    by a share of what a network really costs.

    Args:
        limits: Cost name -> limit.
        costs: Cost name -> table, one for every limit.
        margin: That share for all costs that are not counted, such as 0.05 or "5%". None takes that
            of each table (:attr:`ddpnas.CostTable.margin`).

    Raises:
        OptionError: The margin is not from 0 to less than 100 %, or leaves nothing of a limit.

    Examples:
        >>> measured = CostTable("latency_ms", "ms", 1.0, {}, {"check": {"p95_percent": 5.0}})
        >>> tightened_limits({"latency_ms": Limit(upper=2.0)}, {"latency_ms": measured})
        {'latency_ms': Limit(lower=-inf, upper=1.9)}
    """
    given = None if margin is None else _share(margin)
    result = {}
    for name, limit in limits.items():
        table = costs[name]
        share = table.margin if given is None else 0.0 if table.counted else given
        if share >= 1:
            raise OptionError(
                f"the table of {name} is wrong by up to {percent(share)}, so no limit can rely on "
                f"it; measure it again, or give a margin below 100 %"
            )
        try:
            result[name] = limit.tightened(share)
        except OptionError as error:
            raise OptionError(f"limit on {name}: {error}") from None
    return result


def percent(share: float) -> str:
    """Return a share for a sentence.

    Examples:
        >>> percent(0.05), percent(0.0123)
        ('5 %', '1.23 %')
    """
    return f"{100 * share:.3g} %"


def within(
    architecture: Mapping[str, str], limits: Mapping[str, Limit], costs: Mapping[str, CostTable]
) -> bool:
    """Return whether every limited cost of the architecture is within its limit.

    Args:
        architecture: An option for every decision.
        limits: Cost name -> limit.
        costs: Cost name -> table, one for every limit.

    Examples:
        >>> table = CostTable("macs", "MACs", 5, {(("op", "conv"),): 10})
        >>> within({"op": "conv"}, {"macs": Limit(upper=15)}, {"macs": table})
        True
    """
    return all(limit.holds(costs[name].cost(architecture)) for name, limit in limits.items())


def amount(value: float) -> str:
    """Return a cost for a sentence: whole numbers in full, others with six digits or to one.

    Examples:
        >>> amount(2e6), amount(1.23456789), amount(2345678.5), amount(1e300)
        ('2,000,000', '1.23457', '2,345,678', '1e+300')
    """
    whole = float(value).is_integer() or abs(value) >= 1e5  # six digits are before the point
    if whole and abs(value) < (10**21 if isinstance(value, int) else 2**53):
        return f"{round(value):,}"
    return f"{float(value):.6g}"


def _named(name: str, limit: LimitLike, of: float | None = None) -> Limit:
    """Return the limit; an error says on which cost it is."""
    try:
        return Limit.parse(limit, of=of)
    except OptionError as error:
        raise OptionError(f"limit on {name}: {error}") from None


def _number(text: str, of: float | None) -> float:
    """Return a finite number of a limit's text; ValueError when it is none."""
    text = text.strip()
    if "," in text:
        # Between thousands only: the 2,5 that is 2.5 in many languages must not become 25.
        if not re.fullmatch(r"[-+]?\d{1,3}(,\d{3})+(?!\d)[^,]*", text):
            raise ValueError(text)
        text = text.replace(",", "")
    scale = Fraction(1)
    if text.endswith("%") and of is not None:
        text, scale = text[:-1], exact(of) / 100
    elif unit := _SCALES.get(text[-1:].upper()):
        text, scale = text[:-1], Fraction(unit)
    about = float(text)  # refuses what is no number, and bounds the exponent
    value = plain(Fraction(text) * scale) if about and math.isfinite(about) else about
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _share(margin: float | str) -> float:
    try:
        text = str(margin).strip()
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share < 1:
        raise OptionError(
            f"a margin is a share from 0 to less than 1, such as 0.05 or 5%, not {margin!r}"
        )
    return share


def _exact(value: float) -> str:
    return f"{round(value):,}" if float(value).is_integer() else repr(float(value))
