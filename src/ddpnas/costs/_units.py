"""Cost units: the pieces of a network whose costs add up to that of any architecture.

A network with every option in it runs once on the meta device and falls into units: the network
outside all choices, and every option at every place where it is asked, without the choices inside
it. For example,

    def network(choose):
        acts = {"relu": nn.ReLU, "silu": nn.SiLU}
        block = lambda: nn.Sequential(nn.Conv2d(8, 8, 1), choose("act", acts))
        return nn.Sequential(
            nn.Conv2d(3, 8, 3),
            choose("op", {"block": block, "skip": nn.Identity}),
            nn.Flatten(),
            nn.Linear(8 * 6 * 6, 10),
        )

falls into these five, in the order in which they end:

    what runs                  when                     slots
    ReLU                       op = block, act = relu
    SiLU                       op = block, act = silu
    Conv2d(8, 8, 1)            op = block               act
    nothing (an identity)      op = skip
    Conv2d, Flatten, Linear    always                   op

A choice inside a unit is a *slot*. All options of a choice have the same output shape, so that a
slot is filled by a tensor of that shape and the unit runs alone: it costs the same whatever is
chosen inside, and the cost of an architecture is the sum over the units that run. Units that do
the same operations on inputs of the same shapes have the same *key*, and are counted or timed once.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode

from ddpnas.costs.network import CostCounter, OperationCost
from ddpnas.space.meta import on_meta
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.supernet import Choice, Condition

__all__ = ["Call", "ChoiceSlot", "CostUnit", "bind", "find_units"]


class Call(NamedTuple):
    """One operation of a unit with what it was given, on the meta device.

    Attributes:
        function: The operation, as in ``torch.ops.aten``.
        args, kwargs: Its arguments.
        output: What it returned.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any


@dataclass(frozen=True)
class ChoiceSlot:
    """A choice inside a unit; a choice that runs twice there has two slots.

    Attributes:
        path: Path of the :class:`Choice` in the network.
        decision: Name of its decision.
        output: What the choice returns, on the meta device.
        options: The options of the decision.
        absent: Those options that return None: there is no connection here.
    """

    path: str
    decision: str
    output: Any
    options: tuple[str, ...]
    absent: tuple[str, ...]


@dataclass(frozen=True)
class CostUnit:
    """What runs together, whatever is chosen inside.

    Attributes:
        path: Path of its module in the network; empty for the network itself.
        choices: The choices under which it runs; empty for the network itself.
        inputs: Positional and keyword arguments of its module, on the meta device.
        slots: The choices inside, in the order in which they run.
        operations: Number of operations that it runs; 0 for an identity, which costs nothing.
        costs: What each of them costs, BatchNorm left out.
        key: Equal for units that do the same; empty if it was not asked for.
        calls: The operations themselves, if asked for.
    """

    path: str
    choices: Condition
    inputs: tuple[tuple[Any, ...], dict[str, Any]]
    slots: tuple[ChoiceSlot, ...]
    operations: int
    costs: tuple[OperationCost, ...]
    key: str
    calls: tuple[Call, ...] = ()


def find_units(
    space: SearchSpace,
    opened: nn.Module,
    batch: int = 1,
    *,
    calls: bool = False,
    keys: bool = True,
) -> list[CostUnit]:
    """Return all units of a network, the network itself last.

    Args:
        space: The space of the network.
        opened: ``space.opened()`` on the meta device; only good for :func:`bind` after this.
        batch: Number of inputs at once.
        calls: Whether to keep the operations themselves, see :class:`Call`.
        keys: Whether to tell the keys, which takes a third of the time; without, they are empty.

    Example:
        >>> import torch, ddpnas
        >>> space = ddpnas.create_space("toy")
        >>> with torch.device("meta"):
        ...     opened = space.opened()
        >>> units = find_units(space, opened)
        >>> [unit.choices for unit in units[:3]]
        [(('layer1', 'skip'),), (('layer1', 'conv1'),), (('layer1', 'conv3'),)]
        >>> [slot.decision for slot in units[-1].slots]
        ['layer1', 'layer2', 'layer3', 'layer4']
    """
    counter = CostCounter()
    paths = {id(module): path for path, module in opened.named_modules()}
    recorder = _Recorder(paths, counter, calls, keys)
    recorder.watch(opened)
    with on_meta(), counter, recorder:
        space.visit(opened, recorder.around, batch)
    recorder.forget()
    return recorder.units


def bind(
    opened: nn.Module,
    unit: CostUnit,
    inputs: tuple[tuple[Any, ...], dict[str, Any]],
    outputs: Sequence[Any],
) -> Callable[[], Any]:
    """Return a function that runs the unit once, its slots filled, and returns its output.

    The choices inside are changed: only the function that was bound last is good.

    Args:
        opened: The network in which the unit was found, or the same on another device.
        unit: One of :func:`find_units`.
        inputs: Arguments of its module, on the device of the network.
        outputs: What each slot returns, on that device; None where nothing comes out.
    """
    args, kwargs = inputs
    queues: dict[str, deque[Any]] = {}
    for slot, output in zip(unit.slots, outputs, strict=True):
        queues.setdefault(slot.path, deque()).append(output)
    for path, queue in queues.items():
        opened.get_submodule(path).forward = _Filled(queue)
    module = opened.get_submodule(unit.path)
    return lambda: module(*args, **kwargs)


class _Filled:
    """The forward of a choice that returns the given outputs in turn, over and over."""

    def __init__(self, queue: deque[Any]) -> None:
        self._queue = queue

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._queue.rotate(-1)
        return self._queue[-1]


@dataclass
class _Frame:
    """A unit while it runs.

    Attributes:
        keyed: Whether its key is told.
        trace: Every operation with the shapes and layouts of its tensors; its hash is the key.
        seen: Tensors by id -> number in the order of appearance, so that traces of equal units
            are equal texts.
        kept: The same tensors, held so that no other one gets their id.
    """

    path: str
    choices: Condition
    inputs: tuple[tuple[Any, ...], dict[str, Any]]
    keyed: bool
    slots: list[ChoiceSlot] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    operations: int = 0
    costs: list[OperationCost] = field(default_factory=list)
    seen: dict[int, int] = field(default_factory=dict)
    kept: list[Tensor] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    def note(self, what: str, *values: Any) -> None:
        """Add a step to the trace; a tensor is written as its number, shape and layout."""
        if self.keyed:
            self.trace.append(f"{what} {self._described(values)}")

    def unit(self) -> CostUnit:
        """Return the unit, once it has run."""
        trace = "\n".join(self.trace)
        key = hashlib.sha256(trace.encode()).hexdigest()[:16] if self.keyed else ""
        return CostUnit(
            self.path, self.choices, self.inputs, tuple(self.slots), self.operations,
            tuple(self.costs), key, tuple(self.calls),
        )  # fmt: skip

    def _described(self, value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            return [self._described(item) for item in value]
        if isinstance(value, dict):
            return {name: self._described(item) for name, item in value.items()}
        if not isinstance(value, Tensor):
            return value
        if id(value) not in self.seen:
            self.seen[id(value)] = len(self.seen)
            self.kept.append(value)
        return self.seen[id(value)], value.shape, value.stride(), value.dtype


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Takes a network apart while it runs with every option."""

    def __init__(
        self, paths: dict[int, str], counter: CostCounter, calls: bool, keys: bool
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._counter, self._calls, self._keys = counter, calls, keys
        self.units: list[CostUnit] = []
        self._paths = paths
        self._frames: list[_Frame] = []
        self._absent: list[list[str]] = []  # options that returned None, of the choices that run
        # The choices of the option that runs next. None while no option is due: a module may be
        # an option and also run elsewhere.
        self._due: Condition | None = ()
        self._is_unit: list[bool] = []  # of the options and the network that run
        self._hooks: list[Any] = []

    def watch(self, network: nn.Module) -> None:
        """Note when the network, its choices and their options begin and end."""
        choices = [module for module in network.modules() if isinstance(module, Choice)]
        options = {id(option): option for choice in choices for option in choice.options}
        frames = [network, *options.values()]
        # Torch calls the hooks of a module in the order in which they were registered. An option
        # may be a choice itself: its unit has to begin before the choice does, and to end after
        # the choice has ended, so that the choice becomes a slot of this unit.
        for module in frames:
            self._hooks.append(module.register_forward_pre_hook(self._begin, with_kwargs=True))
        for choice in choices:
            self._hooks.append(choice.register_forward_pre_hook(self._begin_choice))
            self._hooks.append(choice.register_forward_hook(self._end_choice, with_kwargs=True))
        for module in frames:
            self._hooks.append(module.register_forward_hook(self._end))
        for module in network.modules():
            if isinstance(module, _BatchNorm):  # not run on the meta device
                self._hooks.append(module.register_forward_pre_hook(self._norm))

    def forget(self) -> None:
        """Take the hooks away."""
        for hook in self._hooks:
            hook.remove()

    @contextlib.contextmanager
    def around(self, choices: Condition) -> Iterator[None]:
        """Note under which choices the next option stands; see ``visit_options``."""
        self._due = choices
        yield

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        counted = len(self._counter.costs)
        output = func(*args, **(kwargs or {}))
        if self._frames:
            self._frames[-1].costs += self._counter.costs[counted:]
            self._frames[-1].operations += 1
            self._frames[-1].note(str(func), args, kwargs, output)
            if self._calls:
                self._frames[-1].calls.append(Call(func, args, kwargs or {}, output))
        return output

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        due, self._due = self._due, None
        self._is_unit.append(due is not None)
        if due is None:
            return
        frame = _Frame(self._paths[id(module)], due, (args, kwargs), self._keys)
        frame.note("inputs", args, kwargs)
        self._frames.append(frame)

    def _end(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not self._is_unit.pop():
            return
        unit = self._frames.pop().unit()
        self.units.append(unit)
        if output is None and unit.choices:
            self._absent[-1].append(unit.choices[-1][1])

    def _begin_choice(self, module: Choice, args: tuple[Any, ...]) -> None:
        self._absent.append([])

    def _end_choice(
        self, module: Choice, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        frame, path = self._frames[-1], self._paths[id(module)]
        absent = tuple(self._absent.pop())
        frame.note("choice", args, kwargs, output)
        frame.slots.append(ChoiceSlot(path, module.decision, output, module.names, absent))

    def _norm(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._frames[-1].operations += 1
        self._frames[-1].note("batch_norm", args)
        if self._calls:
            # In evaluation, by its own statistics if it keeps any. The meta device passes x on.
            mean, variance = module.running_mean, module.running_var
            given = (args[0], module.weight, module.bias, mean, variance, mean is None)
            end = (0.0, module.eps, torch.backends.cudnn.enabled)
            function = torch.ops.aten.batch_norm.default
            self._frames[-1].calls.append(Call(function, (*given, *end), {}, args[0]))
