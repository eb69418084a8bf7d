"""fit(): within the limits and in time, the same by the same plan, and resumed to the same end."""

import copy
import dataclasses
import json
import math
import re
import time
from pathlib import Path

import numpy
import pytest
import torch

import ddpnas
from ddpnas.data import Loader
from ddpnas.errors import DdpnasError, DivergedError, InfeasibleError, OptionError, RunError
from ddpnas.evaluators.continued import ContinuedEvaluator
from ddpnas.fitting import FitPlan, resume_fit, searched
from ddpnas.runs.loop import search_seconds
from ddpnas.training.plateau import PlateauTraining
from ddpnas.training.trained_folder import read_comparison

LIMIT = 60_000
SPACE = {
    "stem": [4, 8], "stages": [[4, 8], [8, 16]], "depths": [1, 2], "expansions": [1, 2],
    "head": [8, 16], "num_classes": 2, "input_shape": [1, 8, 8],
}  # fmt: skip
PLAN = FitPlan(
    seconds=600.0, started=1.0, reserve=1.0, limits={"macs": f"{LIMIT}"}, seed=3, device="cpu",
    threads=1, space_options=SPACE,
    strategy_options={"candidates": 4, "rungs": 2, "limits": {"macs": f"{LIMIT}"}},
    evaluator_options={"epochs": 1.0}, recipe={"lr": 0.1, "warmup": 0.02}, epochs=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(96) % 2
    pixels = torch.randint(0, 128, (96, 1, 8, 8), generator=generator)
    images = (pixels + 96 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    return ddpnas.make_data((images, labels), flip=False)


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    PLAN.save(folder := tmp_path_factory.mktemp("plan"))
    return folder / "plan.json"


@pytest.fixture(scope="module")
def unbroken(data, plan):
    return ddpnas.fit(data, plan=plan)


def weights_of(fitted):
    return fitted.model.state_dict()


def equal(one, other):
    return all(torch.equal(weights_of(one)[name], v) for name, v in weights_of(other).items())


def test_the_network_is_within_the_limits_and_learns(unbroken, data):
    assert unbroken.costs["macs"] <= LIMIT
    assert unbroken.costs == {n: unbroken.costs[n] for n in ddpnas.count_costs(unbroken.space)}
    assert unbroken.evaluation.split == "valid" and unbroken.accuracy > 0.7
    assert len(unbroken.trained.history) == 3
    probabilities = unbroken.predict(data.valid.inputs[:5])
    assert probabilities.shape == (5, 2)
    assert torch.allclose(probabilities.sum(1), torch.ones(5))


def test_what_the_race_measured_is_kept(unbroken):
    own = [r for r in unbroken.search.history if r["architecture"] == dict(unbroken.architecture)]
    assert unbroken.raced.accuracy == own[-1]["accuracy"]
    kept = unbroken.to_dict()["raced"]
    assert kept["images"] == len(unbroken.trained.data.valid) and kept["epochs"] > 0


def test_the_frontier_gets_better_with_the_cost(unbroken):
    found = [(c.costs["macs"], c.accuracy) for c in unbroken.frontier]
    assert found and found == sorted(found)
    assert len({accuracy for _, accuracy in found}) == len(found)


def test_all_figures_are_plain_data(unbroken):
    content = json.loads(json.dumps(unbroken.to_dict()))
    assert content["accuracy"] == unbroken.accuracy
    assert content["seconds"]["total"] > 0 and content["baselines"] == []


def test_the_report_reads_no_images_again_and_counts_in_the_time(plan, tmp_path, caplog):
    images = torch.randint(0, 256, (40, 8, 8), dtype=torch.uint8).numpy()
    labels = (torch.arange(40) % 2).numpy()
    numpy.savez(tmp_path / "x.npz", train_images=images, train_labels=labels)
    begun = time.perf_counter()
    with caplog.at_level("INFO", logger="ddpnas"):
        fitted = ddpnas.fit(tmp_path / "x.npz", plan=plan, out=tmp_path / "run", export="none")
    passed = time.perf_counter() - begun
    assert sum("held out to test" in record.message for record in caplog.records) == 1
    assert "What it gets wrong" in (tmp_path / "run" / "report.html").read_text()
    phases = {name: s for name, s in fitted.seconds.items() if name != "total"}
    assert phases.keys() > {"race", "training", "report"} and min(phases.values()) > 0
    assert sum(phases.values()) <= fitted.seconds["total"] + 1e-6
    assert fitted.seconds["total"] <= passed


def test_the_final_training_goes_on_from_the_weights_of_the_race(data, plan, monkeypatch):
    raced, given = {}, []
    train_further, train = ContinuedEvaluator._continue, ddpnas.fitting.following.train

    def asked(self, architecture):
        found = train_further(self, architecture)
        raced[architecture] = copy.deepcopy(self.network(architecture).state_dict())
        return found

    def watched(network, *others, **options):
        given.append(copy.deepcopy(network.state_dict()))
        return train(network, *others, **options)

    monkeypatch.setattr(ContinuedEvaluator, "_continue", asked)
    monkeypatch.setattr("ddpnas.fitting.following.train", watched)
    fitted = ddpnas.fit(data, plan=plan)
    [weights], won = given, raced[fitted.architecture]
    assert len(raced) > 1 and weights.keys() == won.keys()
    assert all(torch.equal(weights[name], value) for name, value in won.items())


def test_the_same_plan_gives_the_same_network(unbroken, data, plan):
    torch.rand(7)  # whatever was drawn before
    assert equal(ddpnas.fit(data, plan=plan), unbroken)


@pytest.mark.parametrize(
    "moment", [7, *(pytest.param(m, marks=pytest.mark.slow) for m in (1, 3, 4, 6, 8, 9))]
)
def test_an_interrupted_fit_goes_on_to_the_same_network(unbroken, data, plan, tmp_path, moment):
    told = []

    def interrupt(text):
        told.append(text)
        if len(told) == moment:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ddpnas.fit(data, plan=plan, out=tmp_path / "run", export="none", on_progress=interrupt)
    fitted = resume_fit(tmp_path / "run", data=data)
    assert equal(fitted, unbroken)
    again = resume_fit(tmp_path / "run", data=data)  # was finished
    assert equal(again, unbroken) and again.accuracy == unbroken.accuracy
    assert again.seconds == fitted.seconds  # not those of the last session
    assert FitPlan.read(tmp_path / "run").took == fitted.seconds
    assert ddpnas.load(tmp_path / "run").text == unbroken.text


def lengthened(folder, seconds):
    """Let the first record of the race in a folder say that it took longer."""
    first, *others = (folder / "history.jsonl").read_text().splitlines()
    record = json.loads(first)
    record["seconds"] += seconds
    (folder / "history.jsonl").write_text("\n".join([json.dumps(record), *others, ""]))


@pytest.mark.parametrize("trained", [False, True])
def test_time_before_a_kill_counts_and_is_not_given_twice(
    data, plan, tmp_path, monkeypatch, trained
):
    out, budgets, train = tmp_path / "run", [], ddpnas.fitting.following.train

    def slow(text):
        if text.startswith("epoch 1 "):
            time.sleep(1.5)
        if text.startswith("epoch 2 ") and not trained:
            raise KeyboardInterrupt

    def kill(*given):
        raise KeyboardInterrupt

    def watched(*given, **options):
        budgets.append(options["seconds"])
        return train(*given, **options)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("ddpnas.fitting.following.export_trained", kill)
        ddpnas.fit(data, plan=plan, out=out, export="none", on_progress=slow)
    raced = search_seconds(ddpnas.runs.Run(out).history)
    lengthened(out, 100)
    planned = FitPlan.read(out).started
    assert 0 <= planned != PLAN.started  # that of this fit
    monkeypatch.setattr("ddpnas.fitting.following.train", watched)
    begun = time.perf_counter()
    fitted = resume_fit(out, data=data, started=50.0)
    passed = time.perf_counter() - begun
    assert fitted.seconds["plan"] == planned
    assert fitted.seconds["race"] > 150 + raced  # with the 50 seconds of loading
    assert fitted.seconds["training"] > 1.5
    before = planned + 150 + raced
    assert before + 1.5 < fitted.seconds["total"]
    assert fitted.seconds["total"] < before + fitted.seconds["training"] + passed
    # The 1.5 seconds of the training are part of its budget, as they were before the kill.
    wanted = PLAN.seconds - PLAN.reserve - before
    assert all(wanted - passed <= seconds < wanted for seconds in budgets)
    assert len(budgets) == (0 if trained else 1)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"limits": {"macs": LIMIT // 2}}, "the plan says limits = {'macs': '60,000'}"),
        ({"seed": 4}, "the plan says seed = 3, not 4; leave seed out"),
        ({"minutes": 2}, "the plan says minutes = 10.0, not 2"),
        ({"teacher": "timm:resnet18"}, "the plan says teacher = None"),
        ({"metric": "macro-f1"}, "the plan says metric = 'accuracy'"),
    ],
)
def test_what_a_plan_says_otherwise_is_refused(data, plan, options, says):
    with pytest.raises(OptionError, match=says):
        ddpnas.fit(data, plan=plan, **options)


def test_a_plan_keeps_which_epochs_the_clock_dropped(data, plan, tmp_path):
    content = {**FitPlan.read(plan).to_dict(), "seconds": 2.0, "epochs": 5000}  # a second is left
    (tmp_path / "short.json").write_text(json.dumps(content))
    hurried = ddpnas.fit(data, plan=tmp_path / "short.json", out=tmp_path / "run", export="none")
    kept = FitPlan.read(tmp_path / "run")
    assert kept.shortened and len(hurried.trained.history) < 5000
    again = ddpnas.fit(data, plan=tmp_path / "run")
    assert equal(again, hurried) and len(again.trained.history) == len(hurried.trained.history)


def test_a_plan_keeps_that_the_training_started_again(data, plan, tmp_path, monkeypatch):
    monkeypatch.setattr("ddpnas.training.protections._FIRST_STEPS", 4)
    with monkeypatch.context() as patched:
        judge = "ddpnas.training.judge.Judge.has_learned_nothing"
        patched.setattr(judge, lambda *given: True)
        failed = ddpnas.fit(data, plan=plan, out=tmp_path, export="none")
    assert failed.trained.history[0]["failed_lr"] == 0.1
    assert equal(ddpnas.fit(data, plan=tmp_path), failed)


def test_only_the_final_training_goes_through_a_sieve(data, plan, tmp_path, monkeypatch):
    sieve = {"sieve": "dynamics", "sieve_options": {"keep": 0.5, "warmup": 0.3, "steps": 1}}
    content = {**FitPlan.read(plan).to_dict(), **sieve}
    (tmp_path / "sieved.json").write_text(json.dumps(content))
    counts, begun = {"race": [], "training": []}, []
    read = Loader.train_batches

    def watched(self, batch_size, seed):
        counts["training" if begun else "race"].append((len(self.sieve.kept), len(self.labels)))
        for batch in read(self, batch_size, seed):
            items, _ = self._given
            assert set(items.tolist()) <= set(self.sieve.kept.tolist())
            yield batch

    monkeypatch.setattr(Loader, "train_batches", watched)
    fitted = ddpnas.fit(
        data, plan=tmp_path / "sieved.json",
        on_progress=lambda text: begun.append(text) if text.startswith("training it") else None,
    )  # fmt: skip
    assert counts["race"] and all(kept == of for kept, of in counts["race"])
    [whole] = {of for _, of in counts["training"]}
    assert [kept for kept, _ in counts["training"]] == [whole, round(whole / 2), round(whole / 2)]
    assert [r["share"] for r in fitted.trained.history] == [1.0, 0.5, 0.5]


def test_a_network_can_be_loaded_at_any_time(data, plan, tmp_path):
    out, found = tmp_path / "run", []

    def look(text):
        if (out / "best").exists():
            found.append(ddpnas.load(out / "best"))

    fitted = ddpnas.fit(data, plan=plan, out=out, export="none", on_progress=look)
    assert len(found) >= 3  # from the first candidate on
    assert all(one.predict(data.valid.inputs[:2]).shape == (2, 2) for one in found)
    assert [path.name for path in out.glob("best*")] == ["best"]
    assert not (out / "best" / "training").exists()
    last = ddpnas.load(out / "best").network.state_dict()
    assert all(torch.equal(last[name], value) for name, value in weights_of(fitted).items())


def test_a_kill_between_two_renames_leaves_the_network_before(data, plan, tmp_path, monkeypatch):
    out, rename = tmp_path / "run", Path.rename

    def kill(self, target):
        if self.name == "best.new" and (out / "best.old").exists():
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", kill)
        with pytest.raises(KeyboardInterrupt):
            ddpnas.fit(data, plan=plan, out=out, export="none")
    assert not (out / "best").exists()
    assert ddpnas.load(out / "best").predict(data.valid.inputs[:2]).shape == (2, 2)
    assert read_comparison(out / "best").found.evaluation.items
    resume_fit(out, data=data)
    assert [path.name for path in out.glob("best*")] == ["best"]


def test_what_a_fit_leaves_is_a_run_that_serves_other_limits(data, plan, tmp_path):
    out = tmp_path / "run"
    fitted = ddpnas.fit(data, plan=plan, out=out, export="torch")
    request = ddpnas.runs.GenerationRequest(limits={"macs": LIMIT // 2})
    found = ddpnas.runs.Run(out).generate(request).chosen
    assert found.costs["macs"] <= LIMIT // 2
    assert fitted.files["report"].is_file()
    assert fitted.files["torch"] == out / "net.pt2" and (out / "net.pt2").stat().st_size > 1000
    assert FitPlan.read(out).epochs == FitPlan.read(plan).epochs
    with pytest.raises(RunError, match="overwrite"):
        ddpnas.fit(data, plan=plan, out=out, export="none")


def test_baselines_are_trained_for_the_same_time(data, plan, tmp_path, monkeypatch):
    train, given = ddpnas.fitting.searched.train, []

    def short(*networks, **options):
        given.append(options)
        return train(*networks, **(options | {"epochs": 1}))

    monkeypatch.setattr("ddpnas.fitting.searched.train", short)
    fitted = ddpnas.fit(data, plan=plan, out=tmp_path, export="none", baselines=["residual"])
    [baseline] = fitted.baselines
    assert baseline.costs["macs"] <= LIMIT
    [options] = given
    assert options["seconds"] == FitPlan.read(tmp_path).training > 500 and options["epochs"] > 100
    assert not (tmp_path / "trained" / "training").exists()  # no checkpoints are left


@pytest.mark.parametrize("error", [DivergedError("of NaN"), MemoryError()])
def test_a_baseline_that_fails_is_left_out_of_a_finished_fit(
    data, plan, tmp_path, monkeypatch, error
):
    content = FitPlan.read(plan).to_dict()
    content["recipe"] |= {"batch_size": 16}
    (tmp_path / "small.json").write_text(json.dumps(content))
    train, sizes = ddpnas.fitting.searched.train, []

    def failing(network, data, recipe, **options):
        sizes.append(recipe.batch_size)
        if len(sizes) == 1:
            raise error
        return train(network, data, recipe, **(options | {"epochs": 1}))

    said, names = [], ["residual", "mobilenet-v2"]
    monkeypatch.setattr("ddpnas.fitting.searched.train", failing)
    fitted = ddpnas.fit(
        data, plan=tmp_path / "small.json", out=tmp_path / "run", export="none", baselines=names,
        on_progress=said.append,
    )  # fmt: skip
    assert [one.name for one in fitted.baselines] == ["mobilenet-v2"]
    [line] = [line for line in said if line.startswith("no baseline residual: ")]
    assert line.endswith(("of NaN", "not enough memory to train it"))
    assert fitted.files["report"].is_file() and sizes == [16, 16]


def test_a_limited_peak_of_memory_is_told_of_each_network(data, plan, tmp_path, monkeypatch):
    train = ddpnas.fitting.searched.train
    monkeypatch.setattr(
        "ddpnas.fitting.searched.train",
        lambda *given, **options: train(*given, **(options | {"epochs": 1})),
    )
    limits = {**PLAN.limits, "peak_activation_bytes": "100000"}
    content = {**FitPlan.read(plan).to_dict(), "limits": limits}
    (tmp_path / "peak.json").write_text(json.dumps(content))
    fitted = ddpnas.fit(data, plan=tmp_path / "peak.json", baselines=["residual"])
    [baseline] = fitted.baselines
    for costs, model in ((fitted.costs, fitted.model), (baseline.costs, baseline.result.model)):
        counted = ddpnas.count_network(model, (1, 8, 8))
        assert costs["peak_activation_bytes"] == counted["peak_activation_bytes"]


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"limits": {"energy": 3}}, OptionError, "unknown cost 'energy': known: "),
        ({"limits": {"macs": 10}}, InfeasibleError, "macs"),
        ({"minutes": 0.0001, "limits": {"macs": "60K"}}, OptionError, "too short"),
        ({"minutes": -1}, OptionError, "minutes"),
        ({"image_size": 16}, OptionError, "image_size"),
        ({"metric": "f1"}, OptionError, "macro-f1"),
        ({"teacher": "nowhere"}, OptionError, "there is no folder 'nowhere'"),
        ({"device": "tpu9"}, OptionError, "device 'tpu9' cannot be used here"),
        ({"class_weights": "equal"}, OptionError, "balanced"),
        ({"export": "tflite", "out": "x"}, OptionError, "onnx"),
        ({"baselines": ["resnet"], "limits": {"macs": "60K"}}, OptionError, "resnet18"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_trained(
    data, tmp_path, monkeypatch, options, error, says
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=says):
        ddpnas.fit(data, **options)
    assert not [*tmp_path.iterdir()]


@pytest.fixture
def mine(tmp_path):
    """Return the name of a network in a user's file."""
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def network(num_classes=5):\n"
        "    return nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),\n"
        "        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))\n"
    )
    return f"{tmp_path / 'net.py'}:network"


def test_a_network_to_start_from_is_fine_tuned_and_kept(data, mine, tmp_path):
    out, file = tmp_path / "run", tmp_path / "start.json"
    content = {**PLAN.to_dict(), "start": mine, "epochs": 2, "space_options": {}}
    file.write_text(json.dumps(content))
    fitted = ddpnas.fit(data, out=out, plan=file, start=mine, export="none")
    assert fitted.search is None and fitted.trained.recipe.name == "finetune"
    loaded = ddpnas.load(out / "trained", model=mine).network.state_dict()
    assert all(torch.equal(loaded[name], v) for name, v in weights_of(fitted).items())
    again = resume_fit(out, data=data, networks=[mine])
    assert equal(again, fitted) and fitted.files["report"].is_file()
    assert again.seconds == fitted.seconds  # not those of the last session
    with pytest.raises(RunError, match="run holds a trained network and no search"):
        ddpnas.runs.Run(out)
    with pytest.raises(RunError, match="holds a finished run; give another --out, or --overwrite"):
        ddpnas.fit(data, out=out, plan=file, start=mine, export="none")
    again = ddpnas.fit(data, out=out, plan=file, start=mine, export="none", overwrite=True)
    assert equal(again, fitted)


def test_the_minutes_that_are_advised_are_enough_to_fine_tune(data, mine, monkeypatch):
    monkeypatch.setattr("ddpnas.fitting.speed.epoch_seconds", lambda *given: 10.0)

    def kill(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("ddpnas.fitting.following.train", kill)
    says = "9.0 s are too short to fine-tune .*:network: an epoch of training takes 10.0 s, and"
    with pytest.raises(OptionError, match=says) as error:
        ddpnas.fit(data, None, 0.15, start=mine)
    advised = re.search(r"give at least --minutes (\d+\.\d), a smaller --image", str(error.value))
    assert 0.2 < float(advised[1]) < 1.5
    with pytest.raises(KeyboardInterrupt):  # there is time to train
        ddpnas.fit(data, None, float(advised[1]), start=mine)


def test_a_start_by_a_plan_takes_images_of_the_same_size(mine, tmp_path):
    images = torch.randint(0, 256, (60, 12, 12), dtype=torch.uint8).numpy()
    numpy.savez(tmp_path / "x.npz", train_images=images, train_labels=numpy.arange(60) % 2)
    content = {
        **PLAN.to_dict(), "start": mine, "space_options": {}, "epochs": 1,
        "data": {"data": "x.npz", "image_size": 8},
    }  # fmt: skip
    (tmp_path / "start.json").write_text(json.dumps(content))
    options = {"plan": tmp_path / "start.json", "start": mine}
    fitted = ddpnas.fit(tmp_path / "x.npz", **options)
    assert fitted.trained.data.input_shape == (1, 8, 8)
    with pytest.raises(OptionError, match="the plan says image_size = 8, not 12; leave image_size"):
        ddpnas.fit(tmp_path / "x.npz", image_size=12, **options)


@pytest.mark.parametrize("threads", [None, 2])
def test_a_start_is_fine_tuned_with_all_threads_or_one(data, mine, monkeypatch, tmp_path, threads):
    took = {1: 0.01, 2: 0.02}  # as beside busy programs
    monkeypatch.setattr(
        "ddpnas.fitting.speed.epoch_seconds", lambda *given: took[torch.get_num_threads()]
    )

    def kill(*given, **options):
        used.append(torch.get_num_threads())
        raise KeyboardInterrupt

    monkeypatch.setattr("ddpnas.fitting.following.train", kill)
    before, used = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyboardInterrupt):
            ddpnas.fit(
                data, None, 0.5, tmp_path / "run", start=mine, threads=threads, export="none"
            )
    finally:
        torch.set_num_threads(before)
    assert [FitPlan.read(tmp_path / "run").threads] == used == [threads or 1]


@pytest.mark.parametrize("classes", [2, 5])
def test_the_network_to_start_from_is_usable_before_its_first_epoch(
    data, mine, tmp_path, classes, monkeypatch
):
    out, file = tmp_path / "run", tmp_path / "start.json"
    Path(mine.partition(":")[0]).write_text(
        Path(mine.partition(":")[0]).read_text().replace("num_classes=5", f"num_classes={classes}")
    )
    file.write_text(json.dumps({**PLAN.to_dict(), "start": mine, "space_options": {}}))

    def kill(*given, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ddpnas.fitting.following.train", kill)
        with pytest.raises(KeyboardInterrupt):
            ddpnas.fit(data, out=out, plan=file, start=mine, export="none")
    given = ddpnas.open_network(mine, num_classes=2, input_shape=data.input_shape, seed=3)
    loaded = ddpnas.load(out / "best", model=mine).network.state_dict()
    assert all(torch.equal(loaded[name], v) for name, v in given.model.state_dict().items())
    [figures] = read_comparison(out / "best").networks
    assert figures.evaluation.items == len(data.valid)
    assert figures.name.endswith("not fine-tuned yet)")
    assert ("its last layer is new" in figures.name) == (classes != 2)
    assert equal(
        resume_fit(out, data=data, networks=[mine]),
        ddpnas.fit(data, plan=file, start=mine),  # which keeps no folder, so nothing in best/
    )


def test_a_trained_network_that_is_code_is_not_started_from_by_its_folder(data, mine, tmp_path):
    opened = ddpnas.open_network(mine, num_classes=2, input_shape=data.input_shape)
    trained = ddpnas.train(opened.model, data, "finetune", epochs=1, device="cpu")
    trained.save(net := tmp_path / "net", named=opened.named)
    with pytest.raises(OptionError) as error:
        ddpnas.fit(data, {"macs": "60K"}, 0.2, start=net)
    again = f"give --start {net}/net.py:network --weights {net}/model.safetensors"
    assert str(error.value).endswith(again)
    with pytest.raises(OptionError, match="give --teacher FILE.py:function, with a function that"):
        ddpnas.fit(data, {"macs": "60K"}, 0.2, teacher=net)


@pytest.mark.parametrize("start", [True, False])
def test_a_plan_is_made_with_half_the_batch_where_memory_runs_out(
    data, mine, monkeypatch, tmp_path, start
):
    asked = []

    def measure(network, data, recipe, device):
        asked.append(recipe.batch_size)
        if len(asked) < 3:
            raise MemoryError
        raise KeyboardInterrupt  # enough is known

    monkeypatch.setattr("ddpnas.fitting.speed.epoch_seconds", measure)
    said = []
    with pytest.raises(KeyboardInterrupt):
        ddpnas.fit(
            data, {"macs": "60K"}, 1, start=mine if start else None, threads=1,
            on_progress=said.append,
        )  # fmt: skip
    assert asked == ([64, 32, 16] if start else [None, 8, 4])
    assert "trying 8 images" in said[0] if not start else "trying 32 images" in said[0]


def crowded(monkeypatch, most):
    """Let a race run out of memory with more images a step than so many."""
    train = ContinuedEvaluator._continue

    def limited(self, architecture):
        if (self.recipe.batch_size or 64) > most and len(self._candidates) == 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return train(self, architecture)

    monkeypatch.setattr(ContinuedEvaluator, "_continue", limited)


def test_a_race_that_runs_out_of_memory_starts_again_with_half_the_batch(
    data, plan, monkeypatch, tmp_path
):
    content, file = FitPlan.read(plan).to_dict(), tmp_path / "halved.json"
    content["evaluator_options"] |= {"batch_size": 16}
    content["recipe"] |= {"batch_size": 16}
    file.write_text(json.dumps(content))
    whole = ddpnas.fit(data, plan=file)
    content["evaluator_options"] |= {"batch_size": 64}
    file.write_text(json.dumps(content))
    crowded(monkeypatch, 16)
    said = []
    fitted = ddpnas.fit(
        data, plan=file, out=tmp_path / "it", export="none", on_progress=said.append
    )
    assert [text for text in said if "not enough memory" in text] == [
        "not enough memory: the race starts again with 32 images a step",
        "not enough memory: the race starts again with 16 images a step",
    ]
    assert equal(fitted, whole) and FitPlan.read(tmp_path / "it").recipe["batch_size"] == 16


def test_a_race_that_cannot_begin_leaves_its_folder_to_others(data, plan, monkeypatch, tmp_path):
    make, errors = ContinuedEvaluator.__init__, [MemoryError(), OptionError("no")]

    def failing(*given, **options):
        if errors:
            raise errors.pop(0)
        make(*given, **options)

    monkeypatch.setattr(ContinuedEvaluator, "__init__", failing)
    said = []
    with pytest.raises(OptionError) as _kept_alive:
        ddpnas.fit(data, plan=plan, out=tmp_path, export="none", on_progress=said.append)
    assert said == ["not enough memory: the race starts again with 8 images a step"]
    ddpnas.fit(data, plan=plan, out=tmp_path, export="none")


def test_a_race_without_memory_for_an_image_ends_in_a_sentence(data, plan, monkeypatch, tmp_path):
    crowded(monkeypatch, 0)
    with pytest.raises(RunError, match="not enough memory to train on a single image"):
        ddpnas.fit(data, plan=plan, out=tmp_path / "it", export="none")
    with pytest.raises(RunError, match="not enough memory to train the candidates on 1 images"):
        resume_fit(tmp_path / "it", data=data)


def test_a_race_of_which_all_candidates_diverge_ends_in_a_sentence(data, plan, tmp_path):
    content, file = FitPlan.read(plan).to_dict(), tmp_path / "wild.json"
    content["evaluator_options"] |= {"lr": 1e9}
    file.write_text(json.dumps(content))
    with pytest.raises(DivergedError, match="the loss of every candidate became NaN"):
        ddpnas.fit(data, plan=file)


def test_a_race_goes_on_without_candidates_that_diverge(data, plan, monkeypatch):
    train, kept = PlateauTraining.train, []

    def diverging(training, steps):
        kept.extend([] if kept else [training])
        loss = train(training, steps)
        if training not in kept:
            next(training.model.parameters()).data.fill_(math.nan)
            raise DivergedError("the loss became NaN")
        return loss

    monkeypatch.setattr(PlateauTraining, "train", diverging)
    history = ddpnas.fit(data, plan=plan).search.history
    scores = [record["score"] for record in history]
    assert [math.isfinite(score) for score in scores[:4]] == [True, False, False, False]
    assert math.isnan(scores[5]) and history[5]["train_images"] == 0  # asked again


@pytest.mark.parametrize(
    ("limits", "design"),
    [({"macs": "60K", "params": "500K.."}, "residual"), ({"macs": "10K"}, "mobilenet-v2")],
)
def test_a_design_outside_the_limits_is_noticed_before_the_plan(data, limits, design):
    said = []
    with pytest.raises(InfeasibleError, match=f"the baseline {design} cannot be .*; leave it out"):
        ddpnas.fit(data, limits, 5, baselines=[design], on_progress=said.append)
    assert not said


def test_a_plan_says_what_candidates_are_chosen_by_and_what_classes_weigh(data, plan, tmp_path):
    content, file = FitPlan.read(plan).to_dict(), tmp_path / "balanced.json"
    content["evaluator_options"] |= {"metric": "macro-f1", "class_weights": "balanced"}
    content["recipe"] |= {"class_weights": "balanced"}
    file.write_text(json.dumps(content))
    fitted = ddpnas.fit(data, plan=file)
    assert fitted.trained.recipe.class_weights == "balanced"
    assert all(record["score"] == record["macro_f1"] for record in fitted.search.history)


def test_a_baseline_that_does_not_fit_the_images_is_refused_before_the_plan(data, tmp_path):
    file, said = tmp_path / "net.py", []
    file.write_text("import torch\n\ndef net():\n    return torch.nn.Linear(3, 7)\n")
    with pytest.raises(DdpnasError, match="net.py"):
        ddpnas.fit(data, {"macs": "60K"}, 5, baselines=[f"{file}:net"], on_progress=said.append)
    assert not said


def test_without_a_race_no_score_of_an_untrained_network_is_told(data, plan, tmp_path):
    content, file = FitPlan.read(plan).to_dict(), tmp_path / "alone.json"
    content["strategy_options"] |= {"candidates": 1, "rungs": 1}
    file.write_text(json.dumps(content))
    said = []
    ddpnas.fit(data, plan=file, on_progress=said.append)
    assert not any("% after" in text for text in said) and any("chosen" in text for text in said)


def test_the_final_training_distils_from_a_teacher(data, unbroken, plan, tmp_path):
    teacher = tmp_path / "teacher"
    unbroken.save(teacher)
    file = tmp_path / "taught.json"
    content = {**FitPlan.read(plan).to_dict(), "teacher": str(teacher)}
    file.write_text(json.dumps(content))
    taught = ddpnas.fit(data, plan=file)
    assert taught.text == unbroken.text and not equal(taught, unbroken)


def test_a_network_to_start_from_has_to_be_within_the_limits(data, mine):
    with pytest.raises(OptionError, match="at most 10"):
        ddpnas.fit(data, {"macs": 10}, 0.2, start=mine)
    with pytest.raises(OptionError, match="--start leaves none"):
        ddpnas.fit(data, {"macs": "60K"}, 0.2, start=mine, metric="macro-f1")
    with pytest.raises(OptionError, match="give start too"):
        ddpnas.fit(data, {"macs": "60K"}, 0.2, weights="x.pth")


def test_the_time_of_a_teacher_counts(data, mine, tmp_path):
    """A plan that only knew how fast the student is would take ten times the minutes."""
    (tmp_path / "slow.py").write_text(
        "import time\n"
        "from torch import nn\n"
        "class Slow(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))\n"
        "    def forward(self, x):\n"
        "        time.sleep(0.01 * len(x))\n"
        "        return self.layers(x)\n"
        "def network():\n"
        "    return Slow()\n"
    )
    teacher = f"{tmp_path / 'slow.py'}:network"
    many = dataclasses.replace(data, train=data.train.subset([*range(len(data.train))] * 100))
    for options in ({"start": mine}, {"limits": {"macs": "60K"}}):
        with pytest.raises(OptionError, match="are too short.*: an epoch of training takes 1 min"):
            ddpnas.fit(many, minutes=0.5, teacher=teacher, **options)


def test_an_interrupted_baseline_goes_on(data, plan, tmp_path, monkeypatch):
    """However fast the machine is by then; one that was finished is not trained again."""
    speeds, trained = iter([30.0, 40.0, 25.0]), []
    monkeypatch.setattr(searched, "epoch_seconds", lambda *given: next(speeds))
    names, train = ["residual", "regnet"], searched.train

    def interrupted(network, *given, **options):
        trained.append(options["folder"].name)
        if len(trained) == 2:

            def stop(record):
                raise KeyboardInterrupt

            options["on_epoch"] = stop
        return train(network, *given, **options)

    monkeypatch.setattr(searched, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ddpnas.fit(data, plan=plan, out=tmp_path / "run", export="none", baselines=names)
    said = []
    fitted = resume_fit(tmp_path / "run", data=data, on_progress=said.append)
    assert [one.name for one in fitted.baselines] == names
    assert len(trained) == 3 and trained[1] == trained[2] != trained[0]
    assert not [line for line in said if line.startswith("no baseline")]


def test_a_fit_of_a_start_that_was_killed_early_refuses_other_images(mine, tmp_path, monkeypatch):
    def images(brightness):
        pixels = torch.full((60, 12, 12), brightness, dtype=torch.uint8).numpy()
        numpy.savez(tmp_path / "x.npz", train_images=pixels, train_labels=numpy.arange(60) % 2)

    def kill(*given, **options):
        raise KeyboardInterrupt

    images(50)
    with monkeypatch.context() as patched:
        patched.setattr("ddpnas.fitting.following.train", kill)
        with pytest.raises(KeyboardInterrupt):
            ddpnas.fit(tmp_path / "x.npz", None, 0.5, tmp_path / "run", start=mine, export="none")
    images(60)
    with pytest.raises(RunError, match="the images of the fit in .* are not those that it"):
        resume_fit(tmp_path / "run", networks=[mine])


@pytest.mark.parametrize("fails", ["{'logits': y}", "y.missing"])
def test_a_start_that_cannot_be_trained_is_refused_with_a_sentence(data, tmp_path, fails):
    """In training mode only, as networks with auxiliary heads may."""
    (tmp_path / "odd.py").write_text(
        "from torch import nn\n"
        "class Odd(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))\n"
        "    def forward(self, x):\n"
        "        y = self.layers(x)\n"
        f"        return {fails} if self.training else y\n"
        "def network():\n"
        "    return Odd()\n"
    )
    with pytest.raises(OptionError, match="the network (returns|fails)"):
        ddpnas.fit(data, minutes=0.5, start=f"{tmp_path / 'odd.py'}:network")
