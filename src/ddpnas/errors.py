"""The errors that a user can cause: each message says what was given and what to type instead.

All of them derive from :class:`DdpnasError`. The command line prints the message without a
traceback and exits with code 2.
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
    "reason_of",
]


class DdpnasError(ValueError):
    """Base of all errors that are caused by an input, not by a defect.

    Example:
        >>> import ddpnas
        >>> try:
        ...     ddpnas.create_space("nasbench")
        ... except ddpnas.errors.DdpnasError as error:
        ...     print(str(error)[:58])
        unknown space 'nasbench': did you mean 'nasbench201'? know
    """


class SpaceError(DdpnasError):
    """A search space contradicts itself or does not fit its input."""


class ArchitectureError(DdpnasError):
    """An architecture does not belong to the space."""


class DataError(DdpnasError):
    """Images or labels cannot be used as they are."""


class OptionError(DdpnasError):
    """An unknown name or a value out of range."""


class RunError(DdpnasError):
    """A run folder is missing, damaged, in use, or does not fit the request."""


@dataclass(frozen=True)
class Unmet:
    """One end of a limit that cannot be met, alone or together with others.

    Attributes:
        name: Name of the cost.
        relation: "<=" or ">=".
        limit: The limit, in the unit of the cost.
        reachable: Lowest (or highest) reachable cost while the other limits are met.
        architecture: An architecture with that cost.
    """

    name: str
    relation: str
    limit: float
    reachable: float
    architecture: Mapping[str, str]


class InfeasibleError(DdpnasError):
    """No architecture of the space meets the limits; the message names the lowest reachable cost.

    Args:
        message: The message.
        unmet: A smallest set of conflicting limits: without any one of them, the others can be
            met together. Empty if the rules of the space cannot be met at all.
    """

    def __init__(self, message: str, unmet: Sequence[Unmet] = ()) -> None:
        super().__init__(message)
        self.unmet = tuple(unmet)


class DivergedError(DdpnasError):
    """A training loss became NaN or infinite, or a network answers with NaN."""


class ExportError(DdpnasError):
    """An exported file would not compute what the network computes."""


def reason_of(error: Exception) -> str:
    r"""Return in one line why a user's network failed: what its error says, or the error's kind.

    Example:
        >>> reason_of(ValueError("sizes differ:\n8 and 9")), reason_of(AssertionError())
        ('sizes differ:', 'AssertionError')
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


def nearest(kind: str, given: str, known: Iterable[str]) -> str:
    """Return the message for an unknown name: what was given, the likely spelling, what exists.

    Example:
        >>> nearest("strategy", "randon", ["random", "sng"])
        "unknown strategy 'randon': did you mean 'random'? known: random, sng"
    """
    names = sorted(map(str, known))
    bare = {name.lstrip("-"): name for name in names}  # dashes alone do not make options alike
    close = difflib.get_close_matches(str(given).lstrip("-"), bare, n=1, cutoff=0.5)
    hint = f"did you mean {bare[close[0]]!r}? " if close else ""
    return f"unknown {kind} {given!r}: {hint}known: {', '.join(names) or 'none'}"
