"""The authors' options for DARTS, against their definition and against all topologies."""

import itertools

import numpy as np
import pytest

from ddpnas import CostTable, JointDistribution, create_space, frontier, generate, top_k
from ddpnas.errors import OptionError
from ddpnas.space import DecisionSpace
from ddpnas.spaces.darts_rules import darts_height, parametric_operations

from ..conftest import published_space

DARTS = published_space("darts", channels=4, cells=4, input_shape=(3, 16, 16))
NORMAL = [d for d in DARTS.decisions if d.name.startswith("normal.")]
CELL = DecisionSpace(NORMAL, [r for r in DARTS.rules if "normal" in r.says])
TOPOLOGIES = list(
    itertools.product(*(itertools.combinations(range(node), 2) for node in (2, 3, 4, 5)))
)


def architecture(topology, operations):
    """Return the cell with these (two) inputs a node and these operations, edge by edge."""
    choices = {d.name: "none" for d in NORMAL}
    edges = [f"normal.{n}<-{j}" for n, inputs in enumerate(topology, 2) for j in inputs]
    choices.update(zip(edges, operations))
    return choices


def height(topology):
    heights = [0, 0]
    for inputs in topology:
        heights.append(1 + max(heights[j] for j in inputs))
    return max(heights)


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5])
def test_the_height_rules_are_the_definition_of_height_on_all_topologies(most):
    rules = darts_height(CELL, most, ["normal"])
    for topology in TOPOLOGIES:
        cell = architecture(topology, ["skip_connect"] * 8)
        assert all(r.holds(cell) for r in CELL.rules)
        assert all(r.holds(cell) for r in rules) == (height(topology) <= most)


def best_cells(theta, costs, most, number):
    """Return {cost: objective} of the best operations of every topology of that height.

    By dynamic programming over the edges' cost and number of convolutions, a topology at a time.
    """
    best = {}
    for topology in TOPOLOGIES:
        if height(topology) > most:
            continue
        states = {(0, 0): 0.0}
        for edge, d in enumerate(NORMAL):
            node, source = d.name.split(".")[1].split("<-")
            used = int(source) in topology[int(node) - 2]
            options = [o for o in d.options if (o != "none") == used]
            after = {}
            for (paid, convs), total in states.items():
                for o in options:
                    at = (paid + costs[(d.name, o)], convs + ("conv" in o))
                    gain = total + theta[edge][d.index(o)]
                    after[at] = max(gain, after.get(at, -np.inf))
            states = after
        for (paid, convs), total in states.items():
            if convs == number:
                best[paid] = max(total, best.get(paid, -np.inf))
    return best


@pytest.mark.parametrize(("most", "number"), [(1, 6), (2, 4), (3, 8)])
def test_generation_under_both_options_is_the_best_of_all_topologies(most, number):
    rng = np.random.default_rng(most)
    rows = [rng.dirichlet(np.ones(8)) for _ in NORMAL]
    learned = JointDistribution.uniform(NORMAL).with_rows(rows)
    price = {"none": 0, "max_pool_3x3": 1, "avg_pool_3x3": 1, "skip_connect": 0}
    costs = {(d.name, o): price.get(o, 3 + i % 3) for d in NORMAL for i, o in enumerate(d.options)}
    table = CostTable("macs", "MACs", 0, {(pair,): cost for pair, cost in costs.items()})
    rules = [
        *darts_height(CELL, most, ["normal"]),
        *parametric_operations(CELL, number, ["normal"]),
    ]
    best = best_cells(learned.rows, costs, most, number)
    limit = sorted(best)[len(best) // 2]
    options = {"objective": "theta", "rules": rules}
    found = generate(learned, CELL, {"macs": limit}, {"macs": table}, **options)
    reachable = [value for paid, value in best.items() if paid <= limit]
    assert found.certificate.objective == pytest.approx(max(reachable), abs=1e-9)
    curve = frontier(learned, CELL, "macs", None, {"macs": table}, **options)
    expected, highest = [], -np.inf
    for paid in sorted(best):
        if best[paid] > highest + 1e-12:
            highest = best[paid]
            expected.append((paid, highest))
    reached = [(one.costs["macs"], one.certificate.objective) for one in curve]
    np.testing.assert_allclose(reached, expected, rtol=1e-9)


def test_both_cells_obey_by_default():
    rng = np.random.default_rng(0)
    rows = [rng.dirichlet(np.ones(8)) for _ in DARTS.decisions]
    learned = JointDistribution.uniform(DARTS.decisions).with_rows(rows)
    rules = [*darts_height(DARTS, 2), *parametric_operations(DARTS, 6)]
    for found in top_k(learned, DARTS, 3, rules=rules):
        assert DARTS.check(found.architecture) == found.architecture
        for cell in ("normal", "reduce"):
            chosen = [o for d, o in found.architecture.items() if d.startswith(cell)]
            assert sum("conv" in o for o in chosen) == 6


def test_what_does_not_fit_is_told():
    for call, says in [
        (lambda: darts_height(DARTS, 0), "must be at least 1"),
        (lambda: parametric_operations(DARTS, 9), "0 to 8"),
        (lambda: darts_height(create_space("toy"), 2), "DARTS cells"),
        (lambda: darts_height(DARTS, 2, ["middle"]), "not 'middle'"),
    ]:
        with pytest.raises(OptionError, match=says):
            call()
