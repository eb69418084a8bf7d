"""ShrinkPlan: what a shrink will do and how long each phase should take, before it is done."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch

from ddpnas.costs.table import CostTable
from ddpnas.data.data import Data
from ddpnas.errors import InfeasibleError, OptionError
from ddpnas.generation.best import sample_within
from ddpnas.generation.limits import Limit
from ddpnas.shrinking._pace import seconds_an_image
from ddpnas.shrinking.finding import DIVISOR, FRACTIONS
from ddpnas.shrinking.importance import Importance
from ddpnas.shrinking.shrinkable_space import ShrinkableSpace
from ddpnas.training.protections import planned_epochs
from ddpnas.training.recipes import create_recipe
from ddpnas.utils.checksums import CHECKSUM, check_checksum
from ddpnas.utils.read import checked_content, read_json
from ddpnas.utils.settings import Count, Epochs, MostImages, Seed, checked_fields
from ddpnas.utils.shapes import Range

__all__ = [
    "MASK_EPOCHS",
    "RECIPE",
    "SHRINK",
    "Method",
    "ShrinkPlan",
    "ShrinkSettings",
    "estimate",
    "refuse_too_long",
]

SHRINK = "shrink.json"  # the plan, in the folder of a shrink
RECIPE = "finetune"
MASK_EPOCHS = 3  # of the method "pas"
_WRITING = 15.0  # seconds, about, for exporting and checking a file and for the report
_EPOCH = 0.02  # seconds, about, for the checkpoint of an epoch
_CUTTING = 0.03  # seconds, about, for making a smaller network
_NEAR, _DRAWN = 0.9, 20  # random networks have at least this share of a limit on multiply-adds
_CAUTION = 0.9  # of the size that a message proposes
_SMALLEST, _STEP = 32, 16  # pixels a side

Method = Literal["sensitivity", "pas"]


@dataclass(frozen=True)
class ShrinkSettings:
    """How a network is cut; see :func:`ddpnas.shrink` for each of them.

    Example:
        >>> ShrinkSettings(minutes=5).candidates
        50
    """

    minutes: Annotated[float, Range(above=0, most=1_000_000)] = 20.0
    method: Method = "sensitivity"
    epochs: Epochs | None = None
    head_epochs: Annotated[int, Range(0, 100_000)] = 0
    fractions: tuple[Annotated[float, Range(above=0, most=1)], ...] = FRACTIONS
    divisor: Count = DIVISOR
    keep: tuple[str, ...] = ()
    importance: Importance = "outputs"
    images: MostImages = 500
    candidates: Count = 50
    distil: bool = True
    controls: bool = True
    seed: Seed = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        checked_fields(self, "a shrink")


@dataclass(frozen=True)
class ShrinkPlan:
    """All that a shrink will do.

    Attributes:
        settings: The settings.
        limits: Limits of the network, as text; shares are turned into costs.
        phases: Name of a phase -> seconds that it should take.
        network: Name of the given network; None for one of a Python program.
        weights: File of its weights; None for its own.
        data: Arguments of :func:`ddpnas.load_data` for the images; None for Python objects.
        given: A hash of the given network's weights.
        images: A hash of the images.
    """

    settings: ShrinkSettings
    limits: dict[str, str]
    phases: dict[str, Annotated[float, Range(0)]]
    given: str
    images: str
    network: str | None = None
    weights: str | None = None
    code: dict[str, Any] | None = None
    data: dict[str, Any] | None = field(default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def read(cls, folder: str | Path) -> ShrinkPlan:
        """Return the plan in the folder of a shrink.

        Raises:
            RunError: The folder holds none, or it is damaged.
        """
        file = Path(folder) / SHRINK
        content: dict[str, Any] = read_json(file, dict[str, Any])
        rest = {key: value for key, value in content.items() if key != CHECKSUM}
        found: ShrinkPlan = checked_content(rest, cls, file)
        check_checksum(content, file, "restore it, or start again with another --out")
        return found


def estimate(
    space: ShrinkableSpace,
    data: Data,
    limits: Mapping[str, Limit],
    costs: Mapping[str, CostTable],
    settings: ShrinkSettings,
    device: torch.device,
    *,
    writes: bool,
) -> dict[str, float]:
    """Return the seconds that each phase should take on this machine.

    The network is run, and one of the size that the limits allow is run and trained, for a few
    batches.

    Args:
        space: Widths of the network.
        data: The data.
        limits: The limits.
        costs: Cost name -> table.
        settings: The settings.
        device: Where networks run.
        writes: Whether files are exported at the end.
    """
    shape, macs = space.input_shape, costs["macs"]
    whole = {d.name: d.options[-1] for d in space.decisions}
    small = space.build(_typical(space, limits, costs))
    run = seconds_an_image(space.model, shape, device, training=False)
    small_run = seconds_an_image(small, shape, device, training=False)
    small_step = seconds_an_image(small, shape, device, training=True)

    singles = sum(
        macs.cost({**whole, d.name: option}) for d in space.decisions for option in d.options
    ) / macs.cost(whole)
    trains = len(data.train) + (0 if data.test is None else len(data.valid))
    unseen = len(data.splits[data.held_out])
    scored = min(settings.images, len(data.train)) + min(settings.images, len(data.valid))
    widths = sum(len(d.options) for d in space.decisions)
    networks = 1 + 2 * settings.controls
    epochs = settings.epochs or planned_epochs(create_recipe(RECIPE), data)
    epoch = trains * (small_step + run * settings.distil) + _EPOCH
    phases = {
        "head": 0.0,
        "masks": 0.0,
        "sensitivity": unseen * run + (singles + 2) * scored * run + _CUTTING * widths,
        "candidates": min(settings.candidates, space.size) * (scored * small_run + _CUTTING),
        "fine-tuning": networks * (epochs * epoch + 2 * unseen * small_run),
    }
    if settings.head_epochs or settings.method == "pas":
        whole_each = seconds_an_image(space.model, shape, device, training=True)
        phases["head"] = settings.head_epochs * trains * whole_each
        if settings.method == "pas":
            phases["sensitivity"] = 0.0
            phases["masks"] = unseen * run + MASK_EPOCHS * len(data.train) * whole_each
    if writes:
        phases["writing"] = _WRITING
    return {name: seconds for name, seconds in phases.items() if seconds}


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


def refuse_too_long(phases: Mapping[str, float], minutes: float, data: Data) -> None:
    """Refuse a plan that needs more than the minutes, and name a size that fits.

    Args:
        phases: Seconds of each phase.
        minutes: What there is.
        data: The data.

    Raises:
        OptionError: It does not fit.

    Example:
        >>> import ddpnas
        >>> data = ddpnas.make_data((torch.zeros(90, 3, 64, 64, dtype=torch.uint8),
        ...                          torch.arange(90) % 2))
        >>> refuse_too_long({"sensitivity": 240}, 2, data)
        Traceback (most recent call last):
        ddpnas.errors.OptionError: this takes about 4.0 minutes, more than the 2 of --minutes; ...
    """
    total = sum(phases.values()) / 60
    if total <= minutes:
        return
    share = _CAUTION * minutes / total
    advice = [f"--minutes {math.ceil(1.1 * total)}"]
    if data.mean:  # images
        side = int(data.input_shape[-1] * math.sqrt(share)) // _STEP * _STEP
        if side >= _SMALLEST:
            advice.append(f"--image-size {side}")
    images = int(share * (len(data.train) + len(data.valid)))
    if images >= 10 * len(data.classes):
        advice.append(f"--limit-train-images {images}")
    raise OptionError(
        f"this takes about {total:.1f} minutes, more than the {minutes:g} of --minutes; give "
        f"{' or '.join(advice)}"
    )
