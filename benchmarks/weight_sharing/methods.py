"""The searches that are compared. Each gets a task and a stopwatch and returns what it found."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.weight_sharing.task import (
    Outcome,
    Stopwatch,
    Task,
    distinct_cells,
    measure_speed,
    rank_correlation,
)
from benchmarks.weight_sharing.training_free import naswot, synflow
from ddpnas import Architecture, SupernetConfig, create_strategy
from ddpnas.data import Loader
from ddpnas.evaluators import StandaloneEvaluator, SupernetEvaluator

__all__ = ["METHODS"]

RESNET = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
UNTRAINED = 1000  # cells at most that a training-free score sees


def random_cell(task: Task, watch: Stopwatch) -> Outcome:
    """Draw one architecture."""
    return Outcome(task.space.sample(np.random.default_rng(task.seed)))


def resnet_cell(task: Task, watch: Stopwatch) -> Outcome:
    """Take the residual block of ResNet, NAS-Bench-201's hand-made reference."""
    return Outcome(task.space.parse(RESNET))


def random_search(task: Task, watch: Stopwatch) -> Outcome:
    """Train random architectures alone for a few epochs until the time is up; take the best."""
    evaluator = StandaloneEvaluator(task.space, task.data, task.standalone_epochs, seed=task.seed)
    rng = np.random.default_rng(task.seed)
    scored: list[tuple[float, Architecture]] = []
    while not scored or watch.seconds < task.seconds:
        architecture = task.space.sample(rng)
        scored.append((next(evaluator.evaluate([architecture])).score, architecture))
    best = max(scored, key=lambda pair: pair[0])
    return Outcome(best[1], details={"scored": len(scored), "score": best[0]})


def by_naswot(task: Task, watch: Stopwatch) -> Outcome:
    """Take the best of random architectures by NASWOT, untrained."""
    images, _ = next(
        Loader(task.data, [task.data.train], torch.device("cpu")).train_batches(128, task.seed)
    )
    return _untrained(task, watch, lambda network: naswot(network.train(), images))


def by_synflow(task: Task, watch: Stopwatch) -> Outcome:
    """Take the best of random architectures by synflow, untrained."""
    return _untrained(task, watch, lambda network: synflow(network, task.data.input_shape))


def _untrained(
    task: Task, watch: Stopwatch, measure: Callable[[torch.nn.Module], float]
) -> Outcome:
    def score(architecture: Architecture) -> float:
        with torch.random.fork_rng():
            torch.manual_seed(task.seed)
            return measure(task.space.build(architecture))

    scored: list[tuple[float, Architecture]] = []
    for architecture in distinct_cells(task.space, UNTRAINED, task.seed):
        if scored and watch.seconds >= task.seconds:
            break
        scored.append((score(architecture), architecture))
    best = max(scored, key=lambda pair: pair[0])
    tau = watch.pause(lambda: rank_correlation(task, lambda all_: [score(a) for a in all_]))
    return Outcome(best[1], tau, {"scored": len(scored)})


def one_shot(training: str, task: Task, watch: Stopwatch) -> Outcome:
    """Train all choices, score random architectures with the final weights, take the best.

    "uniform" is SPOS without its evolution, "fair" is FairNAS; a tenth of the time scores.
    """
    speed = measure_speed(task)
    passes = len_of_cycle(task) if training == "fair" else 1
    config = replace(
        task.supernet,
        training=training,
        warmup_epochs=max(1, round(0.9 * task.seconds / (passes * speed.train))),
        epochs=0,
    )
    cells = distinct_cells(
        task.space, max(10, int(0.1 * task.seconds / speed.score)), task.seed + 10_000
    )
    evaluator = SupernetEvaluator(task.space, task.data, len(cells), config, seed=task.seed)
    scores = [evaluation.score for evaluation in evaluator.evaluate(cells)]
    tau = watch.pause(lambda: _tau(task, evaluator))
    best = int(np.argmax(scores))
    details = {"epochs": config.warmup_epochs, "scored": len(cells), "score": scores[best]}
    return Outcome(cells[best], tau, details)


def paper(task: Task, watch: Stopwatch) -> Outcome:
    """DDPNAS as published, with as many cycles a stage as the time allows."""
    speed = measure_speed(task)
    options = {"rule": "paper", "cycles_per_stage": 1}
    each = create_strategy("ddpnas", task.space, **options).evaluations
    cycles = max(1, round(task.seconds / (each * (speed.train + speed.score))))
    options["cycles_per_stage"] = cycles
    config = replace(task.supernet, training="path")
    strategy, evaluator, _ = _search(task, watch, options, config)
    details = {"cycles_per_stage": cycles, "scored": strategy.evaluations}
    return Outcome(strategy.architecture, watch.pause(lambda: _tau(task, evaluator)), details)


def ours(task: Task, watch: Stopwatch) -> Outcome:
    """DDPNAS with fair training, stages scored with settled weights, and finalists.

    Of the time, ``warmup_share`` trains all choices fairly before the first stage,
    ``finalist_share`` trains finalists alone (the best ``finalists`` by the fit, equally long),
    and what scoring leaves trains the survivors between the stages.
    """
    speed, plan = measure_speed(task), task.plan
    options = {"cycles_per_stage": plan.cycles_per_stage, "keep": plan.keep}
    longest = len_of_cycle(task)
    later = sum(range(plan.keep + 1, longest))  # paths of a cycle of each stage but the first
    scoring = plan.cycles_per_stage * (longest + later) * speed.score
    warmup = max(1, round(plan.warmup_share * task.seconds / (longest * speed.train)))
    rest = (1 - plan.warmup_share - plan.finalist_share) * task.seconds - scoring
    epochs = max(0, round(rest / (later * speed.train))) if later else 0
    config = replace(task.supernet, training="fair", warmup_epochs=warmup, epochs=epochs)
    strategy, _, tau = _search(task, watch, options, config)
    found = strategy.architecture
    details = {
        "warmup_epochs": warmup,
        "epochs": epochs,
        "scored": strategy.evaluations,
        "survivors": strategy.distribution.survivors,
        "without_finalists": task.space.format(strategy.best(1)[0]),
        "search_seconds": watch.seconds,
    }
    if plan.finalists:
        candidates = strategy.best(plan.finalists)
        share = plan.finalist_share * task.seconds / (len(candidates) * speed.train)
        finals = StandaloneEvaluator(
            task.space, task.data, max(1, int(share / plan.finalist_cost)), seed=task.seed
        )
        scores = [evaluation.score for evaluation in finals.evaluate(candidates)]
        found = candidates[int(np.argmax(scores))]
        details["finalist_epochs"] = finals.epochs
        details["finalists"] = [
            {"text": task.space.format(c), "score": score}
            for c, score in zip(candidates, scores, strict=True)
        ]
    return Outcome(found, tau, details)


def _search(
    task: Task, watch: Stopwatch, options: dict[str, Any], config: SupernetConfig
) -> tuple[Any, SupernetEvaluator, float | None]:
    """Run a search to its end; return strategy, evaluator and the rank correlation.

    The correlation is that of the weights before anything is pruned, where they were trained
    before the first score; None otherwise.
    """
    strategy = create_strategy("ddpnas", task.space, seed=task.seed, **options)
    evaluator = SupernetEvaluator(
        task.space, task.data, strategy.evaluations, config, seed=task.seed
    )
    tau = None
    while not strategy.done:
        batch = strategy.ask()
        for _ in evaluator.prepare(batch):
            pass
        if tau is None and config.training != "path":
            tau = watch.pause(lambda: _tau(task, evaluator))
        strategy.tell(batch, [evaluation.score for evaluation in evaluator.evaluate(batch)])
    return strategy, evaluator, tau


def _tau(task: Task, evaluator: SupernetEvaluator) -> float:
    return rank_correlation(task, lambda cells: [evaluator.score(cell).score for cell in cells])


def len_of_cycle(task: Task) -> int:
    """Return how many paths train every choice once."""
    return max(len(decision.options) for decision in task.space.decisions)


METHODS: dict[str, Callable[[Task, Stopwatch], Outcome]] = {
    "ours": ours,
    "paper": paper,
    "spos": functools.partial(one_shot, "uniform"),
    "fair-one-shot": functools.partial(one_shot, "fair"),
    "random-search": random_search,
    "naswot": by_naswot,
    "synflow": by_synflow,
    "random-cell": random_cell,
    "resnet-cell": resnet_cell,
}
