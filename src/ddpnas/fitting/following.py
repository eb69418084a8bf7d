"""Following: what a fit does by its plan, whatever network it trains.

The final training, which the clock may shorten; a loadable network in ``best/`` at any time; the
exported file and the report at the end.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from torch import nn

from ddpnas.data.data import Data
from ddpnas.export.trained import export_trained
from ddpnas.fitting.best import BestSoFar
from ddpnas.fitting.plan import FitPlan
from ddpnas.generation.limits import parse_limits
from ddpnas.report.html import write_report
from ddpnas.runs.folder import REPORT, TRAINED
from ddpnas.space.copies import copied
from ddpnas.space.user_code import names_file
from ddpnas.training.protections import trained_splits
from ddpnas.training.recipes import Recipe
from ddpnas.training.results import TrainResult
from ddpnas.training.saving import TrainedFolder
from ddpnas.training.session import evaluated_weights, spent_seconds
from ddpnas.training.train import train
from ddpnas.training.trained_folder import load, read_comparison
from ddpnas.training.trained_model import TrainedModel
from ddpnas.utils.files import writable

__all__ = ["Following", "Session"]


@dataclass(frozen=True)
class Session:
    """What a fit has to work with, from its start or since it was resumed.

    Attributes:
        data: The data.
        folder: Folder of the fit.
        kept: Whether the folder outlives the fit.
        begun: When the fit began, by ``time.perf_counter()``.
        tell: Takes lines of text.
        named: Name in the plan -> name to open, for networks in files that the user named for this
            session; others are not executed.
    """

    data: Data
    folder: Path
    kept: bool
    begun: float
    tell: Callable[[str], object]
    named: Mapping[str, str] = field(default_factory=dict)

    def opened_as(self, name: str) -> str:
        """Return the name by which a network of the plan is opened.

        Raises:
            KeyError: It is code in a file that the user did not name.
        """
        return self.named[name] if names_file(name) else name


class Following:
    """A fit that follows its plan.

    Args:
        plan: What to do.
        session: With what.

    Attributes:
        training: Name of the final training, for the folder of its checkpoints.
    """

    training: ClassVar[str]

    def __init__(self, plan: FitPlan, session: Session) -> None:
        self.plan, self.data, self.folder = plan, session.data, session.folder
        self.kept, self._tell = session.kept, session.tell
        self.session = session
        self.limits = parse_limits(plan.limits)
        self.trained = TrainedFolder(self.folder / TRAINED)
        self._trained_before = self._training_before()
        self._begun = session.begun - self._trained_before
        self.seconds: dict[str, float] = {"plan": plan.started}
        if self._trained_before:
            self.seconds["training"] = self._trained_before
        self.best = BestSoFar(self.folder, self.data, plan.device, plan.seed) if self.kept else None
        self._epochs = 1

    @property
    def passed(self) -> float:
        """Seconds since the fit began."""
        return time.perf_counter() - self._begun

    def _training_before(self) -> float:
        """Return the seconds that the final training took in sessions before this one."""
        before = read_comparison(self.trained.path)
        if before is not None:
            return before.found.result.seconds
        return spent_seconds(self.trained.checkpoints / self.training)

    def mark(self, phase: str) -> None:
        """Note how long a phase took, in this session and before."""
        now = self.passed - sum(self.seconds.values())
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now

    def left(self) -> float:
        """Return the seconds that are left for training."""
        return max(1.0, self.plan.seconds - self.plan.reserve - self.passed)

    def change(self, plan: FitPlan) -> None:
        """Follow another plan from now on, and keep it."""
        self.plan = plan
        with writable(self.folder):
            plan.save(self.folder)

    @property
    def moved_to(self) -> str | None:
        """Where the images are, if that is not where the plan has them."""
        known, place = self.plan.data, self.data.source.get("data")
        return None if known is None or place in (None, known["data"]) else place

    def note_images(self) -> None:
        """Keep in the plan where the images are now, if they have moved."""
        if self.moved_to is not None and self.plan.data is not None:
            moved = {**self.plan.data, "data": self.moved_to}
            self.change(dataclasses.replace(self.plan, data=moved))

    def train(
        self,
        network: nn.Module,
        recipe: Recipe,
        save: Callable[[TrainedFolder, TrainResult], object],
    ) -> TrainResult:
        """Return the result of the final training; it goes on where an interrupted one stopped.

        Args:
            network: The network; it is trained in place.
            recipe: How it is trained.
            save: Writes the network and its figures into a folder.
        """
        plan, folder = self.plan, self.trained.checkpoints / self.training
        dropped = plan.shortened
        so_far = copied(network)
        self._epochs = plan.epochs or 1  # as far as the clock has told

        def on_epoch(record: Mapping[str, float]) -> None:
            self._tell_epoch(record)
            self.note_images()  # only now: the checkpoint was that of a training on these
            if self.best is not None and self.best.is_due():
                so_far.load_state_dict(evaluated_weights(folder))
                trained_on = len(trained_splits(self.data, recipe)) > 1
                self.best.keep(so_far, recipe, save, trained_on=trained_on)

        result = train(
            network, self.data, recipe, epochs=plan.epochs, seed=plan.seed, device=plan.device,
            seconds=self.left() + self._trained_before if dropped is None else None,
            shortened=None if dropped is None else {int(k): n for k, n in dropped.items()},
            teacher=None if plan.teacher is None else self.session.opened_as(plan.teacher),
            sieve=plan.sieve, sieve_options=plan.sieve_options,
            folder=folder, resume=True,
            on_epoch=on_epoch,
        )  # fmt: skip
        self.note_images()
        if dropped is None:
            self.change(self.plan.with_shortened(result.history))
        return result

    def report(self, folder: Path) -> Path:
        """Write the report, which counts in the total of the seconds; return its path.

        The plan keeps the seconds, so that a finished fit that is resumed tells the same ones.

        Args:
            folder: Of the run, or of the trained network where there was no search.
        """
        begun = time.perf_counter()
        path = write_report(folder, self.folder / REPORT, data=self.data)
        self.seconds["report"] = time.perf_counter() - begun
        self.seconds["total"] += self.seconds["report"]
        if self.plan.took is None:
            self.change(dataclasses.replace(self.plan, took=self.seconds))
        else:
            self.seconds = self.plan.took
        return path

    def _tell_epoch(self, record: Mapping[str, float]) -> None:
        self._epochs = int(record.get("epochs", self._epochs))
        if record["epoch"] % max(1, self._epochs // 10) == 0:
            self._tell(
                f"epoch {record['epoch']:.0f} of about {self._epochs}, loss {record['loss']:.3f}"
            )

    def load(self) -> TrainedModel:
        """Return the trained network of the folder."""
        return load(self.trained.path)

    def export(self) -> dict[str, Path]:
        """Export the trained network where the folder is kept; return the written files by kind."""
        if not self.kept:
            return {}
        assert self.best is not None
        self.best.finish(self.trained.path)
        files = export_trained(self.plan.export, self.load(), self.data, self.folder, self._tell)
        self.mark("export")
        return files
