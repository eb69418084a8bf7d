"""Which channels can be cut, which belong together, and what is said of those that cannot."""

import pytest
import torch
from torch import nn

from ddpnas.errors import OptionError, SpaceError
from ddpnas.shrinking import find_groups, finding, shrinkable

from .networks import (
    ALL,
    INPUT,
    Attention,
    Auxiliary,
    Between,
    Concat,
    Grouped,
    Head,
    Residual,
    Shuffled,
    Tied,
    conv,
)


def table(network, **options):
    return {group.name: group for group in find_groups(network, INPUT, **options)}


def free(network, **options):
    return {name: group.widths for name, group in table(network, **options).items() if group.free}


def test_an_addition_a_norm_a_depthwise_convolution_and_a_gate_couple():
    groups = table(Residual())
    assert {n: g.channels for n, g in groups.items()} == {
        "stem.0": 16, "inner.0": 24, "squeeze": 8, "head.2": 5,
    }  # fmt: skip
    stream, inner = groups["stem.0"], groups["inner.0"]
    assert {"stem.0", "stem.1", "inner.0", "outer.0", "outer.1", "head.2"} == {*stream.layers}
    assert {"inner.0", "depthwise.0", "squeeze", "excite", "outer.0"} <= {*inner.layers}
    assert groups["head.2"].fixed == "the network's output"
    assert groups["head.2"].kind == "impossible"


def test_a_concatenation_has_a_segment_for_each_branch():
    groups = table(Concat())
    assert [g.channels for g in groups.values()] == [16, 24, 16, 5]
    [right] = groups["right"].parts
    columns = next(p for axis, p in right.members.items() if axis.tensor == "last.weight")
    assert columns.ravel().tolist() == list(range(16, 40))
    [last] = groups["last"].parts
    rows = next(p for axis, p in last.members.items() if axis.tensor == "head.weight")
    assert rows.shape == (16, 64), "every channel is flattened into 64 features"


def test_blocks_of_grouped_layers_go_as_a_whole():
    groups = table(Grouped())
    assert (groups["first"].step, groups["first"].widths) == (4, (8, 16, 24, 32))
    assert groups["second"].step == 2


def test_heads_of_attention_stay_and_the_feed_forward_width_is_free():
    groups = table(Attention())
    assert groups["up"].free and groups["up"].widths == (8, 16, 24, 32)
    assert not groups["patches"].free
    assert groups["attend"].kind == "unknown" and "in attend" in groups["attend"].fixed


@pytest.mark.parametrize(
    ("function", "operation"),
    [
        (lambda x: x.cumsum(1), "cumsum"),
        (lambda x: x.sort(1).values, "sort"),
        (lambda x: torch.softmax(x, 1), "_softmax"),
        (lambda x: x[:, torch.arange(15, -1, -1)], "index"),
        (lambda x: x.roll(1, dims=1), "roll"),
        (lambda x: nn.functional.conv1d(x.mean((2, 3))[:, None], torch.ones(1, 1, 3), padding=1)
            .transpose(1, 2)[..., None] * x, "convolution"),
    ],
)  # fmt: skip
def test_an_operation_that_is_not_understood_fixes_its_channels_and_is_named(function, operation):
    groups = table(Between(function))
    assert groups["first"].kind == "unknown" and operation in groups["first"].fixed
    assert groups["second"].free


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + torch.arange(16.0).reshape(16, 1, 1),
        lambda x: x.reshape(x.shape[0], 16, 64).reshape(x.shape[0], 16, 8, 8),
        lambda x: nn.functional.layer_norm(x, (16, 8, 8)),
    ],
)
def test_code_that_uses_the_number_of_channels_fixes_them(function):
    groups = table(Between(function))
    assert not [n for n, g in groups.items() if n.startswith("first") and g.is_open]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
        lambda x: x.flatten(2).transpose(1, 2).softmax(1).transpose(1, 2).reshape(x.shape),
        lambda x: nn.functional.interpolate(nn.functional.pad(x, (1, 1)).abs(), (8, 8)),
        lambda x: x * x.amax(1, keepdim=True).sigmoid() / x.mean((0, 2, 3), keepdim=True),
        lambda x: torch.where(x > 0, x, 0.1 * x).clamp(max=6)[:, :, 1:-1].repeat(1, 1, 2, 1),
        lambda x: torch.stack([x, -x]).sum(0) + torch.zeros_like(x),
        nn.functional.dropout2d,
        lambda x: nn.functional.feature_alpha_dropout(x, training=True),
        lambda x: x * x.new_empty(*x.shape[:2], 1, 1).bernoulli_(0.9),
    ],
)
def test_what_treats_all_channels_alike_leaves_them_free(function):
    assert free(Between(function))["first"] == (8, 16)


def test_a_slice_at_a_constant_fixes_what_lies_before_it():
    groups = table(Between(lambda x: torch.cat([x[:, :8].relu(), x[:, 8:]], 1)), divisor=4)
    before, behind = groups["first"], groups["first#2"]
    assert behind.widths == (4, 8)
    assert before.kind == "impossible" and "its code uses a size" in before.fixed


def test_halves_of_a_split_layer_are_coupled_where_they_meet():
    groups = table(Between(lambda x: torch.mul(*x.chunk(2, 1)), channels=8))
    assert groups["first"].step == 2 and groups["first"].free


def test_a_shuffled_stream_shrinks_in_step():
    groups = table(Shuffled())
    tied = [group for group in groups.values() if len(group.parts) > 1]
    assert len(tied) == 1 and tied[0].channels == 64 and tied[0].widths[0] < 32
    assert [name for name, group in groups.items() if not group.free] == ["head.2"]


def test_a_head_that_only_runs_in_training_takes_part():
    assert "side.2" in table(Auxiliary())["first"].layers


def test_a_layer_that_runs_twice_has_one_group():
    assert table(Tied())["stem"].channels == 16
    assert "twice" not in table(Tied()), "what it makes is what it reads"


def test_weights_that_are_computed_are_followed():
    network = Between(nn.ReLU())
    nn.utils.parametrizations.weight_norm(network.first, dim=0)
    assert free(network)["first"] == (8, 16)


def test_shares_add_up_where_each_layer_has_one_group():
    network = nn.Sequential(conv(3, 16), nn.ReLU(), conv(16, 16), nn.ReLU(), conv(16, 5))
    shares = {n: round(g.share * 384, 6) for n, g in table(network).items()}
    assert shares == {"0": 48 + 256, "2": 256 + 80, "4": 80}


def test_layers_can_be_kept():
    assert table(Residual(), keep=["inner"])["inner.0"].kind == "kept"
    assert table(Residual(), keep=["outer.0"])["stem.0"].fixed == "kept as asked"
    with pytest.raises(OptionError, match="no layer that makes channels is at 'middle'"):
        table(Residual(), keep=["middle"])


def test_fractions_and_the_divisor_say_which_widths_there_are():
    assert free(Residual(), fractions=(0.5,))["inner.0"] == (16, 24)
    assert free(Residual(), fractions=(0.5,), divisor=1)["inner.0"] == (12, 24)
    with pytest.raises(OptionError, match="fractions"):
        table(Residual(), fractions=(0.0,))
    with pytest.raises(OptionError, match="divisor"):
        table(Residual(), divisor=0)


def test_a_network_that_does_not_run_is_refused():
    with pytest.raises(
        SpaceError, match=r"Residual does not run on an input of 4x8x8 .*\(networks.py, line \d+ `"
    ):
        find_groups(Residual(), (4, 8, 8))


@pytest.mark.parametrize("kind", ALL)
def test_the_network_stays_as_it_was(kind):
    network = kind().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    find_groups(network, INPUT)
    assert network.training
    assert all(torch.equal(tensor, before[n]) for n, tensor in network.state_dict().items())


class Cached(nn.Module):
    """Makes a table when it first runs, and anew when that is not of the size that it needs.

    Args:
        size: (pixels, channels) -> shape of the table.
        use: (features of a pixel, table) -> features.
    """

    def __init__(self, size, use):
        super().__init__()
        self.first, self.second, self.head = conv(3, 16), conv(16, 16), nn.Linear(16, 5)
        self.size, self.use = size, use
        self.register_buffer("table", torch.zeros(1), persistent=False)

    def forward(self, x):
        x = self.second(self.first(x)).flatten(2).transpose(1, 2)
        if self.table.shape != (size := self.size(*x.shape[1:])):
            self.table = torch.zeros(size, device=x.device)
        return self.head(self.use(x, self.table).mean(1))


def test_a_table_of_positions_that_the_first_run_makes_does_not_matter():
    network = Cached(lambda pixels, _: (pixels, pixels), lambda x, table: table.softmax(1) @ x)
    assert free(network) == {"first": (8, 16), "second": (8, 16)}
    space = shrinkable(network, INPUT)
    small = space.build({"first": "8", "second": "8"})
    assert network.table.shape == (1,) and small(torch.zeros(2, *INPUT)).shape == (2, 5)


def test_a_table_of_channels_that_the_first_run_makes_has_to_be_there():
    network = Cached(lambda _, channels: (channels,), lambda x, table: x + table)
    groups = table(network)
    assert groups["first"].free and groups["second"].kind == "unknown"
    assert "table gets its size when the network first runs" in groups["second"].fixed
    network(torch.zeros(2, *INPUT))
    assert free(network)["second"] == (8, 16)
    assert shrinkable(network, INPUT).build({"first": "8", "second": "8"}).table.shape == (8,)


class CachedByMode(Cached):
    """Makes a table of another size in training than in evaluation."""

    def __init__(self):
        super().__init__(None, lambda x, table: x + table.mean())

    def forward(self, x):
        self.size = (lambda *_: (2,)) if self.training else (lambda *_: (3,))
        return super().forward(x)


def test_a_table_of_another_size_in_training_does_not_matter():
    assert free(CachedByMode()) == {"first": (8, 16), "second": (8, 16)}


class Sized(nn.Module):
    """Its code uses a number of channels, so that the channels of a layer cannot be cut."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = conv(3, 16), conv(16, 16), Head(16)

    def forward(self, x):
        x = self.second(self.first(x))
        return self.head(x.view(len(x), 16, *x.shape[2:]))


def test_no_cut_is_tried_twice(monkeypatch):
    tried, try_cut = [], finding._failure

    def tries(bare, whole, groups, widths, look):
        tried.append((*widths.items(), look.keywords.get("training")))
        return try_cut(bare, whole, groups, widths, look)

    monkeypatch.setattr(finding, "_failure", tries)
    assert not table(Sized())["second"].free
    assert len(tried) > 2 and len(tried) == len({*tried})
