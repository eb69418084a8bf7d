"""The meta device: on_meta() runs networks there, make_network() and move_to_meta() put them there.

Meta kernels return shapes without computing, but many are Python and slower than the real kernels
of a small network. Their results depend only on the shapes and types that they are given, and a
search space repeats its operations many times. So :func:`on_meta` keeps them for the whole process.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack
from torch.utils._pytree import tree_leaves

from ddpnas.errors import DdpnasError

__all__ = ["make_network", "move_to_meta", "on_meta"]

Made = TypeVar("Made")

_MOST = 20_000  # results that are kept
_Form = tuple[torch.Size, tuple[int, ...], torch.dtype]  # shape, strides, type

_PLAIN = frozenset((bool, int, float, str, tuple, type(None), dict, OrderedDict, set))
_ACTIVATIONS = ("elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish", "relu",
                "sigmoid", "silu", "tanh")  # fmt: skip
# Operation -> whether it changes its input; its result has the form of that. torch's own functions
# for the meta device take milliseconds for each.
_elementwise = {
    getattr(torch.ops.aten, name + end).default: bool(end)
    for name in _ACTIVATIONS
    for end in ("", "_")
    if hasattr(torch.ops.aten, name + end)
}
_NORM = torch.ops.aten.native_batch_norm.default  # as slow; it also returns means and deviations

_known: dict[Any, _Form | tuple[_Form, ...]] = {}
_pure: dict[Any, bool] = {}  # operation -> whether its results are new and nothing is changed


@contextlib.contextmanager
def on_meta() -> Iterator[None]:
    """Make tensors on the meta device and run there without gradients.

    Enter a mode that watches operations inside this one; then it also sees those that are not
    done again. Contexts may be nested.

    Example:
        >>> with on_meta():
        ...     torch.nn.Conv2d(3, 8, 3)(torch.empty(1, 3, 32, 32)).shape
        torch.Size([1, 8, 30, 30])
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.device("meta"))
        stack.enter_context(torch.no_grad())
        if not any(isinstance(m, _Remembering) for m in _get_current_dispatch_mode_stack()):
            stack.enter_context(_Remembering())  # type: ignore[no-untyped-call]
        yield


def make_network(make: Callable[[], Made]) -> Made:
    """Return what ``make`` makes on torch's default device, also where that is the meta device.

    Tensors on the meta device have no values. A function that needs some, as in
    ``[r.item() for r in torch.linspace(0, 0.1, depth)]``, fails there and is called again on the
    CPU, with the random numbers put back afterwards.

    Args:
        make: Makes a network. It may be called twice, so it must start anew each time.

    Example:
        >>> with torch.device("meta"):
        ...     make_network(lambda: nn.Dropout(torch.linspace(0, 0.5, 3)[1].item()))
        Dropout(p=0.25, inplace=False)
    """
    if torch.get_default_device().type != "meta":
        return make()
    with warnings.catch_warnings():
        # Loading weights into a network without values does nothing, which is what is wanted.
        warnings.filterwarnings("ignore", message=".*which is a no-op", category=UserWarning)
        try:
            with _Unfilled():
                return make()
        except (RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, DdpnasError):
                raise
            with torch.device("cpu"), torch.random.fork_rng(devices=[]):
                return make()


def move_to_meta(network: nn.Module) -> nn.Module:
    """Return the network, its tensors on the meta device; what shared a tensor still shares one.

    ``network.to("meta")`` would give each module that shares a parameter one of its own.

    Args:
        network: Changed in place. Its tensors that are neither parameters nor buffers move too.

    Example:
        >>> tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        >>> tied[1].weight = tied[0].weight
        >>> moved = move_to_meta(tied)
        >>> moved[0].weight.device.type, moved[1].weight is moved[0].weight
        ('meta', True)
    """
    moved: dict[int, tuple[Tensor, Tensor]] = {}  # the old ones are kept, and so is their id
    for module in network.modules():
        tables: tuple[dict[str, Any], ...] = (
            module._parameters,
            module._buffers,
            module.__dict__,
        )
        for tensors in tables:
            for name, tensor in tensors.items():
                if type(tensor) in _PLAIN or not isinstance(tensor, Tensor):
                    continue
                if tensor.is_meta:
                    continue
                if id(tensor) not in moved:
                    moved[id(tensor)] = tensor, _on_meta(tensor)
                tensors[name] = moved[id(tensor)][1]
    return network


def _on_meta(tensor: Tensor) -> Tensor:
    if is_lazy(tensor):
        kind: Any = type(tensor)
        lazy: Tensor = kind(requires_grad=tensor.requires_grad, device="meta", dtype=tensor.dtype)
        return lazy
    there = tensor.detach().to("meta")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(there, requires_grad=tensor.requires_grad)
    return there


class _Unfilled(TorchFunctionMode):
    """Leaves out torch's initialization of layers on the meta device, where nothing has a value.

    The kernels that it ends in are Python and take most of the time in which a layer is made.
    """

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        # What torch would refuse it still sees: other arguments than those of its own layers.
        if func is nn.init.kaiming_uniform_ and kwargs.keys() >= _KAIMING.keys():
            tensor = kwargs["tensor"]
            usual = all(kwargs[name] == value for name, value in _KAIMING.items())
            if usual and tensor.is_meta and tensor.ndim > 1 and tensor.numel():
                return tensor
        elif func is nn.init.uniform_ and kwargs["tensor"].is_meta and kwargs["a"] <= kwargs["b"]:
            return kwargs["tensor"]
        return func(*args, **kwargs)


_KAIMING = {"mode": "fan_in", "nonlinearity": "leaky_relu"}  # of convolutions and linear layers


class _Remembering(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Returns empty tensors of the form that the same operation returned before."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _elementwise and args[0].is_meta and args[0].is_floating_point():
            return args[0] if _elementwise[func] else torch.empty_like(args[0])
        if func is _NORM and args[0].is_meta and args[0].dtype == torch.float32:
            mean = args[0].new_empty(args[0].shape[1])
            return torch.empty_like(args[0]), mean, torch.empty_like(mean)
        key = None
        if _is_pure(func):
            with contextlib.suppress(_NoFormError):
                key = (func, _form(args), _form(tuple(kwargs.items())))
        if key is None:
            return func(*args, **kwargs)
        if (known := _known.get(key)) is not None:
            if isinstance(known[0], torch.Size):
                return _empty(known)
            return tuple(_empty(form) for form in known)
        result = func(*args, **kwargs)
        if _storages(result) & _storages((args, kwargs)):
            # A view, although the schema does not say so, as of _unsafe_view: an empty tensor would
            # have memory of its own.
            _pure[func] = False
            return result
        if isinstance(result, Tensor):
            known = _form_of(result)
        elif isinstance(result, tuple) and result and all(isinstance(r, Tensor) for r in result):
            known = tuple(_form_of(r) for r in result)
        if known is not None:
            if len(_known) >= _MOST:
                _known.clear()
            _known[key] = known
        return result


class _NoFormError(Exception):
    """Something was given whose form says too little."""


def _is_pure(func: Any) -> bool:
    """Return whether an operation makes something new of tensors and changes nothing."""
    if func not in _pure:
        schema = func._schema
        _pure[func] = (
            func.namespace == "aten"
            and not schema.is_mutable
            and any("Tensor" in str(a.type) for a in schema.arguments)
            and all(returned.alias_info is None for returned in schema.returns)
        )
    return _pure[func]


def _storages(given: Any) -> set[int]:
    """Return the identities of the memory behind tensors."""
    leaves = tree_leaves(given)
    return {leaf.untyped_storage()._cdata for leaf in leaves if isinstance(leaf, Tensor)}


def _form(given: Any) -> Any:
    """Return what a meta kernel can know of an argument, to be compared."""
    if isinstance(given, Tensor):
        if given.device.type != "meta" or given.layout is not torch.strided:
            raise _NoFormError
        return _form_of(given)
    if isinstance(given, (tuple, list)):
        return tuple(_form(item) for item in given)
    if given is None or isinstance(
        given, (bool, int, float, str, torch.dtype, torch.device, torch.memory_format, torch.layout)
    ):
        return type(given), given  # 1 is not True
    raise _NoFormError


def _form_of(tensor: Tensor) -> _Form:
    return tensor.shape, tensor.stride(), tensor.dtype


def _empty(form: Any) -> Tensor:
    shape, strides, dtype = form
    return torch.empty_strided(shape, strides, dtype=dtype, device="meta")
