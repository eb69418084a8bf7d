"""Times of operations that were not timed, from those of other sizes."""

import numpy as np
import pytest

from ddpnas.costs._interpolation import completed_times, interpolation_error, timing_order
from ddpnas.costs._operations import Operation

SQUARE = [Operation((), (), (a, b)) for a in range(4, 68, 4) for b in range(4, 68, 4)]
OTHER = [Operation((), ((0, 1),), (a,)) for a in (2, 4)]


def time_of(operation):
    return 0.01 + 1e-4 * float(np.prod(operation.sizes))


def test_every_operation_has_its_turn_and_families_take_turns():
    needed, optional = timing_order([*SQUARE, *OTHER])
    assert sorted(map(repr, (*needed, *optional))) == sorted(map(repr, (*SQUARE, *OTHER)))
    assert [o.sizes for o in needed] == [(4, 4), (2,), (64, 64), (4,), (4, 64)]
    assert timing_order([*SQUARE, *OTHER]) == (needed, optional)


def test_what_was_timed_stays_and_the_rest_lies_between():
    needed, optional = timing_order([*SQUARE, *OTHER])
    times = {o.name: time_of(o) for o in (*needed, *optional[:40])}
    found = completed_times([*SQUARE, *OTHER], times)
    assert found.keys() == {o.name for o in (*SQUARE, *OTHER)}
    assert times.items() <= found.items()
    errors = [abs(found[o.name] / time_of(o) - 1) for o in optional[40:]]
    assert max(errors) < 0.1
    stated = interpolation_error([*SQUARE, *OTHER], times)
    assert len(stated) == 43 and np.mean(stated) == pytest.approx(5, abs=5)


def test_a_family_that_was_timed_as_a_whole_has_no_error():
    assert interpolation_error(OTHER, {o.name: 1.0 for o in OTHER}) == []
