"""Operations of a network with undecided widths: what is timed, at which sizes, for which choices.

A unit (:mod:`ddpnas.costs._units`) may depend on many widths, its single operations depend on two
or three. So each unit falls into pieces: an operation with the elementwise ones and BatchNorm that
follow it. All sizes in a piece are sums and products of widths, found by running the network on the
meta device at some widths (:class:`ddpnas.costs._width_terms.WidthTerms`). That tells the sizes of
a piece at every combination of the widths that it depends on:

    conv 3x3, batch_norm, relu        a = 8, b = 8     sizes (8, 8)
                                      a = 16, b = 8    sizes (16, 8)
                                      ...

Pieces that do the same at the same sizes are one *operation*, which is timed once. Operations that
differ in their sizes alone are a *family*.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ddpnas.costs._units import Call, CostUnit, find_units
from ddpnas.costs._width_terms import WidthTerms
from ddpnas.errors import SpaceError
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.slices import Slices
from ddpnas.space.supernet import Condition

__all__ = ["Operation", "Piece", "find_pieces"]

_LIGHT = {"batch_norm", "native_batch_norm", "_native_batch_norm_legit_no_training"}


class _Result(NamedTuple):
    """Stands for what an earlier call of the same piece returned."""

    call: int
    item: int


class _Given(NamedTuple):
    """Stands for a tensor that a piece is given; its sizes stand among those of the piece.

    Attributes:
        dtype: Its type.
        order: Its axes from the slowest to the fastest in memory; None if it has gaps, so that its
            strides stand behind its sizes.
        axes: Number of its axes.
    """

    dtype: torch.dtype
    order: tuple[int, ...] | None
    axes: int


class _Size(NamedTuple):
    """Stands for a whole number that is an argument."""


class _List(NamedTuple):
    """Stands for a list or tuple of arguments."""

    items: tuple[Any, ...]


class _Float(NamedTuple):
    """A number such as a scale, which may depend on widths and on which no time depends."""

    value: float

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Float)

    def __hash__(self) -> int:
        return hash(_Float)


_SIZE = _Size()
_Made = Callable[[tuple[int, ...], tuple[int, ...] | None, torch.dtype], Tensor]


@dataclass(frozen=True)
class Operation:
    """A piece at certain sizes.

    Attributes:
        calls: For each call: function, arguments, named arguments; with placeholders.
        constant: Sizes that are equal at all widths, by their position.
        sizes: The other ones, in their order.
    """

    calls: tuple[tuple[Callable[..., Any], Any, Any], ...]
    constant: tuple[tuple[int, int], ...]
    sizes: tuple[int, ...]

    @property
    def family(self) -> tuple[Any, ...]:
        """Equal for operations that differ in their sizes alone."""
        return (self.calls, self.constant)

    @property
    def name(self) -> str:
        """The name of its timing: a hash of what it does."""
        text = repr([(str(f), args, kwargs) for f, args, kwargs in self.calls])
        text += repr((self.constant, self.sizes))
        return f"part-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def run(self, make: _Made, device: torch.device) -> Callable[[], Any]:
        """Return a function that runs it once.

        Args:
            make: Returns a tensor of values, given its shape, its strides (None for a dense one)
                and its type.
            device: Where it runs.
        """
        fixed, rest = dict(self.constant), iter(self.sizes)
        number = len(self.constant) + len(self.sizes)
        sizes = iter([fixed[i] if i in fixed else next(rest) for i in range(number)])

        def filled(value: Any) -> Any:
            if isinstance(value, _Size):
                return next(sizes)
            if isinstance(value, _Given):
                shape = tuple(next(sizes) for _ in range(value.axes))
                if value.order is None:
                    return make(shape, tuple(next(sizes) for _ in range(value.axes)), value.dtype)
                dense = make(tuple(shape[axis] for axis in value.order), None, value.dtype)
                return dense.permute(tuple(int(axis) for axis in np.argsort(value.order)))
            if isinstance(value, _List):
                return [filled(item) for item in value.items]
            if isinstance(value, _Float):
                return value.value
            return device if isinstance(value, torch.device) else value

        calls = [
            (function, filled(args), {name: filled(value) for name, value in kwargs})
            for function, args, kwargs in self.calls
        ]

        def run() -> Any:
            results: list[Any] = []

            def found(value: Any) -> Any:
                if isinstance(value, _Result):
                    result = results[value.call]
                    return result[value.item] if isinstance(result, (tuple, list)) else result
                return [found(item) for item in value] if isinstance(value, list) else value

            for function, args, kwargs in calls:
                given = [found(value) for value in args]
                results.append(function(*given, **{n: found(v) for n, v in kwargs.items()}))
            return results

        return run


@dataclass(frozen=True)
class Piece:
    """An operation at a place of the network, with the widths that it depends on.

    Attributes:
        choices: The choices under which it runs.
        decisions: The decisions about widths on which its sizes depend.
        operations: For each combination of their options: (decision, option) pairs and the
            operation there.
    """

    choices: Condition
    decisions: tuple[str, ...]
    operations: Mapping[Condition, Operation]


def find_pieces(space: SearchSpace, batch: int) -> list[Piece]:
    """Return all pieces of a space's networks.

    Args:
        space: A space with undecided widths.
        batch: Number of inputs at once.

    Raises:
        SpaceError: The network runs other operations at other widths, or a size cannot be told
            from the widths of the network, or one operation depends on too many of them.

    Example:
        >>> import ddpnas
        >>> from torch import nn
        >>> def network(choose):
        ...     width = choose.width("width", (2, 4))
        ...     return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 5))
        >>> pieces = find_pieces(ddpnas.SearchSpace(network, (3,)), batch=1)
        >>> [(piece.decisions, len(piece.operations)) for piece in pieces]
        [(('width',), 2), (('width',), 2)]
    """
    with torch.device("meta"):
        opened = space.opened()
    slices = Slices(opened)
    widths = WidthTerms([d for d in space.decisions if d.ordered], slices)
    trials: list[list[_Trial]] = []
    for sizes in widths.trials:
        slices.set(sizes)
        trials.append(list(_pieces_at(space, opened, batch)))
    if len({tuple((t.choices, t.calls) for t in pieces) for pieces in trials}) > 1:
        raise SpaceError(
            f"the network of space {space.name!r} runs different operations at different widths, "
            f"so its time is not a sum over its choices"
        )
    options = {d.name: d.options for d in space.decisions if d.ordered}
    return [_explained(space, found, widths, options) for found in zip(*trials, strict=True)]


class _Trial(NamedTuple):
    """A piece at the widths of a trial: its choices, its calls with placeholders, all sizes."""

    choices: Condition
    calls: tuple[Any, ...]
    sizes: tuple[int, ...]


def _pieces_at(space: SearchSpace, opened: nn.Module, batch: int) -> Iterator[_Trial]:
    """Yield the pieces at the widths that the network has."""
    stored = {_memory(t) for t in (*opened.parameters(), *opened.buffers())}
    for unit in find_units(space, opened, batch, calls=True, keys=False):
        for calls in _grouped(unit):
            described = _Described(stored)
            yield _Trial(unit.choices, tuple(map(described.call, calls)), tuple(described.sizes))


def _grouped(unit: CostUnit) -> Iterator[list[Call]]:
    """Yield the calls of each piece: one with the light ones that take its result at once."""
    piece: list[Call] = []
    for call in unit.calls:
        if _is_view(call.function):
            continue
        given = {id(t) for t in tree_leaves((call.args, call.kwargs)) if isinstance(t, Tensor)}
        follows = bool(piece) and _is_light(call.function) and id(piece[-1].output) in given
        if piece and not follows:
            yield piece
            piece = []
        piece.append(call)
    if piece:
        yield piece


class _Described:
    """Writes the calls of a piece with placeholders, and collects its sizes.

    Args:
        stored: The memory of parameters and buffers, which are dense in a built network.
    """

    def __init__(self, stored: set[int]) -> None:
        self.sizes: list[int] = []
        self._stored = stored
        self._results: dict[int, _Result] = {}
        self._number = 0

    def call(self, call: Call) -> tuple[Any, ...]:
        """Return the function and its arguments, with placeholders."""
        written = (
            call.function,
            self._value(call.args),
            tuple((name, self._value(value)) for name, value in sorted(call.kwargs.items())),
        )
        outputs = call.output if isinstance(call.output, (tuple, list)) else [call.output]
        for item, output in enumerate(outputs):
            if isinstance(output, Tensor):
                self._results[id(output)] = _Result(self._number, item)
        self._number += 1
        return written

    def _value(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._results.get(id(value)) or self._given(value)
        if isinstance(value, (tuple, list)):
            return _List(tuple(self._value(item) for item in value))
        if isinstance(value, int) and not isinstance(value, bool):
            self.sizes.append(int(value))
            return _SIZE
        return _Float(value) if isinstance(value, float) else value

    def _given(self, tensor: Tensor) -> _Given:
        self.sizes += tensor.shape
        order = _order(tensor, dense=_memory(tensor) in self._stored)
        if order is None:
            self.sizes += tensor.stride()
        return _Given(tensor.dtype, order, tensor.ndim)


def _explained(
    space: SearchSpace,
    found: Sequence[_Trial],
    widths: WidthTerms,
    options: Mapping[str, tuple[str, ...]],
) -> Piece:
    """Return the piece of which these are the trials."""
    first = found[0]
    columns = list(zip(*(trial.sizes for trial in found), strict=True))
    constant = tuple((i, column[0]) for i, column in enumerate(columns) if len(set(column)) == 1)
    varying = [column for column in columns if len(set(column)) > 1]
    what = f"the size of {first.calls[0][0]}"
    terms = [widths.explain(column, what) for column in varying]
    used = {name for found in terms for pairs in found for name, _ in pairs}
    decisions = tuple(name for name in options if name in used)
    if len(decisions) > _MOST_DECISIONS:
        raise SpaceError(
            f"{first.calls[0][0]} in space {space.name!r} depends on {len(decisions)} widths at "
            f"once ({', '.join(decisions[:4])}, ...), too many to time each combination; limit "
            f"macs instead, or let widths that meet there be one decision"
        )
    tables = [_table(found, decisions, options) for found in terms]
    operations = {}
    for chosen in itertools.product(*(enumerate(options[name]) for name in decisions)):
        index = tuple(position for position, _ in chosen)
        sizes = tuple(int(table[index]) for table in tables)
        pairs = tuple(zip(decisions, (option for _, option in chosen), strict=True))
        operations[pairs] = Operation(first.calls, constant, sizes)
    return Piece(first.choices, decisions, operations)


_MOST_DECISIONS = 3


def _table(
    terms: Mapping[Condition, int], decisions: Sequence[str], options: Mapping[str, Sequence[str]]
) -> npt.NDArray[np.int64]:
    """Return the sum of terms for each combination of options, an axis for each decision."""
    table = np.zeros([len(options[name]) for name in decisions], dtype=np.int64)
    for pairs, value in terms.items():
        chosen = dict(pairs)
        table[tuple(
            options[name].index(chosen[name]) if name in chosen else slice(None)
            for name in decisions
        )] += value  # fmt: skip
    return table


def _order(tensor: Tensor, *, dense: bool) -> tuple[int, ...] | None:
    """Return the axes from the slowest to the fastest; None if there are gaps between elements."""
    axes = tuple(range(tensor.ndim))
    if tensor.is_contiguous():
        return axes
    strides = tensor.stride()
    order = tuple(sorted(axes, key=lambda axis: (-strides[axis], axis)))
    if dense or tensor.permute(order).is_contiguous():
        return order
    return None


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata  # type: ignore[no-any-return]


def _is_light(function: Any) -> bool:
    return function.overloadpacket.__name__ in _LIGHT or torch.Tag.pointwise in function.tags


def _is_view(function: Any) -> bool:
    schema = function._schema
    if schema.is_mutable:
        return False
    return bool(schema.returns) and all(value.alias_info is not None for value in schema.returns)
