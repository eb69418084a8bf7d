import pytest
import torch
from torch import nn

from ddpnas import Rule, SearchSpace, count_costs
from ddpnas.errors import ArchitectureError, OptionError, SpaceError
from ddpnas.space import Supernet
from ddpnas.space.layers import NoConnection, add


def conv(width, kernel):
    return lambda: nn.Conv2d(width, width, kernel, padding=kernel // 2)


def network(choose, width=4):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        choose("first", {"c3": conv(width, 3), "c5": conv(width, 5), "skip": nn.Identity}),
        nn.ReLU(),
        choose("second", {"c1": conv(width, 1), "c3": conv(width, 3)}),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 3),
    )


def nested(choose):
    def deep():
        return nn.Sequential(choose("inner", {"a": conv(2, 1), "b": conv(2, 3)}), nn.ReLU())

    return nn.Sequential(choose("outer", {"deep": deep, "flat": conv(2, 1)}), nn.Flatten())


class Net(nn.Module):
    def __init__(self, choose):
        super().__init__()
        self.body = choose("body", {"a": lambda: nn.Linear(4, 4), "b": nn.Identity})
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.body(x))


def test_a_function_that_asks_is_a_space():
    space = SearchSpace(network, (1, 8, 8))
    assert [(d.name, d.options) for d in space.decisions] == [
        ("first", ("c3", "c5", "skip")),
        ("second", ("c1", "c3")),
    ]
    assert space.size == 6 and space.output_shape == (3,) and space.name == "network"


def test_a_module_class_that_asks_in_its_constructor_is_a_space():
    space = SearchSpace(Net, (4,))
    assert space.output_shape == (2,)
    assert space.build({"body": "b"})(torch.zeros(3, 4)).shape == (3, 2)


def test_a_built_network_has_no_trace_of_the_search():
    space = SearchSpace(network, (1, 8, 8))
    built = space.build({"first": "c5", "second": "c1"})
    assert [type(m).__module__.split(".")[0] for m in built.modules()] == ["torch"] * 8
    assert isinstance(built[1], nn.Conv2d) and built[1].kernel_size == (5, 5)
    built(torch.zeros(2, 1, 8, 8)).sum().backward()
    assert all(p.grad is not None for p in built.parameters())


def test_only_the_chosen_options_of_a_path_run_and_learn():
    torch.manual_seed(0)
    space = SearchSpace(network, (1, 8, 8))
    supernet = space.supernet()
    ran = []
    for name, module in supernet.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, i, o, name=name: ran.append(name))
    supernet.set_path({"first": "skip", "second": "c3"})
    supernet(torch.zeros(2, 1, 8, 8)).sum().backward()
    assert ran == ["network.0", "network.3.options.1"]
    touched = {id(p) for p in supernet.parameters() if p.grad is not None}
    assert touched == {id(p) for p in supernet.path_parameters()}


def test_changing_the_path_rebuilds_nothing():
    supernet = SearchSpace(network, (1, 8, 8)).supernet()
    before = [id(m) for m in supernet.modules()]
    for first in ("c3", "skip", "c5"):
        supernet.set_path({"first": first, "second": "c1"})
    assert [id(m) for m in supernet.modules()] == before


def test_every_path_equals_the_network_built_with_its_weights():
    torch.manual_seed(0)
    space = SearchSpace(network, (1, 8, 8))
    supernet = space.supernet()
    x = torch.randn(3, 1, 8, 8)
    for first in ("c3", "c5", "skip"):
        for second in ("c1", "c3"):
            path = {"first": first, "second": second}
            supernet.set_path(path)
            built = space.build(path, weights_from=supernet)
            torch.testing.assert_close(built(x), supernet(x), rtol=0, atol=0)
            fresh = {id(p) for p in built.parameters()}
            assert fresh.isdisjoint(id(p) for p in supernet.parameters())


def test_a_choice_inside_an_option_counts_only_with_its_parent():
    space = SearchSpace(nested, (2, 4, 4))
    assert space.decisions[1].active_when == (("outer", "deep"),)
    supernet = space.supernet()
    supernet.set_path({"outer": "flat", "inner": "b"})
    assert len(supernet.path_parameters()) == 2
    x = torch.randn(2, 2, 4, 4)
    for path in ({"outer": "deep", "inner": "a"}, {"outer": "deep", "inner": "b"}):
        supernet.set_path(path)
        built = space.build(path, weights_from=supernet)
        torch.testing.assert_close(built(x), supernet(x), rtol=0, atol=0)
    params = count_costs(space)["params"]
    assert params.cost({"outer": "deep", "inner": "b"}) == 2 * 2 * 9 + 2
    assert params.cost({"outer": "flat", "inner": "b"}) == params.cost(
        {"outer": "flat", "inner": "a"}
    )


def test_a_name_asked_twice_is_one_decision():
    def twice(choose):
        options = {"c1": conv(2, 1), "c3": conv(2, 3)}
        return nn.Sequential(*(choose("op", options) for _ in range(3)), nn.Flatten())

    space = SearchSpace(twice, (2, 4, 4))
    assert len(space.decisions) == 1
    assert count_costs(space)["params"].cost({"op": "c3"}) == 3 * (2 * 2 * 9 + 2)
    assert [m.kernel_size for m in space.build({"op": "c3"})[:3]] == [(3, 3)] * 3


@pytest.mark.parametrize(
    ("function", "shape", "says"),
    [
        (
            lambda choose: choose("op", {"a": conv(1, 3), "b": lambda: nn.Conv2d(1, 2, 1)}),
            (1, 6, 6),
            r"decision 'op' have outputs .*a -> 2x1x6x6, b -> 2x2x6x6",
        ),
        (
            lambda choose: nn.Sequential(
                choose("op", {"a": nn.Identity}), choose("op", {"b": nn.Identity})
            ),
            (1,),
            "has the options a in one place and b in another",
        ),
        (
            lambda choose: choose("a", {"x": lambda: choose("a", {"x": nn.Identity})}),
            (1,),
            "inside an option of itself",
        ),
        (
            lambda choose: nn.Sequential(choose("op", {"a": nn.Identity}), nn.Conv2d(1, 1, 7)),
            (1, 5, 5),
            "on an input of 1x5x5 fails: .*the input is too small: it runs on 1x10x10",
        ),
        (
            lambda choose: choose("op", {"a": lambda: nn.Linear(3, 1), "b": nn.Identity}),
            (4,),
            "option 'a' of decision 'op' fails",
        ),
        (lambda choose: nn.Identity(), (1,), "no decisions"),
        (lambda choose: choose("op", {"a": lambda: 3}), (1,), "made int, not a torch module"),
        (
            lambda choose: choose("op", {"a": nn.Identity()}),
            (1,),
            r"option 'a' of decision 'op' must be a factory, .*: use `lambda: Identity\(...\)`",
        ),
        (lambda choose: choose("op", {"a": None}), (1,), r"must be a factory, not a NoneType"),
        (lambda choose: choose("op", {}), (1,), "has no options"),
        (lambda choose: choose("a=b", {"a": nn.Identity}), (1,), "without '='"),
        (lambda choose: 3, (1,), "made int, not a module"),
        (lambda choose: choose("op", {"a": nn.Identity}), None, "needs input_shape"),
        (lambda choose: choose("op", {"a": nn.Identity}), (0, 4), "below 1"),
    ],
)
def test_a_space_that_cannot_work_is_refused_at_construction(function, shape, says):
    with pytest.raises(SpaceError, match=says):
        SearchSpace(function, shape)


def test_options_of_the_network_are_checked_and_kept():
    space = SearchSpace(network, (1, 8, 8), width=6)
    assert space.build({"first": "skip", "second": "c1"})[0].out_channels == 6
    wider = space.with_options(width=10, input_shape=(1, 16, 16))
    assert wider.decisions == space.decisions and wider.input_shape == (1, 16, 16)
    assert wider.build({"first": "skip", "second": "c1"})[0].out_channels == 10
    with pytest.raises(OptionError, match="did you mean 'width'"):
        SearchSpace(network, (1, 8, 8), widht=6)
    with pytest.raises(SpaceError, match="cannot be made with .*'wide'"):
        SearchSpace(network, (1, 8, 8), width="wide")


def test_options_that_would_change_the_decisions_are_refused():
    def deep(choose, layers=2):
        return nn.Sequential(
            *(choose(f"l{i}", {"a": nn.Identity, "b": nn.ReLU}) for i in range(layers))
        )

    with pytest.raises(SpaceError, match="other decisions"):
        SearchSpace(deep, (3,)).with_options(layers=3)


def test_build_checks_the_architecture_and_the_rules():
    rule = Rule({("first", "skip"): 1}, "the first block is there", upper=0)
    space = SearchSpace(network, (1, 8, 8), rules=[rule])
    with pytest.raises(ArchitectureError, match="the first block is there"):
        space.build({"first": "skip", "second": "c1"})
    with pytest.raises(ArchitectureError, match="does not decide second"):
        space.build({"first": "c3"})


def test_the_function_is_told_whether_a_supernet_is_made():
    told = []

    def spy(choose):
        told.append(choose.searching)
        return choose("op", {"a": nn.Identity, "b": nn.ReLU})

    space = SearchSpace(spy, (3,))
    space.supernet()
    assert told == [True, True]
    space.build({"op": "a"})
    count_costs(space)
    assert told == [True, True, False, False]


def test_nothing_adds_nothing():
    x = torch.ones(2, 3)
    assert NoConnection()(x) is None
    assert add([None, x, None], like=x) is x
    assert add([None], like=x).tolist() == torch.zeros(2, 3).tolist()


def test_a_supernet_is_made_of_any_open_network():
    supernet = SearchSpace(network, (1, 8, 8)).supernet()
    assert isinstance(supernet, Supernet)
    with pytest.raises(ValueError, match="not in tuple"):
        supernet.set_path({"first": "c7", "second": "c1"})


def test_a_module_that_the_function_did_not_make_is_copied_into_every_network():
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    def network(choose):
        return nn.Sequential(backbone, choose("a", {"relu": nn.ReLU, "same": nn.Identity}))

    weight = backbone[0].weight.detach().clone()
    space = SearchSpace(network, (3, 8, 8))
    built = [space.build({"a": "relu"}), space.build({"a": "same"}), space.supernet().network]
    for other in built:
        assert torch.equal(other[0][0].weight, weight)
        nn.init.zeros_(other[0][0].weight)
    assert torch.equal(backbone[0].weight, weight)
