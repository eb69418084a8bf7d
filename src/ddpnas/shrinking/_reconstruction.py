"""reconstruct(): the order in which channels rebuild what the layers that use them compute.

Notation, for one group of C classes of channels and one layer that uses them:

    a_c   what class c adds to the layer's output, at some positions of some images
    y     the sum of all a_c
    G     G[c, d] = <a_c, a_d>, so that <a_c, y> is the sum of row c

Channels are chosen one after the other. With K chosen, the next is the one that leaves the least of
|y - sum over K of a_c|^2, that is, with the largest 2 <a_c, y> - 2 sum over d in K of G[c, d] -
G[c, c]. Channels that cancel each other are chosen last, however large their weights are: alone,
none of them brings the sum nearer. ThiNet (Luo et al., ICCV 2017) chooses the ones to remove by the
same error.

Of several layers, each counts relative to |y|^2. Linear layers and convolutions of images without
groups can be followed. Where only others use the channels, there is no such order.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ddpnas.shrinking.groups import Axis, Group, Part

__all__ = ["reconstruct"]

_IMAGES = 32  # in all, at least
_POSITIONS = 8  # of each image
_OUTPUTS = 64  # outputs of a layer, projected at random

Batches = Sequence[tuple[Tensor, Tensor]]


def reconstruct(
    model: nn.Module, groups: Sequence[Group], batches: Batches
) -> list[list[npt.NDArray[np.int64] | None]]:
    """Return, for each part of each group, its classes in the order in which they are chosen.

    It is None for a part of which nothing that a layer computes is seen.

    Args:
        model: The network; it is not changed.
        groups: Its groups.
        batches: (inputs, labels) on the network's device.
    """
    users = {layer: None for g in groups for part in g.parts for layer in _users(model, part)}
    seen: dict[str, list[Tensor]] = {layer: [] for layer in users}
    generator = torch.Generator().manual_seed(0)
    of_each = math.ceil(_IMAGES / len(batches))

    def keep(layer: str, module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        inputs = [*args, *named.values()][0]
        seen[layer].append(_patches(module, inputs[:of_each].detach(), generator))

    handles = [
        model.get_submodule(layer).register_forward_pre_hook(
            functools.partial(keep, layer), with_kwargs=True
        )
        for layer in users
    ]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for inputs, _ in batches:
                model(inputs)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return [[_chosen(_products(model, part, seen)) for part in group.parts] for group in groups]


def _users(model: nn.Module, part: Part) -> list[str]:
    """Return the paths of the layers that use all channels of a part and can be followed."""
    found = []
    for axis in part.members:
        path, _, name = axis.tensor.rpartition(".")
        layer = model.get_submodule(path)
        dense = isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
        if dense and name == "weight" and axis.index == 1:
            found.append(path)
    return found


def _patches(layer: nn.Module, inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Return what a layer multiplies at some positions: (positions, inputs, size of its kernel)."""
    found = []
    for one in torch.split(inputs, 1):  # all patches of an image are in memory at once
        if isinstance(layer, nn.Conv2d):
            size, padding = layer.kernel_size, layer.padding
            if isinstance(padding, str):  # "same" or "valid"
                one = functional.pad(one, layer._reversed_padding_repeated_twice)
                padding = (0, 0)
            missing = [max(0, k - n) for k, n in zip(size, one.shape[2:], strict=True)]
            padded = functional.pad(one, (0, missing[1], 0, missing[0]))
            options = {"dilation": layer.dilation, "padding": padding, "stride": layer.stride}
            unfolded = functional.unfold(padded, size, **options)
            columns = unfolded[0].T.reshape(unfolded.shape[2], one.shape[1], -1)
        else:
            columns = one.reshape(-1, one.shape[-1], 1)
        chosen = torch.randint(len(columns), (_POSITIONS,), generator=generator)
        found.append(columns[chosen.to(columns.device)])
    return torch.cat(found)


def _products(
    model: nn.Module, part: Part, seen: dict[str, list[Tensor]]
) -> npt.NDArray[np.float64]:
    """Return G of a part, the sum over its layers."""
    total = np.zeros((part.classes, part.classes))
    for path in _users(model, part):
        if not seen[path]:
            continue
        layer: Any = model.get_submodule(path)
        weight: Tensor = layer.weight.detach().reshape(*layer.weight.shape[:2], -1)
        if len(weight) > _OUTPUTS:
            generator = torch.Generator().manual_seed(0)
            mix = torch.randn(_OUTPUTS, len(weight), generator=generator).to(weight)
            weight = torch.einsum("po,oik->pik", mix, weight)
        added = torch.einsum("nik,oik->ino", torch.cat(seen[path]), weight).flatten(1)
        positions = torch.from_numpy(part.members[Axis(f"{path}.weight", 1)])
        of_classes = added[positions.to(added.device)].sum(dim=1)
        products = (of_classes @ of_classes.T).cpu().double().numpy()
        total += products / max(float(products.sum()), 1e-30)
    return total


def _chosen(products: npt.NDArray[np.float64]) -> npt.NDArray[np.int64] | None:
    """Return the classes in the order in which they are chosen; None where none adds anything."""
    if not products.any():
        return None
    gains = 2 * products.sum(axis=1) - np.diag(products)
    order = np.zeros(len(products), dtype=np.int64)
    for number in range(len(products)):
        order[number] = best = int(np.argmax(gains))
        gains -= 2 * products[best]
        gains[best] = -np.inf
    return order
