"""PathStatistics: every path of a supernet normalizes by its own statistics.

The running averages of a BatchNorm layer in a supernet would mix those of all paths that were
trained, and fit none of them. So while a supernet runs, in training and in evaluation, its layers
normalize by the batch and update no average:

* torch's layers run in training mode, without tracking;
* subclasses with a ``forward`` of the user do so on copies of their buffers;
* other calls of ``functional.batch_norm`` and its kin are changed as they are made. This costs
  some microseconds for every function of torch that the network calls, so it is only done if a
  dry run met such calls.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode

__all__ = ["NormCalls", "PathStatistics", "note_calls"]

# Arguments of the functions that normalize. The sixth says whether they use the input's statistics.
_PUBLIC = ("input", "running_mean", "running_var", "weight", "bias")
_NATIVE = ("input", "weight", "bias", "running_mean", "running_var")
_ARGUMENTS: dict[Any, tuple[str, ...]] = {
    functional.batch_norm: (*_PUBLIC, "training", "momentum", "eps"),
    functional.instance_norm: (*_PUBLIC, "use_input_stats", "momentum", "eps"),
    torch.batch_norm: (*_NATIVE, "training", "momentum", "eps", "cudnn_enabled"),
    torch.instance_norm: (*_NATIVE, "use_input_stats", "momentum", "eps", "cudnn_enabled"),
    torch.native_batch_norm: (*_NATIVE, "training", "momentum", "eps"),
}


@dataclass
class NormCalls:
    """Calls of ``functional.batch_norm`` and its kin by layers that are no BatchNorm.

    Attributes:
        any: Whether there are calls that use running averages.
        constant: Names of buffers that such calls use as they are while the network trains.
    """

    any: bool = False
    constant: set[str] = field(default_factory=set)


class PathStatistics:
    """Runs a network in which nothing depends on running averages or changes them.

    Statistics that the user keeps constant stay in use: those of layers that remain in evaluation
    mode when the network is put into training mode, and those that are given to
    ``functional.batch_norm`` with ``training=False`` in training mode too.

    Args:
        network: The network; it is put into training mode.
        calls: What :func:`note_calls` found; None if nobody looked.

    Example:
        >>> norm = nn.BatchNorm1d(1, affine=False)
        >>> statistics = PathStatistics(norm)
        >>> with statistics(training=False):
        ...     norm.eval()(torch.tensor([[1.0], [3.0]])).round().flatten()
        tensor([-1.,  1.])
    """

    def __init__(self, network: nn.Module, calls: NormCalls | None = None) -> None:
        # As in any training of it, only what defies this call stays in evaluation mode.
        network.train()
        norms = [module for module in network.modules() if isinstance(module, _NormBase)]
        frozen = [norm for norm in norms if not norm.training]
        self._constant: list[tuple[nn.Module, str]] = [
            (norm, "running_mean") for norm in frozen if norm.running_mean is not None
        ]
        for name in calls.constant if calls else ():
            path, _, buffer = name.rpartition(".")
            self._constant.append((network.get_submodule(path), buffer))
        self._catch = calls is None or calls.any
        self._plain: list[_NormBase] = []
        self._custom: list[_NormBase] = []
        for norm in norms:
            if norm.training:
                theirs = type(norm).forward.__module__.startswith("torch.nn.modules.")
                (self._plain if theirs else self._custom).append(norm)

    @contextlib.contextmanager
    def __call__(self, training: bool) -> Iterator[None]:
        """Return a context in which the network runs.

        Args:
            training: Whether the network is in training mode.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(_by_batch(self._plain))
            for norm in self._custom:
                stack.enter_context(_on_copies(norm))
            if self._catch:
                constant = None
                if not training:
                    constant = {_storage(getattr(module, name)) for module, name in self._constant}
                    constant |= {_storage(b) for norm in self._custom for b in norm.buffers(False)}
                stack.enter_context(_OfTheInput(constant))
            yield


@contextlib.contextmanager
def _by_batch(norms: Sequence[_NormBase]) -> Iterator[None]:
    """Let torch's layers run in training mode, without tracking."""
    before = [(vars(norm), norm.training, norm.track_running_stats) for norm in norms]
    for norm in norms:
        vars(norm)["training"] = True
        vars(norm)["track_running_stats"] = False
    try:
        yield
    finally:
        for attributes, training, tracking in before:
            attributes["training"], attributes["track_running_stats"] = training, tracking


@contextlib.contextmanager
def _on_copies(norm: _NormBase) -> Iterator[None]:
    """Let a layer run in training mode, on copies of its buffers."""
    # A buffer of a narrower path lies in the place of the whole one, among the attributes.
    buffers = dict(norm._buffers)
    narrower = {name: vars(norm).pop(name) for name in buffers if name in vars(norm)}
    training = norm.training
    for name, buffer in {**buffers, **narrower}.items():
        norm._buffers[name] = None if buffer is None else buffer.clone()
    norm.training = True
    try:
        yield
    finally:
        norm.training = training
        norm._buffers.update(buffers)
        vars(norm).update(narrower)


class _OfTheInput(TorchFunctionMode):
    """Makes functions that normalize use the statistics of their input.

    Args:
        constant: Storages of statistics that remain in use. None if all do, that is, if calls
            with ``training=False`` mean what they say.
    """

    def __init__(self, constant: Collection[int] | None) -> None:
        super().__init__()
        self._constant = constant

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _ARGUMENTS:
            return func(*args, **kwargs)
        given, of_input, mean = _read(func, args, kwargs)
        if not given[of_input] and (
            self._constant is None or (mean is not None and _storage(mean) in self._constant)
        ):
            return func(**given)
        return func(**{**given, "running_mean": None, "running_var": None, of_input: True})


class _Noting(TorchFunctionMode):
    """Notes the storages of statistics that calls use, or update, while a network trains."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = network
        self.any = False
        self.storages: dict[bool, set[int]] = {True: set(), False: set()}  # by "of the input"

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _ARGUMENTS:
            given, of_input, mean = _read(func, args, kwargs)
            if mean is not None:
                self.any = True
                if self._network.training:
                    self.storages[bool(given[of_input])].add(_storage(mean))
        return func(*args, **kwargs)


@contextlib.contextmanager
def note_calls(network: nn.Module) -> Iterator[NormCalls]:
    """Note what is called while the network runs in training and in evaluation mode.

    Args:
        network: Network whose BatchNorm layers do not call anything. Every option runs.
    """
    found = NormCalls()
    with _Noting(network) as noted:
        yield found
    found.any = noted.any
    constant = noted.storages[False] - noted.storages[True]
    found.constant.update(n for n, b in network.named_buffers() if _storage(b) in constant)


def _read(
    func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[dict[str, Any], str, Tensor | None]:
    """Return (arguments, the name of the one that asks for the input's statistics, mean)."""
    names = _ARGUMENTS[func]
    of_input = names[5]
    default = {of_input: of_input == "use_input_stats"}
    given = {**default, **dict(zip(names, args, strict=False)), **kwargs}
    return given, of_input, given.get("running_mean")


def _storage(tensor: Tensor) -> int:
    """Return the identity of the memory behind a tensor."""
    identity: int = tensor.untyped_storage()._cdata
    return identity
