"""CostTable: what an architecture costs, as a sum over its choices.

A table holds one cost (multiply-adds, parameters, milliseconds, ...). It is plain data: made by
:mod:`ddpnas.costs`, by your own measurement, or read from JSON. :func:`ddpnas.generate` and
:func:`ddpnas.frontier` solve over it.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

from ddpnas.errors import DataError, SpaceError, nearest
from ddpnas.space.decisions import DecisionSpace
from ddpnas.utils.exact import Unit, add, exact
from ddpnas.utils.files import write_atomic
from ddpnas.utils.read import checked_content, read_json
from ddpnas.utils.shapes import shown

__all__ = ["CostTable", "CostTableForm", "WholeCosts", "add_term", "term_key"]

_Choices = tuple[tuple[str, str], ...]


class WholeCosts(NamedTuple):
    """A cost table in whole numbers, which add up exactly; see :attr:`CostTable.whole`.

    Attributes:
        unit: What all costs are whole multiples of.
        fixed: Count of units that every architecture pays.
        terms: The same for each term.
        largest: No sum of costs is further from 0 than this count.
    """

    unit: Unit
    fixed: int
    terms: dict[_Choices, int]
    largest: int


class _TermForm(TypedDict):
    choices: list[tuple[str, str]]
    cost: float


class CostTableForm(TypedDict):
    """What files keep of a table, see :meth:`CostTable.to_dict`."""

    name: str
    unit: str
    fixed: float
    terms: list[_TermForm]
    about: NotRequired[dict[str, Any]]


@dataclass(frozen=True)
class CostTable:
    """One cost: a fixed part, and a term for every set of choices that adds to it.

    Terms of the same choices are added, whatever order they are written in. A term whose choices
    contradict each other is never paid and left out, and a term without choices is part of
    ``fixed``.

    Numbers count as they are written: three costs of 0.1 are 0.3. Sums are exact, whatever their
    size. From 2**53 on, where floats leave out whole numbers, costs are ints.

    Attributes:
        name: What is counted, as used in limits ("macs", "params", "latency_ms").
        unit: The unit of all numbers here.
        fixed: What every architecture pays.
        terms: ``{((decision, option), ...): cost}``. An architecture pays a term when it makes all
            its choices. One pair is the common case. A choice inside an option of another decision
            carries the pairs of its parents too, so that it costs nothing when it is not there.
        about: Where the numbers come from (machine, versions, ...). The entries "space", "options"
            and "space_code" say of which network they are; see :meth:`check`. The entries "counted"
            and "check" say how sure they are; see :attr:`margin`.

    Raises:
        DataError: A cost is not a finite number, or the sum of all is larger than every float. The
            name is empty, longer than 50 characters, or has spaces or one of ``< > =``, with which
            no limit could name it.

    Example:
        >>> terms = {(("op", "conv"),): 90, (("op", "conv"), ("act", "relu")): 5}
        >>> table = CostTable("macs", "MACs", 10, terms)
        >>> table.cost({"op": "conv", "act": "relu"}), table.cost({"op": "pool", "act": "relu"})
        (105.0, 10.0)
    """

    name: str
    unit: str
    fixed: float
    terms: Mapping[tuple[tuple[str, str], ...], float]
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = isinstance(self.name, str) and re.fullmatch(r"[^\s<>=]{1,50}", self.name)
        if not isinstance(self.terms, Mapping):
            raise DataError(
                f"the terms of a cost table must be a mapping of choices to costs, not "
                f"{shown(self.terms)}"
            )
        if not named or not self.name.isprintable():
            raise DataError(
                f"a cost cannot be named {shown(self.name)}: write 1 to 50 characters, no spaces "
                f"and no < > =, such as energy_mJ or energy/image"
            )
        terms: dict[_Choices, float] = {(): self._number(self.fixed, ())}
        for choices, cost in self.terms.items():
            if not isinstance(choices, tuple) or not all(
                isinstance(pair, tuple) and len(pair) == 2 for pair in choices
            ):
                raise DataError(
                    f"a term of table {self.name!r} must hold pairs (decision, option), such as "
                    f"(('block1', 'conv3'),), not {shown(choices)}"
                )
            add_term(terms, choices, self._number(cost, choices))
        object.__setattr__(self, "fixed", terms.pop(()))
        object.__setattr__(self, "terms", terms)
        if self.whole.largest * self.whole.unit.size > sys.float_info.max:
            raise DataError(
                f"the costs of table {self.name!r} add up to more than a float holds (1.8e308); "
                f"give them in a larger unit"
            )

    def cost(self, architecture: Mapping[str, str]) -> float:
        """Return the cost of the architecture, in ``unit``; exact for whole numbers.

        Args:
            architecture: An option for every decision.

        Example:
            >>> CostTable("macs", "MACs", 10, {(("op", "conv"),): 90}).cost({"op": "conv"})
            100.0
        """
        paid = [
            terms.get(tuple(architecture.get(decision) for decision in decisions), 0)
            for decisions, terms in self._by_decisions.items()
        ]
        return self.whole.unit.amount(self.whole.fixed + sum(paid))

    @cached_property
    def whole(self) -> WholeCosts:
        """The table in whole numbers, the one form in which costs are added and limited."""
        fixed, costs = exact(self.fixed), {key: exact(cost) for key, cost in self.terms.items()}
        unit = Unit.of([fixed, *costs.values()])
        terms = {key: unit.count(cost) for key, cost in costs.items()}
        most: dict[tuple[str, ...], int] = {}  # of terms of the same decisions at most one is paid
        for choices, count in terms.items():
            decisions = tuple(decision for decision, _ in choices)
            most[decisions] = max(most.get(decisions, 0), abs(count))
        count = unit.count(fixed)
        return WholeCosts(unit, count, terms, abs(count) + sum(most.values()))

    @cached_property
    def _by_decisions(self) -> dict[tuple[str, ...], dict[tuple[str | None, ...], int]]:
        """The terms by their decisions, then by the options of these.

        Of terms over the same decisions an architecture pays at most one, which is looked up. So a
        table with a term for every whole architecture costs a single look, too.
        """
        found: dict[tuple[str, ...], dict[tuple[str | None, ...], int]] = {}
        for choices, count in self.whole.terms.items():
            decisions, options = zip(*choices, strict=True)
            found.setdefault(decisions, {})[options] = count
        return found

    def _number(self, value: Any, choices: _Choices) -> float:
        if not isinstance(value, bool) and isinstance(value, Real):
            if isinstance(value, Integral):
                return int(value)
            if math.isfinite(value):
                return float(value)
        what = f"the cost of {';'.join('='.join(pair) for pair in choices)}" if choices else "fixed"
        raise DataError(f"table {self.name!r}: {what} is {value!r}, not a finite number")

    @property
    def counted(self) -> bool:
        """Whether costs are counted, and so are those of the network and no prediction."""
        return bool(self.about.get("counted"))

    @property
    def margin(self) -> float:
        """Share by which a network may differ from its cost here; 0 where nothing is known.

        It is the 95th percentile of the table's own error: ``about["check"]["p95_percent"]``, which
        :func:`ddpnas.measure_latency` finds on whole networks. Tables of before have the largest
        error alone, which stands in for it.

        Example:
            >>> check = {"p95_percent": 5.0}
            >>> CostTable("latency_ms", "ms", 1.0, {}, {"check": check}).margin
            0.05
        """
        check = self.about.get("check")
        check = check if isinstance(check, Mapping) else {}
        percent = check.get("p95_percent", check.get("worst_percent", 0.0))
        known = isinstance(percent, (int, float)) and 0 <= percent < math.inf
        return 0.0 if self.counted or not known else percent / 100

    def check(self, space: DecisionSpace) -> None:
        """Raise :class:`ddpnas.errors.SpaceError` where the table is not of this space.

        Every choice of a term has to be one of the space. Where the table says of which network
        it is and the space knows one, it has to be the same: the same space, the same code of a
        user's file, and the same options, such as width and input shape.

        Args:
            space: A :class:`ddpnas.SearchSpace`, or its decisions alone.

        Example:
            >>> import ddpnas
            >>> table = ddpnas.count_costs(ddpnas.create_space("toy", width=8))["macs"]
            >>> table.check(ddpnas.create_space("toy", width=4))
            Traceback (most recent call last):
            ...
            ddpnas.errors.SpaceError: the table of macs belongs to another network: width 8 ...
        """
        options = {decision.name: set(decision.options) for decision in space.decisions}
        for choices in self.terms:
            for decision, option in choices:
                if decision not in options:
                    unknown = nearest("decision", decision, options)
                elif option not in options[decision]:
                    unknown = nearest(f"option of decision {decision!r}", option, options[decision])
                else:
                    continue
                raise SpaceError(f"cost table {self.name!r}: {unknown}")
        self._check_network(space)

    def _check_network(self, space: DecisionSpace) -> None:
        # A SearchSpace knows its network, bare decisions do not. Its class would load torch, which
        # tables do without, so that what it knows is asked for by name.
        identity = getattr(space, "identity", None)
        if identity is None:
            return
        name, code = self.about.get("space"), self.about.get("space_code")
        if isinstance(name, str) and name != identity["space"]:
            raise SpaceError(
                f"the table of {self.name} belongs to space {name!r}, not {identity['space']!r}"
            )
        source = getattr(space, "source", None)
        if source is not None and (changed := source.changed(code)):
            raise SpaceError(
                f"the table of {self.name} was made with other code than that in "
                f"{' and '.join(map(str, changed))}; restore it, or make the table again"
            )
        # As JSON, since the options of a table from a file are: lists instead of tuples.
        before = json.loads(json.dumps(self.about.get("options") or {}))
        now = json.loads(json.dumps(getattr(space, "plain_options", {})))
        differing = [name for name in before if name in now and before[name] != now[name]]
        if differing:
            listed = ", ".join(
                f"{name} {before[name]} instead of {now[name]}" for name in differing
            )
            raise SpaceError(f"the table of {self.name} belongs to another network: {listed}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON.

        Example:
            >>> CostTable("ms", "ms", 1, {(("op", "conv"),): 2}).to_dict()["terms"]
            [{'choices': [['op', 'conv']], 'cost': 2}]
        """
        return {
            "name": self.name,
            "unit": self.unit,
            "fixed": self.fixed,
            "terms": [
                {"choices": [list(pair) for pair in choices], "cost": cost}
                for choices, cost in self.terms.items()
            ],
            "about": dict(self.about),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CostTable:
        """Return the table that :meth:`to_dict` described.

        Args:
            data: Plain data; ``about`` may be missing. Equal terms are added.

        Raises:
            DataError: A part is missing or of the wrong kind, or a cost is not a finite number.

        Example:
            >>> table = CostTable("ms", "ms", 1, {(("op", "conv"),): 2})
            >>> CostTable.from_dict(table.to_dict()) == table
            True
        """
        form = checked_content(data, CostTableForm, "the cost table", DataError)
        terms: dict[_Choices, float] = {}
        for term in form["terms"]:
            add_term(terms, tuple(term["choices"]), term["cost"])
        return cls(form["name"], form["unit"], form["fixed"], terms, form.get("about", {}))

    def save(self, path: str | Path) -> None:
        """Write the table as JSON.

        Args:
            path: The file, which is replaced.
        """
        write_atomic(Path(path), json.dumps(self.to_dict(), indent=1).encode())

    @classmethod
    def load(cls, path: str | Path) -> CostTable:
        """Return the table in a JSON file.

        Args:
            path: A file that :meth:`save` wrote, or one of that form.

        Raises:
            DataError: There is no such file, or it is not a cost table.
        """
        return cls.from_dict(read_json(path, CostTableForm, DataError))


def add_term(terms: dict[_Choices, Any], choices: _Choices, cost: float) -> None:
    """Add a cost to the term of these choices; nothing where the choices contradict each other.

    Args:
        terms: The terms so far, by :func:`term_key`; changed in place.
        choices: The (decision, option) pairs under which the cost is paid, in any order.
        cost: What is paid.

    Example:
        >>> terms = {}
        >>> add_term(terms, (("b", "x"), ("a", "y")), 1)
        >>> add_term(terms, (("a", "y"), ("b", "x")), 2)
        >>> terms
        {(('a', 'y'), ('b', 'x')): 3}
    """
    key = term_key(choices)
    if key is not None:
        terms[key] = add(terms[key], cost) if key in terms else cost


def term_key(choices: _Choices) -> _Choices | None:
    """Return the choices in the one order in which a table keeps them, each once.

    None where they name two options of one decision, so that they are never made together.

    Example:
        >>> term_key((("b", "x"), ("a", "y"), ("b", "x")))
        (('a', 'y'), ('b', 'x'))
    """
    key = tuple(sorted(set(choices)))
    return key if len({decision for decision, _ in key}) == len(key) else None
