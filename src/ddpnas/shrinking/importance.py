"""order_channels(): which channels of each group go first, by how important their weights are.

A class of channels is as important as what it adds up along the axes that it touches:

    producers   sum of |w| over the weights that make its channels
    consumers   sum of |w| over the weights that use them
    norm        sum of |gamma| over the BatchNorm layers that scale them
    taylor      mean over batches of (sum of g w)^2 over the weights that make them, where g is the
                gradient of the loss (Molchanov et al., CVPR 2019): what the loss would change, to
                first order, if these weights were 0

Sums are taken over layers after each layer's own are divided by their mean, so that a layer with
large weights does not decide alone. The fifth one, "outputs", chooses channels by what they rebuild
(:mod:`ddpnas.shrinking._reconstruction`), and takes "consumers" where it cannot follow these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from ddpnas.errors import OptionError, nearest
from ddpnas.shrinking._reconstruction import reconstruct
from ddpnas.shrinking.cutting import Order
from ddpnas.shrinking.groups import Axis, Group, Part

__all__ = ["IMPORTANCES", "Importance", "class_magnitudes", "order_channels"]

Importance = Literal["producers", "consumers", "norm", "taylor", "outputs"]
IMPORTANCES: tuple[Importance, ...] = ("producers", "consumers", "norm", "taylor", "outputs")

Batches = Iterable[tuple[Tensor, Tensor]]
_Values = npt.NDArray[np.float64]


def order_channels(
    model: nn.Module,
    groups: Sequence[Group],
    importance: Importance = "consumers",
    batches: Batches = (),
) -> Order:
    """Return the classes of channels of each group, the most important first.

    Args:
        model: The network. Its gradients are used and cleared.
        groups: Its groups, as :func:`find_groups` returns them.
        importance: "producers", "consumers", "norm", "taylor" or "outputs"; see
            :mod:`ddpnas.shrinking.importance`. A group without such weights keeps its sequence.
        batches: (inputs, labels) on the network's device, for "taylor" and "outputs".

    Raises:
        OptionError: The importance is unknown, or it needs batches and there are none.

    Example:
        >>> from ddpnas.shrinking import find_groups
        >>> model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> _ = model[2].weight.data.fill_(0.1)[:, 5].fill_(7.0)
        >>> int(order_channels(model, find_groups(model, (4,)))["0"][0][0])
        5
    """
    if importance not in IMPORTANCES:
        raise OptionError(nearest("importance", importance, IMPORTANCES))
    if importance == "outputs":
        chosen = reconstruct(model, groups, _some(importance, batches))
        return {
            group.name: [
                _largest_first(_magnitude(model, part, "consumers")) if ranks is None else ranks
                for part, ranks in zip(group.parts, of_parts, strict=True)
            ]
            for group, of_parts in zip(groups, chosen, strict=True)
        }
    if importance == "taylor":
        scores = _taylor(model, groups, _some(importance, batches))
    else:
        scores = [class_magnitudes(model, group, importance) for group in groups]
    return {
        group.name: [_largest_first(values) for values in of_parts]
        for group, of_parts in zip(groups, scores, strict=True)
    }


def class_magnitudes(
    model: nn.Module, group: Group, importance: Literal["producers", "consumers", "norm"]
) -> list[_Values]:
    """Return how important the classes of each part of a group are by their weights alone.

    Args:
        model: The network.
        group: One of its groups.
        importance: What counts; see :mod:`ddpnas.shrinking.importance`.

    Example:
        >>> from ddpnas.shrinking import find_groups
        >>> model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> [magnitudes] = class_magnitudes(model, find_groups(model, (4,))[0], "consumers")
        >>> magnitudes.shape, round(float(magnitudes.mean()), 6)
        ((16,), 1.0)
    """
    return [_magnitude(model, part, importance) for part in group.parts]


def _magnitude(model: nn.Module, part: Part, importance: Importance) -> _Values:
    """Return the importance of each class of a part, without data."""
    total = np.zeros(part.classes)
    for axis, positions in part.members.items():
        path, _, name = axis.tensor.rpartition(".")
        layer = model.get_submodule(path)
        tensor: Tensor = getattr(layer, name)
        if importance == "norm":
            counts = isinstance(layer, _BatchNorm) and name == "weight"
        else:
            counts = tensor.ndim > 1 and _makes(layer, axis) == (importance == "producers")
        if counts and isinstance(tensor, nn.Parameter):
            values = _along(tensor.detach().abs(), axis.index)[positions].sum(axis=1)
            total += values / max(values.mean(), 1e-30)
    return total


def _taylor(model: nn.Module, groups: Sequence[Group], batches: Batches) -> list[list[_Values]]:
    """Return the first-order effect of each class on the loss."""
    scores = [[np.zeros(part.classes) for part in group.parts] for group in groups]
    training = model.training
    model.eval()
    for inputs, labels in batches:
        model.zero_grad()
        loss = functional.cross_entropy(model(inputs), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        effects: dict[Axis, _Values] = {}
        for group, of_parts in zip(groups, scores, strict=True):
            for part, score in zip(group.parts, of_parts, strict=True):
                effect = np.zeros(part.classes)
                for axis, positions in part.members.items():
                    if axis not in effects:
                        effects[axis] = _effect(model, axis)
                    effect += effects[axis][positions].sum(axis=1)
                score += effect**2
    model.zero_grad()
    model.train(training)
    return scores


def _some(importance: Importance, batches: Batches) -> Sequence[tuple[Tensor, Tensor]]:
    found = list(batches)
    if not found:
        raise OptionError(
            f"importance {importance!r} needs batches of images; give them, or another one"
        )
    return found


def _effect(model: nn.Module, axis: Axis) -> _Values:
    """Return the sum of gradient times weight at each position, where a layer makes channels."""
    path, _, name = axis.tensor.rpartition(".")
    layer = model.get_submodule(path)
    tensor: Tensor = getattr(layer, name)
    if tensor.grad is None or not _makes(layer, axis):
        return np.zeros(tensor.shape[axis.index])
    return _along(tensor.detach() * tensor.grad, axis.index)


def _makes(layer: nn.Module, axis: Axis) -> bool:
    """Return whether the channels along an axis of a layer's weight are those that it makes."""
    return axis.index == int(isinstance(layer, nn.modules.conv._ConvTransposeNd))


def _largest_first(values: _Values) -> npt.NDArray[np.int64]:
    return np.argsort(-values, kind="stable")


def _along(tensor: Tensor, axis: int) -> _Values:
    """Return the sum over all other axes."""
    others = [k for k in range(tensor.ndim) if k != axis]
    summed = tensor.sum(dim=others) if others else tensor
    return summed.cpu().double().numpy()
