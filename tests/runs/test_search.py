"""The whole search, and that it survives being killed."""

import json
import math
import multiprocessing
import os
import random
import signal
import sys
import time
import zlib

import numpy as np
import pytest
import torch
from torch import nn

import ddpnas
from ddpnas import SearchResult, resume, search
from ddpnas.cli import main
from ddpnas.errors import DataError, OptionError, RunError, SpaceError
from ddpnas.evaluators import (
    BaseEvaluator,
    Evaluation,
    SupernetConfig,
    SupernetEvaluator,
    TableEvaluator,
)
from ddpnas.runs import Run
from ddpnas.runs.folder import RunFolder
from ddpnas.runs.search import open_space
from ddpnas.space import DecisionSpace
from ddpnas.strategies import GradientStrategy, strategy_class, strategy_options
from ddpnas.strategies.base import BaseStrategy

from ..conftest import striped_images

CONFIG = {"training": "path", "batch_size": 32, "lr": 0.1}
THREE = {"cycles_per_stage": 3, "draws": 20}
SHORT = {"cycles_per_stage": 1, "draws": 20}


def by_hash(architecture):
    return zlib.crc32(repr(sorted(architecture.items())).encode()) / 2**32


BY_HASH = TableEvaluator(by_hash)  # known scores, so that searches take milliseconds


def timeless(history):
    return [{k: v for k, v in r.items() if not k.endswith("seconds")} for r in history]


class StopSearchError(Exception):
    pass


def stop_after(n):
    def check(progress):
        if progress.done == n:
            raise StopSearchError

    return check


def test_a_search_scores_the_announced_number_of_architectures(small_space, stripes, tmp_path):
    seen = []
    result = search(
        small_space,
        stripes,
        out=tmp_path / "run",
        evaluator="table",
        strategy_options=THREE,
        device="cpu",
        on_progress=seen.append,
    )
    assert len(result.history) == 42 and [p.done for p in seen] == list(range(43))
    assert {p.total for p in seen} == {42} and seen[-1].stage == 4
    assert [r["stage"] for r in result.history] == [0] * 15 + [1] * 12 + [2] * 9 + [3] * 6
    assert small_space.parse(result.text) == result.architecture == result.distribution.mode()
    stages = [json.loads(x) for x in (tmp_path / "run" / "distributions.jsonl").open()]
    assert [s["evaluations"] for s in stages] == [15, 27, 36, 42]
    assert [len(s["survivors"]["1<-0"]) for s in stages] == [4, 3, 2, 1]
    about = json.loads((tmp_path / "run" / "run.json").read_text())["about"]
    assert about["evaluations"] == 42 and about["data"]["items"]["valid"] == len(stripes.valid)
    assert DecisionSpace.from_dict(about["space"]).decisions == small_space.decisions
    assert [r["saving_seconds"] > 0 for r in result.history] == [False] + [True] * 41
    loaded = SearchResult.load(tmp_path / "run")
    assert loaded.architecture == result.architecture and loaded.history == result.history
    assert loaded.distribution.to_dict() == result.distribution.to_dict()


def test_shared_weights_learn(stripes):
    space = ddpnas.create_space("toy", num_classes=3, input_shape=(1, 8, 8))
    config = {"training": "path", "batch_size": 8, "lr": 0.1}
    history = search(
        space, stripes, evaluator_options=config, strategy_options=THREE, device="cpu"
    ).history
    assert sum(r["score"] for r in history[-6:]) / 6 > 0.5  # chance is 1/3
    assert sum(r["loss"] for r in history[-6:]) < sum(r["loss"] for r in history[:6])


def test_nothing_is_written_without_a_folder_and_a_result_can_be_saved(
    small_space, stripes, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    result = search(small_space, stripes, evaluator="table", strategy_options=SHORT, device="cpu")
    assert list(tmp_path.iterdir()) == []
    result.save(tmp_path / "kept")
    assert SearchResult.load(tmp_path / "kept").architecture == result.architecture
    with pytest.raises(RunError, match="holds a finished run"):
        result.save(tmp_path / "kept")


def search_by_path(space, data, out, **more):
    return search(
        space,
        data,
        out=out,
        evaluator="table",
        strategy_options=SHORT,
        seed=3,
        device="cpu",
        **more,
    )


@pytest.fixture(scope="module")
def unbroken(small_space, stripes, tmp_path_factory):
    """Return (folder, result) of a search that nothing interrupted."""
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    return folder, search_by_path(small_space, stripes, folder)


@pytest.mark.parametrize("after", range(14))
def test_an_interrupted_search_ends_as_the_unbroken_one(
    small_space, stripes, tmp_path, unbroken, after
):
    def run(out, **more):
        return search_by_path(small_space, stripes, out, **more)

    folder, whole = unbroken
    with pytest.raises(StopSearchError):
        run(tmp_path / "broken", on_progress=stop_after(after))
    with pytest.raises(RunError, match="not finished"):
        SearchResult.load(tmp_path / "broken")
    resumed = run(tmp_path / "broken", resume=True)
    assert timeless(resumed.history) == timeless(whole.history)
    assert resumed.architecture == whole.architecture
    assert resumed.distribution.to_dict() == whole.distribution.to_dict()
    for name in ("distributions.jsonl", "config.yaml"):
        one, other = (out / name for out in (folder, tmp_path / "broken"))
        assert one.read_text() == other.read_text()


@pytest.mark.parametrize(("after", "prior"), [(8, None)])
def test_a_search_of_trained_batches_resumes_from_any_checkpoint(
    small_space, stripes, tmp_path, monkeypatch, after, prior
):
    config = {"warmup_epochs": 3, "batch_size": 32, "proxy_weight": prior}

    def evaluator(space, data, seed, device, **options):
        config = SupernetConfig(**options)
        return SupernetEvaluator(space, data, 14, config, seed=seed, device=device, scale_from=5)

    def run(out, **more):
        return search(
            small_space, stripes, out=out, evaluator=evaluator, evaluator_options=config,
            strategy_options=SHORT, device="cpu", **more,
        )  # fmt: skip

    whole = run(tmp_path / "whole")
    assert [r["stage"] for r in whole.history] == [0] * 5 + [1] * 4 + [2] * 3 + [3] * 2
    save, saved = RunFolder.save_checkpoint, []

    def save_and_stop(self, tensors, plain):
        save(self, tensors, plain)
        saved.append(plain)
        if len(saved) == after:
            raise StopSearchError

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["ddpnas.runs.loop"], "_SAVING_SHARE", math.inf)  # leave out none
        patch.setattr(RunFolder, "save_checkpoint", save_and_stop)
        with pytest.raises(StopSearchError):
            run(tmp_path / "broken")
    resumed = run(tmp_path / "broken", resume=True)
    assert timeless(resumed.history) == timeless(whole.history)
    assert resumed.distribution.to_dict() == whole.distribution.to_dict()


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def killed_after(operations, patch):
    """Have the search die in its n-th operation on its folder, before or within it."""
    count = 0

    def dying(method, torn):
        def operate(self, *given):
            nonlocal count
            count += 1
            if count == operations:
                torn(self, *given)
                raise Killed
            return method(self, *given)

        return operate

    def half_a_line(folder, name, record):
        with open(folder.path / name, "a") as stream:
            stream.write(json.dumps(record)[:20])

    def nothing(folder, *given):
        return None

    for name, torn in (
        ("append", half_a_line),
        ("save_checkpoint", nothing),
        ("write_json", nothing),
        ("load_checkpoint", nothing),
    ):
        patch.setattr(RunFolder, name, dying(getattr(RunFolder, name), torn))
    return lambda: count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        ("ddpnas", SHORT),
        ("ddpnas-paper", {"cycles_per_stage": 1}),
        ("regularized-evolution", {"evaluations": 12}),
    ],
)
def test_a_search_killed_in_any_operation_on_its_folder_ends_as_the_unbroken_one(
    small_space, stripes, tmp_path, monkeypatch, strategy, options
):
    monkeypatch.setattr(sys.modules["ddpnas.runs.loop"], "_SAVING_SHARE", math.inf)  # save always

    def run(out, **more):
        return search(
            small_space, stripes, strategy, strategy_options=options, evaluator=BY_HASH,
            out=out, seed=3, device="cpu", **more,
        )  # fmt: skip

    with monkeypatch.context() as patch:
        operations = killed_after(0, patch)
        whole = run(tmp_path / "whole")
    assert operations() > 2 * len(whole.history)
    for operation in range(1, operations() + 1):
        out = tmp_path / str(operation)
        with monkeypatch.context() as patch, pytest.raises(Killed):
            killed_after(operation, patch)
            run(out)
        begun = (out / "run.json").exists()
        again = run(out, resume=True) if begun else run(out)
        assert timeless(again.history) == timeless(whole.history), operation
        assert again.distribution.to_dict() == whole.distribution.to_dict()
        assert SearchResult.load(out).architecture == whole.architecture


class ByLength(BaseEvaluator):
    """An evaluator of one's own: short names are better."""

    def __init__(self, space, data, seed, device, weight=1.0):
        self.space, self.weight = space, weight

    def evaluate(self, architectures):
        for architecture in architectures:
            yield Evaluation(-self.weight * len(self.space.format(architecture)))

    def identity(self):
        return {"weight": self.weight}

    def requires(self, strategy):
        if strategy.evaluations > 1000:
            raise OptionError("too many")


class Lasting(ByLength):
    lasting = True

    def __init__(self, space):
        super().__init__(space, None, 0, "cpu")
        self.asked = []

    def evaluate(self, architectures):
        for architecture, found in zip(architectures, super().evaluate(architectures), strict=True):
            self.asked.append(architecture)
            yield Evaluation(found.score, {"accuracy": 0.5})


def test_a_lasting_score_is_found_once_also_after_a_resume(stripes, tmp_path):
    def network(choose, *, num_classes=3, input_shape=(1, 8, 8)):
        first = choose("first", {"a": nn.Identity, "bb": nn.ReLU})
        return nn.Sequential(first, choose("second", {"a": nn.Identity, "bb": nn.ReLU}),
                             nn.Flatten(), nn.Linear(64, num_classes))  # fmt: skip

    def run(evaluator, **more):
        return search(space, stripes, "random", evaluator=evaluator, device="cpu",
                      strategy_options={"evaluations": 12, "batch": 5}, **more)  # fmt: skip

    def stop(progress):
        if progress.done == 7:
            raise KeyboardInterrupt

    space = ddpnas.SearchSpace(network)
    once = Lasting(space)
    whole = run(once)
    assert len(once.asked) == len(set(once.asked)) == 4
    for record in whole.history:
        first = whole.history[record.get("same_as", record["evaluation"])]
        assert first["architecture"] == record["architecture"] and "same_as" not in first
        assert record["score"] == -len(space.format(record["architecture"]))
        assert record["accuracy"] == 0.5
    with pytest.raises(KeyboardInterrupt):
        run(Lasting(space), out=tmp_path / "run", on_progress=stop)
    resumed = run(Lasting(space), out=tmp_path / "run", resume=True)
    assert timeless(resumed.history) == timeless(whole.history)


def test_an_evaluator_of_ones_own_is_a_class_or_an_object(small_space, stripes, tmp_path):
    def run(evaluator, **more):
        return search(small_space, stripes, "random", evaluator=evaluator, device="cpu",
                      **{"strategy_options": {"evaluations": 5}, **more})  # fmt: skip

    made = ByLength(small_space, stripes, 0, "cpu", 2.0)
    by_class = run(ByLength, evaluator_options={"weight": 2.0}, out=tmp_path / "run")
    assert timeless(by_class.history) == timeless(run(made).history)
    with pytest.raises(RunError, match=r"evaluator_options.weight was 2.0 and is 1.0"):
        run(ByLength, out=tmp_path / "run", resume=True)
    with pytest.raises(RunError, match=r"ByLength', is a class of a Python program"):
        ddpnas.rescore(tmp_path / "run", [by_class.architecture], space=small_space, data=stripes)
    for evaluator, more, says in (
        (made, {"evaluator_options": {"weight": 1.0}}, "with a name or a class"),
        (made, {"sieve": "random"}, "reads images as it likes, so sieve 'random' cannot run"),
        (ByLength, {"sieve": "random"}, "reads images as it likes, so sieve 'random' cannot run"),
        (3, {}, "must be a name, a class or an object"),
        (made, {"strategy_options": {"evaluations": 1001}}, "too many"),
        ("supernett", {}, "did you mean 'supernet'"),
    ):
        with pytest.raises(OptionError, match=says):
            run(evaluator, **more)


def test_what_would_change_the_outcome_is_refused_with_the_difference(
    small_space, stripes, tmp_path
):
    def run(space=small_space, data=stripes, **options):
        given = {"evaluator": "table", "strategy_options": SHORT, "seed": 3, **options}
        return search(space, data, out=tmp_path / "run", device="cpu", **given)

    with pytest.raises(StopSearchError):
        run(on_progress=stop_after(2))
    images, labels = striped_images(120, seed=9)
    other_data = ddpnas.make_data((images, labels), name="stripes", flip=False)
    for options, says in (
        ({"seed": 4}, "seed was 3 and is 4"),
        ({"data": other_data}, 'data.fingerprint was "[0-9a-f]+" and is'),
        ({"space": small_space.with_options(channels=3)}, "space_options.channels was 2 and is 3;"),
        (
            {"evaluator_options": {"epochs": 200}},
            "began with: evaluator_options.epochs was null and is 200; start",
        ),
        (
            {"strategy_options": {**SHORT, "keep": 2}},
            "began with: strategy_options.keep was 1 and is 2; start",
        ),
    ):
        with pytest.raises(RunError, match=says):
            run(resume=True, **options)
    with pytest.raises(RunError, match="unfinished run"):
        run()
    assert run(resume=True).architecture == run(overwrite=True).architecture


@pytest.mark.parametrize(
    "name",
    [n for n in ddpnas.list_strategies() if not issubclass(strategy_class(n), GradientStrategy)],
)
def test_every_strategy_that_learns_from_scores_searches_and_resumes(
    small_space, stripes, tmp_path, name
):
    if name == "forest":
        pytest.importorskip("sklearn")
    sized = "evaluations" in strategy_options(name)
    options = {"evaluations": 5} if sized else {"cycles_per_stage": 1}
    options = {"candidates": 4} if name == "halving" else options

    def run(out, **more):
        return search(
            small_space, stripes, name, out=out, evaluator="table", strategy_options=options,
            device="cpu", **more,
        )  # fmt: skip

    whole = run(tmp_path / "whole")
    with pytest.raises(StopSearchError):
        run(tmp_path / "broken", on_progress=stop_after(3))
    resumed = run(tmp_path / "broken", resume=True)
    assert timeless(resumed.history) == timeless(whole.history)
    assert resumed.architecture == whole.architecture
    assert not sized or len(whole.history) == 5


FAST_SPACES = ("nasbench201", "toy")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in FAST_SPACES else pytest.mark.slow)
        for name in ddpnas.list_spaces()
    ],
)
def test_every_published_space_is_searched_generated_from_and_built(stripes, name):
    small = {
        "darts": {"channels": 4, "cells": 3},
        "nasbench201": {"channels": 4, "cells_per_stage": 1},
        "mnasnet": {"width": 0.25},
        "mobilenet-v2": {"width": 0.25},
        "mobilenet-v3": {"width": 0.25},
        "shufflenet": {"width": 0.25},
    }
    space = open_space(name, stripes, small.get(name, {}))
    result = search(
        space, stripes, "random", strategy_options={"evaluations": 2}, device="cpu",
        evaluator_options={"batch_size": 48, "warmup_epochs": 1, "proxy_weight": 0},
    )  # fmt: skip
    assert space.check(result.architecture) == result.architecture
    found = ddpnas.generate(result.distribution, space, {}, ddpnas.count_costs(space))
    model = space.build(found.architecture)
    assert sum(p.numel() for p in model.parameters()) == found.costs["params"]


def test_a_finished_run_resumes_to_its_result(small_space, stripes, tmp_path):
    given = {
        "evaluator_options": CONFIG,
        "strategy_options": SHORT,
        "device": "cpu",
        "out": tmp_path / "r",
    }
    first = search(small_space, stripes, **given)
    again = search(small_space, stripes, resume=True, **given)
    assert again.history == first.history
    with pytest.raises(RunError, match="finished run"):
        search(small_space, stripes, **given)


def test_same_seed_same_search_and_other_seed_other_search(small_space, stripes):
    def run(seed):
        result = search(
            small_space,
            stripes,
            evaluator="table",
            strategy_options=SHORT,
            seed=seed,
            device="cpu",
        )
        return timeless(result.history)

    assert run(1) == run(1) != run(2)


def test_a_space_that_does_not_fit_the_data_is_refused(stripes):
    wrong_input = ddpnas.create_space("nasbench201", channels=2, input_shape=(3, 8, 8))
    with pytest.raises(SpaceError, match=r"with_options\(input_shape=\(1, 8, 8\)\)"):
        search(wrong_input, stripes)
    wrong_classes = ddpnas.create_space("nasbench201", channels=2, input_shape=(1, 8, 8))
    with pytest.raises(SpaceError, match="has 3 classes"):
        search(wrong_classes, stripes)


def test_a_published_space_by_name_is_fitted_to_the_data(stripes, tmp_path):
    with pytest.raises(StopSearchError):
        search("nasbench201", stripes, out=tmp_path, on_progress=stop_after(0), device="cpu")
    text = (tmp_path / "config.yaml").read_text()
    assert "num_classes: 3" in text and "space: nasbench201" in text


OWN = """
from torch import nn

def network(choose, width=2):
    options = {"conv": lambda: nn.Conv2d(1, width, 3), "pool": lambda: nn.Sequential(
        nn.AvgPool2d(3, 1), nn.Conv2d(1, width, 1))}
    return nn.Sequential(choose("op", options), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(width, 3))
"""


def test_a_search_of_a_file_goes_on_with_that_code_only(stripes, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(OWN)

    def run(space, **more):
        return search(
            space, stripes, out=tmp_path / "run", evaluator=BY_HASH, strategy_options=SHORT,
            device="cpu", **more,
        )  # fmt: skip

    with pytest.raises(StopSearchError):
        run(f"{file}:network", on_progress=stop_after(1))
    file.write_text(OWN.replace("ReLU", "Tanh"))  # of the same weights
    with pytest.raises(RunError, match=r"mine.py is no longer that of"):
        run(f"{file}:network", resume=True)
    file.write_text(OWN)
    (tmp_path / "moved.py").write_text(OWN)
    assert len(run(f"{tmp_path / 'moved.py'}:network", resume=True).history) == 2


def test_a_run_of_a_file_is_reopened_though_its_defaults_are_objects(stripes, tmp_path):
    name = f"{tmp_path / 'mine.py'}:network"
    own = OWN.replace("width=2", "widths=(4, 2), activation=nn.Tanh").replace(
        "width,", "widths[1],"
    )
    (tmp_path / "mine.py").write_text(own.replace("nn.ReLU", "activation"))
    found = search(
        name, stripes, "random", out=tmp_path / "run", evaluator=BY_HASH, device="cpu",
        strategy_options={"evaluations": 2},
    )  # fmt: skip
    space = Run(tmp_path / "run").space(name)
    trained = ddpnas.compare(
        space, found.architecture, stripes, recipe=ddpnas.Recipe(epochs=1), device="cpu"
    )
    ddpnas.training.save_networks(tmp_path / "net", space, trained)
    model = ddpnas.load(tmp_path / "net", space=f"{tmp_path / 'net' / 'mine.py'}:network")
    assert isinstance(model.network[1], nn.Tanh) and model.network[-1].in_features == 2


def test_a_users_own_space_and_tensors_are_enough():

    def network(choose):
        return nn.Sequential(
            choose(
                "body",
                {
                    "wide": lambda: nn.Linear(4, 8),
                    "mlp": lambda: nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8)),
                },
            ),
            nn.ReLU(),
            nn.Linear(8, 2),
        )

    torch.manual_seed(0)
    x = torch.randn(200, 4)
    space = ddpnas.SearchSpace(network, (4,))
    labels = (x.prod(dim=1) > 0).long()
    result = search(space, (x, labels), evaluator_options={"warmup_epochs": 40}, device="cpu")
    assert result.architecture["body"] in ("wide", "mlp") and len(result.history) == 20


def test_more_classes_than_the_data_has_are_refused(stripes):
    with pytest.raises(DataError, match="num_classes 20 was asked for, but stripes has 3"):
        open_space("nasbench201", stripes, {"num_classes": 20})


def command_line(words, lines):
    """Run ``ddpnas`` with these words, its output going to the pipe: in a process of its own."""
    sys.stdout = open(lines.fileno(), "w", closefd=False)  # noqa: SIM115
    sys.exit(main(list(words)))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_search_killed_four_times_at_random_moments_ends_as_the_unbroken_one(tmp_path):
    processes = multiprocessing.get_context("forkserver")  # they need not load torch again
    processes.set_forkserver_preload(
        ["ddpnas.cli.parser", "ddpnas.runs.search", "torch._dynamo", "torchvision"]
    )

    def started(*words):
        receiving, sending = processes.Pipe(duplex=False)
        child = processes.Process(target=command_line, args=(words, sending))
        child.start()
        sending.close()
        return child, os.fdopen(os.dup(receiving.fileno()))

    def ended(*words):
        child, lines = started(*words)
        with lines:
            lines.read()
        child.join()
        assert child.exitcode == 0

    whole, broken = str(tmp_path / "whole"), str(tmp_path / "broken")
    command = [
        "search", "--limit-train-images", "100", "--space", "nasbench201",
        "--space-options.channels", "2", "--space-options.cells-per-stage", "1",
        "--device", "cpu", "--seed", "5", "--preset", "paper", "--out",
    ]  # fmt: skip
    ended(*command, whole)
    rng = random.Random(0)
    command = [*command, broken]
    for _ in range(4):
        child, lines = started(*command)
        # Three evaluations a session, so that four sessions do not reach the end.
        scored = (line for line in lines if line.startswith("["))
        for _ in range(rng.randint(1, 3)):
            next(scored)
        child.kill()
        child.join()
        lines.close()
        assert child.exitcode == -signal.SIGKILL, "the run ended before it could be killed"
        command = ["resume", broken]
    ended(*command)
    one, other = SearchResult.load(whole), SearchResult.load(broken)
    assert timeless(one.history) == timeless(other.history) and len(one.history) == 42
    assert one.architecture == other.architecture
    assert one.distribution.to_dict() == other.distribution.to_dict()


class Twice(BaseStrategy):
    """A strategy of one's own: random pairs."""

    def __init__(self, space, seed=0, *, pairs=2):
        super().__init__(space, seed, 2 * pairs)

    def propose(self):
        return [self.legal.uniform(self.rng) for _ in range(2)]


def test_a_strategy_of_ones_own_searches_and_resumes_from_python(small_space, stripes, tmp_path):
    def run(out, **more):
        return search(
            small_space, stripes, Twice, strategy_options={"pairs": 3}, out=out, device="cpu",
            evaluator="table", **more,
        )  # fmt: skip

    whole = run(tmp_path / "whole")
    assert len(whole.history) == 6
    with pytest.raises(StopSearchError):
        run(tmp_path / "run", on_progress=stop_after(3))
    resumed = run(tmp_path / "run", resume=True)
    assert timeless(resumed.history) == timeless(whole.history)
    with pytest.raises(RunError, match=r"Twice', was made in a Python program; continue from"):
        resume(tmp_path / "run")
    with pytest.raises(OptionError, match="must be text or a function or class"):
        search(small_space, stripes, Twice(small_space))


class Slow(Twice):
    """A strategy that thinks for a while."""

    def propose(self):
        time.sleep(0.1)
        return super().propose()


def test_the_time_of_a_strategy_counts_where_it_asked(small_space, stripes):
    history = search(small_space, stripes, Slow, evaluator="table", device="cpu").history
    first = [record["strategy_seconds"] for record in history[::2]]
    assert len(first) == 2 and min(first) >= 0.1


OWN_STRATEGY = """
from ddpnas.strategies.base import BaseStrategy
from pairs import together

class Twice(BaseStrategy):
    def __init__(self, space, seed=0, *, pairs=2):
        super().__init__(space, seed, 2 * pairs)

    def propose(self):
        return [self.legal.uniform(self.rng) for _ in range(together())]
"""


@pytest.fixture
def own_strategy(tmp_path):
    """Return the name of a strategy in a file, which imports from its folder."""
    (tmp_path / "mine.py").write_text(OWN_STRATEGY)
    (tmp_path / "pairs.py").write_text("def together(): return 2")
    return f"{tmp_path / 'mine.py'}:Twice"


@pytest.fixture
def striped_file(tmp_path):
    """Return a file of images."""
    images, labels = striped_images(120)
    np.savez(tmp_path / "stripes.npz", train_images=images[:, 0], train_labels=labels)
    return str(tmp_path / "stripes.npz")


@pytest.mark.parametrize("after", [0, 1, 4])
def test_a_strategy_of_a_file_is_resumed_by_its_name(own_strategy, striped_file, tmp_path, after):
    def run(out, **more):
        return search(
            "toy", striped_file, own_strategy, strategy_options={"pairs": 3}, out=out,
            device="cpu", evaluator_options={"training": "path"}, **more,
        )  # fmt: skip

    whole = run(tmp_path / "whole")
    broken = tmp_path / "broken"
    with pytest.raises(StopSearchError):
        run(broken, on_progress=stop_after(after))
    with pytest.raises(RunError, match=f"the strategy of .*: --strategy {own_strategy}$"):
        resume(broken)
    with pytest.raises(RunError, match="uses 'Twice' of its file, not 'BaseStrategy'"):
        resume(broken, strategy=own_strategy.replace("Twice", "BaseStrategy"))
    (tmp_path / "pairs.py").write_text("def together(): return 1")
    says = r"code in \S+pairs.py is no longer that of \S+broken; restore the file"
    with pytest.raises(RunError, match=says):
        resume(broken, strategy=own_strategy)
    with pytest.raises(RunError, match=says):
        run(broken, resume=True)
    (tmp_path / "pairs.py").write_text("# two\ndef together(): return 2")
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("mine.py", "pairs.py"):
        (tmp_path / name).rename(moved / name)
    resumed = resume(broken, strategy=f"{moved / 'mine.py'}:Twice")
    assert timeless(resumed.history) == timeless(whole.history) and len(whole.history) == 6
    assert resumed.architecture == whole.architecture
    assert resumed.distribution.to_dict() == whole.distribution.to_dict()


def test_what_cannot_search_is_refused_before_anything_is_written(
    own_strategy, small_space, stripes, tmp_path
):
    for strategy, options, says in (
        (own_strategy, {"pears": 3}, "did you mean 'pairs'"),
        (own_strategy + "s", {}, "did you mean 'Twice'"),
        (own_strategy, {"pairs": 0}, "evaluations of .* must be a whole number from 1"),
        (str(tmp_path / "other.py:Twice"), {}, "there is no file"),
    ):
        with pytest.raises(OptionError, match=says):
            search(
                small_space, stripes, strategy, strategy_options=options, out=tmp_path / "run",
                device="cpu",
            )  # fmt: skip
    assert not (tmp_path / "run").exists()
