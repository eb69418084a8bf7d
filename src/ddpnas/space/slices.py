"""Slices: the part of each layer's weights that is in use at the present widths of a supernet.

Layers are made at their largest widths. Setting widths gives a layer plain attributes
(``in_channels``) and, in place of its tensors, leaves that share memory with their first channels.
The layer's own ``forward`` then runs unchanged, and gradients have the size of the slice. What lies
outside has no gradient, so no step moves it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ddpnas.space.widths import Width

__all__ = [
    "TENSOR_SIZES",
    "Shape",
    "Slices",
    "at_widths",
    "fix_widths",
    "layout",
    "layout_of",
    "widths_in",
    "widths_of",
]

TENSOR_SIZES = "tensor_sizes"  # attribute of a module: (name of a tensor, its shape) for some


@dataclass(frozen=True)
class Shape:
    """The shape of a layer's tensor at some widths.

    Attributes:
        sizes: The shape.
        blocks: Number of blocks that the first axis consists of, such as the groups of a
            convolution; a slice takes the first channels of each of the first blocks.
    """

    sizes: tuple[int, ...]
    blocks: int = 1

    @property
    def blocked(self) -> tuple[int, ...]:
        """The shape with the first axis as (blocks, size of a block)."""
        return (self.blocks, self.sizes[0] // self.blocks, *self.sizes[1:])


def layout(module: nn.Module) -> dict[str, Shape] | None:
    """Return the shape of each tensor of a layer as its attributes imply it.

    A layer of your own says it in a method ``slice_to()``, which returns the shape of each of its
    own parameters and buffers at the present values of its attributes. An attribute
    ``tensor_sizes``, (name of a tensor, its shape) for some tensors, says it for a single module.

    Args:
        module: The layer, without its children.

    Returns:
        Name of a parameter or buffer -> shape; None if the layer is of a kind that is not known.

    Example:
        >>> layout(nn.Conv2d(8, 16, 3, groups=4))
        {'weight': Shape(sizes=(16, 2, 3, 3), blocks=4), 'bias': Shape(sizes=(16,), blocks=4)}
    """
    if TENSOR_SIZES in vars(module):
        return layout_of(vars(module)[TENSOR_SIZES])
    own: Any = getattr(module, "slice_to", None)
    if own is not None:
        return {name: Shape(tuple(sizes)) for name, sizes in own().items()}
    for kind, shapes in _LAYOUTS:
        if isinstance(module, kind):
            return shapes(module)
    return None


def layout_of(sizes: Iterable[tuple[str, Sequence[int]]]) -> dict[str, Shape]:
    """Return the shapes that an attribute ``tensor_sizes`` says; see :func:`layout`."""
    return {name: Shape(tuple(shape)) for name, shape in sizes}


def _convolution(layer: Any) -> dict[str, Shape]:
    weight = (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size)
    return {
        "weight": Shape(weight, layer.groups),
        "bias": Shape((layer.out_channels,), layer.groups),
    }


def _transposed(layer: Any) -> dict[str, Shape]:
    weight = (layer.in_channels, layer.out_channels // layer.groups, *layer.kernel_size)
    return {
        "weight": Shape(weight, layer.groups),
        "bias": Shape((layer.out_channels,), layer.groups),
    }


def _linear(layer: Any) -> dict[str, Shape]:
    weight = (layer.out_features, layer.in_features)
    return {"weight": Shape(weight), "bias": Shape((layer.out_features,))}


def _statistics(layer: Any) -> dict[str, Shape]:
    names = ("weight", "bias", "running_mean", "running_var")
    return {name: Shape((layer.num_features,)) for name in names} | {
        "num_batches_tracked": Shape(())
    }


def _normalized(layer: Any) -> dict[str, Shape]:
    shape = Shape(tuple(layer.normalized_shape))
    return {"weight": shape, "bias": shape}


def _attention(layer: Any) -> dict[str, Shape]:
    # Queries, keys and values of each head: a narrower layer has narrower heads.
    width, heads = layer.embed_dim, layer.num_heads
    return {
        "in_proj_weight": Shape((3 * width, width), 3 * heads),
        "in_proj_bias": Shape((3 * width,), 3 * heads),
        "q_proj_weight": Shape((width, width), heads),
        "k_proj_weight": Shape((width, layer.kdim), heads),
        "v_proj_weight": Shape((width, layer.vdim), heads),
        "bias_k": Shape((1, 1, width)),
        "bias_v": Shape((1, 1, width)),
    }


_LAYOUTS: list[tuple[Any, Callable[[Any], dict[str, Shape]]]] = [
    (nn.modules.conv._ConvTransposeNd, _transposed),
    (nn.modules.conv._ConvNd, _convolution),
    (nn.Linear, _linear),
    (nn.modules.batchnorm._NormBase, _statistics),
    ((nn.LayerNorm, nn.RMSNorm), _normalized),
    (nn.GroupNorm, lambda m: {name: Shape((m.num_channels,)) for name in ("weight", "bias")}),
    (nn.PReLU, lambda m: {"weight": Shape((m.num_parameters,))}),
    (nn.Embedding, lambda m: {"weight": Shape((m.num_embeddings, m.embedding_dim))}),
    (nn.MultiheadAttention, _attention),
]


def widths_of(module: nn.Module) -> dict[str, Any]:
    """Return the attributes of a module, without its children, that are or hold widths."""
    return {name: value for name, value in _candidates(module) if any(widths_in(value))}


def widths_in(value: Any) -> Iterator[Width]:
    """Yield the undecided widths that an attribute is or holds, in tuples and lists."""
    return (width for width in _all_widths(value) if width.parts)


# A space looks at some hundred thousand attributes, nearly all of which are of these types.
_WITHOUT_WIDTHS = frozenset(
    (bool, int, float, str, type(None), dict, OrderedDict, set, torch.dtype, torch.device)
)


def _candidates(module: nn.Module) -> list[tuple[str, Any]]:
    """Return the attributes of a module that may be or hold widths."""
    return [
        (name, value)
        for name, value in vars(module).items()
        if type(value) not in _WITHOUT_WIDTHS
        and (
            isinstance(value, Width)
            or (
                isinstance(value, (tuple, list))
                and not _WITHOUT_WIDTHS.issuperset(map(type, value))
            )
        )
    ]


def _all_widths(value: Any) -> Iterator[Width]:
    if isinstance(value, Width):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _all_widths(item)


def at_widths(value: Any, chosen: Mapping[str, int]) -> Any:
    """Return an attribute, or a tuple or list of them, with plain numbers in place of widths."""
    return _replaced(value, lambda width: width.at(chosen))


def fix_widths(network: nn.Module) -> None:
    """Replace widths that depend on nothing, in the attributes of modules, by plain numbers."""
    for module in network.modules():
        for name, value in _candidates(module):
            if any(not width.parts for width in _all_widths(value)):
                vars(module)[name] = _replaced(value, lambda w: w if w.parts else int(w))


def _replaced(value: Any, number: Callable[[Width], int]) -> Any:
    if isinstance(value, Width):
        return number(value)
    if isinstance(value, (tuple, list)):
        return type(value)(_replaced(item, number) for item in value)
    return value


class _Layer:
    """A module that holds widths.

    Attributes:
        path: Path of the module in the network.
        module: The module.
        attributes: Its attributes that are or hold widths.
        decisions: The decisions on which they depend.
        whole: Shape of its tensors at the largest widths.
        present: The value of each decision; None before the first.
        leaves: Name of a parameter -> the slice that is in use, if it is not the whole.
        cut: Names of parameters and buffers of which a slice is in use.
        hook: Handle of what is done before each run, if anything.
    """

    def __init__(self, path: str, module: nn.Module, attributes: Mapping[str, Any]) -> None:
        self.path, self.module, self.attributes = path, module, attributes
        found = (width for value in attributes.values() for width in widths_in(value))
        self.decisions = tuple(dict.fromkeys(d for width in found for d in width.decisions))
        self.whole = layout(module) or {}
        self.present: tuple[int, ...] | None = None
        self.leaves: dict[str, nn.Parameter] = {}
        self.cut: list[str] = []
        self.hook: RemovableHandle | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Return the module's own parameters and buffers, whole."""
        own = {**self.module._parameters, **self.module._buffers}
        return {name: tensor for name, tensor in own.items() if tensor is not None}

    def probe(self, chosen: Mapping[str, int]) -> nn.Module:
        """Return a copy of the module with its attributes at some widths, and whole tensors."""
        probe = object.__new__(type(self.module))  # copy.copy refuses parametrized modules
        vars(probe).update({**vars(self.module), **self.plain(chosen)})
        return probe

    def shapes(self, chosen: Mapping[str, int]) -> dict[str, Shape]:
        """Return the shape of its tensors at some widths."""
        return layout(self.probe(chosen)) or {}

    def plain(self, chosen: Mapping[str, int]) -> dict[str, Any]:
        """Return its attributes at some widths."""
        return {name: at_widths(value, chosen) for name, value in self.attributes.items()}

    def release(self) -> None:
        """Take all slices away."""
        for name in self.cut:
            vars(self.module).pop(name, None)
        self.leaves, self.cut = {}, []
        if self.hook is not None:
            self.hook.remove()
            self.hook = None

    def merge_blocks(self, names: Sequence[str]) -> None:
        """Before each run, give the module slices of these tensors in the shape that it wants.

        Such a slice takes a part of every block, so its leaf has one axis more. Merging the two
        axes copies it, and the copy would be old after the next step.
        """

        def merge(*_: Any) -> None:
            for name in names:
                vars(self.module)[name] = self.leaves[name].flatten(0, 1)

        merge()
        if not self.leaves[names[0]].is_meta:  # there is nothing to copy, and no operation to count
            self.hook = self.module.register_forward_pre_hook(merge)


class Slices:
    """The modules of a network that hold widths.

    Args:
        network: Network made with every decision open, its widths at their largest.

    Attributes:
        decisions: The decisions on which widths of the network depend.
        present: The value of each decision; None before the first.

    Example:
        >>> width = Width.of("width", (2, 4))
        >>> network = nn.Sequential(nn.Linear(3, width), nn.Linear(width, 5))
        >>> slices = Slices(network)
        >>> slices.set({"width": 2})
        >>> network(torch.ones(1, 3)).shape, network[0].weight.shape, network[0].out_features
        (torch.Size([1, 5]), torch.Size([2, 3]), 2)
        >>> [tuple(p.shape) for p in network[0].parameters()]  # what is stored
        [(4, 3), (4,)]
    """

    def __init__(self, network: nn.Module) -> None:
        holders = [(path, m, widths_of(m)) for path, m in network.named_modules()]
        layers = [_Layer(path, m, found) for path, m, found in holders if found]
        self._layers = {id(layer.module): layer for layer in layers}
        self.decisions = frozenset(d for layer in layers for d in layer.decisions)
        self.present: dict[str, int] | None = None
        # (tensor, its slice) -> leaf. An optimizer knows a slice by its leaf, so there is only one.
        self._leaves: dict[tuple[int, tuple[int, ...]], nn.Parameter] = {}
        self._origins: dict[int, tuple[nn.Parameter, Shape, Shape]] = {}  # of leaves, by id

    def __bool__(self) -> bool:
        return bool(self._layers)

    def widths(self) -> Iterator[Width]:
        """Yield every width that a module holds."""
        for layer in self._layers.values():
            for value in layer.attributes.values():
                yield from widths_in(value)

    def layers(self, decision: str) -> list[_Layer]:
        """Return the modules whose widths depend on a decision."""
        return [layer for layer in self._layers.values() if decision in layer.decisions]

    def set(self, chosen: Mapping[str, int]) -> None:
        """Give every module its widths.

        Args:
            chosen: The value of each decision.
        """
        self.present = dict(chosen)
        for layer in self._layers.values():
            present = tuple(chosen[decision] for decision in layer.decisions)
            if present != layer.present:
                layer.present = present
                self._set(layer)

    def unset(self) -> None:
        """Give every module its widths and whole tensors back, as if none had been set."""
        self.present = None
        for layer in self._layers.values():
            layer.present = None
            layer.release()
            vars(layer.module).update(layer.attributes)

    def forget(self) -> None:
        """Make all leaves anew, because the tensors of which they are slices lie elsewhere now."""
        self._leaves.clear()
        self._origins.clear()
        for layer in self._layers.values():
            if layer.present is not None:
                self._set(layer)

    def parameters(self, module: nn.Module) -> Iterator[nn.Parameter]:
        """Yield what a module, without its children, uses in place of its parameters."""
        layer = self._layers.get(id(module))
        for name, parameter in module.named_parameters(recurse=False):
            yield parameter if layer is None else layer.leaves.get(name, parameter)

    def whole(self, leaf: nn.Parameter) -> nn.Parameter:
        """Return the parameter of which a leaf is a slice; itself, if it is none."""
        return self._origins[id(leaf)][0] if id(leaf) in self._origins else leaf

    def cut(self, leaf: nn.Parameter, tensor: Tensor) -> Tensor:
        """Return the part of a tensor that a leaf takes of its parameter, as a view.

        Args:
            leaf: One of :meth:`parameters`.
            tensor: A tensor of the shape of the whole parameter, such as its momentum.
        """
        if id(leaf) not in self._origins:
            return tensor
        _, whole, shape = self._origins[id(leaf)]
        return _cut(tensor, whole, shape)

    def tensors(self, module: nn.Module, chosen: Mapping[str, int]) -> dict[str, Tensor]:
        """Return a module's own parameters and buffers as a built network has them.

        A layer that is another one in a built network makes them in a method ``built_tensors``,
        which gets its own tensors at these widths.

        Args:
            module: A module of the network.
            chosen: The value of each decision.
        """
        layer = self._layers.get(id(module))
        if layer is None:
            layer = _Layer("", module, {})
        shapes = layer.shapes(chosen) if layer.attributes else {}
        found = {
            name: _cut(tensor, layer.whole[name], shapes[name]).reshape(shapes[name].sizes)
            if name in shapes
            else tensor
            for name, tensor in layer.tensors().items()
        }
        own: Any = getattr(layer.probe(chosen), "built_tensors", None)
        return found if own is None else own(found)

    def hook(self, call: Callable[[str], None]) -> list[RemovableHandle]:
        """Call a function with each decision of a module before the module runs.

        Returns:
            Handles, whose ``remove()`` ends it.
        """

        def announce(module: nn.Module, args: Any) -> None:
            for decision in self._layers[id(module)].decisions:
                call(decision)

        layers = self._layers.values()
        return [layer.module.register_forward_pre_hook(announce) for layer in layers]

    def _set(self, layer: _Layer) -> None:
        """Give a module plain attributes, and slices in place of its tensors."""
        assert layer.present is not None
        chosen = dict(zip(layer.decisions, layer.present, strict=True))
        shadows = vars(layer.module)
        shadows.update(layer.plain(chosen))
        shapes = layout(layer.module) or {}
        layer.release()
        uneven = []
        for name, tensor in layer.tensors().items():
            if name not in shapes or shapes[name] == layer.whole[name]:
                continue
            layer.cut.append(name)
            if not isinstance(tensor, nn.Parameter):
                shadows[name] = _cut(tensor, layer.whole[name], shapes[name])
                continue
            leaf = self._leaf(tensor, layer.whole[name], shapes[name])
            layer.leaves[name] = shadows[name] = leaf
            if leaf.shape != shapes[name].sizes:
                uneven.append(name)
        if uneven:
            layer.merge_blocks(uneven)

    def _leaf(self, parameter: nn.Parameter, whole: Shape, shape: Shape) -> nn.Parameter:
        key = id(parameter), shape.blocked
        if key not in self._leaves:
            view = _cut(parameter.detach(), whole, shape)
            leaf = nn.Parameter(view, requires_grad=parameter.requires_grad)
            self._leaves[key] = leaf
            self._origins[id(leaf)] = parameter, whole, shape
        return self._leaves[key]


def _cut(tensor: Tensor, whole: Shape, shape: Shape) -> Tensor:
    """Return a view of the first elements, along every axis, of each of the first blocks."""
    if shape == whole:
        return tensor
    if shape.blocked[1] == whole.blocked[1] or whole.blocks == shape.blocks == 1:
        return tensor[tuple(slice(n) for n in shape.sizes)]
    blocked = torch.unflatten(tensor, 0, whole.blocked[:2])
    return blocked[tuple(slice(n) for n in shape.blocked)]
