"""FitRequest: what a fit was asked for, as its plan is made from it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ddpnas.data.data import Data
from ddpnas.data.sieves import SieveConfig
from ddpnas.errors import ExportError, OptionError
from ddpnas.export.trained import Export
from ddpnas.fitting.plan import FitPlan, reserve_of
from ddpnas.fitting.speed import export_seconds
from ddpnas.fitting.user_files import code_of
from ddpnas.generation.limits import Limit
from ddpnas.training.protections import trained_items
from ddpnas.training.recipes import Recipe
from ddpnas.utils.duration import duration

__all__ = ["FitRequest", "TooShortError"]

_EXPORTING = 4.0  # seconds of an export that was not measured
_FORWARD = 1 / 3  # of the time of a training step: the backward pass takes twice as long
_TRIAL = 60.0  # seconds of a fit from which on a trial export is worth its time


class TooShortError(OptionError):
    """There is no time for an epoch."""


@dataclass(frozen=True)
class FitRequest:
    """What a fit was asked for.

    Attributes:
        data: The data.
        limits: Limits of the network.
        seconds: Seconds of the whole fit.
        begun: When it began, by ``time.perf_counter()``.
        seed: Seed for everything random.
        device: Where it trains.
        export: File to write at the end: "onnx", "torch" or "none".
        report: Whether a report is written at the end.
        baselines: Networks to train for the same time.
        teacher: Network to distil from in the final training.
        sieve: Which images the final training reads.
        tell: Takes lines of text.
        teaching: Seconds that the teacher takes for an image.
    """

    data: Data
    limits: Mapping[str, Limit]
    seconds: float
    begun: float
    seed: int
    device: str
    export: Export
    report: bool
    baselines: tuple[str, ...]
    teacher: str | None
    sieve: SieveConfig
    tell: Callable[[str], object]
    teaching: float = 0.0

    @property
    def passed(self) -> float:
        """Seconds since the fit began."""
        return time.perf_counter() - self.begun

    def reserve(self, exporting: float = _EXPORTING, each: float = 0.0) -> float:
        """Return the seconds to keep for testing, exporting and reporting.

        Args:
            exporting: Seconds of an export.
            each: Seconds of an epoch of the training images, by which those of testing follow.
        """
        tested = len(self.data.splits[self.data.held_out]) / len(self.data.train)
        testing = _FORWARD * each * tested * (2 if self.report else 1)  # it looks at them again
        return reserve_of(
            self.seconds, exporting, testing, export=self.export != "none", report=self.report
        )

    def exporting(self, network: nn.Module) -> float:
        """Return the seconds of an export, measured unless the fit is short or exports nothing.

        Args:
            network: A network like the one that is exported at the end.

        Raises:
            ExportError: It cannot be exported; known now and not after the training.
        """
        if self.export == "none" or self.seconds < _TRIAL:
            return _EXPORTING
        try:
            return export_seconds(network, self.export, self.data)
        except ExportError as error:
            raise ExportError(f"{error}; --export none trains it without a file") from error

    def final_epoch(self, each: float, recipe: Recipe) -> float:
        """Return the seconds of an epoch of the final training.

        It may read validation images, too, asks the teacher, and reads what the sieve leaves.

        Args:
            each: Seconds of an epoch of the training split, without teacher and sieve.
            recipe: How the network is trained.
        """
        images = trained_items(self.data, recipe)
        return images * self.sieve.mean_share * (each / len(self.data.train) + self.teaching)

    def left(self, reserve: float) -> float:
        """Return the seconds that are left for training.

        Args:
            reserve: Seconds to keep for the end.
        """
        return self.seconds - reserve - self.passed

    def too_short(self, each: float, reserve: float, instead: str, to: str = "") -> TooShortError:
        """Return the error where there is no time for an epoch; it names minutes that are enough.

        Args:
            each: Seconds of an epoch.
            reserve: Seconds to keep for the end.
            instead: What else would help.
            to: What the time is too short for.
        """
        needed = self.seconds - self.left(reserve)
        # The time that preparing takes varies, so some more than it took now.
        minutes = math.ceil((1.2 * needed + 3 * each) / 6) / 10
        return TooShortError(
            f"{duration(self.seconds)} are too short{to}: an epoch of training takes "
            f"{duration(each)}, and {duration(needed)} go to preparing, testing and writing; give "
            f"at least --minutes {minutes:.1f}, {instead}"
        )

    def plan(self, reserve: float, **settings: Any) -> FitPlan:
        """Return a plan of this fit that begins now.

        Args:
            reserve: Seconds to keep for the end.
            settings: Fields of the plan that say how the network is found and trained.
        """
        return FitPlan(
            seconds=self.seconds,
            started=self.passed,
            reserve=reserve,
            limits={name: str(limit) for name, limit in self.limits.items()},
            seed=self.seed,
            device=self.device,
            threads=torch.get_num_threads(),
            export=self.export,
            baselines=list(self.baselines),
            teacher=self.teacher,
            code=code_of([settings.get("start"), self.teacher, *self.baselines]),
            sieve=self.sieve.name,
            sieve_options=dict(self.sieve.options),
            data=dict(self.data.source) or None,
            images=self.data.fingerprint(),
            **settings,
        )
