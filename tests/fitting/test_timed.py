"""Limits in milliseconds: by a table that is measured, all that races is within them."""

import itertools

import numpy as np
import pytest
import torch

import ddpnas
from ddpnas.costs.table import CostTable
from ddpnas.errors import InfeasibleError
from ddpnas.fitting.candidates import draw_candidates, draws
from ddpnas.fitting.timed import TimedLimits, split_limits
from ddpnas.generation.limits import Limit, parse_limits
from ddpnas.spaces.registry import create_space

SPACE = create_space(
    "edge", stem=(4, 8), stages=((4, 8), (8, 16)), depths=(1, 2), expansions=(1, 2), head=(8, 16),
    num_classes=2, input_shape=(1, 8, 8),
)  # fmt: skip
COSTS = ddpnas.count_costs(SPACE)
# A machine on which 100,000 multiply-adds take a millisecond.
TABLE = CostTable(
    "latency_ms", "ms", 0, {k: v / 1e5 for k, v in COSTS["macs"].terms.items()},
    {"interpolation": {"timed": 1, "operations": 1}},
)  # fmt: skip


def test_all_that_races_is_within_all_limits():
    timed = TimedLimits(SPACE, {"latency_ms": Limit(upper=0.4)}, TABLE)
    limits = {"macs": Limit(upper=80_000.0)}
    design = timed.design("residual", limits)
    assert 0.25 < TABLE.cost(design) <= 0.4
    wanted = {"latency_ms": Limit(0.3, 0.4), **limits}
    pace = {"macs": 1e-6}
    entry = timed.entry(wanted, COSTS)
    drawn = draw_candidates(SPACE, entry, COSTS, pace, 4, seed=0)
    assert len(drawn) == 4 and all(0.3 <= TABLE.cost(one) <= 0.4 for one in drawn)
    assert drawn == draw_candidates(SPACE, entry, COSTS, pace, 4, seed=0)


def test_draws_are_shallow_rather_than_deep():
    drawn = list(itertools.islice(draws(SPACE, np.random.default_rng(0)), 300))
    blocks = [one["s2.block"] for one in drawn]
    assert blocks.count("pool") > 4 * blocks.count("inverted")
    assert sum(one["s1.depth"] == "1" for one in drawn) > 150


def test_the_table_of_a_fit_is_fitted_to_designs_and_to_networks_such_as_race(monkeypatch):
    asked = {}

    def measure(space, config, *, networks, **settings):
        asked["networks"] = networks
        return TABLE

    monkeypatch.setattr("ddpnas.fitting.timed.measure_latency", measure)
    macs = 80_000.0
    TimedLimits.measured(SPACE, macs, {}, 1.0, lambda text: None)
    networks = asked["networks"]
    assert SPACE.scaled("resnet-9", {"macs": macs}) in networks and len(networks) == 12
    assert all(0.3 * macs < COSTS["macs"].cost(one) <= macs for one in networks)


def test_a_limit_that_no_design_meets_is_said_with_the_least():
    timed = TimedLimits(SPACE, {"latency_ms": Limit(upper=0.01)}, TABLE)
    with pytest.raises(InfeasibleError, match="at most 0.01, .*the smallest residual"):
        timed.design("residual", {"macs": Limit(upper=80_000.0)})


@pytest.fixture
def stopwatch(monkeypatch):
    """Time networks by what the table says; return a list of those that were timed."""
    timed = []

    def time_network(space, architecture, config):
        timed.append(architecture)
        return {"median_ms": TABLE.cost(architecture)}

    monkeypatch.setattr("ddpnas.fitting.timed.time_network", time_network)
    return timed


def test_without_a_table_each_network_is_timed_once(stopwatch):
    latency = TimedLimits(SPACE, {"latency_ms": Limit(upper=0.4)})
    design = latency.design("residual", {})
    assert 0.25 < latency.milliseconds(design) <= 0.4
    assert latency.design("residual", {}) == design
    assert len(stopwatch) == len(set(stopwatch)) > 1


def test_a_design_that_is_faster_than_a_range_is_refused(stopwatch):
    latency = TimedLimits(SPACE, {"latency_ms": Limit(50, 60)})
    with pytest.raises(InfeasibleError, match="50 to 60, but the largest residual"):
        latency.design("residual", {})


def test_limits_are_told_apart():
    counted, timed = split_limits(parse_limits({"macs": "2M", "latency_ms": 3}))
    assert list(counted) == ["macs"] and timed["latency_ms"].upper == 3


def short(*networks, **options):
    return ddpnas.train(*networks, **(options | {"epochs": 1}))


@pytest.mark.slow
def test_a_fit_measures_its_own_table(tmp_path, monkeypatch, counted_times):
    for part in ("following", "searched"):  # a short training at the end says the same
        monkeypatch.setattr(f"ddpnas.fitting.{part}.train", short)
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(96) % 2
    pixels = torch.randint(0, 128, (96, 1, 8, 8), generator=generator)
    images = (pixels + 96 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    data = ddpnas.make_data((images, labels), flip=False)
    told, out = [], tmp_path / "run"
    limits = {"macs": "2M", "latency_ms": 2}
    fitted = ddpnas.fit(
        data, limits, 2.5, out, baselines=["residual"], export="none", on_progress=told.append
    )
    assert fitted.costs["latency_ms"] <= 2 and fitted.costs["macs"] <= 2e6
    table = CostTable.load(out / "latency.json")
    assert fitted.costs["latency_ms"] * (1 + table.margin) <= 2.001
    assert any("predicted" in text and "measured" in text for text in told)
    [baseline] = fitted.baselines
    assert baseline.costs["macs"] <= fitted.costs["macs"]
    assert "latency_ms" in fitted.files["report"].read_text()
