"""make_plan(): how large networks are for the time, and what is trained first."""

import dataclasses
import time

import pytest
import torch

import ddpnas
from ddpnas.costs.pace import Pace
from ddpnas.errors import ExportError, InfeasibleError, OptionError
from ddpnas.fitting import planning, speed
from ddpnas.fitting.planning import make_plan
from ddpnas.fitting.request import FitRequest
from ddpnas.fitting.timed import TimedLimits
from ddpnas.generation.limits import parse_limits

LIMIT = 1e6
SECONDS_A_MAC = 1e-5  # of an epoch


class Branches(torch.nn.Module):
    """A network that torch.export refuses, since it depends on values."""

    def forward(self, x):
        x = x.flatten(1)
        return x if x.sum() > 0 else -x


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (800, 1, 16, 16), generator=generator, dtype=torch.uint8)
    return ddpnas.make_data((images, torch.arange(800) % 4), flip=False)


def request(data, limits, seconds, export):
    return FitRequest(
        data, parse_limits(limits), seconds, time.perf_counter(), 0, "cpu", export, report=False,
        baselines=(), teacher=None, sieve=ddpnas.data.SieveConfig(), tell=lambda text: None,
    )  # fmt: skip


@pytest.fixture
def plan(data, monkeypatch):
    """Return a function that plans for a machine of known speed: limits, seconds -> plan."""

    def epoch_seconds(network, data, recipe, device):
        return SECONDS_A_MAC * ddpnas.count_network(network, data.input_shape)["macs"]

    monkeypatch.setattr(speed, "epoch_seconds", epoch_seconds)

    def make(limits, seconds):
        asked = request(data, limits, seconds, "none")
        made, space, _ = make_plan(asked, choose_threads=False, batch_size=None)
        first = space.check(made.strategy_options["first"][0])
        return made, ddpnas.count_network(space.build(first), data.input_shape)["macs"], first

    return make


def test_with_little_time_a_smaller_network_is_trained(plan):
    """1,500 steps are 38 epochs of 40 steps; those of a network at the limit take 380 s."""
    made, macs, first = plan({"macs": LIMIT}, 190.0)
    assert 0.3 * LIMIT < macs < 0.6 * LIMIT
    assert made.limits == {"macs": "1,000,000"}  # what was asked for
    made, macs, first = plan({"macs": LIMIT}, 600.0)
    assert 0.8 * LIMIT < macs <= LIMIT
    assert first["s2.block"] == "pool" and made.strategy_options["candidates"] == 1


def macs_of(space, one):
    return ddpnas.count_network(space.build(one), space.input_shape)["macs"]


@pytest.mark.parametrize(("lower", "least"), [(0, 0.3), (0.8 * LIMIT, 0.8)])
def test_with_little_time_a_network_in_milliseconds_is_smaller_too(plan, monkeypatch, lower, least):
    monkeypatch.setattr(
        "ddpnas.fitting.timed.time_network",
        lambda space, one, config: {"median_ms": macs_of(space, one) / 1e6},
    )
    limits = {"latency_ms": LIMIT / 1e6, "macs": (lower, 10 * LIMIT)}
    made, macs, _ = plan(limits, 190.0)
    assert least * LIMIT <= macs < 0.9 * LIMIT
    assert made.milliseconds == macs / 1e6


def test_with_enough_time_the_milliseconds_are_used_up(plan, monkeypatch):
    """Of which 0.2 are the same for all networks."""
    monkeypatch.setattr(
        "ddpnas.fitting.timed.time_network",
        lambda space, one, config: {"median_ms": 0.2 + macs_of(space, one) / 2e7},
    )
    for limit in (0.3, 1.0):
        seconds = 70 * SECONDS_A_MAC * (limit - 0.2) * 2e7  # too few for a race
        made, _, _ = plan({"latency_ms": limit}, seconds)
        assert 0.85 * limit < made.milliseconds <= limit


def test_no_table_is_measured_that_leaves_no_time_for_a_race(plan, monkeypatch):
    monkeypatch.setattr(TimedLimits, "measured", None)
    monkeypatch.setattr(
        "ddpnas.fitting.timed.time_network",
        lambda space, one, config: {"median_ms": macs_of(space, one) / 1e6},
    )
    limits = {"latency_ms": LIMIT / 1e6}
    _, macs, _ = plan(limits, 60 * SECONDS_A_MAC * LIMIT)
    made, _, _ = plan(limits, 110 * SECONDS_A_MAC * macs)  # a race begins at 100 epochs
    assert made.strategy_options["candidates"] == 1 and made.milliseconds is not None


def test_a_lower_limit_holds_however_little_the_time(plan):
    _, macs, _ = plan({"macs": (0.8 * LIMIT, LIMIT)}, 100.0)
    assert 0.8 * LIMIT <= macs <= LIMIT


def test_without_a_limit_the_time_says_how_large(plan):
    small, large = (plan({}, seconds)[1] for seconds in (200.0, 800.0))
    assert 2.5 < large / small < 6


@pytest.mark.parametrize("limits", [{"macs": "5G"}, {"params": "10M"}])
def test_under_a_loose_limit_no_large_network_is_tried(plan, limits, monkeypatch):
    tried = []
    known = speed.epoch_seconds

    def epoch_seconds(network, data, *others):
        tried.append(ddpnas.count_network(network, data.input_shape)["macs"])
        return known(network, data, *others)

    monkeypatch.setattr(speed, "epoch_seconds", epoch_seconds)
    _, free, _ = plan({}, 200.0)
    made, macs, _ = plan(limits, 200.0)
    assert max(tried) < 5e6 and 0.5 * free < macs < 2 * free
    assert list(made.limits) == list(limits)


def test_what_cannot_be_trained_for_an_epoch_is_refused_untried(plan):
    with pytest.raises(OptionError, match="3 min 20 s are too short: an epoch of"):
        plan({"macs": ">=1G"}, 200.0)


def test_a_loose_limit_with_ample_time_is_filled(plan):
    _, macs, _ = plan({"macs": "20M"}, 10_000)
    assert 0.8 * 20e6 < macs <= 20e6


def test_the_minutes_that_are_advised_are_enough(plan):
    with pytest.raises(OptionError, match=r"give at least --minutes (\d+\.\d)") as error:
        plan({"macs": (0.8 * LIMIT, LIMIT)}, 9.0)
    minutes = float(str(error.value).split("--minutes ")[1].split(",")[0])
    plan({"macs": (0.8 * LIMIT, LIMIT)}, 60 * minutes)


def test_an_epoch_of_all_images_that_are_trained_on_has_to_fit(data, monkeypatch):
    """With test images, the final training takes those for validation, too."""
    monkeypatch.setattr(speed, "epoch_seconds", lambda *given: 1000.0)
    limits = {"macs": (0.8 * LIMIT, LIMIT)}
    options = {"choose_threads": False, "batch_size": None}
    make_plan(request(data, limits, 1250.0, "none"), **options)
    tested = dataclasses.replace(data, test=data.valid)
    with pytest.raises(OptionError, match="an epoch of training takes 20 min 50 s"):
        make_plan(request(tested, limits, 1250.0, "none"), **options)


def test_other_limits_hold_too(plan, data):
    made, macs, first = plan({"params": "20K"}, 100.0)
    assert macs < 0.4 * LIMIT
    space = ddpnas.create_space("edge", **made.space_options)
    assert ddpnas.count_network(space.build(first), data.input_shape)["params"] <= 20_000


def test_without_a_race_other_limits_get_networks_like_the_design(plan):
    made, _, _ = plan({"macs": LIMIT}, 600.0)
    space = ddpnas.create_space("edge", **made.space_options)
    strategy = ddpnas.create_strategy("halving", space, **made.strategy_options)
    while not strategy.done:
        batch = strategy.ask()
        strategy.tell(batch, [0.5] * len(batch))
    likely = strategy.distribution.mode()
    assert likely["s2.block"] == "pool" and likely["s1.se"] == "none"
    assert likely["s1.width"] == space["s1.width"].options[-1]  # as wide as a limit allows


def test_what_cannot_be_exported_is_refused_before_it_is_trained(data):
    with pytest.raises(ExportError, match="--export none trains it without a file"):
        request(data, {}, 100.0, "onnx").exporting(Branches())
    assert request(data, {}, 100.0, "none").exporting(Branches()) > 0


def test_time_for_the_end_follows_what_an_export_takes(data):
    asked = request(data, {}, 100.0, "onnx")
    assert asked.reserve(2.0) < asked.reserve(4.0) <= asked.reserve(1000.0) == 25.0


def test_time_for_the_end_follows_how_many_images_test(data, plan):
    """A forward pass takes a third of the time of a training step."""
    images = torch.zeros(1600, 1, 16, 16, dtype=torch.uint8)
    more = ddpnas.make_data(
        (data.train.inputs, data.train.labels), test=(images, torch.arange(1600) % 4), flip=False
    )
    asked = request(more, {"macs": LIMIT}, 600.0, "none")
    made, space, _ = make_plan(asked, choose_threads=False, batch_size=None)
    each = SECONDS_A_MAC * macs_of(space, space.check(made.strategy_options["first"][0]))
    tested = each / 3 * 1600 / len(more.train)
    assert made.reserve == pytest.approx(1.0 + tested)
    reported = dataclasses.replace(asked, report=True)  # which looks at them again
    assert reported.reserve(0.0, each) == pytest.approx(1.0 + 2 * tested)


@pytest.mark.slow
@pytest.mark.parametrize(
    "limits",
    [{"macs": (149_000, 150_000)}, {"macs": "150K", "params": ">=6K"},
     {"params": ">=6K"}, {"macs": "150K", "peak_activation_bytes": "12K"}],
)  # fmt: skip
@pytest.mark.parametrize("seconds", [140.0, 400.0])
def test_all_that_is_trained_is_within_all_limits(plan, data, limits, seconds, monkeypatch):
    pace = Pace({"macs": SECONDS_A_MAC})
    monkeypatch.setattr(planning, "measure_pace", lambda *args, **options: pace)
    made, _, _ = plan(limits, seconds)
    assert made.strategy_options["candidates"] > 1 or seconds < 200
    space = ddpnas.create_space("edge", **made.space_options)
    strategy = ddpnas.create_strategy("halving", space, **made.strategy_options)
    while not strategy.done:
        batch = strategy.ask()
        for one in batch:
            costs = ddpnas.count_network(space.build(one), data.input_shape)
            assert all(limit.holds(costs[n]) for n, limit in parse_limits(limits).items())
        strategy.tell(batch, [0.5] * len(batch))


def test_limits_that_no_network_meets_are_refused_with_the_lowest_costs(plan):
    with pytest.raises(InfeasibleError, match=r"macs <= 100 cannot be met.* is [\d,]+ MACs"):
        plan({"macs": 100}, 60.0)
    with pytest.raises(OptionError, match="latency_ms at least 2 does not say how large"):
        plan({"latency_ms": ">=2"}, 60.0)


def test_candidates_race_where_another_limit_binds_too(plan, data):
    """Networks of the given parameters cannot have nearly the given multiply-adds."""
    made, macs, _ = plan({"macs": "4M", "params": "8K"}, 4000.0)
    assert made.strategy_options["candidates"] > 1 and macs < 2e6
    space = ddpnas.create_space("edge", **made.space_options)
    strategy = ddpnas.create_strategy("halving", space, **made.strategy_options)
    batch = strategy.ask()
    strategy.tell(batch, [0.5] * len(batch))
    for one in [*batch, *strategy.ask()]:
        costs = ddpnas.count_network(space.build(one), data.input_shape)
        assert costs["params"] <= 8_000 and costs["macs"] <= 4e6
