"""replaceable(): an existing network as a search space, some of its children undecided."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ddpnas.errors import SpaceError, nearest
from ddpnas.space.choose import Choose
from ddpnas.space.copies import copied
from ddpnas.space.meta import move_to_meta
from ddpnas.utils.settings import checks_arguments

__all__ = ["replaceable"]

Alternatives = Mapping[str, Callable[..., nn.Module]]

ORIGINAL = "original"


@checks_arguments
def replaceable(
    model: nn.Module, alternatives: Mapping[str, Alternatives]
) -> Callable[[Choose], nn.Module]:
    """Return a network function for :class:`SearchSpace`: the model with some children undecided.

    The path of a child is the name of its decision. Its first option, "original", is the child
    itself. Built networks start with copies of the model's weights; modules that share a weight in
    the model share one there too.

    Args:
        model: Model; it is copied for every network and never changed.
        alternatives: Path of a child -> option name -> a function that makes the module. A
            function with an argument is given a copy of the original child, which shares the
            weights that the child shares with the rest of the model.

    Raises:
        SpaceError: There is no child of that path, one path lies inside another or is the same
            place, or an option is named "original".

    Example:
        >>> from ddpnas import SearchSpace
        >>> model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> space = SearchSpace(replaceable(model, {"1": {"gelu": nn.GELU}}), (4,))
        >>> space.decisions[0].options
        ('original', 'gelu')
    """
    paths = [path for path, _ in model.named_modules(remove_duplicate=False) if path]
    places: dict[tuple[nn.Module, str], str] = {}
    for path, options in alternatives.items():
        if path not in paths:
            raise SpaceError(nearest(f"child of {type(model).__name__}", path, paths))
        if not options or ORIGINAL in options:
            raise SpaceError(
                f"{path} needs at least one alternative, and none named {ORIGINAL!r}, which stands "
                f"for the child itself"
            )
        for other in alternatives:
            if other.startswith(f"{path}."):
                raise SpaceError(f"{other} lies inside {path}: replace only one of them")
        parent, name = _place(model, path)
        if (other := places.setdefault((parent, name), path)) != path:
            raise SpaceError(f"{path} is the same module as {other}: replace only one of them")

    def network(choose: Choose) -> nn.Module:
        made = _copy(model)
        for path, options in alternatives.items():
            parent, name = _place(made, path)
            original = parent.get_submodule(name)
            # What is still reached without the child, it shares with the rest of the model.
            parent._modules[name] = None
            shared = [*made.parameters(), *made.buffers()]
            makers: dict[str, Callable[[], nn.Module]] = {
                ORIGINAL: functools.partial(_itself, original)
            }
            for option, make in options.items():
                adapts = _takes_one(make)
                makers[option] = (
                    functools.partial(_adapted, make, original, shared) if adapts else make
                )
            setattr(parent, name, choose(path, makers))
        return made

    network.__name__ = type(model).__name__
    return network


def _place(model: nn.Module, path: str) -> tuple[nn.Module, str]:
    """Return the parent of a child, and the child's name there."""
    parent, _, name = path.rpartition(".")
    return model.get_submodule(parent), name


def _takes_one(make: Callable[..., nn.Module]) -> bool:
    """Return whether the function needs an argument."""
    return any(
        p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        for p in inspect.signature(make).parameters.values()
    )


def _itself(module: nn.Module) -> nn.Module:
    return module


def _adapted(
    make: Callable[[nn.Module], nn.Module], original: nn.Module, shared: list[torch.Tensor]
) -> nn.Module:
    """Return what a function makes of a copy of the original."""
    memo: dict[int, Any] = {id(tensor): tensor for tensor in shared}
    return make(copy.deepcopy(original, memo))


def _copy(model: nn.Module) -> nn.Module:
    """Return a copy on the default device."""
    found = copied(model)
    return move_to_meta(found) if torch.get_default_device().type == "meta" else found
