"""Check that a network's widths can be followed: what it is at some sizes is what they predict.

A width that Python turned into a plain number, as ``max(8, width)`` does, would leave a layer at
its largest size in every path. So the function makes the network again at other sizes, with plain
numbers, and both must agree in every layer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from ddpnas.errors import SpaceError
from ddpnas.space.decisions import Decision
from ddpnas.space.slices import TENSOR_SIZES, Slices, at_widths, layout, layout_of, widths_of
from ddpnas.space.widths import trial_sizes
from ddpnas.utils.seeds import seeded

__all__ = ["check_widths", "explain_failure"]

_PLAIN = (bool, int, float, str, type(None))


Make = Callable[[Mapping[str, int]], nn.Module]


def check_widths(
    opened: nn.Module,
    widths: Sequence[Decision],
    make: Make,
    run: Callable[[nn.Module], Any],
) -> None:
    """Check that layers are what their widths predict, at some sizes.

    Args:
        opened: The network with every decision open, on the meta device.
        widths: The decisions about widths.
        make: Makes the network with plain sizes, every other decision open, on torch's default
            device.
        run: Runs an open network; returns its output.

    Raises:
        SpaceError: A layer lost its width, or two widths meet that are not one decision.
    """
    slices = Slices(opened)
    for decision in widths:
        if decision.name not in slices.decisions:
            raise SpaceError(
                f"no layer has the width {decision.name!r}: pass the width itself to the layers "
                f"that depend on it, not a plain number"
            )
    values = {d.name: [int(option) for option in d.options] for d in widths}
    trials = trial_sizes(values)
    expected = [_Expected(path, module) for path, module in opened.named_modules()]
    for sizes in trials:
        for message in _differences(expected, _bare(make, sizes), sizes):
            raise SpaceError(f"{message}, with {_said(sizes)}")
    _check_values(opened, values, make)
    for sizes in trials:
        slices.set(sizes)
        try:
            run(opened)
        except SpaceError as error:
            try:
                run(_bare(make, sizes))
            except SpaceError as failed:
                explained = explain_failure(failed, sizes, widths, make, run)
                raise SpaceError(f"{explained}, with {_said(sizes)}") from failed
            raise SpaceError(
                f"with {_said(sizes)} the supernet fails although the network itself runs: its "
                f"forward uses a size that no module keeps; keep it as an attribute, so that it "
                f"follows the width ({error})"
            ) from error


def _bare(make: Make, sizes: Mapping[str, int]) -> nn.Module:
    """Return the network with plain sizes on the meta device."""
    with torch.device("meta"):
        return make(sizes)


def _check_values(opened: nn.Module, values: Mapping[str, Sequence[int]], make: Make) -> None:
    """Raise :class:`SpaceError` if the values of a tensor depend on widths, as in torch.tensor(w).

    Only sizes can be followed. Values are known on a real device alone, where networks are made
    only if there are tensors besides weights and those of torch's own layers.

    Args:
        opened: See :func:`check_widths`.
        values: The sizes of each width.
        make: See :func:`check_widths`.
    """
    if not any(_kept_tensors(module) for module in opened.modules()):
        return

    def made(place: int, seed: int) -> dict[tuple[str, str], Tensor]:
        with seeded(seed):
            network = make({name: sizes[place] for name, sizes in values.items()})
        return {
            (path, name): tensor
            for path, module in network.named_modules()
            for name, tensor in _kept_tensors(module).items()
        }

    largest, again, smallest = made(-1, 0), made(-1, 1), made(0, 0)
    for (path, name), tensor in largest.items():
        other = smallest.get((path, name))
        random = not torch.equal(tensor, again[path, name])
        if other is None or random or other.shape != tensor.shape or torch.equal(tensor, other):
            continue
        kind = type(opened.get_submodule(path)).__name__
        raise SpaceError(
            f"{kind} {path!r} keeps a tensor {name!r} whose values depend on the widths, which a "
            f"supernet cannot follow: keep the width itself as an attribute, and compute with it "
            f"in forward"
        )


def _kept_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors that a module of a user keeps besides its parameters."""
    if isinstance(module, _BatchNorm) or type(module).__module__.startswith("torch.nn."):
        return {}
    kept = {**vars(module), **module._buffers}
    return {n: t for n, t in kept.items() if isinstance(t, Tensor) and not is_lazy(t)}


def _said(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name!r} = {size}" for name, size in sizes.items())


class _Expected:
    """What a module is to be made as: its plain attributes, some of which hold widths."""

    def __init__(self, path: str, module: nn.Module) -> None:
        self.layer = f"{type(module).__name__} {path!r}" if path else type(module).__name__
        self.path, self.module = path, module
        self.held = widths_of(module)
        self.attributes = {n: value for n, value in vars(module).items() if _is_plain(value)}


def _differences(
    expected: Sequence[_Expected], made: nn.Module, sizes: Mapping[str, int]
) -> Iterator[str]:
    """Yield what of a network is not what its widths predict.

    Args:
        expected: The modules of the network whose sizes are widths.
        made: The same with plain sizes.
        sizes: These sizes.
    """
    theirs = dict(made.named_modules())
    ours = {module.path for module in expected}
    for path in [*(ours - theirs.keys()), *(theirs.keys() - ours)]:
        yield f"module {path!r} appears or vanishes with the widths, which only layer sizes may do"
    for module in expected:
        other = theirs[module.path]
        if _kind(module.module) != _kind(other):
            kind = type(other).__name__
            yield f"{module.layer} becomes a {kind}; widths may only change the sizes of layers"
        found = vars(other)
        for name, value in module.attributes.items():
            predicted = at_widths(value, sizes) if name in module.held else value
            if name not in found or predicted == found[name]:
                continue
            if not (name in module.held and name.startswith("_")):
                yield (
                    f"{module.layer} should have {name} = {predicted} by its widths, but is made "
                    f"with {found[name]}: a width was turned into a plain number on the way (by "
                    f"max, int, round, if or the like); compute it with width.map(function)"
                )
        yield from _tensor_differences(module, other, sizes)


def _kind(module: nn.Module) -> tuple[str, str]:
    """Return the name of a class, which a function may define anew at each call."""
    return type(module).__module__, type(module).__qualname__


def _tensor_differences(
    expected: _Expected, other: nn.Module, sizes: Mapping[str, int]
) -> Iterator[str]:
    module, layer = expected.module, expected.layer
    own = {**module._parameters, **module._buffers}
    shapes = None
    if TENSOR_SIZES in expected.held:  # of this module alone: a network made of numbers has none
        shapes = layout_of(at_widths(expected.held[TENSOR_SIZES], sizes))
    elif expected.held:
        shapes = layout(other)
    for name, tensor in {**other._parameters, **other._buffers}.items():
        whole = own.get(name)
        if (tensor is None) != (whole is None):
            yield f"{layer} has {name!r} at some widths only"
        if tensor is None or whole is None:
            continue
        known = shapes is not None and name in shapes
        if known and shapes is not None and shapes[name].sizes != tuple(tensor.shape):
            yield (
                f"slice_to() of {layer} should return {tuple(tensor.shape)} for {name!r}, not "
                f"{shapes[name].sizes}"
            )
        if not known and tensor.shape != whole.shape:
            yield (
                f"the size of {name!r} in {layer} depends on widths in a way that is not known; "
                f"keep the width as an attribute and give the class a method slice_to() that "
                f"returns {{{name!r}: its shape}}"
            )


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_is_plain(item) for item in value)
    return isinstance(value, _PLAIN)


def explain_failure(
    error: SpaceError,
    failed: Mapping[str, int],
    widths: Sequence[Decision],
    make: Make,
    run: Callable[[nn.Module], Any],
) -> str:
    """Return a sentence on sizes at which a network cannot run: which widths should be one.

    Args:
        error: What was raised.
        failed: The sizes.
        widths: The decisions about widths.
        make: See :func:`check_widths`.
        run: See there.
    """

    def runs(sizes: Mapping[str, int]) -> bool:
        try:
            run(_bare(make, sizes))
        except SpaceError:
            return False
        return True

    values = {d.name: {int(option) for option in d.options} for d in widths}
    for one, other in itertools.combinations(values, 2):
        for size in sorted(values[one] & values[other])[:1]:
            if failed[one] != failed[other] and runs({**failed, one: size, other: size}):
                return (
                    f"widths {one!r} and {other!r} meet in the network and must be equal there: "
                    f"ask them by one name ({error})"
                )
    return str(error)
