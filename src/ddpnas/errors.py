"""The errors a user can meet: each carries one sentence that says what to type instead.

Everything that a wrong input can cause derives from :class:`DdpnasError`; the command line
prints its message without a traceback and exits with code 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = [
    "ArchitectureError",
    "DataError",
    "DdpnasError",
    "DivergedError",
    "ExportError",
    "InfeasibleError",
    "OptionError",
    "RunError",
    "SpaceError",
    "Unmet",
    "nearest",
]


class DdpnasError(ValueError):
    """Base of all errors that are caused by what was asked for, not by a defect."""


class SpaceError(DdpnasError):
    """A search space that contradicts itself or does not fit its input."""


class ArchitectureError(DdpnasError):
    """An architecture that does not belong to the space."""


class DataError(DdpnasError):
    """Images or labels that cannot be used as they are."""


class OptionError(DdpnasError):
    """An unknown name or a value out of range."""


class RunError(DdpnasError):
    """A run folder that cannot be used for what was asked."""


@dataclass(frozen=True)
class Unmet:
    """One end of a limit that cannot be met, alone or together with others.

    Attributes:
        name: of the cost.
        relation: "<=" or ">=".
        limit: what was asked for.
        reachable: the least (or most) that the cost can be while the others are met.
        architecture: one that reaches it.
    """

    name: str
    relation: str
    limit: float
    reachable: float
    architecture: Mapping[str, str]


class InfeasibleError(DdpnasError):
    """No architecture of the space meets the limits; the message says the least reachable.

    Args:
        message: the sentence.
        unmet: the smallest set of limits that conflict: without any one of them the
            others can be met together. Empty when the rules alone cannot be met.
    """

    def __init__(self, message: str, unmet: Sequence[Unmet] = ()) -> None:
        super().__init__(message)
        self.unmet = tuple(unmet)


class DivergedError(DdpnasError):
    """The training loss became NaN or infinite."""


class ExportError(DdpnasError):
    """A file to be deployed that would not compute what the network does."""


def nearest(kind: str, given: str, known: Iterable[str]) -> str:
    """Return the sentence for an unknown name: what was given, what exists, the likely spelling."""
    names = sorted(known)
    close = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"unknown {kind} {given!r}: {hint}known: {', '.join(names) or 'none'}"
