"""The fit of a table to whole networks, and its honest error."""

import numpy as np
import pytest

from ddpnas.costs._additivity import check_additivity
from ddpnas.errors import OptionError


def test_times_that_are_a_line_of_the_sums_are_predicted_exactly():
    sums = [1.0, 2.0, 4.0, 7.0, 5.0]
    found = check_additivity(sums, [0.5 + 2 * x for x in sums])
    assert (found.overhead_ms, found.scale) == pytest.approx((0.5, 2.0))
    assert found.mape_percent < 1e-9 and found.kendall_tau == pytest.approx(1.0)
    assert found.predicted_ms == pytest.approx([0.5 + 2 * x for x in sums])
    assert found.unfitted_mape_percent > 10


def test_the_error_is_that_of_a_network_the_fit_did_not_see():
    """With an outlier, its own prediction follows the line of the others."""
    sums = [1.0, 2.0, 3.0, 4.0, 5.0]
    measured = [1.0, 2.0, 6.0, 4.0, 5.0]
    found = check_additivity(sums, measured)
    assert found.predicted_ms[2] == pytest.approx(3.0)
    assert found.worst_percent == pytest.approx(50.0)


def test_noise_gives_no_correlation_and_no_falling_line():
    rng = np.random.default_rng(1)
    found = check_additivity(rng.uniform(1, 2, 200), rng.uniform(1, 2, 200))
    low, high = found.kendall_tau_interval
    assert low < found.kendall_tau < high and low < 0
    falling = check_additivity([1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0])
    assert falling.scale > 0 and falling.overhead_ms == 0.0


def test_sums_of_nothing_leave_an_overhead_alone():
    found = check_additivity([0.0] * 4, [4.0] * 4)
    assert (found.overhead_ms, found.scale) == (pytest.approx(4.0), 1.0)
    for sums in ([0.0, 0.0, 0.0, 1.0], [-1.0, 0.0, -2.0, -1.0], [-3.0, 1.0, 0.5, 0.0]):
        disturbed = check_additivity(sums, [4.0, 4.0, 4.0, 2.0])
        assert disturbed.scale > 0 and np.isfinite(disturbed.predicted_ms).all()


def test_equal_sums_are_scaled_only_and_few_networks_are_refused():
    found = check_additivity([2.0] * 4, [4.0, 4.1, 3.9, 4.0])
    assert (found.overhead_ms, found.scale) == (0.0, pytest.approx(2.0, abs=1e-2))
    with pytest.raises(OptionError, match="at least 4 whole networks, not 3"):
        check_additivity([1.0] * 3, [1.0] * 3)
