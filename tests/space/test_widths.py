"""Widths: how many channels layers have, as a decision."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from ddpnas.errors import ArchitectureError, SpaceError
from ddpnas.space import SearchSpace
from ddpnas.space.slices import Slices, layout
from ddpnas.space.widths import Width

A, B = Width.of("a", (8, 16, 32)), Width.of("b", (4, 12))
FUNCTIONS = [
    lambda a, b: 6 * a,
    lambda a, b: a * 6 + b - 3,
    lambda a, b: 100 - a,
    lambda a, b: -a + 2 * b,
    lambda a, b: (a + b) // 4,
    lambda a, b: a * b // 8 * 2,
    lambda a, b: a // b,
    lambda a, b: a.map(lambda n: max(12, n // 2)),
    lambda a, b: b * (a + 3).map(lambda n: n // 5),
    lambda a, b: a - a + b,
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_arithmetic_gives_widths(function):
    """A computed width has the value that plain numbers give, at every value."""
    width = function(A, B)
    assert isinstance(width, Width)
    for a, b in itertools.product((8, 16, 32), (4, 12)):
        assert width.at({"a": a, "b": b}) == function(Width.fixed(a), Width.fixed(b))
        assert type(width.at({"a": a, "b": b})) is int
    assert width == width.at({"a": 32, "b": 12})
    assert not function(Width.fixed(8), Width.fixed(4)).parts


def test_plain_numbers_give_the_same():
    """What is computed of widths is what Python computes of numbers."""
    for function in FUNCTIONS[:7]:
        for a, b in itertools.product((8, 16, 32), (4, 12)):
            assert function(A, B).at({"a": a, "b": b}) == function(a, b)


class Holds(nn.Module):
    """Runs one layer and holds another."""

    def __init__(self, seen, lost):
        super().__init__()
        self.seen, self.lost = seen, lost

    def forward(self, x):
        return self.seen(x)


def branches(w):
    return nn.Linear(4, 2) if w > 16 else nn.Conv1d(4, 2, 1)


class Excite(nn.Module):
    """Computes its inner width as timm does, by rounding."""

    def __init__(self, width):
        super().__init__()
        inner = max(8, int(width * 0.25 + 4) // 8 * 8)
        self.down, self.up = nn.Conv2d(width, inner, 1), nn.Conv2d(inner, width, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True)))))


def test_a_class_may_be_defined_inside_the_function():
    def network(choose):
        width = choose.width("width", (2, 4))

        class Layer(nn.Linear):
            pass

        return nn.Sequential(Layer(3, width), nn.Linear(width, 2))

    assert SearchSpace(network, (3,))["width"].options == ("2", "4")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda w: nn.Linear(4, max(16, w)), "out_features = 8"),
        (lambda w: nn.Linear(4, int(w * 0.5)), "out_features"),
        (lambda w: nn.Linear(4, round(w / 3)), "out_features"),
        (lambda w: nn.Linear(4, 2, bias=w > 16), "bias"),
        (branches, "becomes a Conv1d"),
        (lambda w: nn.Sequential(*[nn.Linear(4, 4) for _ in range(w // 8)]), "vanishes"),
    ],
)
def test_arithmetic_that_loses_a_width_is_an_error(make, said):
    """What turns a width into a plain number is found, and the layer is named."""

    def network(choose):
        width = choose.width("w", (8, 16, 32))
        return Holds(nn.Linear(4, width), make(width))

    with pytest.raises(SpaceError, match=said):
        SearchSpace(network, (4,))


class Scaled(nn.Module):
    """Keeps a tensor, as a buffer or without it being one."""

    def __init__(self, tensor, buffer=True):
        super().__init__()
        if buffer:
            self.register_buffer("kept", tensor)
        else:
            self.kept = tensor

    def forward(self, x):
        return x * self.kept


@pytest.mark.parametrize(
    ("make", "buffer"),
    [
        (lambda w: torch.tensor(w), True),
        (lambda w: torch.tensor(w) ** -0.5, True),
        (lambda w: torch.full((4,), 1 / torch.tensor([w]).item()), True),
        (lambda w: torch.as_tensor(float(w)), False),
    ],
)
def test_a_tensor_that_is_computed_from_a_width_is_an_error(make, buffer):
    """A path would use what was computed for the largest width, a built network its own."""

    def network(choose):
        width = choose.width("w", (8, 16))
        return nn.Sequential(nn.Linear(4, width), nn.Linear(width, 4), Scaled(make(width), buffer))

    with pytest.raises(SpaceError, match="Scaled '2' keeps a tensor 'kept' whose values depend"):
        SearchSpace(network, (4,))


@pytest.mark.parametrize("make", [lambda: torch.tensor(0.5), lambda: torch.rand(4)])
def test_other_tensors_beside_widths_are_none(make):
    def network(choose):
        width = choose.width("w", (8, 16))
        return nn.Sequential(nn.Linear(4, width), nn.Linear(width, 4), Scaled(make()))

    assert SearchSpace(network, (4,))["w"].options == ("8", "16")


def test_a_rounding_squeeze_is_an_error_that_suggests_map():
    """A block that rounds its inner width by itself is refused, and the error says what to do."""

    def network(choose):
        width = choose.width("w", (16, 64, 128))
        return nn.Sequential(nn.Conv2d(3, width, 3), Excite(width))

    with pytest.raises(SpaceError, match=r"Conv2d '1.down'.*width.map"):
        SearchSpace(network, (3, 8, 8))


def test_what_timm_rounds_is_an_error_that_names_the_layer():
    """timm computes with floats and rounds, so that its layers lose the width they are given."""
    from timm.layers import SqueezeExcite, make_divisible

    made = {
        "1.fc1": SqueezeExcite,
        "1": lambda width: nn.Conv2d(width, make_divisible(width * 0.25), 1),
    }
    for layer, make in made.items():

        def network(choose, make=make):
            width = choose.width("w", (64, 256, 512))
            return nn.Sequential(nn.Conv2d(3, width, 3), make(width))

        with pytest.raises(SpaceError, match=rf"Conv2d '{layer}'.*width.map"):
            SearchSpace(network, (3, 8, 8))


class Sum(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, a, 1), nn.Conv2d(3, b, 1)

    def forward(self, x):
        return self.a(x) + self.b(x)


@pytest.mark.parametrize("values", [((8, 16), (8, 16)), ((8, 16), (8, 32))])
def test_widths_that_meet_must_be_one_decision(values):
    """Two names that meet in an addition are named in the error."""

    def network(choose):
        return Sum(choose.width("left", values[0]), choose.width("right", values[1]))

    with pytest.raises(SpaceError, match="widths 'left' and 'right' meet"):
        SearchSpace(network, (3, 4, 4))


@pytest.mark.parametrize(
    "layer", [lambda w: nn.Conv2d(w, w, 3, groups=4), lambda w: nn.Conv2d(w, 8, 3, groups=w)]
)
def test_groups_that_do_not_divide_a_width_are_an_error(layer):
    """A grouped or depthwise convolution that cannot have one of the widths is refused."""

    def network(choose):
        width = choose.width("w", (6, 8))
        return nn.Sequential(nn.Conv2d(3, width, 1), layer(width))

    with pytest.raises(SpaceError, match=r"divisible by groups"):
        SearchSpace(network, (3, 8, 8))


def test_a_width_without_a_layer_is_an_error():
    """A width that reaches no layer cannot be searched."""

    def network(choose):
        choose.width("lonely", (8, 16))
        return nn.Linear(4, choose.width("used", (2, 4)))

    with pytest.raises(SpaceError, match="no layer has the width 'lonely'"):
        SearchSpace(network, (4,))


@pytest.mark.parametrize(
    ("values", "said"),
    [((), "increasing"), ((8, 8), "increasing"), ((16, 8), "increasing"), ((0, 8), "above 0"),
     ((1.5, 2), "whole"), ((True, 2), "whole")],
)  # fmt: skip
def test_values_of_widths_are_checked(values, said):
    """Values are increasing whole numbers above 0."""
    with pytest.raises(SpaceError, match=said):
        SearchSpace(lambda choose: nn.Linear(4, choose.width("w", values)), (4,))


class Scale(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.width = width
        self.gamma = nn.Parameter(torch.ones(width, 1, 1))

    def forward(self, x):
        return self.gamma * x


class KnownScale(Scale):
    def slice_to(self):
        return {"gamma": (self.width, 1, 1)}


def scaled(scale):
    def network(choose):
        width = choose.width("w", (4, 8))
        return nn.Sequential(nn.Conv2d(3, width, 1), scale(width))

    return network


def test_an_unknown_layer_needs_slice_to():
    """A layer of one's own with parameters of a width says how to slice them."""
    with pytest.raises(SpaceError, match=r"'gamma' in Scale '1'.*slice_to"):
        SearchSpace(scaled(Scale), (3, 4, 4))
    assert SearchSpace(scaled(KnownScale), (3, 4, 4)).size == 2


class Zoo(nn.Module):
    """Every known layer, with two widths and a choice."""

    def __init__(self, choose):
        super().__init__()
        a = choose.width("a", (8, 16, 32))
        b = choose.width("b", (4, 12))
        self.stem = nn.Sequential(nn.Conv2d(3, a, 3, padding=1), nn.GroupNorm(4, a), nn.PReLU(a))
        self.depthwise = nn.Conv2d(a, a, 3, padding=1, groups=a)
        self.grouped = nn.Conv2d(a, 2 * a, 1, groups=4)
        self.groups_of_8 = nn.Conv2d(2 * a, a, 1, groups=a // 8)
        self.side = choose(
            "side",
            {
                "wide": lambda: nn.Sequential(nn.Conv2d(a, 3 * b, 1), nn.Conv2d(3 * b, b, 1)),
                "plain": lambda: nn.Conv2d(a, b, 1, bias=False),
            },
        )
        self.up = nn.ConvTranspose2d(a + b, b, 2, 2, groups=2)
        self.norm = nn.LayerNorm(b)
        self.attention = nn.MultiheadAttention(b, 2, batch_first=True)
        self.scale = KnownScale(b)
        self.line = nn.Conv1d(b, b + 1, 1)
        self.head = nn.Linear((b + 1) * 4, 5)

    def forward(self, x):
        x = self.stem(x)
        x = self.groups_of_8(self.grouped(x + self.depthwise(x)))
        x = self.up(torch.cat([x, self.side(x)], dim=1))
        tokens = self.norm(x.mean(3).transpose(1, 2))
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        x = self.scale(tokens.transpose(1, 2)[..., None])[..., 0]
        return self.head(self.line(x)[..., :4].flatten(1))


@pytest.fixture(scope="module")
def zoo():
    return SearchSpace(Zoo, (3, 4, 4))


def test_decisions_of_widths_are_ordered(zoo):
    """A width is a decision whose options are its sizes as text, with an order."""
    assert [d.ordered for d in zoo.decisions] == [True, True, False]
    assert zoo["a"].options == ("8", "16", "32")
    assert zoo["a"].values == (8, 16, 32)
    assert zoo.parse("a=16;b=4;side=wide")["a"] == "16"


def test_a_path_is_the_built_network_with_its_slices(zoo):
    """Output and gradients of a path are those of the built network with copied weights."""
    torch.manual_seed(0)
    supernet = zoo.supernet()
    x = torch.randn(2, 3, 4, 4)
    for indices in itertools.product(range(3), range(2), range(2)):
        architecture = zoo.decode(indices)
        built = zoo.build(architecture, weights_from=supernet)
        for module in built.modules():
            assert not any(isinstance(value, Width) for value in vars(module).values())
        supernet.set_path(architecture)
        outputs = supernet(x), built(x)
        assert torch.equal(*outputs)
        for output in outputs:
            output.square().sum().backward()
        ours = sorted(p.grad.flatten().tolist() for p in supernet.path_parameters())
        theirs = sorted(p.grad.flatten().tolist() for p in built.parameters())
        for mine, other in zip(ours, theirs, strict=True):  # kernels add up in another order
            assert mine == pytest.approx(other, rel=1e-4, abs=1e-5)
        for parameter in supernet.path_parameters():
            parameter.grad = None


def test_a_step_moves_only_the_slice(zoo):
    """Weights outside the slice in use keep every bit, and those inside move."""
    supernet = zoo.supernet()
    architecture = zoo.parse("a=8;b=4;side=wide")
    supernet.set_path(architecture)
    before = copy.deepcopy(supernet.state_dict())
    path = supernet.path_parameters()
    optimizer = torch.optim.SGD(path, lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        supernet(torch.randn(2, 3, 4, 4)).square().sum().backward()
        optimizer.step()
    after = supernet.state_dict()
    moved = sum(int((before[name] != after[name]).sum()) for name in before)
    assert 0 < moved <= sum(p.numel() for p in path)
    for leaf in path:
        name = next(n for n, p in supernet.named_parameters() if p is supernet.slices.whole(leaf))
        old, new = supernet.slices.cut(leaf, before[name]), supernet.slices.cut(leaf, after[name])
        outside = after[name].clone()
        supernet.slices.cut(leaf, outside).copy_(old)
        assert torch.equal(outside, before[name])
        assert torch.equal(new, leaf)


def test_a_copy_of_a_supernet_has_its_own_slices(zoo):
    """A copy runs alone, whatever happens to the original."""
    supernet = zoo.supernet()
    supernet.set_path(zoo.parse("a=8;b=4;side=plain"))
    x = torch.randn(1, 3, 4, 4)
    copied = copy.deepcopy(supernet)
    expected = supernet(x)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.zero_()
    assert torch.equal(copied(x), expected)
    copied.set_path(zoo.parse("a=32;b=12;side=plain"))
    assert copied(x).shape == (1, 5)


def test_moving_a_supernet_moves_its_slices(zoo):
    """A supernet in another precision trains what it stores."""
    supernet = zoo.supernet()
    supernet.set_path(zoo.parse("a=8;b=4;side=plain"))
    supernet.double()
    assert supernet(torch.randn(1, 3, 4, 4, dtype=torch.float64)).dtype == torch.float64
    leaf = supernet.path_parameters()[0]
    with torch.no_grad():
        leaf.fill_(7)
    assert (supernet.slices.cut(leaf, supernet.slices.whole(leaf)) == 7).all()


def test_building_checks_widths(zoo):
    """A size that is not offered is refused."""
    with pytest.raises(ArchitectureError, match="10"):
        zoo.build({"a": "10", "b": "4", "side": "wide"})


def test_layouts_agree_with_torch():
    """The layout of a layer is the shape of its tensors."""
    layers = [
        nn.Conv1d(4, 6, 3, groups=2), nn.Conv3d(2, 4, 3), nn.ConvTranspose1d(4, 6, 3, groups=2),
        nn.Linear(3, 5), nn.BatchNorm2d(4), nn.InstanceNorm2d(4, affine=True), nn.LayerNorm((3, 4)),
        nn.RMSNorm(5), nn.GroupNorm(2, 4), nn.PReLU(3), nn.Embedding(7, 3),
        nn.MultiheadAttention(4, 2), nn.MultiheadAttention(4, 2, kdim=3, vdim=5, add_bias_kv=True),
    ]  # fmt: skip
    for layer in layers:
        shapes = layout(layer)
        tensors = {**layer._parameters, **layer._buffers}
        for name, tensor in tensors.items():
            if tensor is not None:
                assert shapes[name].sizes == tuple(tensor.shape), (layer, name)


def test_random_widths_sample_evenly(zoo):
    """Widths take part in sampling like any decision."""
    rng = np.random.default_rng(0)
    drawn = {zoo.sample(rng) for _ in range(200)}
    assert len(drawn) == zoo.size == 12
    assert not Slices(zoo.build(next(iter(drawn))))
