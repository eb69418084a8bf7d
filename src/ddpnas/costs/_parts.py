"""The parts of a network whose costs add up: what runs outside all choices, and every option.

A network with every option in it is run once on the meta device. It falls into parts: the network
itself, and each option at each place where it is asked, both without the choices inside. The
outputs of these inner choices are *holes*: they are known by shape, so that a part can run alone.
Parts that do the same operations on inputs of the same shapes have the same key, and are counted
or measured once.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode

from ddpnas.space.meta import on_meta
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.supernet import Choice, Condition

__all__ = ["Hole", "Part", "caller", "find_parts"]


@dataclass(frozen=True)
class Hole:
    """A choice inside a part, once for every time that it runs.

    Attributes:
        path: of the :class:`Choice` in the network.
        decision: what it decides.
        output: what it gives, on the meta device.
        options: of the decision.
        nothing: those of them that give None instead.
    """

    path: str
    decision: str
    output: Any
    options: tuple[str, ...]
    nothing: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """What runs together, whatever is chosen inside.

    Attributes:
        path: of its module in the network; empty for the network itself.
        choices: under which it runs; empty for the network itself.
        inputs: positional and keyword arguments of its module, on the meta device.
        holes: the choices inside, in the order in which they run.
        operations: how many operations it runs; 0 for an identity, which costs nothing.
        key: the same for parts that do the same.
    """

    path: str
    choices: Condition
    inputs: tuple[tuple[Any, ...], dict[str, Any]]
    holes: tuple[Hole, ...]
    operations: int
    key: str


def find_parts(space: SearchSpace, opened: nn.Module, batch: int = 1) -> list[Part]:
    """Return all parts of a network, the network itself last.

    Args:
        space: of the network.
        opened: ``space.opened()`` on the meta device; only good for :func:`caller` after this.
        batch: inputs at once.
    """
    recorder = _Recorder({id(module): path for path, module in opened.named_modules()})
    recorder.watch(opened)
    with on_meta(), recorder:
        space.visit(opened, recorder.around, batch)
    recorder.forget()
    return recorder.parts


def caller(
    opened: nn.Module,
    part: Part,
    inputs: tuple[tuple[Any, ...], dict[str, Any]],
    fillings: Sequence[Any],
) -> Callable[[], Any]:
    """Return a function that runs the part once, its holes filled, and gives its output.

    The choices inside are changed: a network serves one caller at a time.

    Args:
        opened: the network in which the part was found, or the same on another device.
        part: one of :func:`find_parts`.
        inputs: arguments of its module, on the device of the network.
        fillings: outputs of its holes, on that device; None where nothing comes out.
    """
    args, kwargs = inputs
    queues: dict[str, deque[Any]] = {}
    for hole, filling in zip(part.holes, fillings, strict=True):
        queues.setdefault(hole.path, deque()).append(filling)
    for path, queue in queues.items():
        opened.get_submodule(path).forward = _Filled(queue)
    module = opened.get_submodule(part.path)
    return lambda: module(*args, **kwargs)


class _Filled:
    """The forward of a choice that gives what it is told to, in turn, over and over."""

    def __init__(self, queue: deque[Any]) -> None:
        self._queue = queue

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._queue.rotate(-1)
        return self._queue[-1]


@dataclass
class _Frame:
    """A part while it runs."""

    path: str
    choices: Condition
    inputs: tuple[tuple[Any, ...], dict[str, Any]]
    holes: list[Hole] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    operations: int = 0
    seen: dict[int, int] = field(default_factory=dict)
    kept: list[Tensor] = field(default_factory=list)  # so that their ids stay theirs

    def note(self, what: str, *values: Any) -> None:
        """Add a step to the trace; a tensor is written as its number, shape and layout."""
        self.trace.append(f"{what} {self._described(values)}")

    def part(self) -> Part:
        """Return the part, once it has run."""
        key = hashlib.sha256("\n".join(self.trace).encode()).hexdigest()[:16]
        return Part(self.path, self.choices, self.inputs, tuple(self.holes), self.operations, key)

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

    def __init__(self, paths: dict[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.parts: list[Part] = []
        self._paths = paths
        self._frames: list[_Frame] = []
        self._nothing: list[list[str]] = []  # options that gave None, of the choices that run
        self._choices: Condition = ()
        self._hooks: list[Any] = []

    def watch(self, network: nn.Module) -> None:
        """Note when the network, its choices and their options begin and end."""
        choices = [module for module in network.modules() if isinstance(module, Choice)]
        options = {id(option): option for choice in choices for option in choice.options}
        frames = [network, *options.values()]
        # An option may be a choice itself: it begins as an option and ends as one.
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
        self._choices = choices
        yield

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if self._frames:
            self._frames[-1].operations += 1
            self._frames[-1].note(str(func), args, kwargs, output)
        return output

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        frame = _Frame(self._paths[id(module)], self._choices, (args, kwargs))
        frame.note("inputs", args, kwargs)
        self._frames.append(frame)

    def _end(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        part = self._frames.pop().part()
        self.parts.append(part)
        if output is None and part.choices:
            self._nothing[-1].append(part.choices[-1][1])

    def _begin_choice(self, module: Choice, args: tuple[Any, ...]) -> None:
        self._nothing.append([])

    def _end_choice(
        self, module: Choice, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        frame, path = self._frames[-1], self._paths[id(module)]
        nothing = tuple(self._nothing.pop())
        frame.note("choice", args, kwargs, output)
        frame.holes.append(Hole(path, module.decision, output, module.names, nothing))

    def _norm(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._frames[-1].operations += 1
        self._frames[-1].note("batch_norm", args)
