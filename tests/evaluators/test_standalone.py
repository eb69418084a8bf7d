import dataclasses

import numpy as np
import pytest
import torch

from ddpnas import create_space, create_strategy, rescore, search
from ddpnas.errors import DivergedError, OptionError, RunError
from ddpnas.evaluators import StandaloneConfig, StandaloneEvaluator, standalone
from ddpnas.spaces.user_space import space_from_file

GOOD = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
CUT_OFF = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


def test_a_score_does_not_depend_on_what_was_scored_before(small_space, stripes):
    architectures = [small_space.parse(text) for text in (GOOD, CUT_OFF)]
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    evaluator = StandaloneEvaluator(small_space, stripes, StandaloneConfig(epochs=3), device="cpu")
    forth = [e.score for e in evaluator.evaluate(architectures)]
    back = [e.score for e in evaluator.evaluate(architectures[::-1])]
    assert forth == back[::-1]
    assert torch.equal(torch.rand(2), expected)


def test_training_tells_a_network_from_one_that_is_cut_off(small_space, stripes):
    evaluator = StandaloneEvaluator(small_space, stripes, StandaloneConfig(epochs=12), device="cpu")
    architectures = [small_space.parse(text) for text in (CUT_OFF, GOOD)]
    cut_off, good = evaluator.evaluate(architectures)
    assert good.score > cut_off.score + 0.2
    assert good.score * len(stripes.valid) == round(good.score * len(stripes.valid))


def test_test_images_are_not_used(small_space, stripes):
    spoiled = dataclasses.replace(stripes, test=stripes.train)

    def score(data):
        evaluator = StandaloneEvaluator(small_space, data, StandaloneConfig(epochs=1), device="cpu")
        return next(evaluator.evaluate([small_space.parse(GOOD)])).score

    assert score(stripes) == score(spoiled)


def test_it_serves_any_strategy(small_space, stripes):
    strategy = create_strategy("random", small_space, evaluations=3)
    evaluator = StandaloneEvaluator(small_space, stripes, StandaloneConfig(epochs=1), device="cpu")
    while not strategy.done:
        batch = strategy.ask()
        assert list(evaluator.prepare(batch)) == []
        strategy.tell(batch, [e.score for e in evaluator.evaluate(batch)])
    assert np.isfinite(strategy.scores).all() and evaluator.state_dict() == ({}, {})


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_scores_do_not_depend_on_workers_or_where_the_space_comes_from(tmp_path, stripes, workers):
    (tmp_path / "own.py").write_text(
        "from ddpnas.spaces.toy import network as toy\n\n\n"
        "def network(choose, *, num_classes=3, input_shape=(1, 8, 8)):\n"
        "    return toy(choose, num_classes=num_classes, input_shape=input_shape)\n"
    )
    own = space_from_file(f"{tmp_path / 'own.py'}:network", input_shape=(1, 8, 8))
    space = create_space("toy", num_classes=3, input_shape=(1, 8, 8))
    rng = np.random.default_rng(0)
    asked = [space.sample(rng) for _ in range(3)]
    two = StandaloneConfig(epochs=2)
    alone = [
        e.score
        for e in StandaloneEvaluator(
            space, stripes, two, device="cpu"
        ).evaluate(asked)
    ]  # fmt: skip
    together = StandaloneEvaluator(
        own, stripes, dataclasses.replace(two, workers=workers), device="cpu"
    )
    assert [e.score for e in together.evaluate(asked)] == alone
    with open(tmp_path / "own.py", "a") as file:
        file.write("\n\nunused = 1\n")  # before a worker reads it
    with pytest.raises(RunError, match=r"own.py is no longer that of this search"):
        next(StandaloneEvaluator(own, stripes, two, device="cpu").evaluate(asked))


def test_a_search_trains_each_candidate_and_resumes_exactly(tmp_path, stripes):
    space = create_space("toy", num_classes=3, input_shape=(1, 8, 8))
    arguments = {
        "strategy": "regularized-evolution",
        "strategy_options": {"evaluations": 5, "population": 3, "sample": 2},
        "evaluator": "standalone",
        "evaluator_options": {"epochs": 1},
        "device": "cpu",
    }

    class StopSearchError(Exception):
        pass

    def stop(progress):
        if progress.done == 2:
            raise StopSearchError

    whole = search(space, stripes, **arguments)
    with pytest.raises(StopSearchError):
        search(space, stripes, out=tmp_path / "run", on_progress=stop, **arguments)
    arguments["evaluator_options"] = {"epochs": 2}
    with pytest.raises(RunError, match="evaluator_options.epochs was 1 and is 2"):
        search(space, stripes, out=tmp_path / "run", resume=True, **arguments)
    arguments["evaluator_options"] = {"epochs": 1}
    resumed = search(space, stripes, out=tmp_path / "run", resume=True, **arguments)
    assert resumed.architecture == whole.architecture
    assert [r["score"] for r in resumed.history] == [r["score"] for r in whole.history]
    with pytest.raises(OptionError, match="trained each candidate on its own"):
        rescore(tmp_path / "run", [whole.architecture], space=space, data=stripes)


def test_one_that_diverges_does_not_end_the_search(tmp_path, stripes, monkeypatch):
    train, trained = standalone.train, []

    def first_diverges(*args, **kwargs):
        trained.append(args)
        if len(trained) == 1:
            raise DivergedError("the loss became nan")
        return train(*args, **kwargs)

    monkeypatch.setattr(standalone, "train", first_diverges)
    found = search(
        create_space("toy", num_classes=3, input_shape=(1, 8, 8)),
        stripes,
        strategy="random",
        strategy_options={"evaluations": 3},
        evaluator="standalone",
        evaluator_options={"epochs": 1},
        device="cpu",
        out=tmp_path / "run",
    )
    first, *others = found.history
    assert np.isnan(first["score"]) and first["accuracy"] == 0
    assert all(np.isfinite(other["score"]) for other in others)
    assert dict(found.architecture) != first["architecture"]


@pytest.mark.parametrize(
    "settings", [{"epochs": 0}, {"threads": 0}, {"workers": 0}, {"recipe": "quik"}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(OptionError):
        StandaloneConfig(**settings)
