"""Estimate: how long a shrink should take, before it is done; refuse_too_long() says what fits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np
import torch

from ddpnas.costs.table import CostTable
from ddpnas.data.data import Data
from ddpnas.data.splits import TensorSplit
from ddpnas.errors import InfeasibleError, OptionError
from ddpnas.generation.best import sample_within
from ddpnas.generation.limits import Limit
from ddpnas.shrinking._pace import seconds_an_image
from ddpnas.shrinking.plan import MASK_EPOCHS, RECIPE, ShrinkSettings
from ddpnas.shrinking.shrinkable_space import ShrinkableSpace
from ddpnas.training.protections import planned_epochs, trained_items
from ddpnas.training.recipes import create_recipe

__all__ = ["Estimate", "refuse_too_long"]

_WRITING = 15.0  # seconds, about, for exporting and checking a file and for the report
_EPOCH = 0.02  # seconds, about, for the checkpoint of an epoch
_CUTTING = 0.03  # seconds, about, for making a smaller network
_NEAR, _DRAWN = 0.9, 20  # random networks have at least this share of a limit on multiply-adds
_CAUTION = 0.9  # of the minutes that a proposed size, or a shorter fine-tuning, may take
_FEWEST = 3  # epochs of fine-tuning
_SMALLEST, _STEP, _SIDES = 32, 16, 4  # pixels a side, and how many sizes are measured
_FEWER = 0.95  # of the images of the proposal before
_A_CLASS = 10  # images that each class has at least


class Estimate:
    """What the networks of a shrink take for an image on this machine.

    The given network is run, and one of the size that the limits allow is run and trained, for a
    few batches.

    Args:
        space: Widths of the network.
        limits: The limits.
        costs: Cost name -> table.
        settings: The settings.
        device: Where networks run.
        writes: Whether files are exported at the end.
    """

    def __init__(
        self,
        space: ShrinkableSpace,
        limits: Mapping[str, Limit],
        costs: Mapping[str, CostTable],
        settings: ShrinkSettings,
        device: torch.device,
        *,
        writes: bool,
    ) -> None:
        shape, macs = space.input_shape, costs["macs"]
        whole = {d.name: d.options[-1] for d in space.decisions}
        small = space.build(_typical(space, limits, costs))
        self._settings, self._writes = settings, writes
        self._run = seconds_an_image(space.model, shape, device, training=False)
        self._small_run = seconds_an_image(small, shape, device, training=False)
        self._small_step = seconds_an_image(small, shape, device, training=True)
        trains_whole = settings.head_epochs or settings.method == "pas"
        self._step = (
            seconds_an_image(space.model, shape, device, training=True) if trains_whole else 0.0
        )
        self._singles = sum(
            macs.cost({**whole, d.name: option}) for d in space.decisions for option in d.options
        ) / macs.cost(whole)
        self._widths = sum(len(d.options) for d in space.decisions)
        scored = settings.candidates if settings.ending == "exact" else 1
        self._candidates = min(scored, space.size)

    def epochs(self, data: Data) -> int:
        """Return the epochs of fine-tuning: as asked, or the recipe's as far as the minutes allow.

        They are at least three.
        """
        if self._settings.epochs is not None:
            return self._settings.epochs
        usual = planned_epochs(create_recipe(RECIPE), data)
        first, second = (sum(self._phases(data, n).values()) for n in (usual - 1, usual))
        too_long = second - 60 * _CAUTION * self._settings.minutes
        return usual - min(max(0, math.ceil(too_long / (second - first))), usual - _FEWEST)

    def phases(self, data: Data) -> dict[str, float]:
        """Return the seconds that each phase should take with some data."""
        return self._phases(data, self.epochs(data))

    def _phases(self, data: Data, epochs: int) -> dict[str, float]:
        settings = self._settings
        trains = trained_items(data, create_recipe(RECIPE))
        unseen = len(data.splits[data.held_out])
        scored = min(settings.images, len(data.train)) + min(settings.images, len(data.valid))
        networks = 1 + len(settings.controls)
        epoch = trains * (self._small_step + self._run * settings.distil) + _EPOCH
        given = unseen * self._run
        phases = {"head": settings.head_epochs * trains * self._step}
        if settings.method == "pas":
            phases["masks"] = given + MASK_EPOCHS * len(data.train) * self._step
        else:
            singles = (self._singles + 2) * scored * self._run
            phases["sensitivity"] = given + singles + _CUTTING * self._widths
        phases["candidates"] = self._candidates * (scored * self._small_run + _CUTTING)
        phases["fine-tuning"] = networks * (epochs * epoch + 2 * unseen * self._small_run)
        phases["writing"] = _WRITING * self._writes
        return {name: seconds for name, seconds in phases.items() if seconds}

    def minutes(self, data: Data) -> float:
        """Return the minutes that all of it should take with some data."""
        return sum(self.phases(data).values()) / 60


def _typical(
    space: ShrinkableSpace, limits: Mapping[str, Limit], costs: Mapping[str, CostTable]
) -> Mapping[str, str]:
    """Return widths within the limits: of some random ones, those of the median activations.

    Networks that are found often have wide streams and narrow layers between. They take longer for
    their multiply-adds than uniform widths, and about as long as random ones.
    """
    asked, near = limits.get("macs", Limit()), dict(limits)
    if math.isfinite(asked.upper):
        near["macs"] = Limit(max(asked.lower, _NEAR * asked.upper), asked.upper)
    rng = np.random.default_rng(0)
    try:
        drawn = [sample_within(space, near, costs, rng) for _ in range(_DRAWN)]
    except InfeasibleError:
        drawn = [sample_within(space, limits, costs, rng) for _ in range(_DRAWN)]
    return sorted(drawn, key=costs["activation_bytes"].cost)[_DRAWN // 2]


def refuse_too_long(
    estimate: Estimate, data: Data, minutes: float, at_side: Callable[[int], Estimate | None]
) -> None:
    """Refuse a plan that needs more than the minutes, and name sizes that fit.

    Args:
        estimate: What networks take for an image.
        data: The data.
        minutes: What there is.
        at_side: Pixels a side -> what networks take for an image of that size; None if the network
            does not take such images, or needs no cut with them.

    Raises:
        OptionError: It does not fit.
    """
    total = estimate.minutes(data)
    if total <= minutes:
        return
    advice = [f"--minutes {math.ceil(1.1 * total)}"]
    if side := _fitting_side(total, data, minutes, at_side):
        advice.append(f"--image-size {side}")
    if images := _fitting_images(estimate, data, minutes):
        advice.append(f"--limit-train-images {images}")
    raise OptionError(
        f"this takes about {total:.1f} minutes, more than the {minutes:g} of --minutes; give "
        f"{' or '.join(advice)}"
    )


def _fitting_side(
    total: float, data: Data, minutes: float, at_side: Callable[[int], Estimate | None]
) -> int | None:
    """Return pixels a side of images with which a plan fits, by a measurement; None without any.

    Args:
        total: Minutes at the size in use.
        data: The data.
        minutes: What there is.
        at_side: See :func:`refuse_too_long`.
    """
    if not data.mean:  # no images
        return None
    side = data.input_shape[-1]
    for _ in range(_SIDES):
        share = min(1.0, _CAUTION * minutes / total)
        side = min(int(side * math.sqrt(share)), side - 1) // _STEP * _STEP
        estimate = at_side(side) if side >= _SMALLEST else None
        if estimate is None:
            return None
        total = estimate.minutes(data)
        if total <= _CAUTION * minutes:
            return side
    return None


def _fitting_images(estimate: Estimate, data: Data, minutes: float) -> int | None:
    """Return a number of training images with which a plan fits; None without any."""
    most = len(data.train) + len(data.valid)
    share = data.source.get("valid_fraction", 0.2)
    # Validation images that came from the training images become fewer with them.
    held_out = abs(len(data.valid) - share * most) <= len(data.classes)
    images = float(most if held_out else len(data.train))
    while (images := images * _FEWER) >= _A_CLASS * len(data.classes):
        count = int(images)
        valid = max(1, round(share * count)) if held_out else len(data.valid)
        train = count - valid if held_out else count
        fewer = dataclasses.replace(data, train=_some(train), valid=_some(valid))
        if estimate.minutes(fewer) <= _CAUTION * minutes:
            return count
    return None


def _some(count: int) -> TensorSplit:
    """Return as many items, of which only the number counts."""
    return TensorSplit(torch.zeros(count, 1), torch.zeros(count, dtype=torch.int64))
