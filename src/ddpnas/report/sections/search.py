"""The section that answers: what was searched, on which data, and how?"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ddpnas.evaluators.config import SupernetConfig
from ddpnas.report.analysis import View
from ddpnas.report.blocks import Fact, Facts, Section
from ddpnas.report.commands import said_options
from ddpnas.report.measures import SPLIT_NAMES

__all__ = ["search_section"]

_MOST_CLASSES = 20


def search_section(view: View) -> Section:
    """Return space, data, strategy and scoring of the search."""
    run = view.run
    options = said_options(run.config.space_options)
    facts = [Fact("space", run.space_name)]
    if options:
        facts.append(Fact("space options", _listed(options)))
    size = run.decision_space.valid_size or run.decision_space.size
    facts.append(
        Fact("decisions", f"{len(run.decision_space.decisions)}", len(run.decision_space.decisions))
    )
    facts.append(Fact("architectures", _big(size), float(size) if size < 1e300 else None))
    facts.append(Fact("data", run.data_name))
    if run.data_about:
        classes = run.data_about["classes"]
        shape = " x ".join(map(str, run.data_about["input_shape"]))
        items = ", ".join(
            f"{count:,} {SPLIT_NAMES[name]}" for name, count in run.data_about["items"].items()
        )
        facts.append(Fact("items", f"{items}; each of {shape} values"))
        facts.append(Fact("classes", ", ".join(classes[:_MOST_CLASSES]) + _more(classes)))
    strategy = run.strategy_name
    if run.config.strategy_options:
        strategy += f" ({_listed(said_options(run.config.strategy_options))})"
    facts.append(Fact("strategy", strategy))
    facts.append(Fact("seed", str(run.config.seed), run.config.seed))
    planned = f" of {run.planned}" if run.planned is not None and not run.finished else ""
    facts.append(
        Fact("evaluations", f"{len(run.history)}{planned}", len(run.history)),
    )
    rules = [rule.says for rule in run.decision_space.rules]
    if rules:
        more = f"; and {len(rules) - 2} similar rules" if len(rules) > 2 else ""
        facts.append(Fact("rules", "; ".join(rules[:2]) + more))
    words = (_how(view), "The search did not use the test images.")
    return Section("searched", "What was searched", words, (Facts(tuple(facts)),))


def _how(view: View) -> str:
    evaluator, options = view.run.config.evaluator, view.run.config.evaluator_options
    if evaluator == "standalone":
        return (
            f"Every architecture was trained on its own for {options['epochs']} epochs (recipe "
            f"{options['recipe']}) and then scored on the validation images."
        )
    if evaluator == "table":
        return f"Scores are the {view.run.judged_by}; no network was trained on these images."
    if evaluator != "supernet":
        listed = f" ({_listed(said_options(options))})" if options else ""
        return f"Scores came from the evaluator {evaluator}{listed}."
    if view.run.mixed:
        return (
            "A mixture of all options was trained. After each epoch, the network that it meant was "
            "scored on the validation images, as a path through the same weights."
        )
    settings = SupernetConfig(**options)
    if settings.training == "path":
        return (
            "Every architecture was trained for one epoch as a path through shared weights and "
            "then scored on the validation images."
        )
    words = (
        f"All architectures share weights, which were trained in mode {settings.training}. "
        f"Architectures were then scored in batches on the validation images."
    )
    if settings.weight_of_proxies > 0:
        words += (
            f" The score includes two measures of the untrained network, NASWOT and synflow, with "
            f"weight {settings.weight_of_proxies:g}."
        )
    return words


def _more(classes: Sequence[str]) -> str:
    more = len(classes) - _MOST_CLASSES
    return f" and {more} more" if more > 0 else ""


def _listed(options: dict[str, object]) -> str:
    return ", ".join(f"{name} {_plain(value)}" for name, value in options.items())


def _plain(value: object) -> str:
    return " x ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _big(number: int) -> str:
    if number < 1e9:
        return f"{number:,}"
    power = int(math.log10(number))
    return f"about {number / 10**power:.1f} x 10^{power}"
