"""Whatever normalizes in a supernet, a path is scored by its own statistics and changes none."""

import copy

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn
from torch.nn import functional

import ddpnas


class Gained(nn.BatchNorm2d):
    """A subclass that adds something to what torch does."""

    def forward(self, x):
        return 2 * super().forward(x)


class HandWritten(nn.BatchNorm2d):
    """A subclass that computes and keeps its averages without torch's function."""

    def forward(self, x):
        self.num_batches_tracked += 1
        if self.training:
            var, mean = torch.var_mean(x, (0, 2, 3), correction=0)
            self.running_mean = 0.9 * self.running_mean + 0.1 * mean.detach()
            self.running_var.lerp_(var.detach(), 1 / float(self.num_batches_tracked))
        else:
            mean, var = self.running_mean, self.running_var
        x = (x - mean[:, None, None]) / (var[:, None, None] + self.eps).sqrt()
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class Functional(nn.Module):
    """A layer that gives buffers of its own to torch's function."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("var", torch.ones(width))

    def forward(self, x):
        return functional.batch_norm(
            x, self.mean, self.var, self.weight, training=self.training, momentum=0.3
        )


class Low(Functional):
    def forward(self, x):
        statistics = self.mean, self.var, self.training, 0.3, 1e-5
        return torch.native_batch_norm(x, self.weight, None, *statistics)[0]


class FunctionalInstance(Functional):
    def forward(self, x):
        return functional.instance_norm(x, self.mean, self.var, use_input_stats=self.training)


LAYERS = {
    "usual": nn.BatchNorm2d,
    "cumulative": lambda width: nn.BatchNorm2d(width, momentum=None),
    "no affine": lambda width: nn.BatchNorm2d(width, affine=False),
    "no averages": lambda width: nn.BatchNorm2d(width, track_running_stats=False),
    "synchronized": nn.SyncBatchNorm,
    "timm": BatchNormAct2d,
    "gained": Gained,
    "hand-written": HandWritten,
    "functional": Functional,
    "low": Low,
    "instance": lambda width: nn.InstanceNorm2d(width, affine=True, track_running_stats=True),
    "functional instance": FunctionalInstance,
}


def space_of(norm):
    def network(choose):
        def option(kernel):
            return lambda: nn.Sequential(nn.Conv2d(4, 4, kernel, padding=kernel // 2), norm(4))

        blocks = [choose(name, {"k1": option(1), "k3": option(3)}) for name in ("a", "b")]
        last = [nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 6 * 6, 3)]
        return nn.Sequential(nn.Conv2d(1, 4, 3), norm(4), *blocks, *last)

    return ddpnas.SearchSpace(network, (1, 8, 8))


def images(seed, count=20):
    return 3 * torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) + 1


PATHS = [{"a": a, "b": b} for a in ("k1", "k3") for b in ("k1", "k3")]


@pytest.mark.parametrize("name", LAYERS)
def test_a_path_is_normalized_by_its_batch_and_no_average_is_written(name):
    torch.manual_seed(0)
    space = space_of(LAYERS[name])
    supernet = space.supernet()
    buffers = dict(supernet.named_buffers())
    before = copy.deepcopy(supernet.state_dict())
    for step in range(3):  # paths train, and change what averages would hold
        supernet.train()
        supernet.set_path(PATHS[step])
        supernet(images(step)).sum().backward()
    x = images(9)
    supernet.eval()
    for path in PATHS:
        supernet.set_path(path)
        alone = space.build(path, weights_from=supernet).train()
        alone.get_submodule("4").eval()  # dropout
        assert torch.equal(supernet(x), alone(x))
    assert all(torch.equal(before[key], value) for key, value in supernet.state_dict().items())
    assert all(buffers[key] is buffer for key, buffer in supernet.named_buffers())


@pytest.mark.parametrize("name", LAYERS)
def test_a_built_network_keeps_the_layers_that_the_user_wrote(name):
    space = space_of(LAYERS[name])
    supernet = space.supernet()
    supernet(images(0))
    norm = space.build(PATHS[0]).get_submodule("1")
    assert str(norm) == str(LAYERS[name](4)) == str(supernet.network.get_submodule("1"))
    before = copy.deepcopy(norm.state_dict())
    norm.train()(torch.randn(5, 4, 8, 8) + 1)
    changed = [key for key in before if not torch.equal(before[key], norm.state_dict()[key])]
    assert bool(changed) == (name != "no averages")


class Frozen(nn.BatchNorm2d):
    """A layer that stays in evaluation mode."""

    def train(self, mode=True):
        return super().train(False)


class Constant(Functional):
    """A layer that uses its statistics as they are, in training too."""

    def forward(self, x):
        return functional.batch_norm(x, self.mean, self.var, self.weight)


class ConstantSubclass(nn.BatchNorm2d):
    def forward(self, x):
        return functional.batch_norm(x, self.running_mean, self.running_var)


@pytest.mark.parametrize("layer", [Frozen, Constant, ConstantSubclass])
def test_frozen_layers_keep_their_statistics(layer):
    def norm(width):
        made = layer(width)
        mean, var = [b for b in made.buffers() if b.is_floating_point()]
        nn.init.constant_(mean, 0.5), nn.init.constant_(var, 4.0)
        return made

    torch.manual_seed(0)
    space = space_of(norm)
    supernet = space.supernet()
    supernet.get_submodule("network.4").p = 0.0
    x = images(0)
    alone = space.build(PATHS[0], weights_from=supernet).eval()(x)
    supernet.set_path(PATHS[0])
    assert torch.equal(supernet.train()(x), alone)
    assert torch.equal(supernet.eval()(x), alone)
    torch.testing.assert_close(supernet(x[:1]), alone[:1])


def test_eval_in_a_constructor_freezes_nothing_because_training_ends_it():
    space = space_of(lambda width: nn.BatchNorm2d(width).eval())
    supernet = space.supernet().eval()
    alone = space.build(PATHS[0], weights_from=supernet).train()
    alone.get_submodule("4").eval()
    supernet.set_path(PATHS[0])
    assert torch.equal(supernet(images(0)), alone(images(0)))


def test_a_copy_of_a_supernet_has_statistics_of_its_own():
    space = space_of(HandWritten)
    supernet = space.supernet().eval()
    copied = copy.deepcopy(supernet)
    nn.init.constant_(copied.network.get_submodule("1").weight, 3.0)
    x = images(0)
    assert not torch.equal(copied(x), supernet(x))
    assert all(int(b) == 0 for key, b in copied.named_buffers() if key.endswith("tracked"))


def test_an_error_inside_leaves_the_layers_as_they_were():
    supernet = space_of(HandWritten).supernet().eval()
    buffers = dict(supernet.named_buffers())
    with pytest.raises(RuntimeError):
        supernet(images(0).double())
    assert all(buffers[key] is buffer for key, buffer in supernet.named_buffers())
    assert not any(m.training for m in supernet.modules())
    assert all(m.track_running_stats for m in supernet.modules() if isinstance(m, nn.BatchNorm2d))


class HalfWritten(Functional):
    """A layer that keeps averages by hand and reads them by torch's function."""

    def forward(self, x):
        if not self.training:
            return functional.batch_norm(x, self.mean, self.var)
        with torch.no_grad():
            self.mean.lerp_(x.mean((0, 2, 3)), 0.5)
        return functional.batch_norm(x, None, None, training=True)


@pytest.mark.parametrize("layer", [HalfWritten, lambda width: nn.LazyBatchNorm2d()])
def test_averages_that_are_only_read_in_evaluation_are_not_constant(layer):
    space = space_of(layer)
    supernet = space.supernet()
    supernet(images(1))
    supernet.set_path(PATHS[0])
    alone = space.build(PATHS[0], weights_from=supernet).train()
    alone.get_submodule("4").eval()
    assert torch.equal(supernet.eval()(images(0)), alone(images(0)))
