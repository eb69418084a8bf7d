import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

import ddpnas
from ddpnas.errors import DivergedError, OptionError
from ddpnas.evaluators import SupernetConfig, SupernetEvaluator, shared_weights
from ddpnas.training.cuda_graphs import Captures
from tests.recorder import Recorder

CONFIG = SupernetConfig(training="path", batch_size=16, lr=0.05)


def evaluator(space, data, seed=0, total=12, config=CONFIG):
    return SupernetEvaluator(space, data, total, config, seed=seed, device="cpu")


def cells(space, n, seed=0):
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(n)]


def test_a_score_is_the_fraction_right_of_the_whole_validation_split(small_space, stripes):
    found = list(evaluator(small_space, stripes).evaluate(cells(small_space, 3)))
    for evaluation in found:
        assert 0 <= evaluation.score <= 1
        assert evaluation.score * len(stripes.valid) == pytest.approx(
            round(evaluation.score * len(stripes.valid))
        )
        assert evaluation.details["loss"] > 0


def test_only_the_path_is_touched(small_space, stripes):
    one = evaluator(small_space, stripes)
    architecture = small_space.parse(
        "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
    )
    before = {n: p.detach().clone() for n, p in one.supernet.named_parameters()}
    list(one.evaluate([architecture]))
    one.supernet.set_path(architecture)
    on_path = {id(p) for p in one.supernet.path_parameters()}
    for name, parameter in one.supernet.named_parameters():
        moved = not torch.equal(before[name], parameter)
        assert moved == (id(parameter) in on_path), name


def test_training_on_paths_raises_the_score(small_space, stripes):
    one = evaluator(small_space, stripes, total=20)
    path = small_space.parse(
        "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
    )
    scores = [e.score for e in one.evaluate([path] * 20)]
    assert np.mean(scores[-5:]) > np.mean(scores[:3]) + 0.2


def test_the_learning_rate_falls_along_a_cosine_to_its_last_value(small_space, stripes):
    rates = [
        e.details["lr"]
        for e in evaluator(small_space, stripes, total=5).evaluate(cells(small_space, 5))
    ]
    expected = [0.001 + 0.049 * (1 + np.cos(np.pi * i / 5)) / 2 for i in range(5)]
    assert rates == pytest.approx(expected)


def test_state_restores_exactly_into_a_fresh_evaluator(small_space, stripes):
    architectures = cells(small_space, 3)
    whole = [e.score for e in evaluator(small_space, stripes).evaluate(architectures)]
    first = evaluator(small_space, stripes)
    scores = [e.score for e in first.evaluate(architectures[:2])]
    tensors, plain = first.state_dict()
    saved = {name: tensor.clone() for name, tensor in tensors.items()}
    list(first.evaluate(architectures[2:]))
    last = {k: v.clone() for k, v in first.supernet.state_dict().items()}
    second = evaluator(small_space, stripes, seed=0)
    torch.manual_seed(123)
    second.load_state_dict(saved, plain)
    scores += [e.score for e in second.evaluate(architectures[2:])]
    assert scores == whole
    for name, tensor in second.supernet.state_dict().items():
        assert torch.equal(tensor, last[name]), name


def test_the_global_random_state_is_left_alone(small_space, stripes):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    list(evaluator(small_space, stripes).evaluate(cells(small_space, 1)))
    assert torch.equal(torch.rand(3), expected)


def test_divergence_says_the_epoch_and_what_to_try(small_space, stripes):
    one = evaluator(small_space, stripes, config=dataclasses.replace(CONFIG, lr=1e30, clip=0))
    with pytest.raises(DivergedError, match=r"in epoch \d+ of 12, .*try --evaluator-options.lr"):
        list(one.evaluate(cells(small_space, 12)))


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 0},
        {"lr": 0},
        {"lr": -1},
        {"training": "pathh"},
        {"score": "lose"},
        {"warmup_epochs": -1},
        {"mixed_precision": "bf17"},
        {"shared_gradients": "median"},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(OptionError):
        SupernetConfig(**settings)


FAIR = SupernetConfig(warmup_epochs=3, score="accuracy", proxy_weight=0, batch_size=16, lr=0.05)


def cycle_of(space, options):
    """Return a cycle of the first so many options of every decision."""
    return [
        ddpnas.Architecture({d.name: d.options[i] for d in space.decisions}) for i in range(options)
    ]


def test_all_scores_come_from_the_weights_of_the_warm_up(small_space, stripes):
    one = evaluator(small_space, stripes, config=FAIR)
    batch = cycle_of(small_space, 5)
    assert len(list(one.prepare(batch))) == 3
    assert list(one.prepare(batch)) == []
    before = {k: v.clone() for k, v in one.supernet.state_dict().items()}
    found = list(one.evaluate(batch))
    assert [e.score for e in found] == [one.rescore([a])[0].score for a in batch]
    assert list(one.prepare(batch[:3])) == []
    assert [e.score for e in one.evaluate(batch[:3])] == [e.score for e in found[:3]]
    assert all(torch.equal(before[k], v) for k, v in one.supernet.state_dict().items())


def test_every_step_of_fair_training_uses_each_choice_exactly_once(small_space, stripes):
    one = evaluator(small_space, stripes, config=FAIR)
    paths, seen = [], []
    set_path = one.supernet.set_path
    one.supernet.set_path = lambda path: (paths.append(path), set_path(path))
    one.supernet.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    epochs = list(one.prepare(cycle_of(small_space, 5)))
    steps = max(1, len(stripes.train) // (5 * 16))
    assert len(paths) == 3 * 5 * steps
    for at in range(0, len(paths), 5):
        for decision in small_space.decisions:
            assert {p[decision.name] for p in paths[at : at + 5]} == set(decision.options)
    # a pass over all choices sees each image once, 16 a path and step where there are enough
    assert set(seen) == {min(16, len(stripes.train) // 5)}
    assert sum(seen) == sum(e["train_images"] for e in epochs) <= 3 * len(stripes.train)


def test_what_all_paths_of_a_step_use_may_learn_by_the_mean_of_their_gradients(
    small_space, stripes
):
    change = {}
    for how in ("sum", "mean"):
        config = SupernetConfig(
            warmup_epochs=1, proxy_weight=0, batch_size=len(stripes.train) // 5, momentum=0,
            weight_decay=0, clip=0, augment=False, shared_gradients=how,
        )  # fmt: skip
        one = evaluator(small_space, stripes, config=config)
        before = {name: p.detach().clone() for name, p in one.supernet.named_parameters()}
        assert len(list(one.prepare(cycle_of(small_space, 5)))) == 1  # an epoch of one step
        after = one.supernet.named_parameters()
        change[how] = {name: p.detach() - before[name] for name, p in after}
    for name, moved in change["mean"].items():
        of_an_option = ".options." in name
        torch.testing.assert_close(moved, change["sum"][name] / (1 if of_an_option else 5))
    assert any(change["sum"][name].abs().max() > 1e-4 for name in change["sum"])


@pytest.mark.slow
def test_fair_training_raises_the_scores(small_space, stripes):
    config = dataclasses.replace(FAIR, warmup_epochs=50, batch_size=8, lr=0.1)
    trained = evaluator(small_space, stripes, config=config)
    batch = cells(small_space, 10)
    untrained = evaluator(small_space, stripes, config=config).rescore(batch)
    after = [e.details["accuracy"] for e in trained.evaluate(batch)]
    assert np.mean(after) > np.mean([e.details["accuracy"] for e in untrained]) + 0.1


@pytest.mark.parametrize(
    ("score", "sign", "detail"),
    [
        ("accuracy", 1, "accuracy"),
        ("loss", -1, "valid_loss"),
    ],
)
def test_the_score_is_what_the_setting_names(small_space, stripes, score, sign, detail):
    config = dataclasses.replace(FAIR, score=score)
    for evaluation in evaluator(small_space, stripes, config=config).evaluate(
        cells(small_space, 2)
    ):
        assert evaluation.score == sign * evaluation.details[detail] != 0
        assert 0 <= evaluation.details["accuracy"] <= 1


class Uncaptured(Captures):
    """Draws the paths of captured steps and runs them eagerly: what a capture is compared with."""

    recording = True

    def step(self, step):
        return step


@pytest.mark.parametrize(("training", "at_once"), [("fair", 5), ("uniform", 1)])
def test_captured_steps_are_made_of_paths_drawn_in_advance(
    small_space, stripes, monkeypatch, training, at_once
):
    monkeypatch.setattr(Captures, "on", lambda device: Uncaptured(None))
    monkeypatch.setattr(shared_weights, "_CAPTURED_PATHS", 15)
    config = dataclasses.replace(FAIR, training=training, warmup_epochs=8, batch_size=8)
    one = evaluator(small_space, stripes, config=config)
    paths = []
    set_path = one.supernet.set_path
    one.supernet.set_path = lambda path: (paths.append(path), set_path(path))
    list(one.prepare(cells(small_space, 3)))
    steps = [tuple(paths[at : at + at_once]) for at in range(0, len(paths), at_once)]
    assert len(set(steps)) == 15 // at_once < len(steps)
    for step in steps:
        assert all(len({p[d.name] for p in step}) == at_once for d in small_space.decisions)
    taken = [steps.count(step) for step in set(steps)]
    assert max(taken) <= 2 * min(taken)


CAPTURED = [
    CONFIG,
    dataclasses.replace(FAIR, batch_size=8, warmup_epochs=6),
    dataclasses.replace(FAIR, training="uniform", warmup_epochs=6),
]


@pytest.mark.parametrize("config", CAPTURED)
def test_captured_steps_train_as_eager_ones_do(small_space, stripes, monkeypatch, config):
    monkeypatch.setattr(shared_weights, "_CAPTURED_PATHS", 10)
    monkeypatch.setattr(Captures, "on", lambda device: Uncaptured(None))
    batch = cells(small_space, 3)
    eager = [e.score for e in evaluator(small_space, stripes, config=config).evaluate(batch)]
    captures, made = Recorder.captures()
    monkeypatch.setattr(Captures, "on", lambda device: captures)
    one = evaluator(small_space, stripes, config=config)
    assert [e.score for e in one.evaluate(batch)] == eager
    assert sum(graph.replays for graph in made) > len(made) > 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("config", CAPTURED)
def test_on_cuda_captured_steps_train_as_eager_ones_do(small_space, stripes, monkeypatch, config):
    monkeypatch.setattr(shared_weights, "_CAPTURED_PATHS", 10)
    batch = cells(small_space, 3)

    def losses():
        one = SupernetEvaluator(small_space, stripes, 12, config, device="cuda")
        of_epochs = [e["loss"] for e in one.prepare(batch)]
        return of_epochs + [e.details["valid_loss"] for e in one.evaluate(batch)]

    captured = losses()
    monkeypatch.setattr(Captures, "on", lambda device: Uncaptured(None))
    assert captured == pytest.approx(losses(), rel=0.02)


@pytest.mark.parametrize("captured", [False, True])
def test_the_warm_up_goes_on_where_it_was_interrupted(small_space, stripes, monkeypatch, captured):
    if captured:
        monkeypatch.setattr(Captures, "on", lambda device: Recorder.captures()[0])
        monkeypatch.setattr(shared_weights, "_CAPTURED_PATHS", 10)
    batch = cells(small_space, 3)
    whole = [e.score for e in evaluator(small_space, stripes, config=FAIR).evaluate(batch)]
    first = evaluator(small_space, stripes, config=FAIR)
    next(first.prepare(batch))
    tensors, plain = first.state_dict()
    saved = {name: tensor.clone() for name, tensor in tensors.items()}
    second = evaluator(small_space, stripes, config=FAIR)
    second.load_state_dict(saved, plain)
    assert [e.score for e in second.evaluate(batch)] == whole


def test_scores_together_are_those_of_each_alone(small_space, stripes):
    one = evaluator(small_space, stripes, config=FAIR)
    batch = cells(small_space, 12)
    for _ in one.prepare(batch):
        pass
    together = one.rescore(batch)
    for architecture, evaluation in zip(batch, together, strict=True):
        [alone] = one.rescore([architecture])
        assert alone.score == evaluation.score
        assert alone.details["valid_loss"] == evaluation.details["valid_loss"]


def test_scores_do_not_depend_on_the_order_of_the_images(small_space, stripes):
    classes = stripes.valid.labels.argsort(stable=True).tolist()
    batch = cells(small_space, 3)
    scores = [
        [e.details["valid_loss"] for e in evaluator(small_space, data, config=FAIR).rescore(batch)]
        for data in (stripes, dataclasses.replace(stripes, valid=stripes.valid.subset(classes)))
    ]
    assert scores[0] == scores[1]


def test_half_precision_trains_alike(small_space, stripes):
    config = dataclasses.replace(CONFIG, mixed_precision="bf16")
    batch = cells(small_space, 3)
    half = [e.details for e in evaluator(small_space, stripes, config=config).evaluate(batch)]
    full = [e.details for e in evaluator(small_space, stripes).evaluate(batch)]
    for ours, theirs in zip(half, full, strict=True):
        assert ours["loss"] != theirs["loss"]
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=0.1)


@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        ({"training": "path"}, True),
        ({"training": "path", "augment": False}, False),
        ({"training": "fair"}, False),
        ({"training": "uniform"}, False),
        ({"training": "fair", "augment": True}, True),
        ({"training": "fair", "warmup_epochs": 100}, False),
        ({"training": "fair", "warmup_epochs": 101}, True),  # of five options
        ({"training": "fair", "warmup_epochs": 101, "augment": False}, False),
    ],
)
def test_training_images_are_changed_where_that_is_asked_published_or_they_are_seen_often(
    small_space, stripes, settings, changed
):
    own = {"batch_size": 16, "warmup_epochs": 1, "proxy_weight": 0, **settings}
    one = evaluator(small_space, stripes, config=SupernetConfig(**own))
    as_they_are = {image.numpy().tobytes() for image in stripes.train.inputs}
    mean, std = stripes.mean[0], stripes.std[0]
    seen = []

    def keep(module, inputs):
        if module.training:
            pixels = (inputs[0] * std + mean) * 255
            seen.extend(pixels.round().to(torch.uint8).contiguous().unbind())

    one.supernet.register_forward_pre_hook(keep)
    batch = cells(small_space, 1)
    if next(one.prepare(batch), None) is None:  # one epoch is enough; a path's is before its score
        list(one.evaluate(batch))
    known = [image.numpy().tobytes() in as_they_are for image in seen]
    assert len(known) >= 48 and all(known) != changed


def test_too_few_images_for_a_step_are_refused(small_space, stripes):
    few = dataclasses.replace(stripes, train=stripes.train.subset(range(3)))
    with pytest.raises(
        ddpnas.errors.DataError, match="3 training images are too few .* takes 5 paths"
    ):
        evaluator(small_space, few, config=SupernetConfig(proxy_weight=0))


def test_by_default_a_small_set_is_passed_over_more_often(stripes):
    def passes(data, **settings):
        config = SupernetConfig(proxy_weight=0, batch_size=3, **settings)
        one = evaluator(space, data, config=config)
        return next(one.prepare(cells(space, 1)))["epochs"]

    def network(choose):
        options = {str(i): lambda: nn.Linear(64, 3) for i in range(5)}
        return nn.Sequential(nn.Flatten(), choose("layer", options))

    space = ddpnas.SearchSpace(network, (1, 8, 8))

    few = ddpnas.make_data(
        (stripes.train.inputs, stripes.train.labels),
        valid=(stripes.valid.inputs, stripes.valid.labels),
        name="few",
        flip=False,
    )
    many = dataclasses.replace(
        few,
        train=type(few.train)(few.train.inputs.repeat(6, 1, 1, 1), few.train.labels.repeat(6)),
    )
    assert passes(few) == 300 > passes(many) == 80  # 16 for each of the 5 options
    assert passes(few, warmup_epochs=3) == 3


def test_scores_that_are_no_accuracies_are_said_to_the_paper_strategy(small_space, stripes, caplog):
    paper = ddpnas.create_strategy("ddpnas-paper", small_space)
    warm = ddpnas.create_strategy("ddpnas-paper", small_space, temperature=1)
    fitted = ddpnas.create_strategy("ddpnas", small_space)
    default = evaluator(small_space, stripes, config=SupernetConfig(warmup_epochs=1))
    losses = SupernetConfig(warmup_epochs=1, proxy_weight=0)
    for strategy in (warm, fitted):
        default.requires(strategy)
    for fits in (CONFIG, dataclasses.replace(losses, score="accuracy")):
        evaluator(small_space, stripes, config=fits).requires(paper)
    assert not caplog.records
    default.requires(paper)
    evaluator(small_space, stripes, config=losses).requires(paper)
    said = [record.message for record in caplog.records]
    assert ["standard deviations" in said[0], "are losses" in said[1]] == [True, True]
    assert all("--evaluator-options.training path" in one for one in said)
