import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ddpnas import Architecture, Rule, SearchSpace
from ddpnas.errors import ArchitectureError, SpaceError
from ddpnas.space import Decision, DecisionSpace

from ..conftest import published_space

SPACE = DecisionSpace(
    [
        Decision("kernel", ("3", "5", "7"), values=(3, 5, 7)),
        Decision("depth", ("1", "2")),
        Decision("second", ("conv", "pool"), active_when=(("depth", "2"),)),
        Decision("inner", ("a", "b"), active_when=(("second", "conv"),)),
    ]
)


def test_an_architecture_is_a_hashable_mapping_that_ignores_order():
    one = Architecture({"kernel": "3", "depth": "2"})
    other = Architecture({"depth": "2", "kernel": "3"})
    assert one == other and hash(one) == hash(other) and one["kernel"] == "3"
    assert one != Architecture({"depth": "1", "kernel": "3"})
    assert json.loads(json.dumps(dict(one))) == {"kernel": "3", "depth": "2"}


@given(st.integers(0, SPACE.size - 1))
def test_encode_and_format_are_inverted_by_decode_and_parse(number):
    indices = np.unravel_index(number, [len(d.options) for d in SPACE.decisions])
    architecture = SPACE.decode([int(i) for i in indices])
    assert SPACE.encode(architecture) == tuple(indices)
    assert SPACE.parse(SPACE.format(architecture)) == architecture


def test_values_order_a_decision_so_that_neighbors_are_one_step_away():
    kernel, depth, *_ = SPACE.decisions
    assert kernel.ordered and [kernel.neighbors(i) for i in range(3)] == [[1], [0, 2], [1]]
    assert not depth.ordered
    pool = Decision("pool", tuple("abcd"))
    assert pool.neighbors(1) == [0, 2, 3]


@pytest.mark.parametrize("values", [(1,), (1, 1), (2, 1), (1, 2, 3), (1.0, math.nan)])
def test_values_are_one_increasing_number_for_each_option(values):
    with pytest.raises(SpaceError, match="decision 'd' needs one value for each of its 2 options"):
        Decision("d", ("a", "b"), values=values)


def test_size_counts_all_combinations():
    assert SPACE.size == 3 * 2 * 2 * 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kernel=3;depth=2;second=conv", "does not decide inner"),
        ("kernel=9;depth=2;second=conv;inner=a", "known: 3, 5, 7"),
        ("kernal=3;depth=2;second=conv;inner=a", "did you mean 'kernel'"),
        ("nonsense", "the form is"),
        ("kernel=3;kernel=5;depth=2;second=conv;inner=a", "given twice"),
    ],
)
def test_what_is_wrong_with_an_architecture_is_said(text, says):
    with pytest.raises(ArchitectureError, match=says):
        SPACE.parse(text)


def test_decode_refuses_indices_out_of_range():
    with pytest.raises(ArchitectureError, match="out of range"):
        SPACE.decode([0, 2, 0, 0])
    with pytest.raises(ArchitectureError, match="4 decisions"):
        SPACE.decode([0])


def test_nested_decisions_are_active_only_under_all_their_parents():
    def active(depth, second):
        return SPACE.active({"kernel": "3", "depth": depth, "second": second, "inner": "a"})

    assert active("1", "conv") == ("kernel", "depth")
    assert active("2", "pool") == ("kernel", "depth", "second")
    assert active("2", "conv") == ("kernel", "depth", "second", "inner")


def test_samples_are_uniform_over_what_the_rules_allow():
    rule = Rule({("a", "1"): 1, ("b", "1"): 1}, "at least one of a and b is 1", lower=1)
    space = DecisionSpace([Decision("a", ("0", "1")), Decision("b", ("0", "1"))], [rule])
    rng = np.random.default_rng(0)
    drawn = [space.encode(space.sample(rng)) for _ in range(3000)]
    counts = {pair: drawn.count(pair) for pair in set(drawn)}
    assert set(counts) == {(0, 1), (1, 0), (1, 1)}
    assert all(900 < count < 1100 for count in counts.values())
    with pytest.raises(ArchitectureError, match="at least one of a and b"):
        space.check({"a": "0", "b": "0"})


@pytest.mark.parametrize(
    ("decisions", "rules", "says"),
    [
        ([], [], "no decisions"),
        ([Decision("a", ("x",)), Decision("a", ("y",))], [], "same name"),
        ([Decision("a", ())], [], "at least one"),
        ([Decision("a", ("x", "x"))], [], "distinct"),
        ([Decision("a", ("x",))], [Rule({("b", "x"): 1}, "b first", lower=1)], "b first"),
    ],
)
def test_a_space_that_contradicts_itself_is_refused(decisions, rules, says):
    with pytest.raises(SpaceError, match=says):
        DecisionSpace(decisions, rules)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("darts", {"channels": 2, "cells": 3, "input_shape": (3, 8, 8)}),
        ("mnasnet", {}),
        ("toy", {}),
    ],
)
def test_decisions_and_rules_survive_json(name, options):
    space = published_space(name, **options)
    again = DecisionSpace.from_dict(json.loads(json.dumps(space.to_dict())))
    assert again.decisions == space.decisions and again.rules == space.rules
    assert again.valid_size == space.valid_size


@pytest.mark.parametrize("name", ["a;b", ";", " a", "a ", " ", "\u00a0a"])
def test_names_that_a_text_form_would_lose_are_refused(name):
    for names in ((name, ("a", "b")), ("a", ("b", name))):
        with pytest.raises(SpaceError, match="has the name .*, which (has a semi|begins or ends)"):
            Decision(*names)

        def network(choose, names=names):
            return choose(names[0], dict.fromkeys(names[1], nn.Identity))

        with pytest.raises(SpaceError, match="has the name .*, which (has a semi|begins or ends)"):
            SearchSpace(network, (1,))


@pytest.mark.parametrize("name", ["", "a=b"])
def test_a_decision_has_a_name_that_ends_at_the_equals_sign(name):
    with pytest.raises(SpaceError, match="a name without '=', not"):
        Decision(name, ("a", "b"))
    kept = DecisionSpace([Decision("d", ("a=b", "", "a b"))])
    for option in kept.decisions[0].options:
        assert kept.parse(kept.format({"d": option}))["d"] == option


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "caf\udce9", "a\u2028b", "\x00"])
def test_names_that_no_line_can_hold_are_refused(name):
    for names in ((name, ("a", "b")), ("a", ("b", name))):
        with pytest.raises(SpaceError, match="has the name .*, which "):
            Decision(*names)
