"""What the dry run of a new space refuses: decisions that never run, and what cannot go on."""

import pytest
import torch
from torch import nn

from ddpnas import SearchSpace, count_costs
from ddpnas.errors import SpaceError
from ddpnas.space.layers import NoConnection, add

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


class Base(nn.Module):
    """Asks once in a place that runs."""

    def __init__(self, choose):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.used = choose("used", ACTIVATIONS)
        self.extra(choose)

    def extra(self, choose):
        pass

    def forward(self, x):
        return self.used(self.first(x))


class Unused(Base):
    def extra(self, choose):
        self.b = choose("b", ACTIVATIONS)


class Dropped(Base):
    def extra(self, choose):
        choose("b", ACTIVATIONS)


class InList(Base):
    def extra(self, choose):
        self.blocks = [choose("b", ACTIVATIONS)]

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return super().forward(x)


class InUnusedDict(Base):
    def extra(self, choose):
        self.blocks = {"b": choose("b", ACTIVATIONS)}


class InForward(Base):
    def extra(self, choose):
        self.choose = choose

    def forward(self, x):
        return self.choose("b", ACTIVATIONS)(super().forward(x))


class InTraining(Base):
    def extra(self, choose):
        self.b = choose("b", ACTIVATIONS)

    def forward(self, x):
        x = super().forward(x)
        return self.b(x) if self.training else x


class InEvaluation(Base):
    def extra(self, choose):
        self.b = choose("b", ACTIVATIONS)

    def forward(self, x):
        x = super().forward(x)
        return x if self.training else self.b(x)


class InBranch(Base):
    def extra(self, choose):
        self.b = choose("b", ACTIVATIONS)

    def forward(self, x):
        x = super().forward(x)
        return self.b(x) if x.mean() > 0 else x


class InnerUnused(Base):
    def extra(self, choose):
        def block():
            made = nn.Sequential(nn.Linear(4, 4))
            made.unused = nn.ModuleList([choose("b", ACTIVATIONS)])
            made.forward = made[0].forward
            return made

        self.outer = choose("outer", {"block": block, "skip": nn.Identity})

    def forward(self, x):
        return self.outer(super().forward(x))


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (Unused, "never runs decision 'b' in training mode"),
        (Dropped, "decision 'b' is asked, but .* not part of the network; keep it in an attribute"),
        (InList, r"'b' is asked, .*\(InList.blocks keeps it in a plain list\).*nn.ModuleList"),
        (InUnusedDict, r"'b' is asked, .*\(InUnusedDict.blocks keeps it in a plain dict\)"),
        (InForward, "decision 'b' runs, but is not part of the network: ask for it in the constr"),
        (InTraining, "in evaluation mode never runs decision 'b'"),
        (InEvaluation, "never runs decision 'b' in training mode"),
        (InBranch, "reads the values of a tensor, .*not run up to there: decision 'b'"),
        (InnerUnused, "never runs decision 'b' in training mode"),
    ],
)
def test_a_decision_that_the_network_never_runs_is_named(network, says):
    with pytest.raises(SpaceError, match=says):
        SearchSpace(network, (4,))


def test_a_decision_that_runs_in_one_of_its_places_is_one():
    class Twice(Base):
        def extra(self, choose):
            self.spare = choose("used", ACTIVATIONS)

    assert [d.name for d in SearchSpace(Twice, (4,)).decisions] == ["used"]


@pytest.mark.parametrize("keep", [list, tuple, lambda layers: dict(enumerate(layers))])
def test_an_option_that_keeps_its_layers_where_torch_does_not_see_them_is_refused(keep):
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = keep([nn.Linear(4, 4)])

        def forward(self, x):
            return self.layers[0](x)

    def network(choose):
        return nn.Sequential(choose("op", {"hidden": Hidden, "skip": nn.Identity}))

    with pytest.raises(SpaceError, match=r"a Linear that is not part of it \(Hidden.layers keeps"):
        SearchSpace(network, (4,))


def test_modules_without_weights_may_be_made_in_forward():
    class Made(nn.Module):
        def forward(self, x):
            return nn.Softmax(dim=1)(x)

    space = SearchSpace(lambda choose: choose("op", {"made": Made, "relu": nn.ReLU}), (4,))
    assert space.output_shape == (4,)


def test_a_final_network_that_asks_for_other_decisions_is_refused():
    def network(choose):
        extra = [choose("b", ACTIVATIONS)] if choose.searching else []
        return nn.Sequential(nn.Linear(4, 4), choose("a", ACTIVATIONS), *extra)

    with pytest.raises(SpaceError, match="where choose.searching is False: a instead of b, a"):
        count_costs(SearchSpace(network, (4,)))


# Both modes.


def encoder(batch_first):
    def network(choose):
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
        layer.linear1 = choose(
            "mlp", {"linear": lambda: nn.Linear(8, 16), "no bias": lambda: nn.Linear(8, 16, False)}
        )
        return nn.Sequential(layer, nn.Flatten(), nn.Linear(40, 2))

    return network


def test_a_network_that_reads_attributes_of_an_open_child_in_evaluation_is_refused():
    with pytest.raises(SpaceError, match=r"evaluation mode fails: .*'weight' of what .*'mlp' dec"):
        SearchSpace(encoder(batch_first=True), (5, 8))
    space = SearchSpace(encoder(batch_first=False), (5, 8))  # torch then has no fast path
    assert count_costs(space)["params"].cost({"mlp": "no bias"}) > 0
    assert space.supernet().eval()(torch.zeros(2, 5, 8)).shape == (2, 2)


def test_reading_an_attribute_of_an_open_child_in_the_constructor_is_told():
    def network(choose):
        body = choose("body", {"a": lambda: nn.Linear(4, 8), "b": lambda: nn.Linear(4, 8)})
        return nn.Sequential(body, nn.Linear(body.out_features, 2))

    with pytest.raises(SpaceError, match="'out_features' of what decision 'body' decides"):
        SearchSpace(network, (4,))


def test_an_activation_that_the_fast_path_of_torch_would_ignore_is_refused():
    def network(choose, fast=True):
        layer = nn.TransformerEncoderLayer(8, 2, 16, activation=nn.GELU(), batch_first=True)
        layer.activation = choose("act", ACTIVATIONS)
        if not fast:
            layer.activation_relu_or_gelu = 0
        return layer

    with pytest.raises(SpaceError, match="'act' is the activation .* set activation_relu_or_gelu"):
        SearchSpace(network, (5, 8))
    supernet = SearchSpace(network, (5, 8), fast=False).supernet().eval()
    x, outputs = torch.randn(2, 5, 8), []
    for act in ACTIVATIONS:
        supernet.set_path({"act": act})
        with torch.no_grad():
            outputs.append(supernet(x))
    assert not torch.equal(*outputs)


def test_items_of_an_open_child_are_told():
    def block():
        return nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    class Items(Base):
        def extra(self, choose):
            self.b = choose("b", {"one": block, "other": block})

        def forward(self, x):
            return self.b[0](super().forward(x))

    class Loop(Items):
        def forward(self, x):
            for layer in self.b:
                x = layer(x)
            return super().forward(x)

    for network in (Items, Loop):
        with pytest.raises(SpaceError, match="reads item 0 of what decision 'b' decides"):
            SearchSpace(network, (4,))


# Options that return None.


def test_no_connection_where_the_network_needs_a_tensor_is_refused():
    def network(choose):
        convs = {"conv": lambda: nn.Conv2d(3, 3, 1), "none": NoConnection}
        return nn.Sequential(choose("op", convs), nn.Conv2d(3, 4, 1), nn.Flatten())

    with pytest.raises(SpaceError, match=r"'none' of decision 'op' returns None .*nn.Sequential"):
        SearchSpace(network, (3, 4, 4))


def test_no_connection_as_the_end_of_a_network_is_refused():
    with pytest.raises(SpaceError, match="'none' of decision 'op'.*the network returns None"):
        SearchSpace(lambda c: c("op", {"none": NoConnection, "relu": nn.ReLU}), (3,))


def test_no_connection_is_fine_where_outputs_are_summed():
    class Cell(nn.Module):
        def __init__(self, choose):
            super().__init__()
            options = {"none": NoConnection, "conv": lambda: nn.Conv2d(3, 3, 1)}
            self.edges = nn.ModuleList(choose(f"edge{i}", options) for i in range(2))

        def forward(self, x):
            return add((edge(x) for edge in self.edges), like=x)

    assert SearchSpace(Cell, (3, 4, 4)).size == 4


def test_several_absent_together_may_be_what_rules_forbid():
    class Either(nn.Module):
        def __init__(self, choose):
            super().__init__()
            options = {"none": NoConnection, "conv": lambda: nn.Conv2d(3, 3, 1)}
            self.edges = nn.ModuleList(choose(f"edge{i}", options) for i in range(2))

        def forward(self, x):
            return sum(y for edge in self.edges if (y := edge(x)) is not None).relu()

    assert SearchSpace(Either, (3, 4, 4)).size == 4


# Hints.


def test_a_larger_input_is_recommended_only_where_one_helps():
    def pools(choose):
        op = choose("op", {"a": lambda: nn.MaxPool2d(2), "b": lambda: nn.AvgPool2d(2)})
        return nn.Sequential(op, nn.Conv2d(1, 2, 7), nn.AdaptiveAvgPool2d(1))

    with pytest.raises(SpaceError, match="too small: it runs on 1x16x16, so give a larger one"):
        SearchSpace(pools, (1, 8, 8))

    def wrong(choose):
        op = choose("op", {"a": nn.Identity, "b": nn.ReLU})
        return nn.Sequential(op, nn.Conv2d(2, 2, 1))

    with pytest.raises(SpaceError) as caught:
        SearchSpace(wrong, (1, 8, 8))
    assert "too small" not in str(caught.value)


def test_the_recommended_input_is_one_for_which_the_space_can_be_made():
    class Patches(nn.Module):
        def __init__(self, choose, input_shape=(3, 32, 32)):
            super().__init__()
            self.embed = nn.Conv2d(3, 8, 16, stride=16)
            self.position = nn.Parameter(torch.zeros(1, 8, *(n // 16 for n in input_shape[1:])))
            self.act = choose("act", ACTIVATIONS)

        def forward(self, x):
            return self.act(self.embed(x) + self.position)

    with pytest.raises(SpaceError, match="too small: it runs on 3x16x16"):
        SearchSpace(Patches, (3, 8, 8))
