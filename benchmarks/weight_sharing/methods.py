"""The searches that are compared. Each gets a task and a stopwatch and returns what it found."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from benchmarks.weight_sharing.mixtures import MIXTURES
from benchmarks.weight_sharing.task import (
    Outcome,
    Stopwatch,
    Task,
    distinct_cells,
    measure_speed,
    rank_correlation,
)
from ddpnas import Architecture, count_costs, create_strategy
from ddpnas.data import Loader
from ddpnas.evaluators import (
    StandaloneConfig,
    StandaloneEvaluator,
    SupernetConfig,
    SupernetEvaluator,
)
from ddpnas.evaluators.proxies import ProxyScores, Scale, naswot, synflow
from ddpnas.strategies.ddpnas import DDPNAS

__all__ = ["METHODS"]

RESNET = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
Measure = Callable[[torch.nn.Module], float]
UNTRAINED = 1000  # cells at most that a training-free score sees


def random_cell(task: Task, watch: Stopwatch) -> Outcome:
    """Draw one architecture."""
    return Outcome(task.space.sample(np.random.default_rng(task.seed)))


def resnet_cell(task: Task, watch: Stopwatch) -> Outcome:
    """Take the residual block of ResNet, NAS-Bench-201's hand-made reference."""
    return Outcome(task.space.parse(RESNET))


def largest(task: Task, watch: Stopwatch) -> Outcome:
    """Take the option of most multiply-adds everywhere: what a score has to beat to say more."""
    macs = count_costs(task.space)["macs"]
    architecture = {d.name: d.options[0] for d in task.space.decisions}
    for decision in task.space.decisions:
        variants = [{**architecture, decision.name: option} for option in decision.options]
        architecture = max(variants, key=macs.cost)
    return Outcome(task.space.check(architecture))


def random_search(task: Task, watch: Stopwatch) -> Outcome:
    """Train random architectures alone for a few epochs until the time is up; take the best."""
    evaluator = _alone(task, task.standalone_epochs)
    rng = np.random.default_rng(task.seed)
    scored: list[tuple[float, Architecture]] = []
    while not scored or watch.seconds < task.seconds:
        architecture = task.space.sample(rng)
        scored.append((next(evaluator.evaluate([architecture])).score, architecture))
    best = max(scored, key=lambda pair: pair[0])
    return Outcome(best[1], details={"scored": len(scored), "score": best[0]})


def _alone(task: Task, epochs: int) -> StandaloneEvaluator:
    config = StandaloneConfig(epochs=epochs, threads=torch.get_num_threads())
    return StandaloneEvaluator(task.space, task.data, config, seed=task.seed)


def by_naswot(task: Task, watch: Stopwatch) -> Outcome:
    """Take the best of random architectures by NASWOT, untrained."""
    images = _batch(task)
    return _untrained(task, watch, lambda network: naswot(network.train(), images))


def by_synflow(task: Task, watch: Stopwatch) -> Outcome:
    """Take the best of random architectures by synflow, untrained."""
    return _untrained(task, watch, lambda network: synflow(network, task.data.input_shape))


def _batch(task: Task) -> Tensor:
    """Return 128 training images, as they are trained on."""
    loader = Loader(task.data, [task.data.train], torch.device("cpu"))
    images, _ = next(loader.train_batches(128, task.seed))
    return images


def _measure(task: Task, measure: Measure, architecture: Architecture) -> float:
    """Return what a measure says of an architecture's initial weights."""
    with torch.random.fork_rng():
        torch.manual_seed(task.seed)
        return measure(task.space.build(architecture))


def _untrained(task: Task, watch: Stopwatch, measure: Measure) -> Outcome:
    scored: list[tuple[float, Architecture]] = []
    for architecture in distinct_cells(task.space, UNTRAINED, task.seed):
        if scored and watch.seconds >= task.seconds:
            break
        scored.append((_measure(task, measure, architecture), architecture))
    best = max(scored, key=lambda pair: pair[0])
    tau = watch.pause(
        lambda: rank_correlation(task, lambda all_: [_measure(task, measure, a) for a in all_])
    )
    return Outcome(best[1], tau, {"scored": len(scored)})


def one_shot(training: Literal["fair", "uniform"], task: Task, watch: Stopwatch) -> Outcome:
    """Train all choices, score random architectures with the final weights, take the best.

    These are SPOS ("uniform") and FairNAS ("fair") without evolution. A tenth of the time scores.
    """
    task = replace(task, supernet=replace(task.supernet, proxy_weight=0.0))
    speed = measure_speed(task)
    config = replace(
        task.supernet,
        training=training,
        warmup_epochs=max(1, round(0.9 * task.seconds / speed.train)),
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


def spos(task: Task, watch: Stopwatch) -> Outcome:
    """SPOS with its evolution, which gets a quarter of the time, or what 1,000 scores take."""
    config = replace(task.supernet, training="uniform", score="accuracy", proxy_weight=0.0)
    speed = measure_speed(replace(task, supernet=config))
    evaluations = min(1000, max(50, int(0.25 * task.seconds / speed.score)))
    left = task.seconds - watch.seconds - evaluations * speed.score
    config = replace(config, warmup_epochs=max(1, int(left / speed.train)))
    options = {"evaluations": evaluations}
    strategy, _, taus = _search(task, watch, "genetic", options, config)
    assert taus is not None
    details = {"epochs": config.warmup_epochs, "scored": evaluations}
    return Outcome(strategy.architecture, taus[0], details)


def paper(task: Task, watch: Stopwatch) -> Outcome:
    """DDPNAS as published, with as many cycles a stage as the time allows.

    The rank correlation is that of the weights at the end.
    """
    name = "ddpnas-paper"
    config = replace(
        task.supernet, training="path", score="accuracy", proxy_weight=0.0, augment=True
    )
    speed = measure_speed(task)
    each = create_strategy(name, task.space, cycles_per_stage=1).evaluations
    cycles = max(1, round(task.seconds / (each * (speed.train + speed.score))))
    strategy, evaluator, _ = _search(task, watch, name, {"cycles_per_stage": cycles}, config)
    details = {"cycles_per_stage": cycles, "scored": strategy.evaluations}
    return Outcome(strategy.architecture, watch.pause(lambda: _tau(task, evaluator)), details)


def fair_stages(task: Task, watch: Stopwatch) -> Outcome:
    """DDPNAS with fair training, stages scored with settled weights and a prior, and finalists.

    Of the time, ``finalist_share`` trains finalists alone (the best ``finalists`` by the fit,
    equally long). What scoring leaves of the rest trains all choices before the first stage.
    """
    plan = task.plan
    options = {"cycles_per_stage": plan.cycles_per_stage, "keep": plan.keep}
    evaluations = create_strategy("ddpnas", task.space, **options).evaluations
    warmup = plan.passes
    if warmup is None:
        speed = measure_speed(task)
        training = (1 - plan.finalist_share) * task.seconds - evaluations * speed.score
        warmup = max(1, round(training / speed.train))
    config = replace(task.supernet, training="fair", warmup_epochs=warmup)
    strategy, _, taus = _search(task, watch, "ddpnas", options, config)
    assert taus is not None
    tau, loss_tau = taus
    found = strategy.architecture
    details = {
        "warmup_epochs": warmup,
        "loss_tau": loss_tau,
        "scored": strategy.evaluations,
        "survivors": strategy.distribution.survivors,
        "without_finalists": task.space.format(strategy.best(1)[0]),
        "search_seconds": watch.seconds,
    }
    if plan.finalists:
        seconds = plan.finalist_share * task.seconds
        found = _train_finalists(task, strategy.best(plan.finalists), seconds, details)
    return Outcome(found, tau, details)


def prior(task: Task, watch: Stopwatch) -> Outcome:
    """One stage of DDPNAS scored untrained, then finalists: no weights are shared.

    The score is that of ``SupernetConfig(proxy_weight=1)``: NASWOT and synflow on one scale.
    """
    plan = task.plan
    strategy = create_strategy(
        "ddpnas",
        task.space,
        seed=task.seed,
        cycles_per_stage=plan.prior_cycles,
        keep=len_of_cycle(task) - 1,
    )
    measure, scale = ProxyScores(task.space, task.data, task.seed).measure, Scale()

    def scores(architectures: Sequence[Architecture]) -> list[float]:
        values = [measure(architecture) for architecture in architectures]
        if not scale.known:
            scale.learn(values)
        return [sum(scale(name, value) for name, value in of.items()) / len(of) for of in values]

    batch = strategy.ask()
    strategy.tell(batch, scores(batch))
    tau = watch.pause(lambda: rank_correlation(task, scores))
    assert isinstance(strategy, DDPNAS)
    candidates = strategy.best(max(1, plan.finalists))
    details = {
        "scored": len(batch),
        "survivors": strategy.distribution.survivors,
        "without_finalists": task.space.format(candidates[0]),
        "search_seconds": watch.seconds,
    }
    found = candidates[0]
    if plan.finalists:
        seconds = task.seconds - watch.seconds
        found = _train_finalists(task, candidates, seconds, details)
    return Outcome(found, tau, details)


def _train_finalists(
    task: Task,
    candidates: Sequence[Architecture],
    seconds: float,
    details: dict[str, Any],
) -> Architecture:
    """Train each alone, equally long, and return the best by validation; note all in details."""
    each = seconds / (len(candidates) * measure_speed(task, candidates).train)
    evaluator = _alone(task, max(1, int(each)))
    scores = [evaluation.score for evaluation in evaluator.evaluate(candidates)]
    details["finalist_epochs"] = evaluator.config.epochs
    details["finalists"] = [
        {"text": task.space.format(c), "score": score}
        for c, score in zip(candidates, scores, strict=True)
    ]
    return candidates[int(np.argmax(scores))]


def _search(
    task: Task, watch: Stopwatch, name: str, options: dict[str, Any], config: SupernetConfig
) -> tuple[Any, SupernetEvaluator, tuple[float, float] | None]:
    """Run a search to its end; return strategy, evaluator and the rank correlations.

    They are those of the weights before anything is pruned, where they were trained
    before the first score; None otherwise.
    """
    strategy = create_strategy(name, task.space, seed=task.seed, **options)
    evaluator = SupernetEvaluator(
        task.space, task.data, strategy.evaluations, config, seed=task.seed, sieve=task.sieve
    )
    taus = None
    while not strategy.done:
        batch = strategy.ask()
        scores = [evaluation.score for evaluation in evaluator.evaluate(batch)]
        if taus is None and config.training != "path":
            taus = watch.pause(lambda: _taus(task, evaluator))
        strategy.tell(batch, scores)
    return strategy, evaluator, taus


def _tau(task: Task, evaluator: SupernetEvaluator) -> float:
    return _taus(task, evaluator)[0]


def _taus(task: Task, evaluator: SupernetEvaluator) -> tuple[float, float]:
    """Return the rank correlations of the score, and of the loss with shared weights alone."""
    scored = evaluator.rescore(task.judged)
    return (
        rank_correlation(task, lambda _: [e.score for e in scored]),
        rank_correlation(task, lambda _: [-e.details["valid_loss"] for e in scored]),
    )


def len_of_cycle(task: Task) -> int:
    """Return how many paths train every choice once."""
    return max(len(decision.options) for decision in task.space.decisions)


METHODS: dict[str, Callable[[Task, Stopwatch], Outcome]] = {
    "fair-stages": fair_stages,
    "prior": prior,
    "paper": paper,
    "spos": spos,
    "uniform-one-shot": functools.partial(one_shot, "uniform"),
    "fair-one-shot": functools.partial(one_shot, "fair"),
    "random-search": random_search,
    "naswot": by_naswot,
    "synflow": by_synflow,
    "random-cell": random_cell,
    "resnet-cell": resnet_cell,
    "largest": largest,
    **MIXTURES,
}
