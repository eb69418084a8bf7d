"""shrink(): limits hold, accuracies are those of the networks, next to their yardsticks."""

import numpy as np
import pytest
import torch
from torch import nn

import ddpnas
from ddpnas.errors import DivergedError, InfeasibleError, OptionError, RunError, SpaceError
from ddpnas.shrinking import resume_shrink, shrink
from ddpnas.training.checkpoint import load_weights, save_weights
from ddpnas.training.networks import find_network
from ddpnas.training.pretrained import refuse_own_code

from .networks import conv


def network(classes=3):
    layers = [conv(1, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), conv(32, 32, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, classes))


@pytest.fixture(scope="module")
def given(stripes):
    torch.manual_seed(0)
    return ddpnas.train(network(), stripes, epochs=6, device="cpu").model


@pytest.fixture(scope="module")
def shrunk(given, stripes):
    limits = {"macs": "50%", "params": 6000}
    return shrink(given, stripes, limits, epochs=2, candidates=3, device="cpu")


def accuracy(model, data):
    loader = ddpnas.data.Loader(data, [data.test], torch.device("cpu"))
    with torch.no_grad():
        right = [(model(x).argmax(1) == y).float() for x, y in loader.eval_batches(500)]
    return float(torch.cat(right).mean())


def test_limits_hold_and_shares_are_those_of_the_given_network(shrunk, given, stripes):
    whole = ddpnas.count_network(given, stripes.input_shape)
    small = ddpnas.count_network(shrunk.model, stripes.input_shape)
    assert small["macs"] <= whole["macs"] / 2 and small["params"] <= 6000
    assert {name: small[name] for name in shrunk.costs} == shrunk.costs
    assert shrunk.limits["macs"].upper == whole["macs"] / 2
    assert shrunk.given_costs["params"] == whole["params"]
    for compared in shrunk.networks:
        assert compared.costs["macs"] <= whole["macs"] / 2 and compared.costs["params"] <= 6000
    assert [point.costs["macs"] for point in shrunk.frontier][-1] == whole["macs"]


def test_accuracies_are_those_of_the_networks(shrunk, given, stripes):
    found, uniform, random = shrunk.networks
    assert shrunk.given == pytest.approx(accuracy(given.eval(), stripes))
    assert found.fine_tuned == pytest.approx(accuracy(shrunk.model, stripes))
    assert (found.name, uniform.name, random.name) == ("found", "uniform", "random")
    assert found.architecture == shrunk.candidates[0].architecture == shrunk.architecture


def test_the_given_network_stays_as_it_was_and_the_result_is_the_same_again(given, stripes):
    before = {name: tensor.clone() for name, tensor in given.state_dict().items()}
    options = {"epochs": 1, "candidates": 1, "controls": (), "distil": False, "device": "cpu"}
    one, other = (shrink(given, stripes, {"macs": "40%"}, **options) for _ in range(2))
    assert all(torch.equal(before[name], t) for name, t in given.state_dict().items())
    states = one.model.state_dict(), other.model.state_dict()
    assert all(torch.equal(t, states[1][name]) for name, t in states[0].items())
    assert len(one.networks) == 1 and type(one.model) is nn.Sequential


def test_limits_that_are_met_already_cut_nothing(given, stripes, caplog):
    found = shrink(given, stripes, {"macs": "150%"}, device="cpu")
    assert "nothing is cut" in caplog.text and found.networks == ()
    assert found.model[0].out_channels == 32 and np.isclose(found.given, accuracy(given, stripes))


def test_a_new_head_is_not_left_untrained_where_nothing_is_cut(given, stripes, tmp_path):
    with pytest.raises(OptionError, match=r"within the limits.*ddpnas\.train\(.*epochs=4\)"):
        shrink(
            given, stripes, {"macs": "150%"}, head_epochs=4, device="cpu", out=tmp_path / "small"
        )
    assert not (tmp_path / "small").exists()


def test_bad_input_is_refused(given, stripes):
    reason = r"lowest possible is .*channels that cannot be cut: 7 \(.* the network's output"
    with pytest.raises(InfeasibleError, match=reason):
        shrink(given, stripes, {"macs": "1%"}, device="cpu")
    with pytest.raises(OptionError, match=r"4,\) outputs and the data 3 classes"):
        shrink(network(4), stripes, {"macs": "50%"}, device="cpu")
    with pytest.raises(SpaceError, match="does not run on an input of 1x8x8"):
        shrink(nn.Sequential(conv(3, 16), conv(16, 3)), stripes, {"macs": "50%"}, device="cpu")
    with pytest.raises(OptionError, match="unknown cost 'flops'|flops"):
        shrink(given, stripes, {"flops": 10}, device="cpu")
    with pytest.raises(OptionError, match="did you mean 'macs'.*needs a table"):
        shrink(given, stripes, {"mac": "50%"}, device="cpu")
    with pytest.raises(OptionError, match="0.weight of the network has no values"):
        shrink(network().to("meta"), stripes, {"macs": "50%"})
    broken = network()
    broken[3].bias.data[0] = torch.nan
    with pytest.raises(OptionError, match="3.bias of the network holds values that are not"):
        shrink(broken, stripes, {"macs": "50%"})
    with pytest.raises(OptionError, match="has no parameters to fine-tune; .*requires_grad_"):
        shrink(network().requires_grad_(False), stripes, {"macs": "50%"})
    with pytest.raises(OptionError, match=r"is wrapped in DataParallel.*itself: model\.module"):
        shrink(nn.DataParallel(network()), stripes, {"macs": "50%"})
    with pytest.raises(OptionError, match=r"is wrapped in OptimizedModule.*model\._orig_mod"):
        shrink(torch.compile(network()), stripes, {"macs": "50%"})
    overflows = network()
    overflows[3].weight.data.fill_(torch.inf)
    for method in ("sensitivity", "pas"):
        with pytest.raises(DivergedError, match="answers .* with values that are not numbers"):
            shrink(overflows, stripes, {"macs": "50%"}, method=method, epochs=1, device="cpu")
    lazy = nn.Sequential(nn.Flatten(), nn.LazyLinear(16), nn.ReLU(), nn.Linear(16, 3))
    with pytest.raises(SpaceError, match="1.weight of Sequential has no size yet"):
        shrink(lazy, stripes, {"macs": "50%"})
    with pytest.raises(OptionError, match=r"model of shrink\(\) .*; swap model and data") as caught:
        shrink((torch.zeros(9, 1, 8, 8), torch.arange(9)), network(), {"macs": "50%"})
    assert "\n" not in str(caught.value)
    with pytest.raises(OptionError, match=r"folder of resume_shrink\(\) must be text or"):
        resume_shrink(3)


def test_a_factory_of_another_network_is_refused(given, stripes, tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def network(num_classes=3):\n"
        "    return nn.Sequential(nn.Conv2d(1, 32, 3), nn.Flatten(), nn.Linear(1152, num_classes))"
    )
    with pytest.raises(OptionError, match="another network than the given one: 1.weight is miss"):
        shrink(given, stripes, {"macs": "50%"}, factory=f"{tmp_path / 'net.py'}:network")


def test_a_saved_network_is_loaded_again(shrunk, stripes, tmp_path):
    shrunk.save(tmp_path / "mine")
    loaded = ddpnas.load(tmp_path / "mine", model=network)
    inputs = torch.randn(5, 1, 8, 8)
    torch.testing.assert_close(loaded.network(inputs), shrunk.model(inputs).detach())
    assert loaded.network[0].out_channels == shrunk.model[0].out_channels < 32
    assert dict(loaded.architecture) == dict(shrunk.architecture)
    assert ddpnas.evaluate(loaded, stripes).accuracy == shrunk.networks[0].fine_tuned
    assert not [path for path in (tmp_path / "mine").iterdir() if path.suffix in (".pt", ".pkl")]


def test_weights_of_layers_that_do_not_fit_each_other_are_refused(shrunk, tmp_path):
    shrunk.save(tmp_path / "mine")
    path = tmp_path / "mine" / "model.safetensors"
    weights = load_weights(path)
    save_weights(path, {**weights, "1.running_var": torch.ones(3)})
    with pytest.raises(RunError, match="belong to another network: running_var"):
        ddpnas.load(tmp_path / "mine", model=network)


MAKE = """
from torch import nn

def make(num_classes=3):
    return nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, num_classes),
    )
"""


@pytest.fixture
def make(tmp_path):
    """Return the name of a network in a user's file."""
    (tmp_path / "mine.py").write_text(MAKE)
    return f"{tmp_path / 'mine.py'}:make"


def cut_and_saved(name, data, folder):
    named, options = find_network(name), {"epochs": 1, "candidates": 1, "controls": ()}
    model = named.build(len(data.classes), data.input_shape)
    found = shrink(model, data, {"macs": "60%"}, **options, device="cpu")
    found.save(folder, named=named)
    return named, found


def test_a_network_with_a_name_is_loaded_by_it(stripes, tmp_path, make):
    cut_and_saved(make, stripes, tmp_path / "small")
    loaded = ddpnas.load(tmp_path / "small", model=make)
    assert loaded.network[0].out_channels == 8


@pytest.mark.parametrize("library", [False, True])
def test_a_smaller_network_starts_another_training(stripes, tmp_path, make, library):
    name, code = ("timm:test_resnet.r160_in1k", None) if library else (make, make)
    named, found = cut_and_saved(name, stripes, tmp_path / "small")
    if code is not None:  # the function would build the given network, which these do not fit
        with pytest.raises(OptionError, match=r"py:function, with a function that loads .*small"):
            refuse_own_code(tmp_path / "small", "--start", weights=True)
    opened = ddpnas.open_network(tmp_path / "small", code=code)
    images = torch.randn(5, 1, 8, 8)
    wanted = ddpnas.load(tmp_path / "small", model=code).network(images)
    torch.testing.assert_close(opened.model.eval()(images), wanted)
    assert opened.not_matched == () and opened.architecture == found.architecture
    assert all(parameter.requires_grad for parameter in opened.model.parameters())

    other = ddpnas.open_network(tmp_path / "small", code=code, num_classes=5)
    assert other.new_head is not None and len(other.not_matched) == 2
    assert other.model.eval()(images).shape == (5, 5)
    sizes, cut = ({n: t.shape for n, t in net.state_dict().items()}
                  for net in (other.model, found.model))  # fmt: skip
    assert all(n.startswith(other.new_head) for n in cut if sizes[n] != cut[n])

    again = ddpnas.train(opened.model, stripes, epochs=1, device="cpu")
    again.save(tmp_path / "again", architecture=opened.architecture, named=named)
    loaded = ddpnas.load(tmp_path / "again", model=code)
    torch.testing.assert_close(loaded.network(images), again.model.eval()(images).detach())
    assert loaded.architecture == found.architecture
