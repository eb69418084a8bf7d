"""A fit that starts from a network that has weights: it is fine-tuned for the whole time."""

from __future__ import annotations

import dataclasses
import functools
import shlex
from collections.abc import Mapping
from pathlib import Path

from ddpnas.costs.network import count_network
from ddpnas.data.data import Data
from ddpnas.errors import OptionError
from ddpnas.fitting.fitted import Fitted
from ddpnas.fitting.following import Following, Session
from ddpnas.fitting.plan import MORE, FitPlan
from ddpnas.fitting.request import FitRequest
from ddpnas.fitting.speed import epoch_seconds_by_threads
from ddpnas.generation.limits import Limit
from ddpnas.space.copies import copied
from ddpnas.training.pretrained import OpenedNetwork, open_network
from ddpnas.training.recipes import create_recipe
from ddpnas.training.results import Compared, TrainResult
from ddpnas.training.saving import TrainedFolder, lock_trained
from ddpnas.training.trained_folder import load, read_comparison
from ddpnas.training.trained_model import TrainedModel
from ddpnas.utils.duration import duration

__all__ = ["RECIPE", "Started", "check_limits", "plan_started"]

RECIPE = "finetune"


def _opened(name: str, plan: FitPlan, data: Data) -> OpenedNetwork:
    return open_network(
        name, num_classes=len(data.classes), input_shape=data.input_shape,
        weights=plan.weights, seed=plan.seed,
    )  # fmt: skip


def plan_started(
    request: FitRequest,
    start: str,
    weights: str | None,
    batch_size: int | None,
    *,
    choose_threads: bool,
) -> FitPlan:
    """Return a plan that fine-tunes a network for all of the time.

    Args:
        request: What the fit was asked for.
        start: See :func:`ddpnas.open_network`.
        weights: See :func:`ddpnas.open_network`.
        batch_size: Images a step; None is that of the recipe.
        choose_threads: Whether the number of threads may be changed to what is faster.

    Raises:
        OptionError: The network is larger than the limits allow, or the time is too short.
        ExportError: The network cannot be exported.
    """
    data = request.data
    plan = request.plan(request.reserve(), start=start, weights=weights)
    opened = _opened(start, plan, data)
    check_limits(start, count_network(opened.model, data.input_shape), request.limits)
    recipe = create_recipe(RECIPE, **({} if batch_size is None else {"batch_size": batch_size}))
    each = epoch_seconds_by_threads(
        opened.model, opened.prepare(data), recipe, request.device, choose=choose_threads
    )
    reserve = request.reserve(request.exporting(opened.model), each)
    each = request.final_epoch(each, recipe)
    plan = request.plan(reserve, start=start, weights=weights)
    if plan.training < each:
        others = "a smaller --image-size, or fewer images"
        raise request.too_short(each, reserve, others, f" to fine-tune {start}")
    return plan.with_epochs(max(1, int(MORE * plan.training / each)))


def check_limits(start: str, counted: Mapping[str, float], limits: Mapping[str, Limit]) -> None:
    """Refuse a network that is not within the limits.

    Args:
        start: Its name, for messages.
        counted: Its costs.
        limits: The limits.

    Raises:
        OptionError: A limit does not hold, or is on something that is not counted.
    """
    for name, limit in limits.items():
        if name not in counted:
            raise OptionError(f"fit cannot limit {name}; give one of {', '.join(sorted(counted))}")
        if not limit.holds(counted[name]):
            raise OptionError(
                f"{start} has {counted[name]:,.0f} {name}, which is not {limit.describe()}; fit "
                f"fine-tunes a network as it is: cut it with `ddpnas shrink {shlex.quote(start)}` "
                f"and the same limits, give a smaller one, or leave --start out"
            )


class Started(Following):
    """A fit that fine-tunes a network, by a plan of :func:`plan_started`; see its base."""

    training = "start"

    def __init__(self, plan: FitPlan, session: Session) -> None:
        assert plan.start is not None, "a plan with a network to start from"
        self._name = session.opened_as(plan.start)
        self._opened = _opened(self._name, plan, session.data)
        prepared = self._opened.prepare(session.data)
        super().__init__(plan, dataclasses.replace(session, data=prepared))

    def run(self) -> Fitted:
        """Fine-tune, or go on with that; test, export and report."""
        plan, opened, path = self.plan, self._opened, self.trained.path
        counted = count_network(opened.model, self.data.input_shape)
        costs = {name: float(cost) for name, cost in counted.items()}

        def save(folder: TrainedFolder, result: TrainResult, *, state: str = "") -> None:
            name = Path(str(plan.start)).name
            one = Compared(f"{name}{state}", name, opened.architecture, costs, result)
            folder.save(
                opened.space, [one], limits=self.limits, named=opened.named, start=opened.start
            )

        matched = len(opened.matched)
        self._tell(f"fine-tuning {plan.start} for {duration(self.left())}: {matched} tensors fit")
        with lock_trained(path):
            before = read_comparison(path)
            if before is None:
                recipe = create_recipe(RECIPE, **plan.recipe)
                if self.best is not None and not self.best.is_there:
                    # A network whose classes are the same is good already.
                    layer = "" if opened.new_head is None else "its last layer is new, "
                    as_given = functools.partial(save, state=f" ({layer}not fine-tuned yet)")
                    given = copied(opened.model)
                    self.best.keep(given, recipe, as_given, trained_on=False, delays=False)
                trained = self.train(opened.model, recipe, save)
                save(self.trained, trained)
            else:
                loaded = self.load()
                if self.moved_to is not None:
                    loaded.load_data(self.moved_to)  # refuses other images
                    self.note_images()
                trained = dataclasses.replace(
                    before.found.result, model=loaded.network, data=self.data
                )
        self.mark("training")
        files = self.export()
        self.seconds["total"] = self.passed
        if self.kept:
            files["report"] = self.report(path)
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
        return load(self.trained.path, model=self._name if in_file else None)
