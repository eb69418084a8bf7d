"""The supernet: a network that holds every option, of which one path runs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from torch import nn

from ddpnas.errors import SpaceError
from ddpnas.space._path_statistics import NormCalls, PathStatistics
from ddpnas.space.layers import NoConnection
from ddpnas.space.slices import Slices

__all__ = ["Choice", "Condition", "Supernet", "is_absent", "outside_choices", "walk"]

# (decision, option) pairs, outermost first: all of them are chosen. () always holds.
Condition = tuple[tuple[str, str], ...]


class Choice(nn.Module):
    """All options of one decision at one place of a supernet, of which the active one runs.

    Args:
        decision: Name of the decision.
        names: Names of its options.
        modules: Module of each option, in the same order.

    Attributes:
        active: Index of the option that runs; None outside a supernet, where none is chosen.
        mixer: Called with the choice and its inputs in place of the active option, while a mixture
            of all options is trained; None runs the active option.
        watch: Called with the decision's name whenever a run of the network depends on it.

    Example:
        >>> pool = Choice("pool", ("max", "none"), (nn.MaxPool2d(2), NoConnection()))
        >>> pool.active = 1
        >>> pool.chosen, is_absent(pool)
        (NoConnection(), True)
    """

    def __init__(self, decision: str, names: Sequence[str], modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.decision = decision
        self.names = tuple(names)
        self.options = nn.ModuleList(modules)
        self.active: int | None = None
        self.mixer: Callable[..., Any] | None = None
        self.watch: Callable[[str], None] | None = None

    @property
    def chosen(self) -> nn.Module:
        """The active option."""
        if self.watch is not None:
            self.watch(self.decision)
        if self.active is None:
            raise SpaceError(
                f"decision {self.decision!r} runs, but is not part of the network: ask for it in "
                f"the constructor, and keep it in an attribute, an nn.ModuleList or an "
                f"nn.ModuleDict instead of a plain list or dict"
            )
        return self.options[self.active]

    def __getattr__(self, name: str) -> Any:
        """Raise an error that names the decision; torch calls this for what is not there."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            raise AttributeError(self._is_open(f"attribute {name!r}")) from None

    def __getitem__(self, index: Any) -> Any:
        """Raise an error that names the decision; iterating gets here, too."""
        raise TypeError(self._is_open(f"item {index!r}"))

    def _is_open(self, what: str) -> str:
        return (
            f"the network reads {what} of what decision {self.__dict__.get('decision')!r} decides; "
            f"while that is open it can only be called, so decide about the module around it "
            f"instead"
        )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the output of the active option, at no cost for the others, or that of a mixer."""
        if self.mixer is not None:
            return self.mixer(self, *args, **kwargs)
        return self.chosen(*args, **kwargs)

    def extra_repr(self) -> str:
        """Return the decision and its options for ``print(supernet)``."""
        return f"{self.decision}: {', '.join(self.names)}"


def is_absent(module: nn.Module) -> bool:
    """Return True if the active option of a choice is "no connection".

    A cell may then skip every operation that only feeds this edge. The answer is False for
    anything but a choice, so a built network runs, and counts, all that it is made of.
    """
    return (
        isinstance(module, Choice)
        and module.mixer is None
        and module.active is not None
        and isinstance(module.chosen, NoConnection)
    )


class Supernet(nn.Module):
    """A network with every option in it, of which one path runs: all paths share weights.

    Setting the path changes one integer for each choice, and the slices that layers of undecided
    widths use; nothing is rebuilt. :meth:`ddpnas.SearchSpace.supernet` makes one.

    BatchNorm uses the statistics of its batch, in evaluation too, because a running average over
    paths would fit none of them; no average is updated. The same holds for every other call of
    ``functional.batch_norm`` and ``instance_norm``. Layers that stay in evaluation mode when the
    network is put into training mode are frozen: they keep their statistics.

    Args:
        network: Network made with every decision open; it is put into training mode.
        calls: What a dry run found of calls that normalize; None if there was none.

    Attributes:
        network: The same network.
        choices: Its choices, in the order of its modules.
        slices: Its layers of undecided widths.

    Example:
        >>> from ddpnas import create_space
        >>> space = create_space("toy", input_shape=(1, 8, 8))
        >>> supernet = space.supernet()
        >>> supernet.set_path({d.name: d.options[0] for d in space.decisions})
        >>> len(supernet.path_parameters()) < len(list(supernet.parameters()))
        True
    """

    def __init__(self, network: nn.Module, calls: NormCalls | None = None) -> None:
        super().__init__()
        self.network = network
        self._statistics = PathStatistics(network, calls)
        self.choices = tuple(module for module in network.modules() if isinstance(module, Choice))
        for choice in self.choices:
            choice.active = 0
        self.slices = Slices(network)

    def set_path(self, architecture: Mapping[str, str]) -> None:
        """Make the path of this architecture the one that runs."""
        for choice in self.choices:
            choice.active = choice.names.index(architecture[choice.decision])
        self.slices.set({d: int(architecture[d]) for d in self.slices.decisions})

    def path_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the active path, each once; inactive options are not visited.

        Of a layer of undecided widths it is the slice in use, a separate leaf that shares memory
        with the parameter. :attr:`slices` tells which.
        """
        found = {
            id(parameter): parameter
            for _, modules, _ in walk(self.network, active_only=True)
            for module in modules
            for parameter in self.slices.parameters(module)
        }
        return list(found.values())

    def watch(self, call: Callable[[str], None]) -> Callable[[], None]:
        """Call a function with a decision's name whenever a run of the network depends on it.

        Returns:
            A function that ends it.
        """
        handles = self.slices.hook(call)
        for choice in self.choices:
            choice.watch = call

        def end() -> None:
            for handle in handles:
                handle.remove()
            for choice in self.choices:
                choice.watch = None

        return end

    def __deepcopy__(self, memo: dict[int, Any]) -> Supernet:
        present = self.slices.present
        self.slices.unset()
        copied = object.__new__(type(self))
        memo[id(self)] = copied
        nn.Module.__init__(copied)
        copied.__dict__.update(
            {k: copy.deepcopy(v, memo) for k, v in vars(self).items() if k != "slices"}
        )
        copied.slices = Slices(copied.network)
        if present is not None:
            self.slices.set(present)
            copied.slices.set(present)
        return copied

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        applied = super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        self.slices.forget()
        return applied  # type: ignore[no-any-return]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the output of the active path, normalized by its own statistics."""
        with self._statistics(self.training):
            return self.network(*args, **kwargs)


def walk(
    module: nn.Module, condition: Condition = (), *, active_only: bool = False
) -> Iterator[tuple[Condition, list[nn.Module], list[Choice]]]:
    """Yield what stands in a network outside all choices, then the same for each option.

    Options are visited depth first: an option comes before the options of choices inside it.

    Args:
        module: Network or part of one, made with every decision open.
        condition: Choices under which the module itself stands.
        active_only: Visit only the active option of each choice, that is, the path of a supernet.

    Yields:
        (condition, modules, choices): the choices under which these modules stand, the modules
        outside all further choices, the module itself first, and those further choices. A choice
        directly inside an option has no modules.

    Example:
        >>> pool = Choice("pool", ("max", "none"), (nn.MaxPool2d(2), NoConnection()))
        >>> for condition, modules, choices in walk(nn.Sequential(nn.ReLU(), pool)):
        ...     print(condition, [type(m).__name__ for m in modules], len(choices))
        () ['Sequential', 'ReLU'] 1
        (('pool', 'max'),) ['MaxPool2d'] 0
        (('pool', 'none'),) ['NoConnection'] 0
    """
    modules, choices = outside_choices(module)
    yield condition, modules, choices
    for choice in choices:
        for index, (name, option) in enumerate(zip(choice.names, choice.options, strict=True)):
            if not active_only or index == choice.active:
                inner = (*condition, (choice.decision, name))
                yield from walk(option, inner, active_only=active_only)


def outside_choices(module: nn.Module) -> tuple[list[nn.Module], list[Choice]]:
    """Return the module and those in it that stand outside all choices, and the outermost choices.

    Args:
        module: Network or part of one. If it is a choice, nothing stands outside.
    """
    if isinstance(module, Choice):
        return [], [module]
    modules: list[nn.Module] = [module]
    choices: list[Choice] = []
    for child in module.children():
        inner_modules, inner_choices = outside_choices(child)
        modules += inner_modules
        choices += inner_choices
    return modules, choices
