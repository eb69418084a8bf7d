"""A fit that starts from a network that has weights: it is fine-tuned for the whole time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from ddpnas.costs.network import count_network
from ddpnas.data.data import Data
from ddpnas.data.sieves import SieveConfig
from ddpnas.errors import OptionError
from ddpnas.fitting.fitted import Fitted
from ddpnas.fitting.following import Following
from ddpnas.fitting.plan import MORE, FitPlan, reserve_of
from ddpnas.fitting.speed import epoch_seconds
from ddpnas.generation.limits import Limit
from ddpnas.report.html import write_report
from ddpnas.runs.folder import REPORT
from ddpnas.training.pretrained import OpenedNetwork, open_network
from ddpnas.training.recipes import create_recipe
from ddpnas.training.results import Compared, TrainResult
from ddpnas.training.saving import TrainedFolder, lock_trained
from ddpnas.training.trained_folder import load, read_comparison
from ddpnas.training.trained_model import TrainedModel
from ddpnas.utils.duration import duration

__all__ = ["RECIPE", "Started", "plan_started"]

RECIPE = "finetune"


def _opened(plan: FitPlan, data: Data) -> OpenedNetwork:
    assert plan.start is not None, "a plan with a network to start from"
    return open_network(
        plan.start, num_classes=len(data.classes), input_shape=data.input_shape,
        weights=plan.weights, seed=plan.seed,
    )  # fmt: skip


def plan_started(
    start: str,
    weights: str | None,
    teacher: str | None,
    sieve: SieveConfig,
    data: Data,
    limits: Mapping[str, Limit],
    seconds: float,
    begun: float,
    *,
    seed: int,
    device: str,
    export: bool,
    report: bool,
    batch_size: int | None,
) -> FitPlan:
    """Return a plan that fine-tunes a network for all of the time.

    Args:
        start: See :func:`ddpnas.open_network`.
        weights: See :func:`ddpnas.open_network`.
        teacher: Network to distil from.
        sieve: Which images the training reads.
        data: The data.
        limits: Limits of the network.
        seconds: Seconds of the whole fit.
        begun: When it began, by ``time.perf_counter()``.
        seed: Seed for everything random.
        device: Where it trains.
        export: Whether a file is exported at the end.
        report: Whether a report is written at the end.
        batch_size: Images a step; None is that of the recipe.

    Raises:
        OptionError: The network is larger than the limits allow, or the time is too short.
    """
    reserve = reserve_of(seconds, export=export, report=report)
    plan = FitPlan(
        seconds=seconds, started=0.0, reserve=reserve, seed=seed, device=device,
        limits={name: str(limit) for name, limit in limits.items()},
        threads=torch.get_num_threads(), start=start, weights=weights, teacher=teacher,
        sieve=sieve.name, sieve_options=dict(sieve.options), data=dict(data.source) or None,
    )  # fmt: skip
    opened = _opened(plan, data)
    counted = count_network(opened.model, data.input_shape)
    for name, limit in limits.items():
        if name not in counted:
            raise OptionError(f"fit cannot limit {name}; give one of {', '.join(sorted(counted))}")
        if not limit.holds(counted[name]):
            raise OptionError(
                f"{start} has {counted[name]:,.0f} {name}, which is not {limit.describe()}; fit "
                f"fine-tunes a network as it is: give a smaller one, or leave --start out"
            )
    recipe = create_recipe(RECIPE, **({} if batch_size is None else {"batch_size": batch_size}))
    each = epoch_seconds(opened.model, opened.prepare(data), recipe, device)
    each *= sieve.mean_share
    started = time.perf_counter() - begun
    left = seconds - reserve - started
    if left < each:
        raise OptionError(
            f"{duration(seconds)} are too short to fine-tune {start}: an epoch takes "
            f"{duration(each)}; give more --minutes, a smaller --image-size, or fewer images"
        )
    return dataclasses.replace(plan, started=started, epochs=max(1, int(MORE * left / each)))


class Started(Following):
    """A fit that fine-tunes a network, by a plan of :func:`plan_started`; see its base."""

    def __init__(
        self,
        plan: FitPlan,
        data: Data,
        folder: Path,
        kept: bool,
        begun: float,
        tell: Callable[[str], object],
    ) -> None:
        self._opened = _opened(plan, data)
        super().__init__(plan, self._opened.prepare(data), folder, kept, begun, tell)

    def run(self) -> Fitted:
        """Fine-tune, or go on with that; test, export and report."""
        plan, opened, path = self.plan, self._opened, self.trained.path
        counted = count_network(opened.model, self.data.input_shape)
        costs = {name: float(cost) for name, cost in counted.items()}

        def save(folder: TrainedFolder, result: TrainResult) -> None:
            name = Path(str(plan.start)).name
            one = Compared(name, name, opened.architecture, costs, result)
            folder.save(
                opened.space, [one], limits=self.limits, named=opened.named, start=opened.start
            )

        matched = len(opened.matched)
        self._tell(f"fine-tuning {plan.start} for {plan.epochs} epochs: {matched} tensors fit")
        with lock_trained(path):
            before = read_comparison(path)
            if before is None:
                recipe = create_recipe(RECIPE, **plan.recipe)
                trained = self.train(opened.model, recipe, "start", save)
                self.mark("training")
                save(self.trained, trained)
            else:
                trained = dataclasses.replace(
                    before.found.result, model=self.load().network, data=self.data
                )
        files = self.export()
        if self.kept:
            files["report"] = write_report(path, self.folder / REPORT)
        self.seconds["total"] = self.passed
        return Fitted(
            model=trained.model, architecture=opened.architecture, space=opened.space, search=None,
            trained=trained, costs=costs, limits=self.limits, frontier=(), baselines=(),
            seconds=self.seconds, folder=self.folder if self.kept else None, files=files,
            named=opened.named,
        )  # fmt: skip

    def load(self) -> TrainedModel:
        """Return the trained network of the folder; one of a user's file is built by that file."""
        named = self._opened.named
        in_file = named is not None and named.code is not None
        return load(self.trained.path, model=self.plan.start if in_file else None)
