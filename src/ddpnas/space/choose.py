"""choose(): the question that a search space asks, and who answers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from torch import nn

from ddpnas.errors import ArchitectureError, SpaceError
from ddpnas.space.decisions import Decision
from ddpnas.space.supernet import Choice

__all__ = ["BuildChoice", "Choose", "DeclareChoices"]


Options = Mapping[str, Callable[[], nn.Module]]


class Choose(Protocol):
    """What a search space's function is given to ask with."""

    searching: bool
    """Whether a supernet is being made (True) or a network of one architecture (False)."""

    def __call__(self, name: str, options: Options) -> nn.Module:
        """Return the module to put where the decision ``name`` applies.

        Args:
            name: of the decision; asking the same name again, with the same options, makes one
                decision that applies in several places.
            options: option name -> a function without arguments that makes its module.
        """


class DeclareChoices:
    """``choose`` that leaves every decision open, and notes them."""

    def __init__(self, searching: bool) -> None:
        self.searching = searching
        self.noted: dict[str, tuple[str, ...]] = {}
        self.parents: dict[str, set[tuple[str, str]] | None] = {}  # None: matters always
        self._inside: list[tuple[str, str]] = []

    def __call__(self, name: str, options: Options) -> Choice:
        """Return all options; see :class:`Choose`."""
        names = tuple(options)
        for given in (name, *names):
            if not isinstance(given, str):
                raise SpaceError(
                    f"names of decisions and options are text: {str(given)!r}, not {given!r}"
                )
        if not name or "=" in name or ";" in name:
            raise SpaceError(f"a decision's name is not empty and without '=' and ';': {name!r}")
        if not names:
            raise SpaceError(f"decision {name!r} has no options")
        if self.noted.setdefault(name, names) != names:
            raise SpaceError(
                f"decision {name!r} was asked with options {', '.join(self.noted[name])} and "
                f"again with {', '.join(names)}; give the second one a name of its own"
            )
        if any(name == decision for decision, _ in self._inside):
            raise SpaceError(f"decision {name!r} is asked inside an option of itself")
        if not self._inside:
            self.parents[name] = None
        elif (parents := self.parents.setdefault(name, set())) is not None:
            parents.add(self._inside[-1])
        modules = []
        for option, make in options.items():
            if isinstance(make, nn.Module) or not callable(make):
                kind = type(make).__name__
                raise SpaceError(
                    f"option {option!r} of decision {name!r} is made already ({kind}); give what "
                    f"makes it: `lambda: {kind}(...)`, or the class where it needs no arguments"
                )
            self._inside.append((name, option))
            modules.append(make())
            self._inside.pop()
            if not isinstance(modules[-1], nn.Module):
                raise SpaceError(
                    f"option {option!r} of decision {name!r} made {type(modules[-1]).__name__}, "
                    f"not a torch module"
                )
        return Choice(name, names, modules)

    def decisions(self) -> list[Decision]:
        """Return the decisions noted so far, in the order in which they were first asked."""
        return [
            Decision(name, options, tuple(sorted(self.parents[name] or ())))
            for name, options in self.noted.items()
        ]


class BuildChoice:
    """``choose`` that returns the module of the chosen option alone."""

    searching = False

    def __init__(self, architecture: Mapping[str, str]) -> None:
        self.architecture = architecture

    def __call__(self, name: str, options: Options) -> nn.Module:
        """Return the chosen option; see :class:`Choose`."""
        chosen = self.architecture.get(name)
        if chosen is None or chosen not in options:
            raise ArchitectureError(
                f"decision {name!r} is {chosen!r} in the architecture, but the network offers "
                f"{', '.join(options)}"
            )
        return options[chosen]()
