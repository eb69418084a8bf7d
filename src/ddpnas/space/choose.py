"""choose(): the function that a search space calls, and its two implementations.

:class:`DeclareChoices` leaves every decision open, for the space and the supernet.
:class:`BuildChoice` takes one option, for the network of one architecture.
"""

from __future__ import annotations

import contextlib
import itertools
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from torch import nn

from ddpnas.errors import ArchitectureError, SpaceError
from ddpnas.space.decisions import Decision
from ddpnas.space.supernet import Choice
from ddpnas.space.widths import Width
from ddpnas.utils.seeds import derive_seed, seeded

__all__ = ["BuildChoice", "Choose", "DeclareChoices"]


Options = Mapping[str, Callable[[], nn.Module]]


class Choose(Protocol):
    """The function that a search space's network receives as its first argument.

    Example:
        >>> def network(choose: Choose) -> nn.Module:
        ...     options = {"conv": lambda: nn.Conv2d(3, 4, 1), "wide": lambda: nn.Conv2d(3, 4, 3)}
        ...     return choose("layer", options)
        >>> network(BuildChoice({"layer": "conv"}))
        Conv2d(3, 4, kernel_size=(1, 1), stride=(1, 1))
    """

    searching: bool
    """Whether a supernet is being made (True) or the network of one architecture (False)."""

    def __call__(self, name: str, options: Options) -> nn.Module:
        """Return the module to use where the decision ``name`` applies.

        Args:
            name: Name of the decision. The same name with the same options in several places
                makes one decision that applies to all of them.
            options: Option name -> a function without arguments that makes its module.
        """

    def width(self, name: str, values: Sequence[int]) -> Width:
        """Return a number of channels, or another size of layers, that is a decision.

        Layers whose sizes depend on it share their weights while searching: a narrower layer is
        the first channels of the widest.

        Args:
            name: Name of the decision. The same name with the same values in several places makes
                one decision that applies to all of them, as for the channels of a residual stream.
            values: The sizes to choose from, in increasing order.

        Returns:
            A :class:`~ddpnas.space.widths.Width`, an int with which you can compute: the chosen
            size, or, while decisions are open, the largest. Layers of a built network hold plain
            ints.

        Example:
            >>> from ddpnas import SearchSpace
            >>> def network(choose):
            ...     width = choose.width("hidden", (8, 16, 32))
            ...     return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))
            >>> space = SearchSpace(network, (4,))
            >>> space.build({"hidden": "16"})[0]
            Linear(in_features=4, out_features=16, bias=True)
        """


class DeclareChoices:
    """``choose`` that leaves every decision open and notes it.

    Args:
        searching: See :class:`Choose`.
        widths: Plain sizes of the widths, instead of sizes that know their decisions.
        seed: Seed for the initial weights. Those of an option depend on its name and its decision
            alone; None draws them one after another from the global generator.

    Example:
        >>> choose = DeclareChoices(searching=True)
        >>> _ = choose("layer", {"relu": nn.ReLU, "skip": nn.Identity})
        >>> choose.decisions()[0].options
        ('relu', 'skip')
    """

    def __init__(
        self, searching: bool, widths: Mapping[str, int] | None = None, seed: int | None = None
    ) -> None:
        self.searching = searching
        self.noted: dict[str, tuple[str, ...]] = {}
        self.values: dict[str, tuple[int, ...]] = {}  # of widths
        self.parents: dict[str, set[tuple[str, str]] | None] = {}  # None: matters always
        self.made: list[Choice] = []
        self._widths, self._seed = widths, seed
        self._places: Counter[str] = Counter()  # where each decision was asked so far
        self._inside: list[tuple[str, str]] = []

    def __call__(self, name: str, options: Options) -> Choice:
        """Return a :class:`Choice` of all options; see :class:`Choose`.

        Raises:
            SpaceError: The name or an option cannot be used, or the same name was asked before
                with other options or inside an option of itself.
        """
        names = tuple(options)
        self._note(name, names)
        self._places[name] += 1
        modules = []
        for option, make in options.items():
            if isinstance(make, nn.Module) or not callable(make):
                kind = type(make).__name__
                raise SpaceError(
                    f"option {option!r} of decision {name!r} must be a factory, not a {kind}: "
                    f"use `lambda: {kind}(...)`, or the class if it needs no arguments"
                )
            self._inside.append((name, option))
            with self._seeded(name, option):
                modules.append(make())
            self._inside.pop()
            if not isinstance(modules[-1], nn.Module):
                raise SpaceError(
                    f"option {option!r} of decision {name!r} made {type(modules[-1]).__name__}, "
                    f"not a torch module"
                )
        self.made.append(Choice(name, names, modules))
        return self.made[-1]

    def width(self, name: str, values: Sequence[int]) -> Width:
        """Return the largest size, which knows its decision; see :class:`Choose`.

        Raises:
            SpaceError: The name cannot be used, the values are not increasing whole numbers above
                0, or the same name was asked before with others.
        """
        sizes = tuple(values)
        if not all(isinstance(size, int) and not isinstance(size, bool) for size in sizes):
            raise SpaceError(f"the values of width {name!r} must be whole numbers, not {values!r}")
        if not sizes or sizes[0] < 1 or any(a >= b for a, b in itertools.pairwise(sizes)):
            raise SpaceError(
                f"width {name!r} needs sizes above 0 in increasing order, not {list(sizes)}"
            )
        sizes = tuple(int(size) for size in sizes)
        if name in self.noted and name not in self.values:
            raise SpaceError(f"{name!r} is a width in one place and not in another")
        self._note(name, tuple(str(size) for size in sizes))
        self.values[name] = sizes
        if self._widths is not None:
            return Width.fixed(self._widths[name])
        return Width.of(name, sizes)

    def decisions(self) -> list[Decision]:
        """Return the decisions noted so far, in the order in which they were first asked."""
        return [
            Decision(name, options, tuple(sorted(self.parents[name] or ())), self.values.get(name))
            for name, options in self.noted.items()
        ]

    def _seeded(self, name: str, option: str) -> contextlib.AbstractContextManager[None]:
        """Return the context in which an option is made."""
        if self._seed is None:
            return contextlib.nullcontext()
        parts = (zlib.crc32(text.encode()) for text in (name, option))
        return seeded(derive_seed(self._seed, *parts, self._places[name]))

    def _note(self, name: str, names: tuple[str, ...]) -> None:
        """Note that a decision with these options is asked here."""
        for given in (name, *names):
            if not isinstance(given, str):
                raise SpaceError(
                    f"names of decisions and options must be text: {str(given)!r}, not {given!r}"
                )
        if not names:
            raise SpaceError(f"decision {name!r} has no options")
        if self.noted.setdefault(name, names) != names:
            raise SpaceError(
                f"decision {name!r} has the options {', '.join(self.noted[name])} in one place "
                f"and {', '.join(names)} in another; give one of the two another name"
            )
        if any(name == decision for decision, _ in self._inside):
            raise SpaceError(f"decision {name!r} is asked inside an option of itself")
        # Asked outside all options once, a decision always matters, whatever else asks it.
        if not self._inside:
            self.parents[name] = None
        elif (parents := self.parents.setdefault(name, set())) is not None:
            parents.add(self._inside[-1])


class BuildChoice:
    """``choose`` that returns the module of the chosen option alone.

    Args:
        architecture: An option for every decision.

    Example:
        >>> BuildChoice({"layer": "relu"})("layer", {"relu": nn.ReLU, "skip": nn.Identity})
        ReLU()
    """

    searching = False

    def __init__(self, architecture: Mapping[str, str]) -> None:
        self.architecture = architecture

    def __call__(self, name: str, options: Options) -> nn.Module:
        """Return the module of the chosen option; see :class:`Choose`.

        Raises:
            ArchitectureError: The architecture does not choose one of the options.
        """
        chosen = self.architecture.get(name)
        if chosen is None or chosen not in options:
            raise ArchitectureError(
                f"decision {name!r} is {chosen!r} in the architecture, but the network offers "
                f"{', '.join(options)}"
            )
        return options[chosen]()

    def width(self, name: str, values: Sequence[int]) -> Width:
        """Return the chosen size; see :class:`Choose`.

        Raises:
            ArchitectureError: The architecture does not choose one of the values.
        """
        for value in values:
            if self.architecture.get(name) == str(value):
                return Width.fixed(value)
        raise ArchitectureError(
            f"width {name!r} is {self.architecture.get(name)!r} in the architecture, but the "
            f"network offers {', '.join(map(str, values))}"
        )
