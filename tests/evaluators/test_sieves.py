"""Sieves under the evaluators that train: what is read, found, resumed and refused."""

import json
import statistics

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

import ddpnas
from ddpnas import SearchSpace, make_data
from ddpnas.data import SieveConfig, list_sieves
from ddpnas.data.ranked_sieves import DynamicsSieve
from ddpnas.errors import OptionError
from ddpnas.evaluators import SupernetConfig, SupernetEvaluator, create_evaluator
from ddpnas.evaluators.scoring import in_own_order
from ddpnas.relaxed import MixtureEvaluator

SIEVES = {
    "all": {},
    "random": {"keep": 0.4, "valid_keep": 0.5},
    "entropy": {"keep": 0.4, "valid_keep": 0.5},
    "dynamics": {"keep": 0.4, "valid_keep": 0.5},
    "curriculum": {},
}
PATHS = [(0, 1), (1, 2), (2, 0)]


def network(choose):
    def conv(kernel):
        return nn.Sequential(
            nn.Conv2d(8, 8, kernel, padding=kernel // 2), nn.BatchNorm2d(8), nn.ReLU()
        )

    options = {"conv1": lambda: conv(1), "conv3": lambda: conv(3), "skip": nn.Identity}
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        choose("a", options),
        choose("b", options),
        nn.Flatten(),
        nn.Linear(512, 4),
    )


SPACE = SearchSpace(network, (1, 8, 8))


def waves(n, seed, noise=0.7):
    """Return images of stripes, of four widths."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 4
    width = torch.tensor([0.8, 1.4, 2.0, 2.8])[labels]
    rows = torch.sin(width[:, None] * torch.arange(8.0) + 6 * torch.rand(n, 1, generator=generator))
    images = rows[:, None, None, :] + noise * torch.randn(n, 1, 8, 8, generator=generator)
    return images.contiguous(), labels


DATA = make_data(waves(300, 0), waves(100, 1))


def made(name, options=None, data=DATA, seed=0, **config):
    config = SupernetConfig(
        **{"warmup_epochs": 10, "batch_size": 16, "proxy_weight": 0.0, "lr": 0.05, **config}
    )
    sieve = SieveConfig(name, SIEVES[name] if options is None else options)
    return SupernetEvaluator(SPACE, data, 6, config, seed=seed, device="cpu", sieve=sieve)


def scores(evaluator):
    return [e.score for e in evaluator.evaluate([SPACE.decode(path) for path in PATHS])]


@pytest.mark.parametrize("training", ["fair", "uniform"])
@pytest.mark.parametrize("name", ["random", "entropy", "dynamics"])
def test_the_images_of_every_epoch_are_those_predicted(name, training):
    evaluator = made(name, training=training)
    sieve, step = evaluator._weights._train.sieve, 16 * (3 if training == "fair" else 1)
    planned = [round(300 * sieve.share(epoch)) // step * step for epoch in range(10)]
    assert [epoch["train_images"] for epoch in evaluator.prepare([])] == planned
    assert planned[0] == 300 // step * step > planned[-1] == 120 // step * step


def test_the_images_of_a_curriculum_are_those_of_its_classes():
    evaluator = made("curriculum", {"warmup": 0.2, "classes": [0.5, 0.75, 1]})
    step = 16 * 3
    planned = [n * 75 // step * step for n in (4, 4, 2, 2, 2, 3, 3, 3, 4, 4)]
    assert [epoch["train_images"] for epoch in evaluator.prepare([])] == planned


def test_what_is_scored_is_half_of_the_images_and_rescoring_reads_all():
    evaluator = made("dynamics")
    [_, *_] = scores(evaluator)
    kept = evaluator._valid.sieve.kept
    assert len(kept) == 50
    read = []
    given = evaluator._valid._items
    evaluator._valid._items = lambda chunks, seed: (read.extend(chunks), given(chunks, seed))[1]
    scores(evaluator)
    assert torch.equal(torch.cat(read), kept)  # the same for every batch of architectures
    read.clear()
    evaluator.rescore([SPACE.decode(PATHS[0])])
    assert torch.cat(read).tolist() == list(range(100))


@pytest.mark.parametrize("name", list_sieves())
def test_a_search_interrupted_after_any_epoch_goes_on_as_the_unbroken_one(name):
    unbroken = made(name)
    expected = scores(unbroken)
    evaluator = made(name)
    for number, _ in enumerate(evaluator.prepare([])):
        if number in (1, 5, 8):
            tensors, plain = evaluator.state_dict()
            saved = {key: tensor.clone() for key, tensor in tensors.items()}
            evaluator = made(name)
            evaluator.load_state_dict(saved, json.loads(json.dumps(plain)))
    while evaluator._weights.epochs < 10:  # the loop above went on with the first one
        next(evaluator.prepare([]))
    assert scores(evaluator) == expected


class Guarded(Dataset):
    """Stripes that may be read only while they are allowed."""

    def __init__(self):
        self.images, self.labels = waves(300, 0)
        self.allowed = set(range(300))

    def __len__(self):
        return 300

    def __getitem__(self, index):
        assert index in self.allowed, f"{index} was read"
        return self.images[index], int(self.labels[index])


def test_a_streamed_search_reads_nothing_outside_of_what_is_kept():
    images = Guarded()
    data = make_data(images)
    evaluator = made("dynamics", {"keep": 0.4}, data)
    trained = 0
    while evaluator._weights.epochs < 10:
        kept = evaluator._weights._train.sieve.kept
        images.allowed = set(data.train.indices[kept].tolist())
        trained += next(evaluator.prepare([]))["train_images"]
    assert 0 < trained < 10 * 240


def auc(scores, positive):
    """Return the probability that a positive item has a higher score than another one."""
    ranks = scores.argsort().argsort().double()
    p, n = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - p * (p - 1) / 2) / (p * n))


def planted(n, seed):
    """Return images, labels and their kinds: 1 copies of twelve images, 2 with a wrong label."""
    images, labels = waves(n, seed)
    kind = torch.zeros(n, dtype=torch.long)
    kind[: int(0.3 * n)] = 1
    kind[int(0.3 * n) : int(0.4 * n)] = 2
    copied = torch.arange(n) % 12
    images[kind == 1] = images[copied[kind == 1]]
    labels[kind == 1] = labels[copied[kind == 1]]
    labels[kind == 2] = (labels[kind == 2] + 1) % 4
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return images[order], labels[order], kind[order]


def found(name, options, seed):
    """Return how well (copies among training, wrong labels among validation images) are found."""
    images, labels, kind = planted(800, seed)
    scored, answers, kinds = planted(400, seed + 10)
    data = make_data((images, labels), (scored, answers))
    evaluator = made(name, options, data, seed, warmup_epochs=8)
    for _ in evaluator.prepare([]):
        pass
    of = {image.numpy().tobytes(): k for image, k in zip(scored, kinds, strict=True)}
    own = torch.stack([of[i.numpy().tobytes()] for i in in_own_order(data.valid).inputs])
    return (
        auc(-evaluator._weights._train.sieve.ranks(), kind == 1),
        auc(-evaluator._valid.sieve.ranks(), own == 2),
    )


@pytest.mark.slow
def test_dynamics_finds_planted_copies_and_wrong_labels_and_chance_does_not():
    options = {"keep": 0.5, "valid_keep": 0.5, "warmup": 1}
    dynamics = [found("dynamics", options, seed) for seed in (0, 1, 2)]
    random = [found("random", options, seed) for seed in (0, 1, 2)]
    for level in (0, 1):
        assert statistics.fmean(f[level] for f in dynamics) > 0.7
        assert abs(statistics.fmean(f[level] for f in random) - 0.5) < 0.05


def test_an_absent_class_takes_no_part_in_the_training():
    evaluator = made("curriculum", {"warmup": 0.1, "classes": [0.5, 1]})
    next(evaluator.prepare([]))
    present = evaluator._weights._train.sieve.classes
    absent = sorted(set(range(4)) - set(present.tolist()))
    last = evaluator.supernet.network[-1]
    before = last.weight.detach().clone()
    momentum = evaluator._weights._optimizer.state[last.weight]["momentum_buffer"]
    momentum.zero_()  # what moved before goes on moving
    evaluator._weights._optimizer.param_groups[0]["weight_decay"] = 0.0
    next(evaluator.prepare([]))
    assert torch.equal(last.weight[absent], before[absent])
    assert not torch.equal(last.weight[present], before[present])


@pytest.mark.parametrize("strategy", ["darts", "dropnas"])
def test_an_absent_class_takes_no_part_in_a_mixture(strategy):
    """An answer that is as wrong as can be counts neither in losses nor in scores."""
    made = ddpnas.create_strategy(strategy, SPACE, epochs=6, batch_size=16)
    sieve = SieveConfig("curriculum", {"warmup": 0.1, "classes": [0.5, 1]})
    evaluator = MixtureEvaluator(SPACE, DATA, made, device="cpu", sieve=sieve)
    next(evaluator.evaluate(made.ask()))
    present = evaluator._train.sieve.classes
    absent = sorted(set(range(4)) - set(present.tolist()))
    last = evaluator.supernet.network[-1]
    with torch.no_grad():
        last.bias[absent] = 1e6
    evaluator._sgd.state[last.weight]["momentum_buffer"].zero_()  # what moved goes on moving
    evaluator._sgd.param_groups[0]["weight_decay"] = 0.0
    before = last.weight.detach().clone()
    [found] = evaluator.evaluate(made.ask())
    assert torch.equal(last.weight[absent], before[absent])
    assert not torch.equal(last.weight[present], before[present])
    losses = [found.details[name] for name in found.details if name.endswith("loss")]
    assert len(losses) == (2 if strategy == "dropnas" else 3) and max(losses) < 100
    [again] = evaluator.rescore([SPACE.decode(PATHS[0])])
    assert again.details["valid_loss"] < 100 and again.score > 0


@pytest.mark.slow
def test_the_order_of_classes_hardly_depends_on_the_seed():
    """The third observation of DA-NAS, on classes of rising noise."""
    images, labels = waves(600, 0, 0.0)
    noise = torch.tensor([0.2, 1.0, 2.0, 3.0])[labels][:, None, None, None]
    images += noise * torch.randn(600, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    orders = []
    for seed in (0, 1):
        evaluator = made("curriculum", {"warmup": 1}, make_data((images, labels)), seed)
        for _ in evaluator.prepare([]):
            pass
        orders.append(evaluator._weights._train.sieve._area.argsort())
    distance = sum((a - b) ** 2 for a, b in zip(*[o.argsort().tolist() for o in orders]))
    assert 1 - 6 * distance / (4 * 15) >= 0.8  # Spearman's rank correlation


@pytest.mark.parametrize("name", ["random", "dynamics", "entropy"])
def test_paths_that_train_before_their_score_go_through_a_sieve(name):
    evaluator = made(name, {"keep": 0.4}, training="path", proxy_weight=None)
    found = list(evaluator.evaluate([SPACE.decode((0, 0))] * 6))
    images = [e.details["train_images"] for e in found]
    assert images[0] == 288 and images[-1] == 112


@pytest.mark.parametrize(
    ("strategy", "name"), [("darts", "dynamics"), ("gdas", "curriculum"), ("dropnas", "random")]
)
def test_mixtures_go_through_a_sieve_and_resume(name, strategy, tmp_path):
    def search(out, **more):
        options = {"epochs": 6, "batch_size": 16}
        return ddpnas.search(
            SPACE, DATA, strategy, strategy_options=options, sieve=name,
            sieve_options={**SIEVES[name], "warmup": 0.3}, device="cpu", out=out, **more,
        )  # fmt: skip

    unbroken = search(tmp_path / "unbroken")
    images = [record["train_images"] for record in unbroken.history]
    assert min(images[2:]) < images[0]

    class Interrupt(Exception):  # noqa: N818
        pass

    def stop(progress):
        if progress.done == 4:
            raise Interrupt

    with pytest.raises(Interrupt):
        search(tmp_path / "broken", on_progress=stop)
    resumed = search(tmp_path / "broken", resume=True)
    assert [r["score"] for r in resumed.history] == [r["score"] for r in unbroken.history]
    assert resumed.distribution.to_dict() == unbroken.distribution.to_dict()


def test_networks_trained_alone_go_through_a_sieve():
    for name, images in (("all", 4 * 300), ("random", 1200), ("dynamics", 1200)):
        options = {} if name == "all" else {"keep": 0.4, "warmup": 0.25, "steps": 1}
        evaluator = create_evaluator(
            "standalone", SPACE, DATA, evaluations=1, device="cpu", epochs=4,
            sieve=SieveConfig(name, options),
        )  # fmt: skip
        [found] = evaluator.evaluate([SPACE.decode((0, 1))])
        expected = images if name == "all" else (300 // 16 + 3 * (120 // 16)) * 16
        assert found.details["train_images"] == expected


def test_a_race_reads_the_same_random_images_for_all():
    evaluator = create_evaluator(
        "continued", SPACE, DATA, evaluations=2, device="cpu", sieve=SieveConfig("random")
    )
    [found] = evaluator.evaluate([SPACE.decode((0, 1))])
    assert found.details["train_images"] == 120


@pytest.mark.parametrize(
    ("evaluator", "sieve", "options", "says"),
    [
        ("table", "random", {}, "reads no images"),
        ("rmi", "random", {}, "trains on one batch"),
        ("continued", "dynamics", {}, "without knowing for how many epochs"),
        ("standalone", "random", {"valid_keep": 0.5}, "scores on all validation images"),
    ],
)
def test_evaluators_say_why_a_sieve_cannot_run(evaluator, sieve, options, says):
    with pytest.raises(OptionError, match=says):
        create_evaluator(evaluator, SPACE, DATA, evaluations=1, sieve=SieveConfig(sieve, options))


@pytest.mark.parametrize(
    ("name", "options", "config", "says"),
    [
        ("dynamics", {"valid_keep": 0.5}, {"training": "path"}, "sees in the warm-up"),
        ("curriculum", {}, {"training": "path"}, "do not compare"),
        ("random", {"keep": 0.01}, {}, "too few for a step"),
    ],
)
def test_shared_weights_say_why_a_sieve_cannot_run(name, options, config, says):
    data = make_data(waves(150, 0), waves(40, 1)) if "keep" in options else DATA
    with pytest.raises((OptionError, ddpnas.errors.DataError), match=says):
        made(name, options, data, **config)


def test_a_sieve_of_another_name_is_no_resume(tmp_path):
    options = {"strategy_options": {"evaluations": 2}, "evaluator_options": {"warmup_epochs": 1}}
    ddpnas.search(SPACE, DATA, "random", out=tmp_path / "run", sieve="random", **options)
    with pytest.raises(ddpnas.errors.RunError, match="sieve"):
        ddpnas.search(SPACE, DATA, "random", out=tmp_path / "run", resume=True, **options)


def test_dynamics_that_sees_nothing_still_keeps_whom_it_should():
    sieve = DynamicsSieve(torch.arange(100) % 2, 4, keep=0.5)
    for _ in range(4):
        sieve.end_epoch()
    assert sieve.labels[sieve.kept].bincount().tolist() == [25, 25]
