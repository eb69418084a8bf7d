"""Presets of ``ddpnas search``: published methods as options of what there is."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["PRESETS", "Preset"]


class Preset(NamedTuple):
    """Options of a search under a name.

    Attributes:
        about: What it is, in a line.
        options: What a configuration file would hold.
    """

    about: str
    options: dict[str, Any]


# Evolution as in Single Path One-Shot: a population of 50 and 1,000 scores.
_EVOLUTION = {
    "strategy": "regularized-evolution",
    "strategy_options": {"evaluations": 1000, "population": 50, "sample": 10},
    "evaluator": "supernet",
}

PRESETS = {
    "fairnas": Preset(
        "FairNAS: every option is trained in every step, then evolution by accuracy",
        {
            **_EVOLUTION,
            "evaluator_options": {"training": "fair", "score": "accuracy", "proxy_weight": 0.0},
        },
    ),
    "paper": Preset(
        "DDPNAS as published: each path is trained for one epoch and then scored",
        {
            "strategy": "ddpnas-paper",
            "evaluator": "supernet",
            "evaluator_options": {"training": "path", "score": "accuracy"},
        },
    ),
    "rmi": Preset(
        "RMI-NAS: trained on one batch next to a teacher; a random forest picks what to score",
        {"strategy": "forest", "evaluator": "rmi"},
    ),
    "spos": Preset(
        "Single Path One-Shot: a random path is trained in every step, then evolution by accuracy",
        {
            **_EVOLUTION,
            "evaluator_options": {"training": "uniform", "score": "accuracy", "proxy_weight": 0.0},
        },
    ),
}
"""The presets by name, which ``ddpnas strategies`` lists."""
