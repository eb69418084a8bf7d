"""Prepared: a plan of a fit with what was made for it, within the memory that there is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ddpnas.costs.table import CostTable
from ddpnas.data.data import Data
from ddpnas.data.loader import default_batch_size
from ddpnas.errors import RunError
from ddpnas.fitting.image_size import Larger, takes
from ddpnas.fitting.plan import FitPlan
from ddpnas.fitting.planning import make_plan
from ddpnas.fitting.request import FitRequest, TooShortError
from ddpnas.fitting.started import RECIPE, plan_started
from ddpnas.spaces.edge import EdgeSpace
from ddpnas.training.networks import find_network
from ddpnas.training.out_of_memory import is_out_of_memory
from ddpnas.training.recipes import RECIPES, ClassWeights, Metric

__all__ = ["NoMemoryError", "Prepared", "prepare_search", "prepare_start"]

Planned = TypeVar("Planned")


class NoMemoryError(RunError):
    """There is no memory for a single image."""

    def __init__(self) -> None:
        super().__init__(
            "there is not enough memory to train on a single image; give smaller images or tighter "
            "limits, or close other programs"
        )


@dataclass(frozen=True)
class Prepared:
    """A plan with what was made for it.

    Attributes:
        plan: The plan.
        data: The data, with images of the size that they are trained on.
        space: The space of a search, if it is there already.
        latency: Its latency table, if one was measured.
        batch_size: Images a step for which there is memory; None for the usual number.
    """

    plan: FitPlan
    data: Data
    space: EdgeSpace | None = None
    latency: CostTable | None = None
    batch_size: int | None = None

    def trained_by(self, metric: Metric, class_weights: ClassWeights) -> Prepared:
        """Return the same with what candidates are chosen by, and what all trainings share."""
        shared: dict[str, Any] = {}
        if class_weights != "none":
            shared["class_weights"] = class_weights
        if self.batch_size is not None:
            shared["batch_size"] = self.batch_size
        made = self.sharing(**shared)
        if metric == "accuracy":
            return made
        evaluator = {**made.plan.evaluator_options, "metric": metric}
        plan = dataclasses.replace(made.plan, evaluator_options=evaluator)
        return dataclasses.replace(made, plan=plan)

    def sharing(self, **settings: Any) -> Prepared:
        """Return the same with these settings in all trainings."""
        plan = self.plan
        evaluator = settings if plan.start is None else {}
        plan = dataclasses.replace(
            plan,
            evaluator_options={**plan.evaluator_options, **evaluator},
            recipe={**plan.recipe, **settings},
        )
        return dataclasses.replace(self, plan=plan)


def prepare_search(request: FitRequest, *, choose_threads: bool) -> Prepared:
    """Return a new plan of a search, with a batch for which there is memory."""
    (plan, space, latency), batch_size = _within_memory(
        lambda size: make_plan(request, choose_threads=choose_threads, batch_size=size),
        default_batch_size(len(request.data.train)), request.tell,
    )  # fmt: skip
    return Prepared(plan, request.data, space, latency, batch_size)


def prepare_start(
    request: FitRequest,
    start: str,
    weights: str | None,
    larger: Larger | None,
    *,
    choose_threads: bool,
) -> Prepared:
    """Return a new plan that fine-tunes a network, on the largest images for which there is time.

    Args:
        request: What the fit was asked for.
        start: See :func:`ddpnas.fit`.
        weights: See :func:`ddpnas.fit`.
        larger: Gives larger images; None if their size is not to be changed.
        choose_threads: See :func:`plan_started`.
    """
    enlarged = request
    if larger is not None:
        enlarged = larger.of(request, start, choose_threads=choose_threads)

    def planned(one: FitRequest) -> Prepared:
        choose = choose_threads and one is request  # otherwise they were chosen with the size
        plan, batch_size = _within_memory(
            lambda size: plan_started(one, start, weights, size, choose_threads=choose),
            RECIPES[RECIPE].batch_size or 1, one.tell,
        )  # fmt: skip
        return Prepared(plan, one.data, batch_size=batch_size)

    try:
        return planned(enlarged)
    except (TooShortError, NoMemoryError) as error:
        if enlarged is request or not takes(find_network(start), request.data):
            raise
        request.tell(f"the images stay as they are: {error}")
    return planned(request)


def _within_memory(
    make: Callable[[int | None], Planned], batch_size: int, tell: Callable[[str], object]
) -> tuple[Planned, int | None]:
    """Return a plan, and the batch size for which there is memory; None for the usual one.

    Args:
        make: Makes the plan with a batch size, or with the usual one; it trains a few steps.
        batch_size: The usual one.
        tell: Takes lines of text.

    Raises:
        NoMemoryError: There is no memory for a single image.
    """
    halved = None
    while True:
        try:
            return make(halved), halved
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        if batch_size == 1:
            raise NoMemoryError
        halved = batch_size = batch_size // 2
        tell(f"not enough memory: trying {batch_size} images a step")
