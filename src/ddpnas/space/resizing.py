"""resize_layers(): make the layers of a network as large as given tensors, its code unchanged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["replace_tensor", "resize_layers", "set_sizes", "tensor_places"]


def resize_layers(network: nn.Module, shapes: Mapping[str, Sequence[int]]) -> None:
    """Give tensors of a network other shapes, and layers the attributes that say their sizes.

    Tensors whose shapes change have no values afterwards: load them.

    Args:
        network: Changed in place.
        shapes: Path of a tensor -> its shape, of as many axes as now; other paths are ignored.

    Example:
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
        >>> resize_layers(network, {"0.weight": (6, 4), "0.bias": (6,), "1.weight": (2, 6)})
        >>> network[1]
        Linear(in_features=6, out_features=2, bias=True)
    """
    for path, tensor, places in tensor_places(network):
        shape = tuple(shapes.get(path, tensor.shape))
        if shape == tuple(tensor.shape) or len(shape) != tensor.ndim:
            continue
        other = torch.empty(shape, dtype=tensor.dtype, device=tensor.device)
        if isinstance(tensor, nn.Parameter):
            other = nn.Parameter(other, requires_grad=tensor.requires_grad)
        for module, name in places:
            replace_tensor(module, name, other)


def replace_tensor(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Put another tensor in the place of a parameter or buffer, and set the layer's sizes.

    Args:
        module: The layer.
        name: Name of the tensor in it.
        tensor: The other one.

    Example:
        >>> layer = nn.BatchNorm1d(4)
        >>> replace_tensor(layer, "weight", nn.Parameter(torch.ones(3)))
        >>> layer.num_features
        3
    """
    own = {**module._parameters, **module._buffers}
    before = {key: tuple(t.shape) for key, t in own.items() if t is not None}
    held: Any = module._parameters if name in module._parameters else module._buffers
    held[name] = tensor
    set_sizes(module, {name: tuple(tensor.shape)}, before)


def tensor_places(
    model: nn.Module,
) -> Iterator[tuple[str, Tensor, list[tuple[nn.Module, str]]]]:
    """Yield each tensor with its first path and all places in which it stands.

    Example:
        >>> [(path, len(places)) for path, _, places in tensor_places(nn.Linear(2, 2, bias=False))]
        [('weight', 1)]
    """
    first = {id(t): p for p, t in [*model.named_parameters(), *model.named_buffers()]}
    places: dict[int, tuple[Tensor, list[tuple[nn.Module, str]]]] = {}
    for module in model.modules():
        for name, tensor in {**module._parameters, **module._buffers}.items():
            if tensor is not None:
                places.setdefault(id(tensor), (tensor, []))[1].append((module, name))
    for key, (tensor, found) in places.items():
        yield first[key], tensor, found


def set_sizes(
    module: nn.Module,
    sizes: Mapping[str, tuple[Any, ...]],
    before: Mapping[str, tuple[int, ...]],
) -> None:
    """Set the attributes of torch's own layers that say how large a tensor is.

    Args:
        module: The layer.
        sizes: Name of one of its tensors -> its new shape.
        before: The shapes of its tensors before.

    Example:
        >>> layer = nn.Linear(4, 8)
        >>> set_sizes(layer, {"weight": (6, 3)}, {"weight": (8, 4)})
        >>> layer.out_features, layer.in_features
        (6, 3)
    """
    layer: Any = module
    shape = sizes.get("weight")
    if isinstance(module, nn.modules.conv._ConvNd) and shape is not None:
        rows, columns = before["weight"][:2]
        if isinstance(module, nn.modules.conv._ConvTransposeNd):
            layer.in_channels, layer.out_channels = shape[0], shape[1] * layer.groups
        elif layer.groups == 1:
            layer.out_channels, layer.in_channels = shape[0], shape[1]
        else:  # whole blocks go
            layer.groups = shape[0] // (rows // layer.groups)
            layer.out_channels, layer.in_channels = shape[0], layer.groups * columns
    elif isinstance(module, nn.Linear) and shape is not None:
        layer.out_features, layer.in_features = shape
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        layer.num_features = next(iter(sizes.values()))[0] if shape is None else shape[0]
    elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)) and shape is not None:
        layer.normalized_shape = tuple(shape)
    elif isinstance(module, nn.GroupNorm) and shape is not None:
        if layer.num_groups > 1:
            layer.num_groups = shape[0] // (layer.num_channels // layer.num_groups)
        layer.num_channels = shape[0]
    elif isinstance(module, nn.PReLU) and shape is not None:
        layer.num_parameters = shape[0]
    elif isinstance(module, nn.Embedding) and shape is not None:
        layer.embedding_dim = shape[1]
