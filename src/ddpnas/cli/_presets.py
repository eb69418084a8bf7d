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


# Evolution as in Single Path One-Shot, with the defaults of the strategy.
_EVOLUTION: dict[str, Any] = {"strategy": "genetic", "evaluator": "supernet"}

# MobileNetV3 in which kernels, expansions, depths and widths share their weights.
_ELASTIC: dict[str, Any] = {
    **_EVOLUTION,
    "space": "elastic-mobilenet-v3",
    "evaluator_options": {
        "training": "sandwich",
        "score": "accuracy",
        "proxy_weight": 0.0,
        "clip": 1.0,
    },
}

PRESETS = {
    "bignas": Preset(
        "BigNAS: trains the largest, the smallest and two random networks in every step, the "
        "smaller ones with the largest as teacher, then evolves by accuracy",
        {**_ELASTIC, "space_options": {"factors": [0.75, 1.0, 1.25]}},
    ),
    "da-nas": Preset(
        "In the manner of DA-NAS: trains on classes from easy to hard, drops 40 % of the options "
        "after each of three stages, and adds the expected cost to the loss",
        {
            "strategy": "proxyless",
            "strategy_options": {
                "epochs": 70,
                "warmup": 1 / 7,
                "pruning": "share",
                "cost": "macs",
            },
            "evaluator": "supernet",
            "sieve": "curriculum",
            "sieve_options": {"warmup": 1 / 7},
        },
    ),
    "fairnas": Preset(
        "FairNAS: trains every option in every step, then evolves by accuracy",
        {
            **_EVOLUTION,
            "evaluator_options": {"training": "fair", "score": "accuracy", "proxy_weight": 0.0},
        },
    ),
    "ofa": Preset(
        "Once-for-All: as bignas, but trains the largest network alone first, then opens kernels, "
        "depths and expansions one after another",
        {
            **_ELASTIC,
            "evaluator_options": {
                **_ELASTIC["evaluator_options"],
                "phases": ["kernel", "depth", "expansion"],
            },
        },
    ),
    "paper": Preset(
        "DDPNAS as published: trains each path for one epoch, then scores it",
        {
            "strategy": "ddpnas-paper",
            "evaluator": "supernet",
            "evaluator_options": {"training": "path", "score": "accuracy"},
        },
    ),
    "rmi": Preset(
        "RMI-NAS: trains on one batch next to a teacher; a random forest picks what to score",
        {"strategy": "forest", "evaluator": "rmi"},
    ),
    "spos": Preset(
        "Single Path One-Shot: trains a random path in every step, then evolves by accuracy",
        {
            **_EVOLUTION,
            "evaluator_options": {"training": "uniform", "score": "accuracy", "proxy_weight": 0.0},
        },
    ),
    "tiered": Preset(
        "In the manner of Tiered Pruning: runs two values of a width at a time, drops options "
        "below a rising bar and layers that are likely skipped, and adds the expected cost to "
        "the loss",
        {
            "strategy": "proxyless",
            "strategy_options": {
                "widths": "prunode",
                "pruning": "threshold",
                "layers": True,
                "cost": "macs",
            },
            "evaluator": "supernet",
        },
    ),
}
"""The presets by name, which ``ddpnas strategies`` lists."""
