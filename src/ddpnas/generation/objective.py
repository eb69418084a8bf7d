"""What is maximized: a value for every choice, whose sum over an architecture is the objective."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from ddpnas.errors import OptionError, SpaceError, nearest
from ddpnas.space.decisions import DecisionSpace
from ddpnas.space.distribution import JointDistribution
from ddpnas.utils.shapes import shown

__all__ = ["Objective", "objective_name", "objective_rows", "objective_value", "whole_rows"]

Vector = npt.NDArray[np.float64]

# "log_theta", "theta", or a value for each (decision, option); one that is not listed counts 0.
Objective = str | Mapping[tuple[str, str], float]


def objective_name(objective: Objective) -> str:
    """Return "log_theta", "theta", or "score" for given values.

    Example:
        >>> objective_name("theta"), objective_name({("op", "conv"): 0.5})
        ('theta', 'score')
    """
    return objective if isinstance(objective, str) else "score"


def objective_rows(
    objective: Objective, distribution: JointDistribution, space: DecisionSpace
) -> list[Vector]:
    """Return the value of every option of every decision, all finite: an array for each decision.

    The log theta of an option of probability 0 is a penalty larger than everything that other
    choices can gain together, so that as few such options as possible are chosen.

    Args:
        objective: "log_theta", "theta", or values by (decision, option).
        distribution: Gives theta.
        space: The decisions.

    Raises:
        OptionError: The objective is unknown, or a value is not finite.
        ArchitectureError: A value is for a choice that the space lacks.
        SpaceError: The distribution is over other decisions.
    """
    ours, theirs = ([(d.name, d.options) for d in x.decisions] for x in (space, distribution))
    if ours != theirs:
        raise SpaceError("the distribution is over other decisions than the space has")
    if not isinstance(objective, str):
        return _given_rows(objective, space)
    rows = list(distribution.rows)
    if objective == "theta":
        return rows
    if objective != "log_theta":
        raise OptionError(nearest("objective", objective, ["log_theta", "theta"]))
    logs = [np.log(row[row > 0]) for row in rows]
    penalty = 1.0 + math.fsum(float(log.max() - log.min()) for log in logs if log.size)
    values = []
    for row, log in zip(rows, logs, strict=True):
        value = np.full(row.shape, (log.max() if log.size else 0.0) - penalty)
        value[row > 0] = log
        values.append(value)
    return values


def _given_rows(values: Mapping[tuple[str, str], float], space: DecisionSpace) -> list[Vector]:
    rows = [np.zeros(len(decision.options)) for decision in space.decisions]
    position = {decision.name: i for i, decision in enumerate(space.decisions)}
    given: Mapping[Any, Any] = values
    for pair, value in given.items():
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise OptionError(
                f"an objective must give values to pairs (decision, option), not to {shown(pair)}"
            )
        name, option = pair
        decision = space[name]
        if not isinstance(value, Real) or not math.isfinite(value):
            raise OptionError(f"the value of {option!r} for decision {name!r} is {shown(value)}")
        rows[position[name]][decision.index(option)] = value
    return rows


def objective_value(
    rows: Sequence[Vector], space: DecisionSpace, architecture: Mapping[str, str]
) -> float:
    """Return the objective of an architecture, the sum of its choices' values.

    Args:
        rows: See :func:`objective_rows`.
        space: The decisions.
        architecture: An option for every decision.
    """
    chosen = zip(rows, space.encode(architecture), strict=True)
    return math.fsum(float(row[i]) for row, i in chosen)


def whole_rows(rows: list[Vector]) -> list[Vector]:
    """Return the values in whole steps of 2**-51 of their largest sum.

    Sums of whole numbers below 2**53 are exact in any order. Equal sums of different values may
    still end a step apart for each of them, since every value is rounded by itself.

    Args:
        rows: See :func:`objective_rows`.

    Example:
        >>> [row.tolist() for row in whole_rows([np.array([0.5, 1.0]), np.array([1.0])])]
        [[562949953421312.0, 1125899906842624.0], [1125899906842624.0]]
    """
    total = math.fsum(float(np.abs(row).max()) for row in rows)
    step = 2.0 ** math.ceil(math.log2(total / 2.0**51)) if total > 0 else 1.0
    return [np.round(row / step) for row in rows]
