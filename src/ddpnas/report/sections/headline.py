"""The top of the page: how good is the network, and does it meet the limits?"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ddpnas.generation.limits import Limit
from ddpnas.report.analysis import TrainedView, View
from ddpnas.report.blocks import Headline, Tile, percent, short_amount
from ddpnas.report.commands import said_path
from ddpnas.report.measures import SPLIT_NAMES, mean_and_spread
from ddpnas.runs.networks import RunNetwork
from ddpnas.space.user_code import without_folders
from ddpnas.training.results import Compared, Comparison, trained_for
from ddpnas.utils.duration import duration

__all__ = ["headline", "trained_headline"]

_LABELS = {"macs": "multiply-adds", "params": "parameters", "latency_ms": "latency in ms"}
_ENOUGH = 5  # networks to compare with, for more than an indication


def headline(view: View) -> Headline:
    """Return the accuracy, also of random networks, the costs and limits, and the search time."""
    run = view.run
    tiles: list[Tile] = []
    if run.trained is not None:
        tiles += _accuracy_tiles(run.trained, _called(view.network))
    elif (best := run.best_measure) is not None:
        name = "best so far" if not run.finished else "best in the search"
        note = run.judged_by
        if run.shared:
            note += " with shared weights, before training on its own"
        tiles.append(Tile(name, run.written_measure(best), best, note))
    tiles += _cost_tiles(view)
    if run.history:
        tiles.append(Tile("search time", duration(run.seconds), run.seconds, run.scored))
    return Headline(
        title=f"A network for {view.data_name}",
        status=_status(view),
        words=_answer(view),
        tiles=tuple(tiles),
        details={
            "run": said_path(run.path),
            "space": run.space_name,
            "strategy": run.strategy_name,
            "started": str(run.made_with.get("started", "")).replace("T", " ")[:16],
        },
    )


def trained_headline(view: TrainedView) -> Headline:
    """Return the accuracy of a trained network, also of those trained with it, and its costs."""
    trained = view.trained
    return Headline(
        title=f"A network for {view.data_name}",
        status="finished",
        words=tuple(_training_words(view, trained)),
        tiles=(*_accuracy_tiles(trained, _called(view.network)), *_cost_tiles(view)),
        details={
            "folder": said_path(trained.path),
            "space": without_folders(trained.space or ""),
            "recipe": trained.found.result.recipe.name,
        },
    )


def _status(view: View) -> str:
    run = view.run
    if run.finished:
        return "finished"
    total = f" of {run.planned}" if run.planned is not None else ""
    return f"unfinished: {len(run.history)}{total} evaluations"


def _called(network: RunNetwork | None) -> str:
    """Return what the page calls the network: it need not be one that the search led to."""
    return "trained network" if network is None or network.origin == "given" else "found network"


def _accuracy_tiles(trained: Comparison, called: str) -> list[Tile]:
    found = trained.found
    split, accuracy = SPLIT_NAMES[found.evaluation.split], found.evaluation.accuracy
    tiles = [Tile(called, percent(accuracy), accuracy, f"{split} accuracy")]
    for name, networks in (
        ("random networks", trained.random),
        ("random, same size", trained.same_size),
    ):
        if networks:
            mean, spread = mean_and_spread([n.evaluation.accuracy for n in networks])
            pm = f" \u00b1 {100 * spread:.2f}" if len(networks) > 1 else ""
            note = f"mean{' and standard deviation' if pm else ''} of {len(networks)}"
            tiles.append(Tile(name, f"{100 * mean:.2f}{pm} %", mean, note))
    return tiles


def _cost_tiles(view: View | TrainedView) -> list[Tile]:
    costs = view.network_costs.items()
    shown = [(name, value) for name, value in costs if name in view.limits or name in _LABELS]
    return [_cost_tile(view, name, value) for name, value in shown]


def _cost_tile(view: View | TrainedView, name: str, value: float) -> Tile:
    limit = view.limits.get(name, Limit())
    unit, text = _LABELS.get(name) or view.units.get(name, name), short_amount(value)
    least = f"at least {short_amount(limit.lower)}" if math.isfinite(limit.lower) else ""
    if math.isinf(limit.upper):
        return Tile(unit, text, value, least or "no limit set")
    share = value / limit.upper if limit.upper > 0 else None
    most = f"limit {short_amount(limit.upper)}"
    return Tile(unit, text, value, f"{least}, {most}" if least else most, share)


def _answer(view: View) -> tuple[str, ...]:
    run = view.run
    words = []
    if not run.finished:
        words.append(
            "The search is not finished: this page ends with its last scored architecture."
        )
    if run.trained is not None:
        words += _training_words(view, run.trained)
        if run.untrained is not None:
            words.append(
                "Another network was generated since. It is not trained yet, so this page has no "
                "accuracy for it."
            )
    elif run.finished:
        within = " within the limits" if view.limits else ""
        words.append(
            f"The search considers this architecture the most likely to be the best{within}. Only "
            f"training it from scratch shows how good it is."
        )
    return tuple(words)


def _training_words(view: View | TrainedView, trained: Comparison) -> list[str]:
    """Return sentences that compare the network with the random ones."""
    found = trained.found
    # A training may use other images than the search.
    of_data = f" of {found.evaluation.data}" * (found.evaluation.data != view.data_name)
    split = SPLIT_NAMES[found.evaluation.split]
    how = "Trained from scratch" if trained.start is None else "Fine-tuned"
    words = [
        (
            f"{how} for {trained_for([found])}, the {_called(view.network)} classifies "
            f"{percent(found.evaluation.accuracy)} of the {split} images{of_data} correctly."
        )
    ]
    within = " within the same limits" if view.limits else ""
    if trained.random:
        words.append(_compared(found, trained.random, f"{within}, trained the same way"))
    if trained.same_size:
        words.append(_compared(found, trained.same_size, f"{within} and of about the same size"))
    numbers = [len(group) for group in (trained.random, trained.same_size) if group]
    if numbers and min(numbers) < _ENOUGH:
        words.append(f"Fewer than {_ENOUGH} networks to compare with are an indication, not proof.")
    return words


def _compared(found: Compared, others: Sequence[Compared], which: str) -> str:
    mean, _ = mean_and_spread([n.evaluation.accuracy for n in others])
    number = len(others)
    beaten = sum(found.evaluation.accuracy > n.evaluation.accuracy for n in others)
    of_them = "all" if beaten == number else "none" if beaten == 0 else str(beaten)
    better = "better" if found.evaluation.accuracy > mean else "not better"
    return (
        f"It is {better} than the mean of {number} random network{'s' if number > 1 else ''}"
        f"{which} ({percent(mean)}), and better than {of_them} of them."
    )
