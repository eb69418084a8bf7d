"""SearchSpace: a function that asks, and what becomes of it.

A search space is an ordinary function (or ``nn.Module`` class) that makes a network and calls
``choose(name, options)`` wherever the network is undecided:

    def network(choose):
        return nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            choose("block1", {"conv3": lambda: nn.Conv2d(16, 16, 3, padding=1),
                              "conv5": lambda: nn.Conv2d(16, 16, 5, padding=2),
                              "skip": nn.Identity}),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))

``choose`` has two implementations. *Open* leaves every decision open and returns a
:class:`Choice`: on the meta device it tells which decisions there are and whether the options
fit, on a real device it makes the weight-sharing :class:`Supernet`. *Fixed* returns the chosen
module alone, so a built network has no trace of the search. ``choose.searching`` tells the
function which of the two it makes.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ddpnas.architecture import Architecture, Decision, DecisionSpace, Rule
from ddpnas.errors import ArchitectureError, OptionError, SpaceError, nearest

__all__ = ["Choice", "Choose", "SearchSpace", "Supernet", "visit_options"]

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
    """All options of one decision at one place of a supernet, of which the active one runs."""

    def __init__(self, decision: str, names: Sequence[str], modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.decision = decision
        self.names = tuple(names)
        self.options = nn.ModuleList(modules)
        self.active = 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the output of the active option; the others cost nothing."""
        return self.options[self.active](*args, **kwargs)

    def extra_repr(self) -> str:
        """Return the decision and its options for ``print(supernet)``."""
        return f"{self.decision}: {', '.join(self.names)}"


class _Open:
    """``choose`` that leaves every decision open, and notes them."""

    def __init__(self, searching: bool) -> None:
        self.searching = searching
        self.noted: dict[str, tuple[str, ...]] = {}
        self.parents: dict[str, set[tuple[str, str]] | None] = {}  # None: matters always
        self._inside: list[tuple[str, str]] = []

    def __call__(self, name: str, options: Options) -> Choice:
        names = tuple(options)
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


class _Fixed:
    """``choose`` that returns the module of the chosen option alone."""

    searching = False

    def __init__(self, architecture: Mapping[str, str]) -> None:
        self.architecture = architecture

    def __call__(self, name: str, options: Options) -> nn.Module:
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
                walk(choice.options[choice.active])

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
            with around(tuple(stack)), _blame(f"option {name!r} of decision {choice.decision!r}"):
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
    with torch.no_grad():
        return network(example)


def _shape(output: Any) -> str:
    if isinstance(output, Tensor):
        return "x".join(str(n) for n in output.shape)
    if isinstance(output, (tuple, list)):
        return "(" + ", ".join(_shape(item) for item in output) + ")"
    return type(output).__name__


@contextlib.contextmanager
def _blame(what: str, hint: str = "") -> Iterator[None]:
    """Turn whatever fails inside into a SpaceError that says what failed, and the hint."""
    try:
        yield
    except (SpaceError, ArchitectureError):
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise SpaceError(f"{what} fails: {reason}{hint}") from error


class SearchSpace(DecisionSpace):
    """A family of networks: the decisions that a function asks for, and how to build from them.

    Args:
        network: ``network(choose, **options) -> nn.Module``, a function or a module class. When
            it has a parameter ``input_shape`` it is given that too.
        input_shape: shape of one input, without the batch: (channels, height, width) for
            images. May be left out when ``network`` has a default for it.
        name: for messages and files; the function's name if left out.
        rules: linear conditions on architectures.
        text: (format, parse) of a published text form; ``decision=option;...`` if left out.
        options: further arguments of ``network``, such as its width.

    Raises:
        SpaceError: the network cannot be made or run on that input, options of a decision
            disagree in shape, or a name is asked twice with other options.
        OptionError: an option that ``network`` does not take.
    """

    def __init__(
        self,
        network: Callable[..., nn.Module],
        input_shape: Sequence[int] | None = None,
        *,
        name: str | None = None,
        rules: Sequence[Rule] = (),
        text: tuple[Callable[[Mapping[str, str]], str], Callable[[str], Mapping[str, str]]]
        | None = None,
        **options: Any,
    ) -> None:
        self.network = network
        self.name = name or getattr(network, "__name__", type(network).__name__)
        self._text = text
        known = _options_of(network)
        for option in options:
            if option not in known:
                kind = f"option of space {self.name!r}"
                raise OptionError(nearest(kind, option, {*known, "input_shape"}))
        takes_shape = "input_shape" in inspect.signature(network).parameters
        if input_shape is None:
            if not takes_shape or known["input_shape"] is inspect.Parameter.empty:
                raise SpaceError(f"space {self.name!r} needs input_shape, such as (3, 32, 32)")
            input_shape = known["input_shape"]
        self.input_shape = tuple(int(n) for n in input_shape)
        if any(n < 1 for n in self.input_shape):
            raise SpaceError(f"input_shape {self.input_shape} has a side below 1")
        self._arguments = dict(options)
        if takes_shape:
            self._arguments["input_shape"] = self.input_shape
        defaults = {k: v for k, v in known.items() if v is not inspect.Parameter.empty}
        self.options: dict[str, Any] = {**defaults, **options, "input_shape": self.input_shape}
        choose = _Open(searching=True)
        with torch.device("meta"):
            opened = self._make(choose)
            output = self._visit(opened, lambda pairs: contextlib.nullcontext())
        super().__init__(choose.decisions(), rules)
        self.output_shape: tuple[int, ...] = (
            tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
        )

    def build(
        self, architecture: Mapping[str, str], weights_from: Supernet | None = None
    ) -> nn.Module:
        """Return the network of this architecture, a plain module without trace of the search.

        Args:
            architecture: a choice for every decision.
            weights_from: a supernet of this space whose weights are copied. Terms that a
                supernet leaves out (affine terms and running statistics of BatchNorm) start
                fresh; run some batches in training mode to estimate the statistics.

        Raises:
            ArchitectureError: the architecture does not belong to this space.
        """
        checked = self.check(architecture)
        network = self._make(_Fixed(checked))
        if weights_from is not None:
            with torch.no_grad():
                _inherit(network, weights_from.network, checked)
        return network

    def supernet(self) -> Supernet:
        """Return a network that holds every option, its first path active."""
        return Supernet(self._make(_Open(searching=True)))

    def visit(self, around: Callable[[Pairs], contextlib.AbstractContextManager[Any]]) -> nn.Module:
        """Run the final network on the meta device with every decision open; return it.

        For whoever counts costs: see :func:`visit_options`. The batch has 2 inputs.
        """
        with torch.device("meta"):
            opened = self._make(_Open(searching=False))
            self._visit(opened, around)
        return opened

    def with_options(self, **options: Any) -> SearchSpace:
        """Return the same decisions at another size (channels, cells, classes, input shape).

        Raises:
            SpaceError: when the options would change the decisions.
        """
        shape = options.pop("input_shape", self.input_shape)
        arguments = {k: v for k, v in self._arguments.items() if k != "input_shape"}
        other = SearchSpace(
            self.network,
            shape,
            name=self.name,
            rules=self.rules,
            text=self._text,
            **{**arguments, **options},
        )
        if other.decisions != self.decisions:
            raise SpaceError(
                f"with {options} space {self.name!r} has other decisions; make a new space instead"
            )
        return other

    def format(self, architecture: Mapping[str, str]) -> str:
        """Return the architecture in the space's text form."""
        return self._text[0](architecture) if self._text else super().format(architecture)

    def parse(self, text: str) -> Architecture:
        """Return the architecture written in the space's text form.

        Raises:
            ArchitectureError: the text is not of that form or not of this space.
        """
        return self.check(self._text[1](text)) if self._text else super().parse(text)

    @property
    def plain_options(self) -> dict[str, Any]:
        """The options as plain data for JSON and YAML; what is neither is given as its repr."""
        return {name: _plain(value) for name, value in self.options.items()}

    def __repr__(self) -> str:
        return f"<SearchSpace {self.name}: {len(self.decisions)} decisions, size {self.size:,}>"

    def _make(self, choose: Choose) -> nn.Module:
        with _blame(f"the network of space {self.name!r} cannot be made with {self.options};"):
            module = self.network(choose, **self._arguments)
        if not isinstance(module, nn.Module):
            raise SpaceError(f"space {self.name!r} made {type(module).__name__}, not a module")
        return module

    def _visit(
        self,
        opened: nn.Module,
        around: Callable[[Pairs], contextlib.AbstractContextManager[Any]],
    ) -> Any:
        shape = "x".join(str(n) for n in self.input_shape)
        hint = "; if the input is too small for it, give a larger one (images: --image-size)"
        with _blame(f"the network of space {self.name!r} on an input of {shape}", hint):
            return visit_options(opened, torch.empty(2, *self.input_shape), around)


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


def _options_of(network: Callable[..., nn.Module]) -> dict[str, Any]:
    """Return the parameters after ``choose`` with their defaults."""
    parameters = list(inspect.signature(network).parameters.values())[1:]
    return {
        p.name: p.default for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }


def _inherit(network: nn.Module, source: nn.Module, architecture: Mapping[str, str]) -> None:
    """Copy weights and buffers of ``source`` along the path of the architecture."""
    while isinstance(source, Choice):
        source = source.options[source.names.index(architecture[source.decision])]
    tensors = {**source._parameters, **source._buffers}
    for name, tensor in {**network._parameters, **network._buffers}.items():
        found = tensors.get(name)
        if tensor is not None and found is not None:
            tensor.copy_(found)
    children = dict(source.named_children())
    for name, child in network.named_children():
        _inherit(child, children[name], architecture)
