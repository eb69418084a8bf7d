"""Seconds of a search with shared weights become a number of passes."""

import itertools
from types import SimpleNamespace

import pytest
import torch

import ddpnas
from ddpnas.data.augment import Augmentation
from ddpnas.errors import OptionError, RunError
from ddpnas.evaluators import SupernetConfig, SupernetEvaluator
from ddpnas.runs import estimate
from ddpnas.runs.config import RunConfig
from ddpnas.strategies import strategy_class
from ddpnas.strategies.user_strategy import NamedStrategy

FIVE = {"evaluations": 5}
FAST = {"proxy_weight": 0.0}


@pytest.fixture
def clock(monkeypatch):
    """Let a pass take 2 s, the first score, which sets the scale, 3 s, and 8 more 0.8 s."""
    times = itertools.cycle([0.0, 0.0, 2.0, 2.0, 5.0, 5.8, 5.8])
    monkeypatch.setattr(estimate, "time", SimpleNamespace(perf_counter=lambda: next(times)))


def kept(folder):
    return RunConfig.read(folder / "config.yaml").evaluator_options


def test_the_warm_up_gets_what_scores_and_the_measurement_leave(
    small_space, stripes, clock, tmp_path
):
    # 5.8 s to measure, 3 + 5 * 0.1 s for the scores: 6.7 of 16 s are left for passes of 2 s.
    ddpnas.search(
        small_space, stripes, "random", out=tmp_path, strategy_options=FIVE, device="cpu",
        evaluator_options={**FAST, "seconds": 16.0, "training": "uniform"},
    )  # fmt: skip
    assert kept(tmp_path)["warmup_epochs"] == 3
    assert kept(tmp_path)["seconds"] is None
    assert kept(tmp_path)["training"] == "uniform"


def test_too_few_seconds_are_refused_with_what_the_parts_take(small_space, stripes, clock):
    with pytest.raises(OptionError, match=r"5 scores take about 3.5 s, and a pass .* 2.0 s"):
        ddpnas.search(
            small_space, stripes, "random", strategy_options=FIVE, device="cpu",
            evaluator_options={**FAST, "seconds": 11.0},
        )  # fmt: skip


def test_an_interrupted_search_goes_on_with_the_passes_that_it_began_with(
    small_space, stripes, clock, tmp_path
):
    def search(name, **options):
        return ddpnas.search(
            small_space, stripes, "random", out=tmp_path / name, strategy_options=FIVE,
            evaluator_options={**FAST, "seconds": 14.0}, device="cpu", **options,
        )  # fmt: skip

    def stop(progress):
        if progress.done == 2:
            raise KeyboardInterrupt

    whole = search("whole")
    with pytest.raises(KeyboardInterrupt):
        search("broken", on_progress=stop)
    again = search("broken", resume=True)
    assert [r["score"] for r in again.history] == [r["score"] for r in whole.history]
    assert kept(tmp_path / "broken")["warmup_epochs"] == 2


def test_a_changed_option_is_refused_where_the_passes_are_kept(
    small_space, stripes, clock, tmp_path
):
    def search(lr, **more):
        return ddpnas.search(
            small_space, stripes, "random", out=tmp_path, strategy_options=FIVE, device="cpu",
            evaluator_options={**FAST, "seconds": 14.0, "lr": lr}, **more,
        )  # fmt: skip

    found = search(0.1)
    with pytest.raises(RunError, match=r"lr was 0\.1 and is 0\.01"):
        search(0.01, resume=True)
    assert search(0.1, resume=True).text == found.text


def test_measuring_changes_nothing_else(small_space, stripes, clock, tmp_path):
    before = torch.random.get_rng_state()
    timed = ddpnas.search(
        small_space, stripes, "random", strategy_options=FIVE, device="cpu",
        evaluator_options={**FAST, "seconds": 14.0},
    )  # fmt: skip
    counted = ddpnas.search(
        small_space, stripes, "random", strategy_options=FIVE, device="cpu",
        evaluator_options={**FAST, "warmup_epochs": 2},
    )  # fmt: skip
    assert [r["score"] for r in timed.history] == [r["score"] for r in counted.history]
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("augment", "crops"), [(None, {"shift"}), (True, {"shift"}), (False, {"none"})]
)
def test_a_pass_is_timed_as_the_longest_warm_up_has_it(
    small_space, stripes, monkeypatch, augment, crops
):
    seen, change = set(), Augmentation.of_images

    def watched(self, *args):
        seen.add(self.crop)
        return change(self, *args)

    monkeypatch.setattr(Augmentation, "of_images", watched)
    config = SupernetConfig(seconds=60, augment=augment, **FAST)
    strategy = ddpnas.create_strategy("random", small_space, **FIVE)
    found = estimate.with_warmup(config, small_space, stripes, strategy, device="cpu")
    assert seen == crops and found.augment is augment


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"training": "path"}, "training 'path' has none"),
        ({"warmup_epochs": 3}, "give seconds or warmup_epochs, not both"),
    ],
)
def test_seconds_need_a_warm_up_of_open_length(options, says):
    with pytest.raises(OptionError, match=says):
        SupernetConfig(seconds=60, **options)


def test_only_a_search_measures(small_space, stripes):
    with pytest.raises(OptionError, match="only ddpnas.search"):
        SupernetEvaluator(small_space, stripes, 5, SupernetConfig(seconds=60), device="cpu")


MINE = """
from ddpnas.strategies import BaseStrategy

class Timed(BaseStrategy):
    def __init__(self, space, seed=0, *, seconds):
        super().__init__(space, seed, round(seconds))

    def propose(self):
        return [self.legal.uniform(self.rng)]
"""


@pytest.mark.parametrize("named", [True, False])
def test_a_strategy_of_ones_own_may_have_an_option_of_that_name(
    small_space, stripes, tmp_path, named
):
    (tmp_path / "mine.py").write_text(MINE)
    name = f"{tmp_path / 'mine.py'}:Timed"
    found = [
        ddpnas.search(
            small_space, stripes, name if named else NamedStrategy.read(name).made(),
            strategy_options={"seconds": 3.0}, evaluator="table", out=tmp_path / "run",
            device="cpu", resume=resume,
        )
        for resume in (False, True)
    ]  # fmt: skip
    assert [len(one.history) for one in found] == [3, 3]


class Mixture(strategy_class("gdas")):
    def __init__(self, space, seed=0, *, tau, **options):
        super().__init__(space, seed, **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "cannot be made by .*missing a required argument: 'tau'"),
        ({"tau": 1, "seed": 1}, "seed is not an option of the strategy: the search sets it"),
    ],
)
def test_a_class_with_seconds_is_made_as_without(small_space, stripes, options, says):
    with pytest.raises(OptionError, match=says):
        ddpnas.search(
            small_space, stripes, Mixture, strategy_options={"seconds": 60.0, **options},
            device="cpu",
        )  # fmt: skip


def test_a_mixture_takes_seconds_as_an_option_of_its_strategy(small_space, stripes):
    with pytest.raises(OptionError, match="--strategy-options"):
        ddpnas.search(
            small_space, stripes, "darts", evaluator_options={"seconds": 60}, device="cpu"
        )
