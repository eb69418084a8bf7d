"""Gradient-based strategies: their published schedules, scaled to the seconds of a task."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

from benchmarks.weight_sharing.task import Outcome, Stopwatch, Task, rank_correlation
from ddpnas import create_strategy, list_strategies
from ddpnas.relaxed import MixtureEvaluator
from ddpnas.strategies import GradientStrategy, strategy_class, strategy_options

__all__ = ["MIXTURES"]


def mixture(name: str, options: dict[str, Any], task: Task, watch: Stopwatch) -> Outcome:
    """Train a mixture for as many epochs as the time allows; take what it decodes to.

    The shortest schedule is measured first, which counts. The rank correlation is that of single
    paths with the weights at the end.
    """
    # The measured epochs train the logits, too, whatever the schedule says of the first ones.
    alike = {"warmup": 0.0} if "warmup" in strategy_options(name) else {}
    least = _LEAST.get(name, 1)
    started = time.process_time()
    _search(name, task, {**options, **alike, "epochs": least})
    each = (time.process_time() - started) / least
    epochs = max(least, int((task.seconds - watch.seconds) / each))
    strategy, evaluator, entropies = _search(name, task, {**options, "epochs": epochs})
    tau = watch.pause(
        lambda: rank_correlation(task, lambda cells: [e.score for e in evaluator.rescore(cells)])
    )
    details = {
        "epochs": epochs,
        "published_epochs": strategy_options(name).get("epochs"),
        "entropies": entropies,
        "skips": list(strategy.architecture.values()).count("skip_connect"),
    }
    return Outcome(strategy.architecture, tau, details)


def _search(
    name: str, task: Task, options: dict[str, Any]
) -> tuple[GradientStrategy, MixtureEvaluator, list[float]]:
    """Return strategy and evaluator after all epochs, and the entropy after each."""
    strategy = create_strategy(name, task.space, seed=task.seed, **options)
    assert isinstance(strategy, GradientStrategy)
    evaluator = MixtureEvaluator(task.space, task.data, strategy, seed=task.seed)
    entropies = []
    while not strategy.done:
        batch = strategy.ask()
        [found] = evaluator.evaluate(batch)
        strategy.tell(batch, [found.score])
        entropies.append(found.details["entropy"])
    return strategy, evaluator, entropies


# A half of the few channels of the experiment, in place of a quarter of the published 16.
_OPTIONS: dict[str, dict[str, Any]] = {"pcdarts": {"parts": 2}}

_LEAST = {"pdarts": 6}  # epochs of the shortest schedule

MIXTURES: dict[str, Callable[[Task, Stopwatch], Outcome]] = {
    name: functools.partial(mixture, name, _OPTIONS.get(name, {}))
    for name in list_strategies()
    if issubclass(strategy_class(name), GradientStrategy)
}
"""The gradient-based strategies as methods of the experiment."""
