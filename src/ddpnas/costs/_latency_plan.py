"""The plan of a latency table: what to time, and how times become terms, on any backend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ddpnas.costs._interpolation import completed_times, interpolation_error, timing_order
from ddpnas.costs._operations import Operation, Piece, find_pieces
from ddpnas.costs._units import ChoiceSlot, CostUnit, bind, find_units
from ddpnas.costs.network import makes_constant
from ddpnas.costs.table import add_term
from ddpnas.space.decisions import Architecture
from ddpnas.space.meta import on_meta
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.supernet import Condition

__all__ = ["LatencyPlan", "Probe", "interpolation", "make_plan", "raw_terms"]

_CALL = "call"


@dataclass(frozen=True)
class Probe:
    """One thing to time: a unit, an operation, a whole network, or a call that does nothing.

    Attributes:
        name: "part-KEY", "part-KEY-less", "network-NUMBER" or "call".
        unit: The unit; None for everything else.
        absent: Decisions whose slots return None.
        architecture: The architecture of a whole network.
        operation: The operation, where widths are undecided.
    """

    name: str
    unit: CostUnit | None = None
    absent: frozenset[str] = frozenset()
    architecture: Architecture | None = None
    operation: Operation | None = None

    def outputs(self) -> list[Any]:
        """Return what the unit's slots return, tensors on the meta device."""
        assert self.unit is not None
        return [None if slot.decision in self.absent else slot.output for slot in self.unit.slots]


@dataclass(frozen=True)
class LatencyPlan:
    """All units of a space's networks, and each distinct thing to time once.

    Attributes:
        units: All units; those with equal keys are timed once.
        probes: What is timed, by name.
        pieces: In place of units, where widths are undecided.
        optional: Names of operations that are timed as far as the time allows, in this order.
            The others are interpolated.
    """

    units: tuple[CostUnit, ...]
    probes: Mapping[str, Probe]
    pieces: tuple[Piece, ...] = ()
    optional: tuple[str, ...] = ()

    @property
    def networks(self) -> dict[str, Architecture]:
        """The architectures that are timed whole, by the probe's name."""
        return {n: p.architecture for n, p in self.probes.items() if p.architecture is not None}


def make_plan(
    space: SearchSpace,
    batch: int,
    architectures: int,
    seed: int,
    networks: Sequence[Architecture] = (),
) -> LatencyPlan:
    """Return what to time.

    Args:
        space: The space to be measured.
        batch: Number of inputs at once.
        architectures: Number of random networks that are timed whole, all different. They are
            canonical: some backends leave out what does not reach the output, which the table
            cannot know.
        seed: Seed for drawing them.
        networks: Architectures that are among them.

    Raises:
        SpaceError: An operation depends on too many widths, see :func:`find_pieces`.
    """
    probes = {_CALL: Probe(_CALL)}
    whole = _networks(space, architectures, seed, networks)
    if any(decision.ordered for decision in space.decisions):
        pieces = find_pieces(space, batch)
        needed, optional = timing_order(_operations(pieces))
        for operation in (*needed, *optional):
            probes[operation.name] = Probe(operation.name, operation=operation)
        names = tuple(operation.name for operation in optional)
        return LatencyPlan((), {**probes, **whole}, tuple(pieces), names)
    with torch.device("meta"):
        opened = space.opened()
    units = find_units(space, opened, batch)
    for unit in units:
        if unit.operations == 0:
            continue
        if _name(unit) not in probes:
            probes[_name(unit)] = Probe(_name(unit), unit)
            absent = _dispensable(opened, unit)
            if absent:
                probes[_without_inputs(unit)] = Probe(_without_inputs(unit), unit, absent)
    return LatencyPlan(tuple(units), {**probes, **whole})


def _networks(
    space: SearchSpace, architectures: int, seed: int, given: Sequence[Architecture]
) -> dict[str, Probe]:
    rng = np.random.default_rng(seed)
    drawn = dict.fromkeys(map(space.canonical, given))
    for _ in range(100 * architectures):  # a small space may have fewer networks
        if len(drawn) < architectures:
            drawn[space.canonical(space.sample(rng))] = None
    return {
        f"network-{i}": Probe(f"network-{i}", architecture=architecture)
        for i, architecture in enumerate(drawn)
    }


def interpolation(plan: LatencyPlan, times: Mapping[str, float]) -> dict[str, float]:
    """Return how many operations were timed, and how well they are told from each other.

    Args:
        plan: What was timed; its widths are undecided.
        times: Probe name -> time; optional ones may be missing.

    Returns:
        "operations" and "timed", their numbers, and where some are interpolated "mape_percent" and
        "p95_percent": mean and 95th percentile of the error with which timed operations are
        predicted from four fifths of the others.
    """
    operations = _operations(plan.pieces)
    each = _of_operations(plan, times)
    errors = interpolation_error(operations, each)
    found: dict[str, float] = {"operations": len(operations), "timed": len(each)}
    if errors:
        found["mape_percent"] = float(np.mean(errors))
        found["p95_percent"] = float(np.percentile(errors, 95))
    return found


def _of_operations(plan: LatencyPlan, times: Mapping[str, float]) -> dict[str, float]:
    """Return the times of operations without that of a call."""
    return {
        name: max(time - times[_CALL], 0.0)
        for name, time in times.items()
        if plan.probes[name].operation is not None
    }


def _operations(pieces: Iterable[Piece]) -> list[Operation]:
    return list(dict.fromkeys(o for piece in pieces for o in piece.operations.values()))


def raw_terms(plan: LatencyPlan, times: Mapping[str, float]) -> dict[Condition, float]:
    """Return the time of every set of choices, that of the network outside all choices as ``()``.

    The time of an empty call is subtracted from each unit, since a whole network is one call. A
    unit that sums fewer tensors where some of its slots are absent was timed without them, too.
    The difference is charged, per element, to the options that do return a tensor. A sum of n
    tensors makes n - 1 additions but is charged n times, so that the unit's own term can be
    negative. Anything else below 0 comes from a disturbed timing and counts as 0.

    Where widths are undecided, the pieces of the units are charged instead, at every combination of
    the widths that they depend on. Sums are charged with all their tensors there.

    Args:
        plan: What was timed.
        times: Probe name -> time; optional ones may be missing.
    """
    terms: dict[Condition, float] = {}
    if plan.pieces:
        completed = completed_times(_operations(plan.pieces), _of_operations(plan, times))
        for piece in plan.pieces:
            for pairs, operation in piece.operations.items():
                add_term(terms, (*piece.choices, *pairs), completed[operation.name])
    for unit in plan.units:
        if unit.operations == 0:
            continue
        time = max(times[_name(unit)] - times[_CALL], 0.0)
        joined = [slot for slot in unit.slots if slot.absent]
        if _without_inputs(unit) in plan.probes:
            absent = plan.probes[_without_inputs(unit)].absent
            fewer = sum(_size(slot) for slot in joined if slot.decision in absent)
            saved = max(times[_name(unit)] - times[_without_inputs(unit)], 0.0)
            each = saved / fewer  # time to add an element
            for slot in joined:
                time -= each * _size(slot)
                for option in slot.options:
                    if option not in slot.absent:
                        choices = (*unit.choices, (slot.decision, option))
                        add_term(terms, choices, each * _size(slot))
        add_term(terms, unit.choices, time)
    return terms


def _dispensable(opened: nn.Module, unit: CostUnit) -> frozenset[str]:
    """Return decisions that can all be absent while every sum of the unit keeps a term.

    Found one after another: a sum that has lost its last term is replaced by a constant, which is
    another operation, and the time of a unit with it would say nothing about additions.
    """
    absent: frozenset[str] = frozenset()
    decisions = {slot.decision: None for slot in unit.slots if slot.absent}
    usual = _constants(opened, unit, absent)
    for decision in decisions:
        if _constants(opened, unit, absent | {decision}) == usual:
            absent |= {decision}
    return absent


def _constants(opened: nn.Module, unit: CostUnit, absent: frozenset[str]) -> int:
    """Return how many constants the unit makes while these decisions are absent."""
    run = bind(opened, unit, unit.inputs, Probe("", unit, absent).outputs())
    counter = _Constants()
    with on_meta(), counter:
        run()
    return counter.total


class _Constants(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the tensors that are made without any input."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.total += makes_constant(func, args, kwargs)
        return func(*args, **(kwargs or {}))


def _name(unit: CostUnit) -> str:
    return f"part-{unit.key}"


def _without_inputs(unit: CostUnit) -> str:
    return f"part-{unit.key}-less"


def _size(slot: ChoiceSlot) -> int:
    return sum(t.numel() for t in tree_leaves(slot.output) if isinstance(t, torch.Tensor))
