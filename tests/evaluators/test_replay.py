"""Replay and the scores by it: whatever the network does, they are those of separate runs."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import ddpnas
from ddpnas.data.splits import DatasetSplit, TensorSplit
from ddpnas.evaluators._replay import Replay
from ddpnas.evaluators.scoring import batch_size, in_own_order, score_paths
from ddpnas.space.supernet import Choice
from ddpnas.training.distributed import ALONE, Processes


def chain(choose, activation=nn.ReLU):
    def option(kernel):
        return nn.Sequential(nn.Conv2d(4, 4, kernel, padding=kernel // 2), activation())

    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        activation(),
        *(
            choose(f"block{i}", {f"k{k}": lambda k=k: option(k) for k in (1, 3, 5)})
            for i in range(4)
        ),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


def in_place(choose):
    return chain(choose, lambda: nn.ReLU(inplace=True))


class InPlaceBefore(nn.Module):
    """Changes what came before a choice inside its options, and the input itself."""

    def __init__(self, choose):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.first = choose("first", {"relu": lambda: nn.ReLU(inplace=True), "same": nn.Identity})
        self.second = choose("second", {"relu": lambda: nn.ReLU(inplace=True), "neg": Negate})
        self.out = nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(x.sub_(0.5))
        y = self.first(x) + x
        return self.out(self.second(y).mean(dim=(2, 3)))


class Negate(nn.Module):
    def forward(self, x):
        return x.neg_()


class Noisy(nn.Module):
    """A random mask even in evaluation."""

    def __init__(self, choose):
        super().__init__()
        self.body = chain(choose)

    def forward(self, x):
        return self.body(x * (torch.rand_like(x) > 0.5))


def supernet_of(network):
    space = ddpnas.SearchSpace(network, (3, 8, 8))
    torch.manual_seed(0)
    return space, space.supernet().eval()


def batches(count=3, size=8):
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(size, 3, 8, 8, generator=generator),
            torch.randint(3, (size,), generator=generator),
        )
        for _ in range(count)
    ]


def paths_of(space, n, seed=0):
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(n)]


@pytest.mark.parametrize("network", [chain, in_place, InPlaceBefore])
@pytest.mark.parametrize("seed", range(3))
def test_outputs_are_those_of_separate_runs_whatever_is_changed_in_place(network, seed):
    space, supernet = supernet_of(network)
    inputs, _ = batches(1)[0]
    paths = paths_of(space, 12, seed)  # not sorted: any order is right
    with torch.inference_mode(), Replay(supernet, inputs) as replay:
        got = [
            replay.run(path, following).clone()
            for path, following in zip(paths, [*paths[1:], None], strict=True)
        ]
        for path, output in zip(paths, got, strict=True):
            supernet.set_path(path)
            assert torch.equal(supernet(inputs.clone()), output)


def test_what_paths_have_in_common_at_the_beginning_is_computed_once():
    space, supernet = supernet_of(chain)
    inputs, _ = batches(1)[0]
    first = space.parse("block0=k1; block1=k3; block2=k5; block3=k1")
    second = space.parse("block0=k1; block1=k3; block2=k5; block3=k3")

    def operations(paths):
        counter = FlopCounterMode(display=False)
        with torch.inference_mode(), counter, Replay(supernet, inputs) as replay:
            for path, following in zip(paths, [*paths[1:], None], strict=True):
                replay.run(path, following)
        return counter.get_total_flops()

    pixels, convolution = 8 * 6 * 6, 2 * 4 * 4
    shared = pixels * (2 * 3 * 4 * 9 + convolution * (1 + 9 + 25))
    assert operations([first, second]) == operations([first]) + operations([second]) - shared


@pytest.mark.parametrize("seed", range(4))
def test_a_network_that_looks_ahead_at_what_is_chosen_gives_what_separate_runs_give(seed):
    space = ddpnas.create_space(
        "nasbench201", channels=2, cells_per_stage=1, num_classes=3, input_shape=(3, 8, 8)
    )
    torch.manual_seed(seed)
    supernet = space.supernet().eval()
    ends = [{"3<-2": "none"}, {"3<-1": "none"}, {"2<-1": "none"}, {}]
    paths = [{**path, **end} for path in paths_of(space, 5, seed) for end in ends]
    found = score_paths(supernet, space.decisions, paths, batches(1), ALONE)
    for path, together in zip(paths, found, strict=True):
        assert score_paths(supernet, space.decisions, [path], batches(1), ALONE) == [together]


def test_noise_ends_what_is_shared_and_not_the_run():
    _, supernet = supernet_of(Noisy)
    inputs, _ = batches(1)[0]
    path = {f"block{i}": "k3" for i in range(4)}
    with torch.inference_mode(), Replay(supernet, inputs) as replay:
        first, second = replay.run(path, path).clone(), replay.run(path, None)
    assert not torch.equal(first, second)


def test_a_network_that_does_not_do_the_same_twice_is_run_anew():
    class Alternating(nn.Module):
        def __init__(self, choose):
            super().__init__()
            self.body, self.times = chain(choose), 0

        def forward(self, x):
            self.times += 1
            return self.body(x + 1 if self.times % 2 else x * 2)

    _, supernet = supernet_of(Alternating)
    supernet.network.times = 0  # one run for the space's own questions is over
    inputs, _ = batches(1)[0]
    path = {f"block{i}": "k3" for i in range(4)}
    supernet.set_path(path)
    with torch.inference_mode():
        expected = supernet.network.body(inputs + 1)
        with Replay(supernet, inputs) as replay:
            replay.run(path, path)
            assert torch.equal(replay.run(path, None), expected)  # the third time


def test_nothing_is_left_on_the_supernet():
    space, supernet = supernet_of(chain)
    inputs, _ = batches(1)[0]
    with torch.inference_mode(), Replay(supernet, inputs) as replay:
        replay.run(space.sample(np.random.default_rng(0)), None)
    assert all(m.watch is None for m in supernet.modules() if isinstance(m, Choice))


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_separate_passes_bit_for_bit(seed):
    space, supernet = supernet_of(chain)
    paths = paths_of(space, 15, seed)
    found = score_paths(supernet, space.decisions, paths, batches(), ALONE)
    for path, together in zip(paths, found, strict=True):
        assert score_paths(supernet, space.decisions, [path], batches(), ALONE) == [together]


def test_scores_are_taken_where_the_batches_lie():
    space, supernet = supernet_of(chain)
    paths = paths_of(space, 3)
    elsewhere = Processes(device=torch.device("meta"))  # alone, and the evaluator on another device
    found = score_paths(supernet, space.decisions, paths, batches(), elsewhere)
    assert found == score_paths(supernet, space.decisions, paths, batches(), ALONE)


def normalized(choose):
    return nn.Sequential(chain(choose)[0], nn.BatchNorm2d(4), *list(chain(choose))[1:])


@pytest.mark.parametrize("network", [normalized, InPlaceBefore, Noisy])
def test_scores_do_not_depend_on_the_order_of_batches_and_paths(network):
    space, supernet = supernet_of(network)
    paths = paths_of(space, 4)
    found = score_paths(supernet, space.decisions, paths, batches(), ALONE)
    again = score_paths(supernet, space.decisions, paths[::-1], batches()[::-1], ALONE)
    assert again[::-1] == found
    kept = batches()
    alone = [score_paths(supernet, space.decisions, [path], kept, ALONE) for path in paths]
    assert [score for [score] in alone] == found


def test_sums_of_batches_of_any_size_are_exact():
    class Logits(nn.Module):
        def __init__(self, choose):
            super().__init__()
            self.same = choose("same", {"a": nn.Identity, "b": nn.Identity})

        def forward(self, x):
            return self.same(x[:, :, 0, 0])

    space, supernet = supernet_of(Logits)
    scales = [1e-9, 1e9, 1e-3, 3e8, 1.0, 7e-7]
    given = [(x * s, y) for s, (x, y) in zip(scales, batches(6), strict=True)]
    path = space.decode([0])
    forwards = score_paths(supernet, space.decisions, [path], given, ALONE)
    assert score_paths(supernet, space.decisions, [path], given[::-1], ALONE) == forwards


@pytest.mark.parametrize("images", [1, 255, 256, 300, 501, 511, 512, 1_001, 250_001])
@pytest.mark.parametrize("most", [1, 256, 500])
def test_batches_are_of_256_images_at_least(images, most):
    size = batch_size(images, most)
    sizes = [len(c) for c in torch.arange(images).tensor_split(-(-images // size))]
    assert min(sizes) >= min(images, 256)
    assert max(sizes) <= max(most, 511)


def test_the_own_order_of_a_split_mixes_classes_and_forgets_the_order_given():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(256, (600, 1, 4, 4), generator=generator, dtype=torch.uint8)
    split = TensorSplit(inputs, torch.arange(600) // 200)
    shuffled = split.subset(torch.randperm(600, generator=generator).tolist())
    own, other = in_own_order(split), in_own_order(shuffled)
    assert torch.equal(own.inputs, other.inputs) and torch.equal(own.labels, other.labels)
    assert own.labels[:200].bincount(minlength=3).min() > 40
    names = tuple(f"{i:03}.png" for i in range(600))
    for given in ((), names):
        split = DatasetSplit([], torch.arange(600), torch.arange(600) // 200, names=given)
        own, other = in_own_order(split), in_own_order(split.subset(range(599, -1, -1)))
        assert torch.equal(own.indices, other.indices)
        assert own.labels[:200].bincount(minlength=3).min() > 40
