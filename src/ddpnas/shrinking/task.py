"""ShrinkTask: a shrink that is planned, or reopened, and can run."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from torch import nn

from ddpnas.costs.count import count_costs
from ddpnas.costs.table import CostTable
from ddpnas.data.data import Data
from ddpnas.data.load import DataConfig, as_data, load_data
from ddpnas.errors import InfeasibleError, OptionError, RunError, SpaceError
from ddpnas.generation.best import sample_within
from ddpnas.generation.limits import (
    Limit,
    Limits,
    checked_limits,
    parse_limits,
    tightened_limits,
    within,
)
from ddpnas.runs.folder import SHRINK
from ddpnas.shrinking._phases import Phases, whole_of
from ddpnas.shrinking.estimate import Estimate, refuse_too_long
from ddpnas.shrinking.folder import COSTS, ShrinkFolder
from ddpnas.shrinking.pas import refuse_unmasked
from ddpnas.shrinking.plan import RECIPE, ShrinkPlan, ShrinkSettings
from ddpnas.shrinking.shrinkable_space import ShrinkableSpace, shrinkable
from ddpnas.shrinking.shrunk import Shrunk
from ddpnas.shrinking.width_scores import WidthScores, describe_fixed
from ddpnas.space.copies import copied
from ddpnas.space.user_code import confirmed_name, names_file
from ddpnas.training.device import pick_device
from ddpnas.training.networks import NamedNetwork
from ddpnas.training.pretrained import OpenedNetwork, open_network
from ddpnas.training.protections import planned_epochs
from ddpnas.training.recipes import create_recipe
from ddpnas.utils.files import expanded
from ddpnas.utils.read import checked_content

__all__ = ["ShrinkTask"]

logger = logging.getLogger(__name__)

Tell = Callable[[str], object]


@dataclasses.dataclass
class ShrinkTask:
    """A shrink that is planned.

    Attributes:
        followed: The plan.
        space: The widths.
        data: The data.
        costs: Cost name -> table.
        limits: The limits.
        named: What builds the given network by name; None if nothing does.
        estimate: What its networks take for an image; None if it was reopened or nothing is cut.
        at_side: Pixels a side -> the same for images of that size; None if they are no use.
    """

    followed: ShrinkPlan
    space: ShrinkableSpace
    data: Data
    costs: dict[str, CostTable]
    limits: dict[str, Limit]
    named: NamedNetwork | None
    estimate: Estimate | None = None
    at_side: Callable[[int], Estimate | None] = lambda side: None

    @classmethod
    def plan(
        cls,
        model: nn.Module,
        data: Data | Any,
        limits: Limits | Iterable[str],
        settings: ShrinkSettings,
        *,
        costs: Sequence[CostTable | str | Path] = (),
        named: NamedNetwork | None = None,
        trained: str | Path | None = None,
        weights: str | Path | None = None,
        writes: bool = True,
    ) -> Self:
        """Return what will be done, and how long that should take.

        Args:
            model: The network; it is not changed.
            data: The data.
            limits: The limits.
            settings: The settings.
            costs: Further cost tables of its widths, or the JSON files that hold them.
            named: What builds the network by name.
            trained: The folder that holds it, if ddpnas has trained it.
            weights: File of its weights, if they are not its own.
            writes: Whether files are exported at the end.

        Raises:
            DdpnasError: See :func:`ddpnas.shrink`.
        """
        data = as_data(data)
        more = [one if isinstance(one, CostTable) else CostTable.load(one) for one in costs]
        limits = limits if isinstance(limits, Mapping) else list(limits)
        place = pick_device(settings.device)

        def estimated(opened: _Opened) -> Estimate | None:
            space, tables, asked = opened
            if _is_met(space, asked, tables):
                return None
            return Estimate(space, asked, tables, settings, place, writes=writes)

        def at_side(side: int) -> Estimate | None:
            if more:  # measured with images of this size
                return None
            smaller = dataclasses.replace(data, input_shape=(data.input_shape[0], side, side))
            try:
                return estimated(_limited(model, smaller, settings, more, limits))
            except (SpaceError, InfeasibleError):
                return None

        space, tables, asked = opened = _limited(model, data, settings, more, limits)
        estimate = estimated(opened)
        if estimate is not None and settings.method == "pas":
            refuse_unmasked(space)
        if estimate is not None and settings.epochs is None:
            settings = dataclasses.replace(settings, epochs=estimate.epochs(data))
            usual = planned_epochs(create_recipe(RECIPE), data)
            if settings.epochs != usual:
                logger.warning(
                    "fine-tuning gets %s epochs instead of %s, to end within %g minutes",
                    settings.epochs, usual, settings.minutes,
                )  # fmt: skip
        code = None if named is None else named.code
        network = None if named is None else named.name
        if trained is not None:
            network = str(expanded(trained).resolve())
        followed = ShrinkPlan(
            settings=settings,
            limits={name: str(limit) for name, limit in asked.items()},
            phases={} if estimate is None else estimate.phases(data),
            given=OpenedNetwork(model, "").fingerprint(),
            images=data.fingerprint(),
            network=network,
            weights=None if weights is None else str(expanded(weights).resolve()),
            code=None if code is None else dict(code.fingerprint()),
            data=dict(data.source) or None,
        )
        return cls(followed, space, data, tables, asked, named, estimate, at_side)

    @classmethod
    def reopened(
        cls,
        folder: Path,
        plan: ShrinkPlan,
        model: nn.Module | str | None,
        data: Data | str | Path | None,
    ) -> Self:
        """Return the task of an interrupted shrink; see :func:`ddpnas.shrinking.resume_shrink`."""
        if isinstance(data, Data):
            images = data
        elif plan.data is None:
            raise RunError(f"the data of {folder} came from Python objects; give them again")
        else:
            known: DataConfig = checked_content(plan.data, DataConfig, folder / SHRINK)
            moved = known if data is None else dataclasses.replace(known, data=str(data))
            images = load_data(moved)
        named = None
        if not isinstance(model, nn.Module):
            if plan.network is None:
                raise RunError(
                    f"the network of {folder} came from a Python program; give it again: "
                    f"ddpnas.shrinking.resume_shrink({str(folder)!r}, model=...)"
                )
            known_names = () if names_file(plan.network) else (plan.network,)
            name = confirmed_name(
                "network", folder, plan.network, model, known=known_names, kept=plan.code
            )
            opened = open_network(
                name, num_classes=len(images.classes), input_shape=images.input_shape,
                weights=plan.weights, seed=plan.settings.seed,
            )  # fmt: skip
            images, model, named = opened.prepare(images), opened.model, opened.named
        for what, now, before in (
            ("network", OpenedNetwork(model, "").fingerprint(), plan.given),
            ("images", images.fingerprint(), plan.images),
        ):
            if now != before:
                raise RunError(f"the {what} of {folder} changed; restore them, or start again")
        if plan.data is not None and images.source:
            source = {**plan.data, "data": images.source["data"]}
            plan = dataclasses.replace(plan, data=source)  # where they are now
        more = WidthScores.tables(folder) if (folder / COSTS).exists() else []
        space, tables = _opened(model, images, plan.settings, more)
        for name in plan.limits:
            if name not in tables:
                raise RunError(
                    f"{folder} holds no {COSTS}, in which the table of {name} was kept; start "
                    f"again with --costs and another --out"
                )
        return cls(plan, space, images, tables, parse_limits(plan.limits), named)

    @property
    def memory(self) -> dict[str, int]:
        """Bytes that scoring needs besides the given network: its copy, and the largest group."""
        state = self.space.model.state_dict()
        sizes = {name: tensor.numel() * tensor.element_size() for name, tensor in state.items()}
        touched = (
            sum(sizes.get(name, 0) for name in {axis.tensor for axis in group.axes})
            for group in self.space.groups
        )
        return {"weights": sum(sizes.values()), "largest group": max(touched)}

    @property
    def is_met(self) -> bool:
        """Whether the given network is within the limits, so that nothing has to be cut."""
        return _is_met(self.space, self.limits, self.costs)

    def check_minutes(self) -> None:
        """Refuse a plan that needs more than its minutes.

        Raises:
            OptionError: The message names what would fit.
        """
        if self.estimate is not None:
            refuse_too_long(self.estimate, self.data, self.followed.settings.minutes, self.at_side)

    def run(self, folder: ShrinkFolder, tell: Tell | None = None, *, kept: bool = True) -> Shrunk:
        """Do what is not done yet, and return the result.

        Args:
            folder: The open folder.
            tell: Takes lines of text.
            kept: Whether the folder outlives the call.
        """
        run = Phases(
            self.followed, self.space, self.data, self.costs, self.limits, self.named,
            folder, tell or (lambda text: None),
        )  # fmt: skip
        if self.is_met:
            logger.warning("the network is within the limits already; nothing is cut")
            return run.nothing_cut()
        if not (folder.path / SHRINK).exists():
            folder.write(SHRINK, self.followed.to_dict())
        if not (folder.path / COSTS).exists():
            folder.write(COSTS, WidthScores.to_dict(self.space, self.costs, self.space.groups))
        found = run.all_phases()
        if kept:
            run.write()
        return dataclasses.replace(found, folder=folder.path if kept else None)


_Opened = tuple[ShrinkableSpace, dict[str, CostTable], dict[str, Limit]]


def _limited(
    model: nn.Module,
    data: Data,
    settings: ShrinkSettings,
    more: Iterable[CostTable],
    limits: Limits | Iterable[str],
) -> _Opened:
    """Return the widths of a network, the tables of its costs, and limits that can be met."""
    space, tables = _opened(model, data, settings, more)
    full = {name: table.cost(whole_of(space)) for name, table in tables.items()}
    asked = checked_limits(parse_limits(limits, of=full), tables)
    _refuse_infeasible(space, asked, tables)
    return space, tables, asked


def _opened(
    model: nn.Module, data: Data, settings: ShrinkSettings, more: Iterable[CostTable]
) -> tuple[ShrinkableSpace, dict[str, CostTable]]:
    """Return the widths of a network, and the tables of its costs, those that are given too."""
    space = shrinkable(
        copied(model) if settings.head_epochs else model,  # it is trained
        data.input_shape,
        fractions=settings.fractions, divisor=settings.divisor, keep=settings.keep,
    )  # fmt: skip
    if space.output_shape != (len(data.classes),):
        raise OptionError(
            f"the network has {space.output_shape} outputs and the data {len(data.classes)} "
            f"classes; open it with ddpnas.open_network(..., num_classes={len(data.classes)}) and "
            f"give head_epochs, for which it is fine-tuned first"
        )
    tables = dict(count_costs(space))
    for table in more:
        if table.name not in tables:
            table.check(space)
            tables[table.name] = table
    return space, tables


def _is_met(
    space: ShrinkableSpace, limits: Mapping[str, Limit], costs: Mapping[str, CostTable]
) -> bool:
    return within(whole_of(space), tightened_limits(limits, costs), costs)


def _refuse_infeasible(
    space: ShrinkableSpace, limits: Mapping[str, Limit], costs: Mapping[str, CostTable]
) -> None:
    try:
        sample_within(space, limits, costs, np.random.default_rng(0), tries=1)
    except InfeasibleError as error:
        groups = WidthScores.to_dict(space, {}, space.groups)["groups"]
        raise InfeasibleError(f"{error}; {describe_fixed(groups)}", error.unmet) from None
