import numpy as np
import pytest

from benchmarks.strategy_risk import Truth, pruned, reliability, unpruned
from ddpnas.benchmarks.synthetic import make_table

TABLE = make_table(0, (3, 4, 2), single=1.0, noise=0.1)
TRUTH = Truth(TABLE, TABLE.test[1])


def test_the_truth_is_the_best_of_what_survives():
    best = np.unravel_index(TABLE.test[1].argmax(), (3, 4, 2))
    alive = tuple(np.ones(k, dtype=bool) for k in (3, 4, 2))
    shares = TRUTH.shares(alive)
    assert [int(row.argmax()) for row in shares] == list(best)
    assert all(row.tolist().count(1.0) == 1 for row in shares)
    alive[1][best[1]] = False
    assert TRUTH.shares(alive)[1][best[1]] == 0.0


def test_equally_good_architectures_count_in_equal_parts():
    equal = Truth(TABLE, np.ones(24))
    shares = equal.shares(tuple(np.ones(k, dtype=bool) for k in (3, 4, 2)))
    assert all(row == pytest.approx(1 / len(row)) for row in shares)


def test_stated_and_observed_of_every_option_are_compared_by_bin():
    pairs = unpruned(TABLE, TABLE.valid[1], TRUTH, seed=0)
    assert len(pairs) == 3 * 9
    rows = reliability(pairs)
    assert sum(row["options"] for row in rows) == 27
    assert all(row["from"] <= row["stated"] <= row["to"] for row in rows)
    options, stated, lost = pruned(TABLE, TABLE.valid[1], TRUTH, seed=0, max_risk=0.05)
    assert 0 < options <= 6 and 0 < stated <= 0.05 * options and lost == 0.0
