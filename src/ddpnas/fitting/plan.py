"""FitPlan: how the seconds of a fit are divided, decided once and then followed.

Everything in a plan that depends on a clock was measured before the plan was made. So a fit that
follows a plan ends with the same network on any day: a resumed one, or one with ``--plan``. The
clock may only drop epochs of the final training, and the plan then keeps which.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from ddpnas.errors import OptionError
from ddpnas.export.trained import Export
from ddpnas.generation.limits import parse_limits
from ddpnas.runs.folder import PLAN
from ddpnas.space.user_code import CodeForm, confirmed_name, names_file
from ddpnas.utils.files import write_atomic
from ddpnas.utils.read import read_json
from ddpnas.utils.settings import Count, Seed, checked_fields
from ddpnas.utils.shapes import Range, shown

__all__ = ["MORE", "FitPlan", "Race", "divide", "reserve_of"]

# How the time is divided; chosen on Fashion-MNIST and photographs of hands (records/fit.md).
_SHARE = 0.15  # of the time for training that a race gets
_CANDIDATES, _REDUCTION, _RUNGS = 6, 2, 3
_FEWEST_EPOCHS = 100  # of the first design: with fewer, its training is worth more than a race
# Epochs that are planned for each that seems to fit, by a few steps: the clock drops the others.
MORE = 2.0
_TESTING = 1.0  # seconds, about, for all of testing but the images
_MOST_WRITING = 0.25  # of all seconds: what an export took in a busy moment may be far too much
_REPORTING = (
    1.2  # seconds for each that an export takes: both are work of this package, not torch's
)
_LEAST_EPOCHS = 0.25  # of a candidate in the first rung, or its score says nothing


@dataclass(frozen=True)
class Race:
    """How many candidates race, and how long each is trained.

    Attributes:
        candidates: Number of candidates in the first rung; 1 for no race.
        reduction: Of each rung, one in this many goes on.
        rungs: Number of rungs.
        seconds: Seconds of training of each candidate in the first rung. In all, a candidate is
            trained for ``reduction`` times as long in each further rung.
    """

    candidates: int
    reduction: int
    rungs: int
    seconds: float


def divide(seconds: float, epoch_seconds: float) -> Race:
    """Return how a race uses its share of the time.

    Args:
        seconds: Seconds for all training.
        epoch_seconds: Seconds of an epoch of the first standard design.

    Example:
        >>> divide(300, 2.5)
        Race(candidates=6, reduction=2, rungs=3, seconds=3.461...)
        >>> divide(200, 2.5).candidates
        1
    """
    if seconds < _FEWEST_EPOCHS * epoch_seconds:
        return Race(1, _REDUCTION, 1, 1e-3 * epoch_seconds)  # a step: there is nothing to compare
    for candidates in range(_CANDIDATES, 1, -1):
        # Each rung trains its candidates from the seconds of the rung before to its own.
        sizes = [math.ceil(candidates / _REDUCTION**rung) for rung in range(_RUNGS)]
        units = sizes[0] + sum(
            size * (_REDUCTION**rung - _REDUCTION ** (rung - 1))
            for rung, size in enumerate(sizes)
            if rung > 0
        )
        each = _SHARE * seconds / units
        if each >= _LEAST_EPOCHS * epoch_seconds:
            break
    return Race(candidates, _REDUCTION, _RUNGS, each)


def reserve_of(
    seconds: float, exporting: float, testing: float, *, export: bool, report: bool
) -> float:
    """Return the seconds of a fit to keep for testing, exporting and reporting.

    Args:
        seconds: Seconds of the whole fit.
        exporting: Seconds that an export takes on this machine.
        testing: Seconds that the network takes for the images that test it.
        export: Whether a file is exported at the end.
        report: Whether a report is written at the end.
    """
    writing = (export + _REPORTING * report) * exporting
    return testing + min(_TESTING + writing, _MOST_WRITING * seconds)


@dataclass(frozen=True)
class FitPlan:
    """All that a fit will do.

    Attributes:
        seconds: Seconds of the whole fit.
        started: Seconds that had passed when the plan was made.
        reserve: Seconds kept for testing, exporting and reporting.
        limits: Limits of the network, as text.
        seed: Seed for everything random.
        device: Where it trains.
        threads: Threads of the processor that training uses.
        export: File to write at the end: "onnx", "torch" or "none".
        baselines: Networks to train for the same time.
        start: Network that is fine-tuned instead of a search; see :func:`ddpnas.open_network`.
        weights: File of its weights; None for its own.
        teacher: Network to distil from.
        code: Name of each network that is code in a user's file -> its fingerprint, by which it is
            known again when the user names it to go on.
        sieve: Which images the final training reads.
        sieve_options: Options of the sieve.
        data: Arguments of :func:`ddpnas.load_data` for the images; None for Python objects.
        images: Fingerprint of the images and labels.
        space_options: Options of the space ``edge``.
        strategy_options: Options of the strategy ``halving``.
        evaluator_options: Options of the evaluator ``continued``.
        milliseconds: What the only network takes for an image, timed whole for a limit. None where
            there is no such limit, or a latency table says it of each.
        recipe: Settings of the final training, which goes on from the winner of the race.
        epochs: Epochs of the final training; None until the race is over.
        shortened: Epoch -> number of epochs from then on, where the clock dropped some, and epoch
            0 where the training started again; None until the final training is over.
        baseline_epochs: Baseline -> number of epochs that are planned for it, once it has begun.
        took: Seconds of each phase and in all; None until the fit is finished.

    Raises:
        OptionError: A value of another type or out of range.
    """

    seconds: Annotated[float, Range(above=0)]
    started: Annotated[float, Range(0)]
    reserve: Annotated[float, Range(0)]
    limits: dict[str, str]
    seed: Seed
    device: str
    threads: Count
    export: Export = "onnx"
    baselines: list[str] = field(default_factory=list)
    start: str | None = None
    weights: str | None = None
    teacher: str | None = None
    code: dict[str, CodeForm] = field(default_factory=dict)
    sieve: str = "all"
    sieve_options: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] | None = None
    images: str = ""
    space_options: dict[str, Any] = field(default_factory=dict)
    strategy_options: dict[str, Any] = field(default_factory=dict)
    evaluator_options: dict[str, Any] = field(default_factory=dict)
    milliseconds: Annotated[float, Range(above=0)] | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    epochs: Count | None = None
    shortened: dict[str, Count] | None = None
    baseline_epochs: dict[str, Count] = field(default_factory=dict)
    took: dict[str, Annotated[float, Range(0)]] | None = None

    def __post_init__(self) -> None:
        checked_fields(self, "a plan")
        for epoch in self.shortened or {}:
            if not epoch.isdecimal():
                raise OptionError(f"shortened of a plan names epochs by number, not {epoch!r}")

    @property
    def training(self) -> float:
        """Seconds for race and final training together."""
        return self.seconds - self.started - self.reserve

    @property
    def networks(self) -> list[str | None]:
        """Names of the networks that the fit opens: start, teacher and baselines."""
        return [self.start, self.teacher, *self.baselines]

    @property
    def image_size(self) -> int | None:
        """Pixels a side that the images were resized to; None if they were not, or are unknown."""
        return (self.data or {}).get("image_size")

    def named_again(self, holder: Path, *, start: str | None, teacher: str | None) -> FitPlan:
        """Return the plan with the networks in files as a user names them now.

        Args:
            holder: Where the plan was read, for messages.
            start: What the user names as the network to start from.
            teacher: What the user names as the network to distil from.

        Raises:
            RunError: One is code in a file that the user does not name, or that has changed.
        """
        found: dict[str, Any] = {}
        for what, given in (("start", start), ("teacher", teacher)):
            name = getattr(self, what)
            if name is not None and names_file(name):
                kept = self.code.get(name)
                found[what] = confirmed_name(what, holder, name, given, known=(), kept=kept)
        return dataclasses.replace(self, **found)

    def refuse_others(self, given: Mapping[str, tuple[Any, Any]]) -> None:
        """Refuse settings of a fit that follows this plan and that say something else than it.

        Args:
            given: Name of a setting -> what was given, and the default of it.

        Raises:
            OptionError: One is neither its default nor what the plan says.

        Example:
            >>> plan = FitPlan(60.0, 1.0, 1.0, {"macs": "2000000"}, 3, "cpu", 1)
            >>> plan.refuse_others({"seed": (3, 0), "minutes": (10, 10)})
            >>> plan.refuse_others({"seed": (4, 0)})
            Traceback (most recent call last):
            ddpnas.errors.OptionError: the plan says seed = 3, not 4; leave seed out, or leave ...
        """
        planned = {
            **dataclasses.asdict(self),
            "minutes": round(self.seconds / 60, 9),
            "metric": self.evaluator_options.get("metric", "accuracy"),
            "class_weights": self.recipe.get("class_weights", "none"),
            "image_size": self.image_size,
        }
        if "limits" in given:
            planned["limits"] = {n: str(one) for n, one in parse_limits(self.limits).items()}
        asked, _ = given.get("minutes", (0, None))
        if 60 * asked == self.seconds:  # 60 * minutes / 60 is not always minutes
            planned["minutes"] = asked
        for name, (value, default) in given.items():
            if value not in (default, planned[name]):
                raise OptionError(
                    f"the plan says {name} = {shown(planned[name])}, not {shown(value)}; leave "
                    f"{name} out, or leave the plan out to make another one"
                )

    def with_epochs(self, epochs: int) -> FitPlan:
        """Return the plan with the length of the final training."""
        return dataclasses.replace(self, epochs=epochs)

    def with_shortened(self, history: Sequence[Mapping[str, float]]) -> FitPlan:
        """Return the plan with what the clock dropped, by the history of the final training."""
        dropped = {f"{r['epoch']:.0f}": int(r["epochs"]) for r in history if "epochs" in r}
        if "failed_lr" in history[0]:
            # The clock may have dropped epochs of the failed attempt too, so it is not repeated.
            assert self.epochs is not None
            dropped = {"0": self.epochs, **dropped}
        return dataclasses.replace(self, shortened=dropped)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return dataclasses.asdict(self)

    def save(self, folder: Path) -> None:
        """Write the plan into a folder."""
        content = json.dumps(self.to_dict(), indent=1) + "\n"
        write_atomic(folder / PLAN, content.encode())

    @classmethod
    def read(cls, path: str | Path) -> FitPlan:
        """Return the plan in a file, or in the folder of a fit.

        Raises:
            OptionError: It is not a plan.
        """
        file = Path(path)
        found: Mapping[str, Any] = read_json(
            file / PLAN if file.is_dir() else file, dict[str, Any], OptionError
        )
        strange = sorted(set(found) ^ {f.name for f in dataclasses.fields(cls)})
        if strange:
            raise OptionError(f"{path} is not a plan of a fit: {strange[0]} is unknown or missing")
        return cls(**found)
