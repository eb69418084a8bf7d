"""What is timed for a latency table, and how times become terms: the same for every backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ddpnas.costs._parts import Hole, Part, caller, find_parts
from ddpnas.costs.network import makes_constant
from ddpnas.costs.table import add_term
from ddpnas.space.decisions import Architecture
from ddpnas.space.meta import on_meta
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.supernet import Condition

__all__ = ["LatencyPlan", "Probe", "make_plan", "raw_terms"]

_CALL = "call"


@dataclass(frozen=True)
class Probe:
    """One thing to time: a part, a whole network, or a call that does nothing.

    Attributes:
        name: "part-KEY", "part-KEY-less", "network-NUMBER" or "call".
        part: None for a whole network and for the call.
        silent: decisions whose choices give None.
        architecture: of a whole network.
    """

    name: str
    part: Part | None = None
    silent: frozenset[str] = frozenset()
    architecture: Architecture | None = None

    def outputs(self) -> list[Any]:
        """Return what the part's choices give, tensors on the meta device."""
        assert self.part is not None
        return [None if hole.decision in self.silent else hole.output for hole in self.part.holes]


@dataclass(frozen=True)
class LatencyPlan:
    """All parts of a space's networks, and each distinct thing to time once.

    Attributes:
        parts: where something stands; parts with equal keys are timed once.
        probes: by name.
    """

    parts: tuple[Part, ...]
    probes: Mapping[str, Probe]

    @property
    def networks(self) -> dict[str, Architecture]:
        """The architectures that are timed whole, by the probe's name."""
        return {n: p.architecture for n, p in self.probes.items() if p.architecture is not None}


def make_plan(space: SearchSpace, batch: int, architectures: int, seed: int) -> LatencyPlan:
    """Return what to time.

    Args:
        space: any.
        batch: inputs at once.
        architectures: how many random ones are timed whole, all different. They are canonical, as
            some backends leave out what does not reach the output, which the table cannot know.
        seed: of these.
    """
    with torch.device("meta"):
        opened = space.opened()
    parts = find_parts(space, opened, batch)
    probes = {_CALL: Probe(_CALL)}
    for part in parts:
        if part.operations == 0:
            continue
        if _name(part) not in probes:
            probes[_name(part)] = Probe(_name(part), part)
            silent = _dispensable(opened, part)
            if silent:
                probes[_less(part)] = Probe(_less(part), part, silent)
    rng = np.random.default_rng(seed)
    drawn: dict[Architecture, None] = {}
    for _ in range(100 * architectures):  # a small space may not have so many
        if len(drawn) < architectures:
            drawn[space.canonical(space.sample(rng))] = None
    for i, architecture in enumerate(drawn):
        probes[f"network-{i}"] = Probe(f"network-{i}", architecture=architecture)
    return LatencyPlan(tuple(parts), probes)


def raw_terms(plan: LatencyPlan, times: Mapping[str, float]) -> dict[Condition, float]:
    """Return the time of every set of choices, that of the network outside all choices as ``()``.

    Of each part, the time of a call that does nothing is taken off: a whole network is one call. A
    part that adds up fewer tensors where some of its choices give None was timed without them
    too. The difference is a time for each element that is joined, which the options pay that
    give something, one too many for each sum, so that the part's own time may be below 0. Apart
    from that nothing takes less than no time: where a timing says so, it was disturbed.

    Args:
        plan: what was timed.
        times: probe name -> time.
    """
    terms: dict[Condition, float] = {}
    for part in plan.parts:
        if part.operations == 0:
            continue
        time = max(times[_name(part)] - times[_CALL], 0.0)
        joined = [hole for hole in part.holes if hole.nothing]
        if _less(part) in plan.probes:
            silent = plan.probes[_less(part)].silent
            fewer = sum(_size(hole) for hole in joined if hole.decision in silent)
            saved = max(times[_name(part)] - times[_less(part)], 0.0)
            each = saved / fewer
            for hole in joined:
                time -= each * _size(hole)
                for option in hole.options:
                    if option not in hole.nothing:
                        choices = (*part.choices, (hole.decision, option))
                        add_term(terms, choices, each * _size(hole))
        add_term(terms, part.choices, time)
    return terms


def _dispensable(opened: nn.Module, part: Part) -> frozenset[str]:
    """Return decisions that can all give None while every sum of the part keeps a term.

    Found one after another: without a term, a sum is replaced by a constant.
    """
    silent: frozenset[str] = frozenset()
    decisions = {hole.decision: None for hole in part.holes if hole.nothing}
    usual = _constants(opened, part, silent)
    for decision in decisions:
        if _constants(opened, part, silent | {decision}) == usual:
            silent |= {decision}
    return silent


def _constants(opened: nn.Module, part: Part, silent: frozenset[str]) -> int:
    """Return how many constants the part makes with these decisions giving None."""
    run = caller(opened, part, part.inputs, Probe("", part, silent).outputs())
    counter = _Constants()
    with on_meta(), counter:
        run()
    return counter.total


class _Constants(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the tensors that are made of nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.total += makes_constant(func, args, kwargs)
        return func(*args, **(kwargs or {}))


def _name(part: Part) -> str:
    return f"part-{part.key}"


def _less(part: Part) -> str:
    return f"part-{part.key}-less"


def _size(hole: Hole) -> int:
    return sum(t.numel() for t in tree_leaves(hole.output) if isinstance(t, torch.Tensor))
