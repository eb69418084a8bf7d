"""trace(): run a network once on the meta device and find which of its channels belong together.

Every operation that torch dispatches is seen, whatever Python code calls it, and so is every weight
that takes part. :mod:`ddpnas.shrinking._operations` says what each operation couples. Channels that
are coupled, directly or through others, form one *class* and can only be cut together.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ddpnas.costs.formulas import find_formula
from ddpnas.shrinking._labels import Channels, Factors, Labels, Reason
from ddpnas.shrinking._operations import RULES, NotUnderstoodError, pointwise, taken
from ddpnas.shrinking.groups import Axis
from ddpnas.space.meta import on_meta

__all__ = ["Multiplication", "Trace", "made_by_a_run", "trace"]


@dataclass(frozen=True)
class Multiplication:
    """A layer that multiplies by weights.

    Attributes:
        path: Path of the module that runs it.
        macs: Multiply-adds for one input.
        out: Channels that it makes; None if they have no labels.
        into: Channels that it uses.
        blocks: Number of blocks of channels that meet only each other.
    """

    path: str
    macs: int
    out: Channels | None
    into: Channels | None
    blocks: int


@dataclass
class Trace:
    """What a run of a network told of its channels.

    Attributes:
        axes: Axis -> its channels, numbers from 0.
        classes: Class of each channel.
        reasons: Class -> why its channels cannot be cut, for those that are fixed.
        multiplications: The layers that multiply, in the order in which they ran.
        marks: For each part that was taken of a tensor's channels, these channels.
    """

    axes: dict[Axis, Channels]
    classes: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    reasons: dict[int, Reason] = field(default_factory=dict)
    multiplications: list[Multiplication] = field(default_factory=list)
    marks: list[Channels] = field(default_factory=list)

    @functools.cached_property
    def made(self) -> Channels:
        """The classes of the channels that layers make by multiplying."""
        made = [layer.out for layer in self.multiplications if layer.out is not None]
        return np.unique(self.classes[np.concatenate([np.zeros(0, np.int64), *made])])

    def has(self, channels: Channels) -> npt.NDArray[np.bool_]:
        """Return, for each class, whether it has some of the channels."""
        has = np.zeros(len(self.classes), dtype=bool)
        has[self.classes[channels]] = True
        return has


_BATCH = 2


def trace(
    network: nn.Module,
    input_shape: Sequence[int],
    input_dtype: torch.dtype = torch.float32,
    training: Sequence[bool] = (False, True),
) -> Trace:
    """Return which channels of a network belong together.

    Args:
        network: Network on the meta device; its mode is changed.
        input_shape: Shape of one input.
        input_dtype: Type of the input.
        training: Whether it runs in training mode, for each run. What either couples is coupled.
    """
    recorder = _Recorder(network)
    for mode in training:
        recorder.end(_run(network, input_shape, input_dtype, mode, recorder))
    network.eval()
    return recorder.trace()


def made_by_a_run(
    network: nn.Module, input_shape: Sequence[int], input_dtype: torch.dtype = torch.float32
) -> set[str]:
    """Run a network once, and return the tensors that did not exist before, or changed their size.

    Some networks make a table of positions, say, when they run for the first time. It has to be
    there before a trace, which labels the tensors that it finds.

    Args:
        network: Network on the meta device; it keeps what it makes.
        input_shape: Shape of one input.
        input_dtype: Type of the input.
    """
    before = _shapes(network)
    for mode in (True, False):
        _run(network, input_shape, input_dtype, mode)
    return {path for path, shape in _shapes(network).items() if before.get(path) != shape}


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    tensors = [*network.named_parameters(), *network.named_buffers()]
    return {path: tuple(tensor.shape) for path, tensor in tensors}


def _run(
    network: nn.Module,
    input_shape: Sequence[int],
    input_dtype: torch.dtype,
    training: bool,
    recorder: _Recorder | None = None,
) -> Any:
    """Return the output of a run, which a recorder may follow."""
    network.train(training)
    with on_meta(), _slow_attention(), contextlib.ExitStack() as stack:
        example = torch.zeros(_BATCH, *input_shape, dtype=input_dtype)
        if recorder is not None:
            stack.enter_context(recorder.modules())
            stack.enter_context(recorder)
        return network(example)


@contextlib.contextmanager
def _slow_attention() -> Iterator[None]:
    """Let attention run as operations that have rules, instead of as a single one."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows labels through the operations of a run."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._network = network
        self._count = 0
        self._axes: dict[Axis, Channels] = {}
        self._labels: dict[int, tuple[Tensor, Labels]] = {}  # tensors are kept, and so is their id
        self._coupled: list[tuple[Channels, Channels]] = []
        self._fixed: list[tuple[Channels, Reason]] = []
        self._multiplications: list[Multiplication] = []
        self._marks: list[Channels] = []
        self._macs = 0  # of the operation that runs
        self._first_run = True
        self._inside: list[str] = []
        modules = network.modules()
        kernels = {id(m.weight) for m in modules if isinstance(m, nn.modules.conv._ConvNd)}
        for path, tensor in [*network.named_parameters(), *network.named_buffers()]:
            factors: Factors = {}
            for axis, size in enumerate(tensor.shape):
                channels = self._new(size)
                self._axes[Axis(path, axis)] = channels
                if size > 1 and not (axis > 1 and id(tensor) in kernels):
                    factors[axis,] = channels
            shape = tuple(tensor.shape)
            self._labels[id(tensor)] = tensor, Labels(shape, factors, of_weights=True)

    @contextlib.contextmanager
    def modules(self) -> Iterator[None]:
        """Follow which module runs."""

        def leave(*_: Any) -> None:
            self._inside.pop()

        handles = []
        for path, module in self._network.named_modules():
            enter = functools.partial(_append, self._inside, path)
            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(leave, always_call=True))
        try:
            yield
        finally:
            self._inside.clear()
            for handle in handles:
                handle.remove()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        results = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        if given and results:
            self._follow(func, args, kwargs, output, given, results)
        return output

    def _follow(
        self,
        func: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        output: Any,
        given: list[Tensor],
        results: list[Tensor],
    ) -> None:
        operands = [self.labels(tensor) for tensor in given]
        of_weights = all(labels.of_weights for labels in operands)
        reason = next((labels.reason for labels in operands if labels.reason), None)
        if not any(labels.factors for labels in operands):
            for tensor in results:
                self._set(tensor, Labels(tuple(tensor.shape), {}, reason, of_weights))
            return
        packet = func.overloadpacket
        name = packet.__name__
        rule = RULES.get(name) or (pointwise if torch.Tag.pointwise in func.tags else None)
        formula = find_formula(packet)
        self._macs = formula(*args, **kwargs, out_val=output) // 2 // _BATCH if formula else 0
        try:
            if name in _SEVERAL:
                for tensor, factors in zip(
                    results, _SEVERAL[name](self, args, kwargs), strict=True
                ):
                    self._set(tensor, Labels(tuple(tensor.shape), factors, reason, of_weights))
                return
            if rule is None:
                raise NotUnderstoodError
            names = [argument.name for argument in func._schema.arguments]
            arguments = {**dict(zip(names, args, strict=False)), **kwargs}
            factors = rule(self, arguments, output)
        except NotUnderstoodError:
            reason = Reason("unknown", f"operation {name}{self._where}")
            for labels in operands:
                for channels in labels.factors.values():
                    self.fix(channels, reason)
            factors = {}
        for tensor in results:
            shape = tuple(tensor.shape)
            fitting = {
                axes: channels
                for axes, channels in factors.items()
                if max(axes) < len(shape) and channels.shape == tuple(shape[a] for a in axes)
            }
            self._set(tensor, Labels(shape, fitting, reason, of_weights))

    @property
    def _where(self) -> str:
        path = self._inside[-1] if self._inside else ""
        return f" in {path}" if path else ""

    def labels(self, tensor: Tensor) -> Labels:
        """Return a tensor's labels."""
        known = self._labels.get(id(tensor))
        return known[1] if known else Labels(tuple(tensor.shape))

    def couple(self, some: Channels, others: Channels) -> None:
        """Note that each channel can only be cut together with that in the same place."""
        self._coupled.append((some.ravel(), others.ravel()))

    def fix(self, channels: Channels, reason: Reason) -> None:
        """Note that channels cannot be cut."""
        self._fixed.append((channels.ravel(), reason))

    def fixed(self, count: int, reason: Reason) -> Channels:
        """Return new channels that cannot be cut."""
        channels = self._new(count)
        self.fix(channels, reason)
        return channels

    def multiplies(self, out: Channels | None, into: Channels | None, blocks: int) -> None:
        """Note a layer that multiplies."""
        if self._first_run:
            path = self._inside[-1] if self._inside else ""
            self._multiplications.append(Multiplication(path, self._macs, out, into, blocks))

    def mark(self, channels: Channels) -> None:
        """Note that channels are told from others by where they stand."""
        if self._first_run:
            self._marks.append(channels.ravel())

    def end(self, output: Any) -> None:
        """End a run with the network's output."""
        for tensor in tree_leaves(output):
            if isinstance(tensor, Tensor):
                for channels in self.labels(tensor).factors.values():
                    self.fix(channels, Reason("impossible", "the network's output"))
        self._first_run = False
        stored = {id(t) for t in [*self._network.parameters(), *self._network.buffers()]}
        self._labels = {key: known for key, known in self._labels.items() if key in stored}

    def trace(self) -> Trace:
        """Return what was found."""
        some = np.concatenate([np.zeros(0, np.int64), *(a for a, _ in self._coupled)])
        others = np.concatenate([np.zeros(0, np.int64), *(b for _, b in self._coupled)])
        size = (self._count, self._count)
        graph = coo_array((np.ones(len(some), np.int8), (some, others)), shape=size)
        classes = connected_components(graph, directed=False)[1].astype(np.int64)
        reasons: dict[int, Reason] = {}
        for channels, reason in self._fixed:
            for found in np.unique(classes[channels]).tolist():
                reasons.setdefault(found, reason)
        return Trace(self._axes, classes, reasons, self._multiplications, self._marks)

    def _new(self, count: int) -> Channels:
        self._count += count
        return np.arange(self._count - count, self._count)

    def _set(self, tensor: Tensor, labels: Labels) -> None:
        self._labels[id(tensor)] = tensor, labels


def _append(paths: list[str], path: str, *_: Any) -> None:
    paths.append(path)


def _split(recorder: _Recorder, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return the labels of each part of a split tensor."""
    tensor, sizes, *rest = args
    labels = recorder.labels(tensor)
    axis = (rest[0] if rest else kwargs.get("dim", 0)) % len(labels.shape)
    if isinstance(sizes, int):
        count = -(-labels.shape[axis] // sizes)
        sizes = [sizes] * count
    ends = np.cumsum(sizes).tolist()
    return [
        taken(recorder, labels, axis, slice(end - size, end))
        for size, end in zip(sizes, ends, strict=True)
    ]


def _unbind(recorder: _Recorder, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    tensor, *rest = args
    labels = recorder.labels(tensor)
    axis = (rest[0] if rest else kwargs.get("dim", 0)) % len(labels.shape)
    if axis in labels.labeled():
        raise NotUnderstoodError
    part = {tuple(a - (a > axis) for a in axes): c for axes, c in labels.factors.items()}
    return [part] * labels.shape[axis]


# Operations that return several tensors of different labels.
_SEVERAL = {"split": _split, "split_with_sizes": _split, "unbind": _unbind}
