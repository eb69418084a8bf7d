"""count_network(): what one network costs, counted by one run on the meta device.

These are the numbers that :func:`ddpnas.count_costs` gives as sums over choices, and the peak of
the memory, which is not such a sum.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvTransposeNd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from ddpnas.costs.formulas import ATEN_FORMULAS, find_formula, warn_without_formula
from ddpnas.errors import DdpnasError, OptionError, nearest, reason_of
from ddpnas.space.copies import copied
from ddpnas.space.meta import move_to_meta, on_meta
from ddpnas.utils.settings import Count, checked, checks_arguments

__all__ = [
    "CostCounter",
    "OperationCost",
    "OwnParameter",
    "Weights",
    "count_architecture",
    "count_network",
    "makes_constant",
    "operation_costs",
    "own_tensors",
    "peak_bytes",
    "stored_bytes",
    "total_costs",
]

if TYPE_CHECKING:
    from ddpnas.space.search_space import SearchSpace

Weights = Literal["float32", "float16", "int8"]

# Operations of one output an input element that torch does not tag as pointwise.
_ELEMENTWISE = {
    "hardswish",
    "log_sigmoid_forward",
    "_softmax",
    "_log_softmax",
    "_prelu_kernel",
    "native_batch_norm",
    "_native_batch_norm_legit_no_training",
    "native_layer_norm",
    "native_group_norm",
    "_fused_rms_norm",
}


@checks_arguments
def count_network(
    network: nn.Module,
    input_shape: Sequence[int],
    *,
    input_dtype: torch.dtype = torch.float32,
    weights: Weights = "float32",
) -> dict[str, int]:
    """Return what a network costs for one input, at inference.

    Args:
        network: Any module; it is not changed.
        input_shape: Shape of one input, without the batch.
        input_dtype: Type of the input.
        weights: Type in which weights are stored, for "size_bytes".

    Returns:
        The costs of :func:`ddpnas.count_costs`, which defines them, and "peak_activation_bytes":
        the most bytes that inputs, outputs and intermediate tensors hold at one time when torch
        runs the network operation by operation, without weights and the work space of convolutions.

    Raises:
        OptionError: The network fails on such an input.

    Example:
        >>> costs = count_network(nn.Linear(4, 2), (4,))
        >>> costs["macs"], costs["params"]
        (8, 10)
    """
    bare = quick_norms(move_to_meta(copied(network)).eval())
    shape = checked("input_shape of count_network()", Sequence[Count], tuple(input_shape))
    example = torch.empty(1, *shape, dtype=input_dtype, device="meta")

    def run() -> Any:
        return bare(example)

    try:
        macs, written = total_costs(operation_costs(run))
    except DdpnasError:
        raise
    except Exception as error:
        raise OptionError(
            f"the network cannot be run on an input of shape {shape}: {reason_of(error)}"
        ) from error
    parameters, buffers = own_tensors(network.modules())
    return {
        "macs": macs,
        "params": sum(own.tensor.numel() for own in parameters),
        "size_bytes": sum(stored_bytes(parameters, buffers, weights)),
        "activation_bytes": written,
        "peak_activation_bytes": peak_bytes(bare, run, [example]),
    }


def count_architecture(space: SearchSpace, architecture: Mapping[str, str]) -> dict[str, int]:
    """Return what a network of a space costs, as :func:`count_network` has it.

    Faster than :func:`ddpnas.count_costs` for a few networks.

    Args:
        space: The space.
        architecture: One of its architectures.

    Example:
        >>> import ddpnas
        >>> space = ddpnas.create_space("toy")
        >>> count_architecture(space, space.decode([0, 0, 0, 0]))["macs"]
        584
    """
    with torch.device("meta"):
        network = space.build(architecture)
    return count_network(network, space.input_shape, input_dtype=space.input_dtype)


def quick_norms(network: nn.Module) -> nn.Module:
    """Return the network, its BatchNorm changed to make a tensor of its input's shape only.

    As far as costs go, that is what it does at inference. Running it on the meta device would take
    most of the time.

    Args:
        network: Changed in place.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.forward = torch.empty_like  # type: ignore[method-assign]
    return network


@dataclass(frozen=True)
class OperationCost:
    """What one operation of a run costs.

    Attributes:
        name: Its name in torch, such as "convolution".
        macs: Multiply-adds.
        written: Bytes of the tensors that it makes; 0 for elementwise ones.
    """

    name: str
    macs: int
    written: int


def total_costs(operations: Iterable[OperationCost]) -> tuple[int, int]:
    """Return the multiply-adds of operations, and the bytes that they write."""
    listed = list(operations)
    return sum(op.macs for op in listed), sum(op.written for op in listed)


def operation_costs(run: Callable[[], Any]) -> list[OperationCost]:
    """Return what each operation of a run on the meta device costs, in order.

    Args:
        run: Runs a network once.

    Example:
        >>> with torch.device("meta"):
        ...     layer, x = nn.Linear(4, 2), torch.empty(3, 4)
        >>> [op for op in operation_costs(lambda: layer(x)) if op.macs]
        [OperationCost(name='addmm', macs=24, written=24)]
    """
    counter = CostCounter()
    with on_meta(), counter:
        run()
    return counter.costs


def peak_bytes(network: nn.Module, run: Callable[[], Any], held: Iterable[Tensor]) -> int:
    """Return the most bytes that tensors take at one time of a run on the meta device.

    Args:
        network: Its parameters and buffers do not count.
        run: Runs it once.
        held: Tensors that are in memory from the start.
    """
    live = _Live(network, held)
    with on_meta(), live:
        run()
    return live.peak


class OwnParameter(NamedTuple):
    """A parameter, with what its size as int8 depends on.

    Attributes:
        tensor: The parameter, or the slice in use where widths are undecided.
        channels: Number of output channels.
    """

    tensor: Tensor
    channels: int


def own_tensors(modules: Iterable[nn.Module]) -> tuple[list[OwnParameter], list[Tensor]]:
    """Return the parameters of these modules without their children, and the stored buffers.

    Args:
        modules: A tensor that several of them share counts once. Where widths are undecided, a
            tensor is the slice in use.
    """
    parameters: dict[int, OwnParameter] = {}
    buffers: dict[int, Tensor] = {}
    for module in modules:
        parameters.update(
            (id(parameter), _own_parameter(module, getattr(module, name)))
            for name, parameter in module.named_parameters(recurse=False)
        )
        buffers.update(
            (id(buffer), getattr(module, name))
            for name, buffer in module.named_buffers(recurse=False)
            if name not in module._non_persistent_buffers_set
        )
    return list(parameters.values()), list(buffers.values())


def _own_parameter(module: nn.Module, tensor: Tensor) -> OwnParameter:
    if isinstance(module, _ConvTransposeNd) and tensor.ndim >= 2:  # (in, out / groups, ...)
        return OwnParameter(tensor, tensor.shape[1] * module.groups)
    return OwnParameter(tensor, tensor.shape[0] if tensor.ndim else 1)


def stored_bytes(
    parameters: Iterable[OwnParameter], buffers: Iterable[Tensor], weights: Weights
) -> list[int]:
    """Return the bytes in which parameters and buffers are stored, in pieces that add up.

    Args:
        parameters: "float32" takes 4 bytes an element and "float16" 2. "int8" takes one for tensors
            of two or more dimensions, with a float32 scale for each output channel, and 4 for
            others.
        buffers: Whole numbers keep their type. Others are float32, or float16 if asked for.
        weights: The type.

    Returns:
        For each tensor, its bytes and then the bytes of its scales.

    Raises:
        OptionError: The type is unknown.
    """
    element = {"float32": 4, "float16": 2, "int8": 4}
    if weights not in element:
        raise OptionError(nearest("type of weights", weights, element))
    pieces = []
    for tensor, channels in parameters:
        if weights == "int8" and tensor.ndim >= 2:
            pieces += [tensor.numel(), 4 * channels]
        else:
            pieces += [tensor.numel() * element[weights], 0]
    for buffer in buffers:
        size = element[weights] if buffer.is_floating_point() else buffer.element_size()
        pieces += [buffer.numel() * size, 0]
    return pieces


def makes_constant(func: Any, args: Any, kwargs: Any) -> bool:
    """Return whether an operation's result does not depend on data, as that of ``torch.zeros``."""
    name = func.overloadpacket.__name__
    if name.endswith("_like") or name.startswith("new_"):
        return True
    return not any(isinstance(t, Tensor) for t in tree_leaves((args, kwargs)))


class CostCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context that lists what each operation costs; enter it within ``on_meta()``.

    Multiply-adds are those of :func:`ddpnas.costs.formulas.find_formula`. ``FlopCounterMode`` alone
    would look into every operation, which takes most of the time. Here it only does so where an
    operation might consist of others, which then write, too.

    Attributes:
        costs: The operations so far, in order.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.costs: list[OperationCost] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        formula = find_formula(func.overloadpacket)
        if formula is not None:
            output = func(*args, **kwargs)
            flops = formula(*args, **kwargs, out_val=output)
            written = _written(func, args, kwargs, output)
        elif torch.Tag.pointwise in func.tags or _is_view(func):
            output, flops = func(*args, **kwargs), 0
            written = _written(func, args, kwargs, output)
        else:
            inside = FlopCounterMode(display=False, custom_mapping=dict(ATEN_FORMULAS))
            with _Written() as parts, inside:
                output = func(*args, **kwargs)
            flops, written = inside.get_total_flops(), parts.total
            if not flops and func.namespace not in ("aten", "prim", "prims"):
                warn_without_formula(func.overloadpacket)
        name = func.overloadpacket.__name__
        self.costs.append(OperationCost(name, flops // 2, written))
        return output


@functools.cache
def _is_view(func: Any) -> bool:
    returned = func._schema.returns
    return bool(returned) and all(value.alias_info is not None for value in returned)


class _Written(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of the tensors that operations make, elementwise ones left out."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        self.total += _written(func, args, kwargs, output)
        return output


def _written(func: Any, args: tuple[Any, ...], kwargs: Any, output: Any) -> int:
    """Return the bytes of the tensor that an operation made; 0 for an elementwise one or a view."""
    name = func.overloadpacket.__name__.rstrip("_")
    if torch.Tag.pointwise in func.tags or name in _ELEMENTWISE:
        return 0
    first = next((t for t in tree_leaves(output) if isinstance(t, Tensor)), None)
    if first is None or makes_constant(func, args, kwargs):
        return 0
    storages = {
        t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)
    }
    if first.untyped_storage()._cdata in storages:
        return 0
    return first.numel() * first.element_size()


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Tracks how many bytes of tensors are in memory.

    Args:
        network: Its parameters and buffers do not count.
        held: Tensors that are in memory from the start.
    """

    def __init__(self, network: nn.Module, held: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._now = 0
        stored = [*network.parameters(), *network.buffers()]
        self._known = {tensor.untyped_storage()._cdata for tensor in stored}
        self._references: dict[int, Any] = {}
        for tensor in held:
            self._take(tensor)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, Tensor):
                self._take(tensor)
        return output

    def _take(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        name, size = storage._cdata, storage.nbytes()
        if name in self._known:
            return

        def free(reference: Any) -> None:
            self._now -= size
            self._known.discard(name)
            del self._references[name]

        self._known.add(name)
        self._references[name] = weakref.ref(storage, free)
        self._now += size
        self.peak = max(self.peak, self._now)
