"""CostTable: what an architecture costs, as a sum over its choices.

One table holds one cost (multiply-adds, parameters, milliseconds, ...). It is plain data: made
by :mod:`ddpnas.costs`, by a user's own measurement, or read from JSON; it is what
:func:`ddpnas.generate` solves over.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ddpnas.errors import DataError, SpaceError, nearest
from ddpnas.space.decisions import DecisionSpace
from ddpnas.utils.files import write_atomic

__all__ = ["CostTable"]

_Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class CostTable:
    """One cost: a fixed part plus a term for every set of choices that brings a cost with it.

    Attributes:
        name: what is counted, as used in limits ("macs", "params", "latency_ms").
        unit: the unit of all numbers here.
        fixed: what every architecture pays.
        terms: ``{((decision, option), ...): cost}``; a term is paid when all its choices are
            made. One pair is the common case; a choice inside an option of another carries the
            pairs of its parents too, so that it costs nothing when it is not there.
        about: provenance (machine, versions, ...), not used in arithmetic.
    """

    name: str
    unit: str
    fixed: float
    terms: Mapping[tuple[tuple[str, str], ...], float]
    about: Mapping[str, Any] = field(default_factory=dict)

    def cost(self, architecture: Mapping[str, str]) -> float:
        """Return the cost of the architecture, in ``unit``; exact for integer costs."""
        made = set(architecture.items())
        paid = [
            cost
            for first in ((), *((pair,) for pair in made))
            for pairs, cost in self._by_first.get(first, ())
            if made.issuperset(pairs)
        ]
        return math.fsum([self.fixed, *paid])

    @cached_property
    def _by_first(self) -> dict[_Pairs, list[tuple[_Pairs, float]]]:
        """The terms under the first of their choices: most terms of a table are not paid."""
        found: dict[_Pairs, list[tuple[_Pairs, float]]] = {}
        for pairs, cost in self.terms.items():
            found.setdefault(pairs[:1], []).append((pairs, cost))
        return found

    def check(self, space: DecisionSpace) -> None:
        """Raise :class:`SpaceError` when a term speaks of a choice that the space lacks."""
        options = {decision.name: set(decision.options) for decision in space.decisions}
        for pairs in self.terms:
            for decision, option in pairs:
                if decision not in options:
                    raise SpaceError(
                        f"cost table {self.name!r}: " + nearest("decision", decision, options)
                    )
                if option not in options[decision]:
                    kind = f"option of decision {decision!r}"
                    raise SpaceError(
                        f"cost table {self.name!r}: " + nearest(kind, option, options[decision])
                    )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        terms = [
            {"choices": [list(p) for p in pairs], "cost": c} for pairs, c in self.terms.items()
        ]
        return {
            "name": self.name,
            "unit": self.unit,
            "fixed": self.fixed,
            "terms": terms,
            "about": dict(self.about),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CostTable:
        """Return the table that :meth:`to_dict` described.

        Raises:
            DataError: a part is missing or of the wrong kind, or a cost is no finite number.
        """
        try:
            terms = {
                tuple((str(d), str(o)) for d, o in term["choices"]): _number(term["cost"])
                for term in data["terms"]
            }
            fixed, about = _number(data["fixed"]), dict(data.get("about", {}))
            return cls(str(data["name"]), str(data["unit"]), fixed, terms, about)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"not a cost table: {error!r}") from None

    def save(self, path: str | Path) -> None:
        """Write the table as JSON."""
        write_atomic(Path(path), json.dumps(self.to_dict(), indent=1).encode())

    @classmethod
    def load(cls, path: str | Path) -> CostTable:
        """Return the table in a JSON file; :class:`DataError` when it is not one."""
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise DataError(f"there is no cost table at {path}") from None
        except DataError as error:
            raise DataError(f"{path} is {error}") from None
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is not a cost table: {error}") from None


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no finite number")
    return value
