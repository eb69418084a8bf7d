"""Widths that share layers: joint costs of two or three decisions, solved exactly by both ways."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddpnas import CostTable, JointDistribution, frontier, generate, top_k
from ddpnas.errors import InfeasibleError
from ddpnas.generation import sample_within
from ddpnas.generation._diagram import Diagram
from ddpnas.generation._paths import best_paths
from ddpnas.generation._problem import Problem
from ddpnas.generation.limits import Limit, checked_limits
from ddpnas.generation.objective import objective_value
from ddpnas.space import Decision, DecisionSpace
from tests.generation.problems import everything, within


def table(name, decisions, products):
    """Return a table of products: (factor, names of widths, further choices) each."""
    sizes = {d.name: d.values for d in decisions if d.values}
    options = {d.name: d.options for d in decisions}
    terms = {}
    for factor, names, choices in products:
        for chosen in itertools.product(*(range(len(sizes[n])) for n in names)):
            picked = {n: i for n, i in zip(names, chosen, strict=True)}
            cost = factor * math.prod(sizes[n][i] for n, i in picked.items())
            key = tuple(sorted({*choices, *((n, options[n][i]) for n, i in picked.items())}))
            terms[key] = terms.get(key, 0) + cost
    return CostTable(name, "units", 7, terms)


@st.composite
def coupled(draw):
    """Return (space, rows, costs, limits): a random small network whose widths meet in layers.

    Layers go on from one width, from the sum of some (concatenation), from a width used before
    (residual), keep their width (depthwise), multiply three widths, or are there under an option.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(2, 5))
    decisions = []
    for i in range(count):
        sizes = np.unique(rng.integers(1, 9, draw(st.integers(2, 4))) * int(rng.choice([1, 4])))
        decisions.append(Decision(f"w{i}", tuple(map(str, sizes)), values=tuple(map(int, sizes))))
    nested = draw(st.booleans())
    if nested:
        decisions.append(Decision("block", ("plain", "deep")))
        decisions[-2] = Decision(
            decisions[-2].name, decisions[-2].options, (("block", "deep"),), decisions[-2].values
        )
    under = {decisions[count - 1].name: (("block", "deep"),)} if nested else {}
    names = [f"w{i}" for i in range(count)]
    kinds = ["chain", "residual", "concat", "depthwise", "three"]
    macs, params = [], []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(kinds))
        some = [names[i] for i in rng.permutation(count)]
        pixels = int(rng.choice([1, 16, 49, 1024]))
        if kind == "chain":
            layers = [tuple(some[i : i + 2]) for i in range(count - 1)]
        elif kind == "residual":
            layers = [(some[0], other) for other in some[1:]]
        elif kind == "concat":
            layers = [(some[i], some[j]) for i in range(count) for j in range(i)]
        elif kind == "depthwise":
            layers = [(some[0],), (some[0], some[1])]
        else:
            layers = [tuple(some[:3])]
        for layer in layers:
            choices = tuple(c for name in layer for c in under.get(name, ()))
            macs.append((9 * pixels, layer, choices))
            params.append((9, layer, choices))
            params.append((2, layer[:1], under.get(layer[0], ())))
    costs = {"macs": table("macs", decisions, macs), "params": table("params", decisions, params)}
    space = DecisionSpace(decisions)
    rows = [np.round(rng.random(len(d.options)), draw(st.integers(1, 9))) for d in decisions]
    limits = {}
    for name in draw(st.sampled_from([("macs",), ("params", "macs")])):
        reachable = sorted(costs[name].cost(a) for a in everything(space))
        end = reachable[draw(st.integers(0, len(reachable) - 1))]
        end -= draw(st.sampled_from([0, 0, 0, 1]))
        limits[name] = (reachable[len(reachable) // 3], end) if draw(st.booleans()) else end
        if isinstance(limits[name], tuple) and limits[name][0] > end:
            limits[name] = end
    return space, rows, costs, limits


def by_value(space, rows, costs, limits):
    """Return the values of everything within the limits, the largest first; a network once."""
    best = {}
    for one in everything(space):
        if within(one, costs, limits):
            network, value = space.canonical(one), objective_value(rows, space, one)
            best[network] = max(value, best.get(network, value))
    return sorted(best.values(), reverse=True)


METHODS = pytest.mark.parametrize("method", ["auto", "program"])


@METHODS
@settings(max_examples=20)
@given(problem=coupled())
def test_the_best_of_coupled_widths_is_what_brute_force_finds(method, problem):
    check_the_best(method, problem)


@pytest.mark.slow
@METHODS
@settings(max_examples=500)
@given(problem=coupled())
def test_the_best_of_very_many_coupled_widths(method, problem):
    check_the_best(method, problem)


def check_the_best(method, problem):
    space, rows, costs, limits = problem
    expected = by_value(space, rows, costs, limits)
    solver = Problem(space, {name: costs[name] for name in limits}, method=method)
    networks = {}
    for one, bound in solver.best(rows, checked_limits(limits, costs)):
        assert within(one, costs, limits)
        networks.setdefault(space.canonical(one), objective_value(rows, space, one))
        assert bound <= max(networks.values()) + (1e-6 if method == "program" else 1e-9)
        if len(networks) == 4:
            break
    assert list(networks.values()) == pytest.approx(expected[:4], abs=1e-9)


@settings(max_examples=15)
@given(coupled(), st.randoms(use_true_random=False))
def test_every_way_to_generate_keeps_the_limits_of_coupled_widths(problem, random):
    space, rows, costs, limits = problem
    expected = by_value(space, rows, costs, limits)
    uniform = JointDistribution.uniform(space.decisions)
    worth = {
        (d.name, option): float(v)
        for d, row in zip(space.decisions, rows, strict=True)
        for option, v in zip(d.options, row, strict=True)
    }
    given_ = (limits, costs)
    rng = np.random.default_rng(random.randrange(2**32))
    if not expected:
        for ask in (
            lambda: generate(uniform, space, *given_, objective=worth),
            lambda: frontier(uniform, space, "macs", *given_, objective=worth),
            lambda: sample_within(space, *given_, rng, tries=2),
        ):
            with pytest.raises(InfeasibleError):
                ask()
        return
    listed = top_k(uniform, space, 3, *given_, objective=worth)
    assert [one.certificate.objective for one in listed] == pytest.approx(expected[:3], abs=1e-9)
    assert all(one.certificate.gap <= 1e-12 for one in listed)
    assert within(sample_within(space, *given_, rng, tries=2), costs, limits)
    inside = [a for a in everything(space) if within(a, costs, limits)]
    for point in frontier(uniform, space, "macs", *given_, objective=worth):
        assert within(point.architecture, costs, limits)
        cheaper = [a for a in inside if costs["macs"].cost(a) <= point.costs["macs"]]
        best = max(objective_value(rows, space, a) for a in cheaper)
        assert point.certificate.objective == pytest.approx(best, abs=1e-9)


def test_a_network_one_unit_over_a_limit_cuts_nothing_off():
    """HiGHS took choices that are made by 0.999999 for made, and what they save for enough."""
    sizes = {"a": (16, 20, 32), "b": (4, 8, 16), "c": (12, 28, 32), "d": (4, 28), "e": (20, 24)}
    decisions = [Decision(n, tuple(map(str, v)), values=v) for n, v in sizes.items()]
    space = DecisionSpace(decisions)
    macs = table("macs", decisions, [(441, ("d", "b", "c"), ()), (9216, ("d", "a", "c"), ())])
    rows = [
        np.array([0.10026901, 0.16645603, 0.76228481]), np.array([0.728, 0.695, 0.667]),
        np.array([0.78317893, 0.25417906, 0.12385323]), np.array([0.364625, 0.66045]),
        np.array([0.6827, 0.8672]),
    ]  # fmt: skip
    best = max(everything(space), key=lambda a: objective_value(rows, space, a))
    limits = {"macs": macs.cost(best) - 1}
    expected = by_value(space, rows, {"macs": macs}, limits)[0]
    solver = Problem(space, {"macs": macs}, method="program")
    one, bound = next(solver.best(rows, checked_limits(limits, {"macs": macs})))
    assert objective_value(rows, space, one) == pytest.approx(expected, abs=1e-9)
    assert bound == pytest.approx(expected, abs=1e-6)


def dense(count=12, options=4):
    """Return a chain in which each layer sees the outputs of all before it."""
    sizes = tuple(range(1, options + 1))
    decisions = [
        Decision(f"w{i}", tuple(map(str, sizes)), values=tuple(map(float, sizes)))
        for i in range(count)
    ]
    pairs = [(9, (f"w{i}", f"w{j}"), ()) for i in range(count) for j in range(i)]
    return DecisionSpace(decisions), table("macs", decisions, pairs)


def test_only_the_sum_of_concatenated_widths_is_kept():
    space, macs = dense()
    diagram = Diagram(space, [macs])
    # After t layers of widths 1 to 4 their sum is one of 3 t + 1 numbers.
    assert [layer.nodes for layer in diagram.layers] == [3 * t + 1 for t in range(12)]


@pytest.mark.parametrize("lower", [-math.inf, 3000.0])
def test_prices_from_paths_bound_as_those_from_arcs(monkeypatch, lower):
    space, macs = dense()
    rows = [np.sort(np.random.default_rng(i).integers(0, 10**6, 4)) * 1.0 for i in range(12)]
    found = []
    for most in (10**9, 0):
        monkeypatch.setattr("ddpnas.generation._prices._MOST_FLOWS", most)
        diagram = Diagram(space, [macs])
        limit = Limit(lower, 3100.0)

        def accept(options, diagram=diagram, limit=limit):
            return limit.holds(macs.cost(diagram.decode(options)))

        values = diagram.values(rows)
        paths = best_paths(diagram, values, [limit], accept, lambda options: [True] * 12)
        found.append([path.value for path in itertools.islice(paths, 3)])
        impossible = Limit(lower=3100.5, upper=3100.7)
        assert not list(best_paths(diagram, values, [impossible], accept, lambda o: [True] * 12))
    assert found[0] == found[1]


@settings(max_examples=20)
@given(problem=coupled())
def test_sums_in_a_program_are_what_they_stand_for(problem):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ddpnas.generation._milp._MANY_PRODUCTS", 0)
        check_the_best("program", problem)


def test_a_program_has_a_variable_for_each_option_that_multiplies_a_sum(monkeypatch):
    monkeypatch.setattr("ddpnas.generation._milp._MANY_PRODUCTS", 0)
    space, macs = dense(5)
    program = Problem(space, {"macs": macs}, method="program").program
    # w4 (w0 + w1 + w2 + w3) and so on; only w1 w0 is left as a product.
    assert sorted(len(one.weights) for one in program.sum) == [8, 12, 16]
    assert len(program.product) == 16 and program.width == 5 * 4 + 16 + 3 * 4


def test_products_of_a_program_have_a_row_for_each_choice():
    space, macs = dense(4)
    problem = Problem(space, {"macs": macs}, method="program")
    matrix, _, _ = problem.program._structure
    assert matrix.shape == (4 + 6 * 2 * 4, 4 * 4 + 6 * 16)
