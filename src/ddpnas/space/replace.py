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
    """Return a network function for :class:`SearchSpace`: the model with children undecided.

        network = ddpnas.replaceable(
            torchvision.models.resnet18(),
            {"layer2.0.conv1": {"wide": lambda: nn.Conv2d(64, 128, 5, 2, 2, bias=False)}},
        )
        space = ddpnas.SearchSpace(network, (3, 224, 224))

    The child's path is the decision's name, and "original", the child as it is, its first
    option. Networks that are built start with copies of the model's weights. In a supernet,
    BatchNorm takes the statistics of its batch, since every path has its own.

    Args:
        model: left as it is; copied for every network that is built.
        alternatives: path of a child -> option name -> a function that makes the module; one
            that takes an argument is given a copy of the original child.

    Raises:
        SpaceError: no child of that path, one path inside another, or an option named
            "original".
    """
    paths = [path for path, _ in model.named_modules() if path]
    for path, options in alternatives.items():
        if path not in paths:
            raise SpaceError(nearest(f"child of {type(model).__name__}", path, paths))
        if not options or ORIGINAL in options:
            raise SpaceError(
                f"{path} needs alternatives with names other than {ORIGINAL!r}, which is the "
                f"child as it is"
            )
        for other in alternatives:
            if other.startswith(f"{path}."):
                raise SpaceError(f"{other} is inside of {path}: replace one of them only")

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
