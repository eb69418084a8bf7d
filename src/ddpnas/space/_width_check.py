"""Check that a network's widths can be followed: what it is at some sizes is what they predict.

A width that Python turned into a plain number, as ``max(8, width)`` does, would leave a layer at
its largest size in every path. So the function makes the network again at other sizes, with plain
numbers, and both must agree in every layer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from ddpnas.errors import SpaceError
from ddpnas.space.decisions import Decision
from ddpnas.space.slices import Slices, at_widths, layout, widths_of
from ddpnas.space.widths import trial_sizes

__all__ = ["check_widths", "explain_failure"]

_PLAIN = (bool, int, float, str, type(None))


def check_widths(
    opened: nn.Module,
    widths: Sequence[Decision],
    make: Callable[[Mapping[str, int]], nn.Module],
    run: Callable[[nn.Module], Any],
) -> None:
    """Check that layers are what their widths predict, at some sizes.

    Args:
        opened: The network with every decision open, on the meta device.
        widths: The decisions about widths.
        make: Makes the network with plain sizes, every other decision open, on the meta device.
        run: Runs an open network; returns its output.

    Raises:
        SpaceError: A layer lost its width, or two widths meet that are not one decision.
    """
    slices = Slices(opened)
    for decision in widths:
        if decision.name not in slices.decisions:
            raise SpaceError(
                f"no layer has the width {decision.name!r}: a size that a layer is to depend on "
                f"must reach it as a width"
            )
    values = {d.name: [int(option) for option in d.options] for d in widths}
    trials = [(sizes, make(sizes)) for sizes in trial_sizes(values)]
    for sizes, made in trials:
        for message in _differences(opened, made, sizes):
            raise SpaceError(f"{message}, with {_said(sizes)}")
    for sizes, made in trials:
        try:
            run(made)
        except SpaceError as error:
            raise SpaceError(explain_failure(error, sizes, widths, make, run)) from error
        slices.set(sizes)
        try:
            run(opened)
        except SpaceError as error:
            raise SpaceError(
                f"with {_said(sizes)} the supernet fails although the network itself runs: its "
                f"forward uses a size that no module keeps as an attribute, where it follows the "
                f"width ({error})"
            ) from error


def _said(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name!r} = {size}" for name, size in sizes.items())


def _differences(opened: nn.Module, made: nn.Module, sizes: Mapping[str, int]) -> Iterator[str]:
    """Yield what of a network is not what its widths predict.

    Args:
        opened: The network whose sizes are widths.
        made: The same with plain sizes.
        sizes: These sizes.
    """
    ours, theirs = dict(opened.named_modules()), dict(made.named_modules())
    for path in [*(ours.keys() - theirs.keys()), *(theirs.keys() - ours.keys())]:
        yield f"module {path!r} appears or vanishes with the widths, which only layer sizes may do"
    for path, module in ours.items():
        other = theirs[path]
        layer = f"{type(module).__name__} {path!r}" if path else type(module).__name__
        if type(module) is not type(other):
            kind = type(other).__name__
            yield f"{layer} becomes a {kind}; widths may only change the sizes of layers"
        held = widths_of(module)
        for name, value in vars(other).items():
            if not _is_plain(value) or name not in vars(module):
                continue
            predicted = at_widths(vars(module)[name], sizes)
            if predicted != value and not (name not in held and name.startswith("_")):
                yield (
                    f"{layer} should have {name} = {predicted} by its widths, but is made with "
                    f"{value}: a width was turned into a plain number on the way (by max, int, "
                    f"round, if or the like); compute it with width.map(function)"
                )
        yield from _tensor_differences(layer, module, other, bool(held))


def _tensor_differences(
    layer: str, module: nn.Module, other: nn.Module, has_widths: bool
) -> Iterator[str]:
    own = {**module._parameters, **module._buffers}
    shapes = layout(other) if has_widths else None
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
    make: Callable[[Mapping[str, int]], nn.Module],
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
            run(make(sizes))
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
    return f"with {_said(failed)} {error}"
