"""The evaluator of a mixture, and whole searches with it."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch

import ddpnas
from ddpnas import resume, search
from ddpnas.cli import main
from ddpnas.data import SieveConfig
from ddpnas.errors import DivergedError, OptionError, RunError
from ddpnas.evaluators import BaseEvaluator, Evaluation
from ddpnas.relaxed import ExpectedCost, MixtureEstimate, MixtureEvaluator, MixtureLoad
from ddpnas.runs.estimate import estimate_search
from ddpnas.strategies import GradientStrategy
from ddpnas.testing import EvaluatorContract

METHODS = {
    "darts": {},
    "drnas": {},
    "dropnas": {"drop_rate": 0.01},
    "gdas": {},
    "proxyless": {"cost": "macs", "warmup": 0.25},
    "snas": {"pruning": True},
}
QUICK = {"epochs": 4, "batch_size": 48, "alpha_lr": 0.05}


FAST_KILLS = [("dropnas", 2), ("gdas", 2)]


class Contract(EvaluatorContract):
    def make_evaluator(self, space, data, seed):
        strategy = ddpnas.create_strategy(self.name, space, epochs=6, batch_size=16)
        return MixtureEvaluator(space, data, strategy, seed=seed, device="cpu")


@pytest.mark.slow
class TestDarts(Contract):
    name = "darts"


class TestGdas(Contract):
    name = "gdas"


@pytest.mark.slow
class TestDrnas(Contract):
    name = "drnas"


def fast(*names):
    """Return the methods as parameters, slow but for some."""
    return [
        pytest.param(name, marks=() if name in names else pytest.mark.slow)
        for name in (*METHODS, "planted")
    ]


class StopSearchError(Exception):
    pass


def stop_after(n):
    def check(progress):
        if progress.done == n:
            raise StopSearchError

    return check


def timeless(history):
    return [{k: v for k, v in r.items() if not k.endswith("seconds")} for r in history]


@pytest.mark.parametrize(
    ("name", "method", "killed"),
    [
        pytest.param(*one, done, marks=() if (one[0], done) in FAST_KILLS else pytest.mark.slow)
        for one in [*METHODS.items(), ("darts", {"order": 2})]
        for done in (1, 2, 3)
    ],
)
def test_a_search_killed_in_any_epoch_ends_as_the_unbroken_one(
    stripes, tmp_path, name, method, killed
):
    space = ddpnas.create_space("toy", num_classes=3)

    def run(out, **more):
        options = {**QUICK, **method}
        return search(space, stripes, name, out=out, strategy_options=options, device="cpu", **more)

    whole = run(tmp_path / "whole")
    assert len(whole.history) == 4
    with pytest.raises(StopSearchError):
        run(tmp_path / "broken", on_progress=stop_after(killed))
    again = run(tmp_path / "broken", resume=True)
    assert timeless(again.history) == timeless(whole.history)
    assert again.distribution.to_dict() == whole.distribution.to_dict()


def test_pruning_drops_the_least_likely_option_after_each_stage(small_space, stripes, tmp_path):
    options = {**QUICK, "epochs": 6, "pruning": True}
    result = search(
        small_space, stripes, "darts", out=tmp_path / "r", strategy_options=options, device="cpu"
    )
    stages = [json.loads(line) for line in (tmp_path / "r" / "distributions.jsonl").open()]
    assert [stage["evaluations"] for stage in stages] == [2, 3, 5, 6]
    assert [len(stage["survivors"]["2<-1"]) for stage in stages] == [4, 3, 2, 1]
    first = stages[0]
    for decision, left in first["survivors"].items():
        [gone] = set(first["theta"][decision]) - set(left)
        assert first["theta"][decision][gone] == min(first["theta"][decision].values())
        assert result.distribution.theta[decision].min() > 0, "what is pruned keeps a probability"
    assert result.architecture == result.distribution.mode()
    entropies = [record["entropy"] for record in result.history]
    assert entropies[0] > entropies[2] > entropies[5] > 0
    page = ddpnas.write_report(tmp_path / "r").read_text()
    for number in (1, 2, 3, 4):  # five options, of which one goes after each stage
        assert page.count(f"; pruned after stage {number}</title>") == len(small_space.decisions)
    assert page.count("; survived</title>") == len(small_space.decisions)


def test_the_command_line_searches_generates_and_reports(tmp_path, capsys):
    out = str(tmp_path / "run")
    sized = ["--space-options.channels", "2", "--space-options.cells-per-stage", "1"]
    options = ["--strategy-options.epochs", "2", "--strategy-options.batch-size", "100"]
    searched = ["search", "--space", "nasbench201", "--strategy", "gdas", "--quiet"]
    data = ["--data", "sign-digits-small", "--limit-train-images", "100"]
    assert main([*searched, *sized, *options, *data, "--out", out]) == 0
    assert "2 architectures scored" in capsys.readouterr().out
    for command in (
        ["generate", out, "--limit", "macs=300K", "--rescore", "2", "--json"],
        ["report", out],
        ["resume", out, "--quiet"],
    ):
        assert main(command) == 0, command
    page = (tmp_path / "run" / "report.html").read_text()
    assert "A mixture of all options was trained." in page and "NASWOT" not in page
    assert "The temperature went from 10 to 0.1." in page
    assert "Mean entropy of the decisions, in nats" in page
    again = resume(out)
    assert [r["temperature"] for r in again.history] == pytest.approx([10.0, 0.1])


def test_the_load_of_a_step_is_that_of_all_options_or_of_what_runs(small_space):
    macs = ddpnas.count_costs(small_space)["macs"]
    mean = sum(cost / 5 for cost in macs.terms.values()) + macs.fixed
    for name, share in (("darts", 1.0), ("proxyless", 2 / 5), ("gdas", 1 / 5)):
        load = MixtureLoad.of(small_space, ddpnas.create_strategy(name, small_space))
        expected = macs.fixed + share * sum(macs.terms.values())
        assert load.macs == pytest.approx(expected) and load.path_macs == pytest.approx(mean)


def test_a_search_says_what_a_step_costs_before_it_begins(tmp_path, capsys):
    command = ["search", "--space", "toy", "--data", "sign-digits-small", "--strategy", "darts"]
    sized = ["--strategy-options.epochs", "1", "--limit-train-images", "40"]
    assert main([*command, *sized, "--out", str(tmp_path / "r")]) == 0
    said = capsys.readouterr().out
    assert main(["report", str(tmp_path / "r")]) == 0
    assert "training a mixture: " in said and "times those of the mean path" in said
    assert re.search(r"a step on 16 images takes about \S+ s and at least \d+ MB", said)
    assert "(epochs: 1, steps in each: 1)" in said


def test_seconds_become_the_epochs_that_fit(stripes, small_space, tmp_path, monkeypatch):
    def run(seconds, alpha_lr=0.05, **more):
        options = {"seconds": seconds, "batch_size": 48, "alpha_lr": alpha_lr}
        return search(small_space, stripes, "gdas", strategy_options=options, device="cpu", **more)

    # An epoch has two steps, and whatever a score takes does not fill the last 100 seconds.
    monkeypatch.setattr(MixtureEvaluator, "time_step", lambda self, epoch: 100.0)
    whole = run(1100.0, out=tmp_path / "r")
    assert len(whole.history) == 5
    first, last = whole.history[0], whole.history[-1]
    assert (first["temperature"], last["temperature"]) == pytest.approx((10.0, 0.1))
    again = run(1100.0, out=tmp_path / "r", resume=True)
    assert timeless(again.history) == timeless(whole.history)
    with pytest.raises(RunError, match=r"alpha_lr was 0\.05 and is 0\.1"):
        run(1100.0, alpha_lr=0.1, out=tmp_path / "r", resume=True)
    with pytest.raises(
        OptionError, match=r"an epoch takes about .*give more --strategy-options.seconds"
    ):
        run(1e-4)
    with pytest.raises(OptionError, match="give seconds or epochs, not both"):
        options = {"seconds": 5, "epochs": 3}
        search(small_space, stripes, "gdas", strategy_options=options, device="cpu")
    with pytest.raises(OptionError, match="give epochs here"):
        ddpnas.create_strategy("gdas", small_space, seconds=5)


def test_the_estimate_adds_up_over_stages_and_kinds_of_steps(small_space):
    strategy = ddpnas.create_strategy("pdarts", small_space, epochs=75)
    kinds = {(stage, learns): 1.0 + stage for stage in range(3) for learns in (False, True)}
    estimate = MixtureEstimate(strategy, 16, 10, {**kinds, (2, True): 9.0}, 0.5, 0)
    expected = 75 * 0.5 + 10 * (25 * 1 + 25 * 2 + 10 * 3 + 15 * 9)
    assert estimate.seconds() == pytest.approx(expected)

    def make(epochs):
        return ddpnas.create_strategy("pdarts", small_space, epochs=epochs)

    scaled = estimate.scaled(expected / 2, make)
    assert 30 <= scaled.epochs <= 38 and estimate.seconds(scaled) <= expected / 2
    half = dataclasses.replace(estimate, share=0.5)
    assert half.seconds() == pytest.approx((expected + 75 * 0.5) / 2)
    with pytest.raises(OptionError, match=r"so 150 seconds .* \(pdarts needs 6 .*, not 4: the log"):
        estimate.scaled(150, make)


def test_an_estimate_counts_on_the_images_that_a_sieve_leaves(stripes, small_space):
    sieve = SieveConfig("random", {"keep": 0.2, "warmup": 0.1})
    options = {"epochs": 10, "batch_size": 16}
    found = estimate_search(
        small_space, stripes, "gdas", strategy_options=options, sieve=sieve, device="cpu"
    )
    assert found.steps == 6 and 0.2 < found.share == sieve.mean_share < 0.7


def test_a_batch_that_does_not_fit_is_refused_with_one_that_does(small_space, stripes, monkeypatch):
    def make(batch_size):
        strategy = ddpnas.create_strategy("darts", small_space, epochs=2, batch_size=batch_size)
        return MixtureEvaluator(small_space, stripes, strategy, device="cpu")

    memory = make(96).memory
    hard = ddpnas.create_strategy("gdas", small_space, epochs=2)
    assert (
        0
        < MixtureEvaluator(small_space, stripes, hard, device="cpu").memory.image
        < (memory.image / 2)
    ), "one option of five runs"
    monkeypatch.setattr("ddpnas.relaxed.memory.free_memory", lambda: memory.of(80))
    with pytest.raises(OptionError, match=r"a step on 96 images needs at least .* are free") as e:
        make(96)
    [fits] = re.findall(r"--strategy-options.batch-size (\d+)$", str(e.value))
    assert make(int(fits)).memory == memory and 40 <= int(fits) <= 56
    monkeypatch.setattr("ddpnas.relaxed.memory.free_memory", lambda: memory.fixed)
    with pytest.raises(OptionError, match="search a smaller space"):
        make(8)


def test_memory_is_what_the_gradient_keeps(small_space, stripes):
    strategy = ddpnas.create_strategy("darts", small_space, epochs=2)
    evaluator = MixtureEvaluator(small_space, stripes, strategy, device="cpu")
    inputs, _ = next(evaluator._scored.eval_batches(24))
    held = [evaluator._step.held_bytes(inputs[:n]) for n in (2, 8, 24)]
    assert held[2] - held[1] == pytest.approx(16 * evaluator.memory.image, rel=0.02)
    assert held[1] - held[0] == pytest.approx(6 * evaluator.memory.image, rel=0.02)


def refused(capsys, *command):
    assert main(list(command)) == 2
    return capsys.readouterr().err


def test_what_does_not_fit_is_refused_with_what_to_type(capsys, tmp_path, small_space, stripes):
    base = ["search", "--data", "sign-digits-small", "--out", str(tmp_path / "r"), "--strategy"]
    for evaluator in ("table", "standalone"):
        says = refused(capsys, *base, "darts", "--evaluator", evaluator)
        assert f"cannot search with the evaluator {evaluator}; use --evaluator supernet" in says
    says = refused(capsys, *base, "darts", "--evaluator-options.lr", "1")
    assert "lr cannot be set for the evaluator here" in says and "--strategy-options" in says
    says = refused(capsys, *base, "gdas", "--evaluator-options.evl-batch-size", "1")
    assert "did you mean 'eval_batch_size'" in says
    says = refused(capsys, "benchmark", "nasbench201", "--strategies", "random,darts")
    assert "darts trains a mixture of all options, which a table does not have" in says
    assert not (tmp_path / "r").exists()

    class Mine(BaseEvaluator):
        def evaluate(self, architectures):
            yield from (Evaluation(0.5) for _ in architectures)

    class Bare(Mine):
        def requires(self, strategy):
            """Take any."""

    with pytest.raises(OptionError, match="DARTS trains a mixture of all options, which Mine"):
        search(small_space, stripes, "darts", evaluator=Mine())
    with pytest.raises(OptionError, match="DARTS learns from a mixture of all options, which only"):
        search(small_space, stripes, "darts", evaluator=Bare())
    made = ddpnas.create_strategy("darts", small_space)
    evaluator = MixtureEvaluator(small_space, stripes, made, device="cpu")
    with pytest.raises(OptionError, match="the mixture of another strategy"):
        evaluator.requires(ddpnas.create_strategy("darts", small_space))


def test_a_loss_that_diverges_names_the_epoch_and_a_rate(small_space, stripes):
    options = {**QUICK, "lr": 1000, "clip": 0, "weight_decay": 100}
    with pytest.raises(DivergedError, match=r"in epoch \d of 4.*--strategy-options.lr 250"):
        search(small_space, stripes, "darts", strategy_options=options, device="cpu")


class Planted(GradientStrategy):
    """DARTS on a space in which one option destroys all information."""

    relaxation = "softmax"


def erasing(choose):
    """Return a network whose choice is between a convolution and nothing but zeros."""

    class Zero(torch.nn.Module):
        def forward(self, x):
            return 0 * x

    options = {"zero": Zero, "same": torch.nn.Identity}
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, padding=1),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        choose("a", options),
        choose("b", options),
        torch.nn.AdaptiveAvgPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(32, 3),
    )


@pytest.mark.parametrize("name", fast("darts", "gdas"))
def test_an_option_that_destroys_the_image_loses_and_wins_with_a_flipped_sign(
    stripes, name, monkeypatch
):
    space = ddpnas.SearchSpace(erasing, (1, 8, 8), name="erasing")
    strategy = Planted if name == "planted" else name
    options = {"epochs": 12, "batch_size": 16, "lr": 0.1, "lr_min": 0.01, "alpha_lr": 0.1}

    def found():
        result = search(space, stripes, strategy, strategy_options=options, device="cpu")
        return result.distribution.theta

    theta = found()
    assert all(row[1] > 0.55 for row in theta.values()), theta
    step = torch.optim.Adam.step

    def uphill(self, *args):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.neg_()
        return step(self, *args)

    monkeypatch.setattr(torch.optim.Adam, "step", uphill)
    theta = found()
    assert np.mean([row[1] for row in theta.values()]) < 0.45, theta


@pytest.mark.slow
def test_the_cost_in_the_loss_makes_networks_cheaper(stripes):
    space = ddpnas.create_space("toy", num_classes=3)
    macs = ddpnas.count_costs(space)["macs"]

    def expected(**options):
        given = {"epochs": 6, "batch_size": 16, "alpha_lr": 0.1, "warmup": 0.0, **options}
        result = search(space, stripes, "proxyless", strategy_options=given, device="cpu")
        rows = {n: torch.from_numpy(row) for n, row in result.distribution.theta.items()}
        return ExpectedCost(macs, space)(rows).item()

    free = expected()
    for form, weight in (("penalty", 5.0), ("product", 3.0), ("hinge", 5.0)):
        least = {"cost_reference": 1000.0} if form == "hinge" else {}
        assert expected(cost="macs", cost_form=form, cost_weight=weight, **least) < 0.95 * free


def test_proxyless_trains_the_weights_alone_first(stripes):
    space = ddpnas.create_space("toy", num_classes=3)
    given = {"epochs": 4, "batch_size": 48, "warmup": 0.5, "alpha_lr": 0.1}
    history = search(space, stripes, "proxyless", strategy_options=given, device="cpu").history
    assert ["mixture_valid_loss" in record for record in history] == [False, False, True, True]
    entropies = [record["entropy"] for record in history]
    assert entropies[0] == entropies[1] > entropies[2] > entropies[3]
    assert [record["train_images"] for record in history] == [96, 96, 144, 144]
