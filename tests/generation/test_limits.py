"""Limits: what is read, what is refused, and that texts and files give them back."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddpnas import CostTable, JointDistribution, frontier, generate, top_k
from ddpnas.errors import OptionError
from ddpnas.generation import Limit, parse_limits, sample_within
from ddpnas.generation.limits import checked_limits
from ddpnas.space import Decision, DecisionSpace

ENDS = st.floats(allow_nan=False, allow_infinity=False)
LIMITS = st.one_of(
    st.builds(lambda up: Limit(upper=up), ENDS),
    st.builds(lambda low: Limit(lower=low), ENDS),
    st.builds(lambda a, b: Limit(min(a, b), max(a, b)), ENDS, ENDS),
    st.just(Limit()),
)


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        (5, Limit(-math.inf, 5)),
        ((2, 5.5), Limit(2, 5.5)),
        ((2, math.inf), Limit(lower=2)),
        (Limit(1, 2), Limit(1, 2)),
        ("20M", Limit(upper=20e6)),
        (" <= 1.5k ", Limit(upper=1500)),
        ("=2G", Limit(upper=2e9)),
        (">=10M", Limit(lower=10e6)),
        ("10M..20M", Limit(10e6, 20e6)),
        ("= -2 .. -1", Limit(-2, -1)),
        ("..5", Limit(upper=5)),
        ("5..", Limit(lower=5)),
        ("20,000,000", Limit(upper=20e6)),
        ("1e3", Limit(upper=1000)),
        (">=-1,234.5K", Limit(lower=-1234500)),
        ("1,000..12,000.25", Limit(1000, 12000.25)),
    ],
)
def test_numbers_pairs_and_texts_are_read(given, limit):
    assert Limit.parse(given) == limit
    assert parse_limits({"macs": given}) == {"macs": limit}


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("macs=20M", Limit(upper=20e6)),
        ("macs<=1.5k", Limit(upper=1500)),
        ("macs>=10M", Limit(lower=10e6)),
        (" macs = 10M..20M", Limit(10e6, 20e6)),
        ("macs=-2..-1", Limit(-2, -1)),
    ],
)
def test_limits_of_the_command_line_are_read(text, limit):
    assert parse_limits([text]) == {"macs": limit}


def test_percentages_are_shares_of_what_is_given():
    assert Limit.parse("50%", of=300) == Limit(upper=150)
    assert Limit.parse("25%..50%", of=300) == Limit(75, 150)
    with pytest.raises(
        OptionError, match="'50%' is a share of a network's cost, which only `ddpnas shrink`"
    ):
        Limit.parse("50%")
    assert parse_limits(["macs=50%"], of={"macs": 300}) == {"macs": Limit(upper=150)}
    with pytest.raises(OptionError, match="unknown limit 'mac': did you mean 'macs'"):
        parse_limits(["mac=50%"], of={"macs": 300})


@pytest.mark.parametrize("text", ["", "x", "1..x", ">=1..2", "inf", "nan", "==3", "1..2..3", "%"])
def test_what_is_no_limit_is_refused(text):
    with pytest.raises(OptionError, match="cannot read the limit|is a share"):
        Limit.parse(text)
    with pytest.raises(OptionError, match="limit on macs: "):
        parse_limits({"macs": text})


@pytest.mark.parametrize("number", ["1,5M", "2,5", "12,34", "1,0000", "1234,567", ",5", "1,,000",
                                    "0,000,5", "1,000.5,5", "1.5,000", "5,"])  # fmt: skip
def test_a_decimal_comma_is_refused(number):
    for text in (number, f">={number}", f"0..{number}", f"{number}.."):
        with pytest.raises(OptionError, match="cannot read the limit"):
            Limit.parse(text)


@pytest.mark.parametrize("ends", [(3, 2), (math.nan, 1), (1, math.nan), (math.inf, math.inf)])
def test_ends_that_allow_nothing_are_refused(ends):
    with pytest.raises(OptionError, match="cannot range from"):
        Limit(*ends)


def test_a_text_without_a_cost_and_a_cost_limited_twice_are_refused():
    for text in ("macs", "=3", "20M"):
        with pytest.raises(OptionError, match="such as macs=20M, macs>=10M or macs="):
            parse_limits([text])
    with pytest.raises(OptionError, match="two limits on macs; write a range"):
        parse_limits(["macs<=5", "macs>=2"])


@given(LIMITS)
def test_text_and_json_give_the_same_limit(limit):
    assert Limit.parse(str(limit)) == limit
    assert parse_limits([f"macs={limit}"]) == {"macs": limit}
    assert Limit.from_json(json.loads(json.dumps(limit.to_json()))) == limit


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (Limit(upper=2e7), "at most 20,000,000"),
        (Limit(lower=0.5), "at least 0.5"),
        (Limit(10, 20), "10 to 20"),
        (Limit(), "unlimited"),
    ],
)
def test_a_limit_is_put_into_words(limit, words):
    assert limit.describe() == words


@given(LIMITS, ENDS)
def test_a_cost_is_within_a_limit_where_its_margin_is_not_negative(limit, cost):
    assert limit.holds(cost) == (limit.margin(cost) >= 0)


def test_a_limit_needs_a_table():
    with pytest.raises(OptionError, match="did you mean 'macs'"):
        checked_limits({"mac": 5}, {"macs": CostTable("macs", "MACs", 0, {})})


def test_python_takes_the_texts_of_the_command_line():
    space = DecisionSpace([Decision("a", ("0", "1", "2")), Decision("b", ("0", "1", "2"))])
    uniform = JointDistribution.uniform(space.decisions)
    terms = {((d, o),): 1000 * int(o) for d in "ab" for o in "012"}
    costs = {"macs": CostTable("macs", "MACs", 0, terms)}
    limits = {"macs": "1K..2K"}
    assert generate(uniform, space, limits, costs).limits == {"macs": Limit(1000, 2000)}
    assert all(1000 <= one.costs["macs"] <= 2000 for one in top_k(uniform, space, 9, limits, costs))
    assert [p.costs["macs"] for p in frontier(uniform, space, "macs", limits, costs)] == [1000]
    assert (
        1000
        <= costs["macs"].cost(sample_within(space, limits, costs, np.random.default_rng(0)))
        <= 2000
    )


def test_one_limit_is_read_from_a_text():
    assert parse_limits("macs=20M") == parse_limits({"macs": 2e7})
