"""Times of operations that were not timed, from those that differ from them in sizes alone.

Within a family the logarithm of the time is interpolated over the logarithms of the sizes, linearly
between neighbors (radial basis functions with a linear kernel, as in ``scipy.interpolate``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ddpnas.costs._operations import Operation

__all__ = ["completed_times", "interpolation_error", "timing_order"]

FIRST = 3  # operations of each family that are timed in any case: the ends, and one between them
_FOLDS = 5

Times = Mapping[str, float]
Points = npt.NDArray[np.float64]


def timing_order(operations: Iterable[Operation]) -> tuple[list[Operation], list[Operation]]:
    """Return the operations that have to be timed, and the others in the order of their worth.

    Families take turns. Within one, the next is always the one furthest from those before it.

    Args:
        operations: All operations, each once.
    """
    turns: list[list[Operation]] = []
    for family in _families(operations).values():
        points = _points(family)
        order = [int(points.sum(axis=1).argmin())]
        distances = np.full(len(family), np.inf)
        while len(order) < len(family):
            distances = np.minimum(distances, np.linalg.norm(points - points[order[-1]], axis=1))
            distances[order] = -1
            order.append(int(distances.argmax()))
        for turn, position in enumerate(order):
            turns += [[] for _ in range(turn + 1 - len(turns))]
            turns[turn].append(family[position])
    needed = [operation for turn in turns[:FIRST] for operation in turn]
    return needed, [operation for turn in turns[FIRST:] for operation in turn]


def completed_times(operations: Iterable[Operation], times: Times) -> dict[str, float]:
    """Return the time of every operation by its name.

    Args:
        operations: All operations, each once.
        times: The times of some, with those that have to be timed among them.

    Example:
        >>> two, four, eight = (Operation((), (), (n,)) for n in (2, 4, 8))
        >>> found = completed_times([two, four, eight], {two.name: 0.1, eight.name: 0.4})
        >>> round(found[four.name], 3)
        0.2
    """
    found: dict[str, float] = {}
    for family in _families(operations).values():
        known = [operation for operation in family if operation.name in times]
        unknown = [operation for operation in family if operation.name not in times]
        found |= {operation.name: times[operation.name] for operation in known}
        if unknown:
            given = [times[operation.name] for operation in known]
            guessed = _interpolated(_points(known), given, _points(unknown))
            found |= zip((operation.name for operation in unknown), guessed, strict=True)
    return found


def interpolation_error(operations: Iterable[Operation], times: Times) -> list[float]:
    """Return the errors, in percent, with which timed operations are told from the others.

    Args:
        operations: All operations, each once.
        times: The times of some. Families that were timed as a whole have no errors.
    """
    errors: list[float] = []
    for family in _families(operations).values():
        known = [operation for operation in family if operation.name in times]
        if len(known) == len(family) or len(known) < 2:
            continue
        points = _points(known)
        given = np.array([times[operation.name] for operation in known])
        folds = np.random.default_rng(0).permutation(len(known)) % min(_FOLDS, len(known))
        for fold in np.unique(folds):
            out = folds == fold
            guessed = _interpolated(points[~out], given[~out].tolist(), points[out])
            errors += (100 * np.abs(guessed / np.maximum(given[out], 1e-9) - 1)).tolist()
    return errors


def _families(operations: Iterable[Operation]) -> dict[Any, list[Operation]]:
    families: dict[Any, list[Operation]] = {}
    for operation in operations:
        families.setdefault(operation.family, []).append(operation)
    return families


def _points(operations: Sequence[Operation]) -> Points:
    """Return the logarithms of the sizes, an operation in a row."""
    sizes = np.array([operation.sizes for operation in operations], dtype=np.float64)
    return np.log(np.maximum(sizes.reshape(len(operations), -1), 1.0))


def _interpolated(points: Points, times: Sequence[float], wanted: Points) -> list[float]:
    """Return the times at wanted points."""
    from scipy.interpolate import RBFInterpolator

    logs = np.log(np.maximum(times, 1e-9))
    if len(points) == 1:
        return [float(np.exp(logs[0]))] * len(wanted)
    return np.exp(RBFInterpolator(points, logs, kernel="linear")(wanted)).tolist()  # type: ignore[no-any-return]
