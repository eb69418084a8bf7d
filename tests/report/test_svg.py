import itertools
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddpnas.report.svg import MARKS, Axis, Chart, mark_shape, ticks

HOSTILE = "<script>alert('&')</script>\""


@given(st.floats(-1e4, 1e4), st.floats(1e-2, 1e6), st.integers(1, 10))
def test_ticks_are_evenly_spaced_within_the_range_and_not_too_many(low, width, most):
    found = ticks(low, low + width, most)
    assert len(found) <= most + 1
    assert all(low - 1e-6 * width <= t <= low + width * (1 + 1e-6) for t in found)
    steps = [b - a for a, b in itertools.pairwise(found)]
    assert not steps or max(steps) - min(steps) < 1e-6 * width


def test_an_axis_of_one_value_is_still_a_range():
    for value in (0.0, 0.7, -3.0):
        assert Axis("x", value, value).share(value) == pytest.approx(0.5)


def test_a_chart_is_well_formed_and_carries_foreign_text_as_text():
    chart = Chart(HOSTILE, HOSTILE, Axis(HOSTILE, 0, 5), Axis("", 0, 1))
    chart.band(0, 5, HOSTILE, shaded=True)
    chart.line([(0, 0), (5, 1)], 1)
    chart.steps([(0, 0), (5, 1)], 2)
    chart.area([(0, 0, 1), (5, 0, 1)], 6)
    chart.upright(4, HOSTILE)
    for mark in MARKS:
        chart.dot(1, 0.5, 1, HOSTILE, mark=mark)
    text = chart.text([(0.5, HOSTILE)])
    root = ElementTree.fromstring(text)
    assert root.get("role") == "img" and root.get("aria-label").startswith(HOSTILE)
    assert not list(root.iter("script")) and text.count("<polyline") == 2


def test_every_mark_is_another_shape():
    assert len({mark_shape(mark, 4) for mark in MARKS}) == len(MARKS)
