"""choose(): the question that a search space's function asks, and its two answers.

*Open* leaves every decision open and returns a :class:`Choice`: on the meta device it tells
which decisions there are and whether the options fit, on a real device it makes the
weight-sharing :class:`Supernet`. *Fixed* returns the chosen module alone, so that a built
network has no trace of the search.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ddpnas.errors import ArchitectureError, DdpnasError, SpaceError
from ddpnas.space.decisions import Decision
from ddpnas.space.layers import Nothing

__all__ = [
    "Choice",
    "Choose",
    "Fixed",
    "Open",
    "Supernet",
    "blame",
    "gives_nothing",
    "own_parts",
    "visit_options",
]

Options = Mapping[str, Callable[[], nn.Module]]
Pairs = tuple[tuple[str, str], ...]


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


class Choice(nn.Module):
    """All options of one decision at one place of a supernet, of which the active one runs.

    Attributes:
        active: index of the option that runs; None outside a supernet, where none is chosen.
        watch: called with the decision whenever a run of the network depends on it.
    """

    def __init__(self, decision: str, names: Sequence[str], modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.decision = decision
        self.names = tuple(names)
        self.options = nn.ModuleList(modules)
        self.active: int | None = None
        self.watch: Callable[[str], None] | None = None

    @property
    def chosen(self) -> nn.Module:
        """The active option."""
        if self.watch is not None:
            self.watch(self.decision)
        assert self.active is not None, "only a supernet has a path"
        return self.options[self.active]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the output of the active option; the others cost nothing."""
        return self.chosen(*args, **kwargs)

    def extra_repr(self) -> str:
        """Return the decision and its options for ``print(supernet)``."""
        return f"{self.decision}: {', '.join(self.names)}"


def gives_nothing(module: nn.Module) -> bool:
    """Return whether a path of a supernet has nothing here, so that what only leads here can rest.

    False in a network of one architecture: that runs, and counts, all that it is made of.
    """
    return (
        isinstance(module, Choice)
        and module.active is not None
        and isinstance(module.chosen, Nothing)
    )


class Open:
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


class Fixed:
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


class Supernet(nn.Module):
    """A network with every option in it, of which one path runs: weights shared by all.

    Changing the path sets one integer a choice; nothing is rebuilt.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._choices: dict[str, list[Choice]] = {}
        for module in network.modules():
            if isinstance(module, Choice):
                self._choices.setdefault(module.decision, []).append(module)
                module.active = 0

    def set_path(self, architecture: Mapping[str, str]) -> None:
        """Make the network of this architecture the one that runs."""
        for decision, choices in self._choices.items():
            for choice in choices:
                choice.active = choice.names.index(architecture[decision])

    def path_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the active path, each once; inactive options are not visited."""
        found: dict[int, nn.Parameter] = {}

        def walk(module: nn.Module) -> None:
            parameters, choices = own_parts(module)
            found.update((id(parameter), parameter) for parameter in parameters)
            for choice in choices:
                walk(choice.chosen)

        walk(self.network)
        return list(found.values())

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the output of the active path."""
        return self.network(*args, **kwargs)


def own_parts(module: nn.Module) -> tuple[list[nn.Parameter], list[Choice]]:
    """Return the module's parameters outside all choices, and its outermost choices."""
    if isinstance(module, Choice):
        return [], [module]
    parameters = [p for p in module.parameters(recurse=False)]
    choices: list[Choice] = []
    for child in module.children():
        inner_parameters, inner_choices = own_parts(child)
        parameters += inner_parameters
        choices += inner_choices
    return parameters, choices


def visit_options(
    network: nn.Module,
    example: Tensor,
    around: Callable[[Pairs], contextlib.AbstractContextManager[Any]],
) -> Any:
    """Run an open network once, every option of every choice; return its output.

    Meant for the meta device: the network's choices are changed and it is not to be used again.

    Args:
        network: made with every decision open.
        example: its input, with a batch dimension.
        around: given the (decision, option) pairs that a run of an option stands under, its own
            last, a context in which it runs.

    Raises:
        SpaceError: options of one decision whose outputs differ in shape.
    """
    stack: list[tuple[str, str]] = []

    def run_all(choice: Choice, *args: Any, **kwargs: Any) -> Any:
        outputs: dict[str, Any] = {}
        for name, option in zip(choice.names, choice.options, strict=True):
            stack.append((choice.decision, name))
            with around(tuple(stack)), blame(f"option {name!r} of decision {choice.decision!r}"):
                outputs[name] = option(*args, **kwargs)
            stack.pop()
        there = {name: output for name, output in outputs.items() if output is not None}
        if len({_shape(output) for output in there.values()}) > 1:
            shapes = ", ".join(f"{name} -> {_shape(output)}" for name, output in there.items())
            raise SpaceError(
                f"the options of decision {choice.decision!r} differ in their output's shape "
                f"(batch of {len(example)}): {shapes}"
            )
        return next(iter(there.values()), None)

    for module in network.modules():
        if isinstance(module, Choice):
            module.forward = functools.partial(run_all, module)  # type: ignore[method-assign]
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.forward = functools.partial(_pass, module)  # type: ignore[method-assign]
    with torch.no_grad():
        return network(example)


def _pass(norm: nn.modules.batchnorm._BatchNorm, x: Tensor) -> Tensor:
    """Return x in the place of BatchNorm, which takes most of the time on the meta device."""
    norm._check_input_dim(x)  # type: ignore[no-untyped-call]
    if x.shape[1] != norm.num_features:
        raise ValueError(f"BatchNorm of {norm.num_features} channels on an input of {_shape(x)}")
    return x


def _shape(output: Any) -> str:
    if isinstance(output, Tensor):
        return "x".join(str(n) for n in output.shape)
    if isinstance(output, (tuple, list)):
        return "(" + ", ".join(_shape(item) for item in output) + ")"
    return type(output).__name__


@contextlib.contextmanager
def blame(what: str, hint: str = "") -> Iterator[None]:
    """Turn whatever fails inside into a SpaceError that says what failed, and the hint."""
    try:
        yield
    except DdpnasError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise SpaceError(f"{what} fails: {reason}{hint}") from error
