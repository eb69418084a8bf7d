"""The supernet: a network that holds every option, of which one path runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from ddpnas.space.layers import NoConnection

__all__ = ["Choice", "Condition", "Supernet", "is_absent", "outside_choices"]

Condition = tuple[tuple[str, str], ...]


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


def is_absent(module: nn.Module) -> bool:
    """Return whether a path of a supernet has nothing here, so that what only leads here can rest.

    False in a network of one architecture: that runs, and counts, all that it is made of.
    """
    return (
        isinstance(module, Choice)
        and module.active is not None
        and isinstance(module.chosen, NoConnection)
    )


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
            parameters, choices = outside_choices(module)
            found.update((id(parameter), parameter) for parameter in parameters)
            for choice in choices:
                walk(choice.chosen)

        walk(self.network)
        return list(found.values())

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the output of the active path."""
        return self.network(*args, **kwargs)


def outside_choices(module: nn.Module) -> tuple[list[nn.Parameter], list[Choice]]:
    """Return the module's parameters outside all choices, and its outermost choices."""
    if isinstance(module, Choice):
        return [], [module]
    parameters = [p for p in module.parameters(recurse=False)]
    choices: list[Choice] = []
    for child in module.children():
        inner_parameters, inner_choices = outside_choices(child)
        parameters += inner_parameters
        choices += inner_choices
    return parameters, choices
