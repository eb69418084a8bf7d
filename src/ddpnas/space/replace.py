"""replaceable(): an existing network as a search space, some of its children undecided."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping

import torch
from torch import nn

from ddpnas.errors import SpaceError, nearest
from ddpnas.space.choose import Choose

__all__ = ["replaceable"]

Alternatives = Mapping[str, Callable[..., nn.Module]]

ORIGINAL = "original"


def replaceable(
    model: nn.Module, alternatives: Mapping[str, Alternatives]
) -> Callable[[Choose], nn.Module]:
    """Return a network function for :class:`SearchSpace`: the model with some children undecided.

    The path of a child is the name of its decision. Its first option, "original", is the child
    itself. Built networks start with copies of the model's weights. In a supernet, BatchNorm uses
    the statistics of its batch, since every path has its own.

    Args:
        model: Model; it is copied for every network and never changed.
        alternatives: Path of a child -> option name -> a function that makes the module. A
            function with an argument is given a copy of the original child.

    Raises:
        SpaceError: There is no child of that path, one path lies inside another, or an option is
            named "original".

    Example:
        >>> from ddpnas import SearchSpace
        >>> model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> space = SearchSpace(replaceable(model, {"1": {"gelu": nn.GELU}}), (4,))
        >>> space.decisions[0].options
        ('original', 'gelu')
    """
    paths = [path for path, _ in model.named_modules() if path]
    for path, options in alternatives.items():
        if path not in paths:
            raise SpaceError(nearest(f"child of {type(model).__name__}", path, paths))
        if not options or ORIGINAL in options:
            raise SpaceError(
                f"{path} needs alternatives with other names than {ORIGINAL!r}, which stands for "
                f"the child itself"
            )
        for other in alternatives:
            if other.startswith(f"{path}."):
                raise SpaceError(f"{other} lies inside {path}: replace only one of them")

    def network(choose: Choose) -> nn.Module:
        made = _copy(model, choose)
        for path, options in alternatives.items():
            parent_path, _, name = path.rpartition(".")
            parent = made.get_submodule(parent_path)
            original = parent.get_submodule(name)
            makers: dict[str, Callable[[], nn.Module]] = {ORIGINAL: _Copies(original, choose)}
            for option, make in options.items():
                adapts = _takes_one(make)
                makers[option] = _Adapted(make, original, choose) if adapts else make
            setattr(parent, name, choose(path, makers))
        return made

    network.__name__ = type(model).__name__
    return network


def _takes_one(make: Callable[..., nn.Module]) -> bool:
    """Return whether the function needs an argument."""
    return any(
        p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        for p in inspect.signature(make).parameters.values()
    )


class _Copies:
    """Makes copies of a module."""

    def __init__(self, module: nn.Module, choose: Choose) -> None:
        self._module, self._choose = module, choose

    def __call__(self) -> nn.Module:
        return _copy(self._module, self._choose)


class _Adapted:
    """Makes what a function makes of a copy of the original."""

    def __init__(
        self, make: Callable[[nn.Module], nn.Module], original: nn.Module, choose: Choose
    ) -> None:
        self._make, self._original, self._choose = make, original, choose

    def __call__(self) -> nn.Module:
        return self._make(_copy(self._original, self._choose))


def _copy(module: nn.Module, choose: Choose) -> nn.Module:
    """Return a copy on the default device; while searching, its BatchNorm without averages."""
    copied = copy.deepcopy(module)
    if torch.get_default_device().type == "meta":
        copied = copied.to("meta")
    if choose.searching:
        for part in copied.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.track_running_stats = False
                part.running_mean = part.running_var = part.num_batches_tracked = None
    return copied
