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
from ddpnas.export.trained import export_trained
from ddpnas.fitting.fitted import Fitted
from ddpnas.fitting.plan import EXPORTING, MORE, REPORTING, TESTING, FitPlan
from ddpnas.fitting.speed import epoch_seconds
from ddpnas.generation.limits import Limit, parse_limits
from ddpnas.report.html import write_report
from ddpnas.runs.folder import REPORT, TRAINED
from ddpnas.training.pretrained import OpenedNetwork, open_network
from ddpnas.training.recipes import create_recipe
from ddpnas.training.results import Compared
from ddpnas.training.saving import TrainedFolder, lock_trained
from ddpnas.training.train import train
from ddpnas.training.trained_folder import load, read_comparison
from ddpnas.training.trained_model import TrainedModel
from ddpnas.utils.duration import duration

__all__ = ["follow_started", "plan_started"]

_RECIPE = "finetune"


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

    Raises:
        OptionError: The network is larger than the limits allow, or the time is too short.
    """
    reserve = min(TESTING + REPORTING + EXPORTING * export, 0.25 * seconds)
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
    each = epoch_seconds(opened.model, opened.prepare(data), create_recipe(_RECIPE), device)
    each *= sieve.mean_share
    started = time.perf_counter() - begun
    left = seconds - reserve - started
    if left < each:
        raise OptionError(
            f"{duration(seconds)} are too short to fine-tune {start}: an epoch takes "
            f"{duration(each)}; give more --minutes, a smaller --image-size, or fewer images"
        )
    return dataclasses.replace(plan, started=started, epochs=max(1, int(MORE * left / each)))


def follow_started(
    plan: FitPlan,
    data: Data,
    folder: Path,
    kept: bool,
    begun: float,
    tell: Callable[[str], object],
) -> Fitted:
    """Fine-tune by the plan, or go on with that; test, export and report.

    Args:
        plan: A plan of :func:`plan_started`.
        data: The data.
        folder: Folder of the fit.
        kept: Whether the folder outlives the fit.
        begun: When the fit began, by ``time.perf_counter()``.
        tell: Takes lines of text.
    """
    opened, path, limits = _opened(plan, data), folder / TRAINED, parse_limits(plan.limits)
    data = opened.prepare(data)
    counted = count_network(opened.model, data.input_shape)
    costs = {name: float(cost) for name, cost in counted.items()}
    assert plan.epochs is not None
    tell(f"fine-tuning {plan.start} for {plan.epochs} epochs: {len(opened.matched)} tensors fit")
    with lock_trained(path):
        before, trainings = read_comparison(path), TrainedFolder(path)
        if before is None:
            trained = train(
                opened.model, data, create_recipe(_RECIPE, **plan.recipe), epochs=plan.epochs,
                teacher=plan.teacher, sieve=plan.sieve, sieve_options=plan.sieve_options,
                seconds=max(1.0, plan.seconds - plan.reserve - (time.perf_counter() - begun)),
                seed=plan.seed, device=plan.device, folder=trainings.checkpoints / "start",
                resume=True,
                on_epoch=lambda r: tell(f"epoch {r['epoch']:.0f}, loss {r['loss']:.3f}"),
            )  # fmt: skip
            name = Path(str(plan.start)).name
            one = Compared(name, name, opened.architecture, costs, trained)
            trainings.save(
                opened.space, [one], limits=limits, named=opened.named, start=opened.start
            )
        else:
            model = _loaded(path, plan, opened).network
            trained = dataclasses.replace(before.found.result, model=model, data=data)
    files: dict[str, Path] = {}
    if kept:
        files = export_trained(plan.export, _loaded(path, plan, opened), data, folder, tell)
        files["report"] = write_report(path, folder / REPORT)
    total = time.perf_counter() - begun
    return Fitted(
        model=trained.model, architecture=opened.architecture, space=opened.space, search=None,
        trained=trained, costs=costs, limits=limits, frontier=(), baselines=(),
        seconds={"plan": plan.started, "training": trained.seconds, "total": total},
        folder=folder if kept else None, files=files, named=opened.named,
    )  # fmt: skip


def _loaded(path: Path, plan: FitPlan, opened: OpenedNetwork) -> TrainedModel:
    """Return the kept network; one of a user's file is built by that file."""
    in_file = opened.named is not None and opened.named.code is not None
    return load(path, model=plan.start if in_file else None)
