"""Replay: run one network after another on the same batch, and only what differs is computed.

The networks are paths of one supernet. Two paths that agree in the decisions met first do the same
operations up to the first choice in which they differ: the stem, and an equal beginning of a
chain. Their results are kept from one run for the next, which is handed them instead of computing
them again. What comes out is what separate runs give, bit for bit; nothing has to be known of the
network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ddpnas.space.supernet import Supernet

__all__ = ["Replay"]


class Replay:
    """Runs paths of a supernet on one batch; a context in which the supernet is not changed.

    Args:
        supernet: The supernet, in evaluation mode and without gradients.
        inputs: The batch that every run gets.
    """

    def __init__(self, supernet: Supernet, inputs: Tensor) -> None:
        self._supernet, self._inputs = supernet, inputs
        self._kept = _Kept()
        self._differing: frozenset[str] = frozenset()

    def __enter__(self) -> Self:
        def asked(decision: str) -> None:
            if decision in self._differing:
                self._kept.close()

        self._end = self._supernet.watch(asked)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def run(self, path: Mapping[str, str], following: Mapping[str, str] | None) -> Any:
        """Return the output of a path.

        Args:
            path: an architecture; that which was ``following`` in the run before.
            following: the architecture of the next run; None: there is none.
        """
        self._supernet.set_path(path)
        following = {} if following is None else following
        self._differing = frozenset(d for d in path if path[d] != following.get(d))
        inputs = self._inputs.clone()  # the network may change them in place
        try:
            with self._kept:
                return self._supernet(inputs)
        except _OtherwayError:  # a network that does not do the same twice
            with self._kept:
                return self._supernet(self._inputs.clone())


class _OtherwayError(Exception):
    """A run did other operations than the one before, where the two had to agree."""


class _Kept(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The operations that a run shares with the next, in order, with their results.

    A run is a ``with`` block. It takes the results of the operations that were kept, computes the
    others, and keeps all until :meth:`close`.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._operations: list[tuple[Any, Any]] = []
        self._changed: list[tuple[int, set[int]]] = []  # position, storages written in place
        self._position = 0
        self._end: int | None = None  # operations before it are for the next run as well

    def __enter__(self) -> Self:
        self._position, self._end = 0, None
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        end = self._position if self._end is None else self._end
        later = set().union(*(storages for at, storages in self._changed if at >= end))
        del self._operations[end:]
        self._changed = [(at, storages) for at, storages in self._changed if at < end]
        results = tree_leaves([result for _, result in self._operations])
        if error is not None or later & _storages(results):  # they are not what they were
            self._operations, self._changed = [], []

    def close(self) -> None:
        """Say that from here on the next run differs."""
        if self._end is None:
            self._end = self._position

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        at = self._position
        if at < len(self._operations):
            operation, result = self._operations[at]
            if operation is not func:
                raise _OtherwayError
            self._position += 1
            return result
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.close()
        self._position += 1
        result = func(*args, **(kwargs or {}))
        if func._schema.is_mutable:
            self._changed.append((at, _storages(_written(func, args, kwargs or {}))))
        if self._end is None:
            self._operations.append((func, result))
        return result


def _written(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """Return the tensors that an operation writes to in place."""
    given = {a.name: value for a, value in zip(func._schema.arguments, args, strict=False)}
    given.update(kwargs)
    changed = [a for a in func._schema.arguments if a.alias_info and a.alias_info.is_write]
    return tree_leaves([given.get(argument.name) for argument in changed])


def _storages(leaves: Sequence[Any]) -> set[int]:
    """Return the identities of the memory behind the tensors among the leaves."""
    return {leaf.untyped_storage()._cdata for leaf in leaves if isinstance(leaf, Tensor)}
