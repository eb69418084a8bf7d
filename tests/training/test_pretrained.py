"""open_network(): weights by name, new heads, gray images, and sentences; the hub is mocked."""

import dataclasses
import logging

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

import ddpnas
from ddpnas.errors import OptionError, RunError
from ddpnas.training import library_preprocessing, open_network

NAME = "timm:test_resnet.r160_in1k"
NET = """
import torch
from torch import nn

def network(num_classes=3, input_shape=(3, 8, 8)):
    net = nn.Sequential(
        nn.Conv2d(input_shape[0], 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes),
    )
    nn.init.constant_(net[0].bias, 0.5)
    return net
"""


@pytest.fixture
def hub(monkeypatch):
    """Let timm and torchvision find weights that are those of seed 7."""
    create, asked = timm.create_model, []

    def made(name, pretrained=False, **options):
        if not pretrained:
            return create(name, **options)
        asked.append(name)
        torch.manual_seed(7)
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", made)
    return asked


@pytest.fixture
def offline(monkeypatch):
    from torchvision.models import WeightsEnum

    create = timm.create_model

    def made(name, pretrained=False, **options):
        if pretrained:
            raise ConnectionError("cannot reach\nhuggingface.co")
        return create(name, **options)

    def unreachable(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(timm, "create_model", made)
    monkeypatch.setattr(WeightsEnum, "get_state_dict", unreachable)


@pytest.fixture
def net(tmp_path):
    (tmp_path / "mine.py").write_text(NET)
    return f"{tmp_path / 'mine.py'}:network"


def published():
    torch.manual_seed(7)
    return timm.create_model("test_resnet")


def test_the_published_weights_come_with_the_librarys_preprocessing(hub):
    opened = open_network(NAME)
    assert hub == ["test_resnet.r160_in1k"]
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(opened.model.eval()(x), published().eval()(x))
    config = timm.get_pretrained_cfg("test_resnet.r160_in1k")
    assert opened.preprocessing == library_preprocessing(NAME)
    assert opened.preprocessing.shape == config.input_size
    assert opened.preprocessing.mean == config.mean and opened.preprocessing.std == config.std
    assert opened.preprocessing.interpolation == config.interpolation
    assert opened.not_matched == () and opened.new_head is None
    assert set(opened.matched) == set(opened.model.state_dict())


def test_a_head_of_other_classes_is_new_and_starts_at_zero(hub, caplog):
    opened = open_network(NAME, num_classes=5, input_shape=(3, 32, 32))
    assert opened.new_head == "fc" and len(opened.not_matched) == 2
    assert opened.not_matched[0] == "fc.weight: 1000 x 96, and 5 x 96 here"
    assert not any(p.any() for p in opened.model.fc.parameters())
    x = torch.randn(2, 3, 32, 32)
    features = [m.eval().forward_features(x) for m in (opened.model, published())]
    torch.testing.assert_close(*features)
    assert not caplog.records  # a new head is expected


def test_gray_images_get_the_sum_of_the_weights_over_colors(hub):
    opened = open_network(NAME, num_classes=5, input_shape=(1, 32, 32))
    wanted = published().conv1[0].weight.sum(dim=1, keepdim=True)
    torch.testing.assert_close(opened.model.conv1[0].weight, wanted)
    color = library_preprocessing(NAME)
    assert opened.preprocessing.mean == (pytest.approx(sum(color.mean) / 3),)
    data = ddpnas.make_data(
        (torch.randint(0, 256, (40, 1, 32, 32), dtype=torch.uint8), torch.arange(40) % 5)
    )
    assert opened.prepare(data).mean == opened.preprocessing.mean
    numbers = ddpnas.make_data((torch.randn(40, 6), torch.arange(40) % 5))
    assert opened.prepare(numbers) is numbers


def test_torchvision_has_its_own_preprocessing(monkeypatch):
    from torchvision import models

    wanted = models.squeezenet1_1()
    monkeypatch.setattr(models.WeightsEnum, "get_state_dict", lambda self, **_: wanted.state_dict())
    opened = open_network("torchvision:squeezenet1_1", num_classes=4, input_shape=(3, 40, 40))
    assert opened.new_head == "classifier.1" and opened.preprocessing.shape == (3, 40, 40)
    assert opened.preprocessing.interpolation == "bilinear"
    assert torch.equal(opened.model.features[0].weight, wanted.features[0].weight)
    assert library_preprocessing("torchvision:vit_b_16").shape == (3, 224, 224)
    assert library_preprocessing("torchvision:mobilenet_v2_x0.5") is None


@pytest.mark.parametrize("name", [NAME, "torchvision:squeezenet1_1"])
def test_offline_one_sentence_says_what_to_give(offline, name):
    with pytest.raises(
        OptionError, match=f"weights of {name} cannot be downl.*--weights FILE"
    ) as e:
        open_network(name)
    assert "\n" not in str(e.value)


def test_what_is_not_published_is_said():
    for name in ("torchvision:mobilenet_v2_x0.5", "timm:resnet18d_x"):
        with pytest.raises(OptionError, match="publishes no weights|timm has no network"):
            open_network(name)


@pytest.mark.parametrize("form", ["safetensors", "pth", "checkpoint", "parallel", "both"])
def test_a_file_of_weights_takes_the_place_of_the_hub(offline, tmp_path, form):
    state = published().state_dict()
    file = tmp_path / ("net.safetensors" if form == "safetensors" else "net.pth")
    if form == "safetensors":
        save_file(state, file)
    elif form == "pth":
        torch.save(state, file)
    elif form == "checkpoint":
        torch.save({"epoch": 3, "state_dict": state}, file)
    else:  # DistributedDataParallel inside torch.compile, and that once more
        wrappers = {"parallel": "module.", "both": "_orig_mod.module._orig_mod."}
        torch.save({"model": {f"{wrappers[form]}{name}": t for name, t in state.items()}}, file)
    opened = open_network(NAME, weights=file)
    x = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(opened.model.eval()(x), published().eval()(x))


def test_what_does_not_fit_is_listed(net, tmp_path, caplog):
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(4), nn.Linear(2, 2))
    torch.save({**model.state_dict(), "1.weight": torch.full((4,), 3.0)}, tmp_path / "net.pth")
    with caplog.at_level(logging.WARNING):
        opened = open_network(net, num_classes=2, weights=tmp_path / "net.pth")
    assert opened.model[1].weight.tolist() == [3.0] * 4
    assert "0.weight: 5 x 3 x 3 x 3, and 4 x 3 x 3 x 3 here" in opened.not_matched
    assert "2.weight: not in the network" in opened.not_matched
    assert f"5.weight: not in {tmp_path / 'net.pth'}" in opened.not_matched
    assert "6 tensors do not fit" in caplog.text


class Code:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize(
    "content, says",
    [
        (None, "there is no file of weights"),
        (b"not a checkpoint", "cannot be read as a file of weights|more than tensors"),
        (Code(), "holds more than tensors.*save the tensors alone"),
        ({"epoch": 3}, "holds no state dict"),
        ([torch.ones(2)], "holds no state dict"),
        ({"0.weight": torch.full((2,), torch.nan)}, "not numbers"),
        ({"stem.weight": torch.ones(2)}, "none of the 1 tensors .*'stem.weight'.*'0.weight'"),
    ],
)
def test_files_that_hold_no_weights_of_the_network_are_refused(
    net, tmp_path, content, says, capsys
):
    file = tmp_path / "net.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save(content, file)
    with pytest.raises(OptionError, match=says) as refused:
        open_network(net, weights=file)
    assert "\n" not in str(refused.value) and "executed" not in capsys.readouterr().out


def test_a_users_function_may_bring_its_own_weights(net):
    opened = open_network(net, num_classes=4, input_shape=(3, 8, 8))
    assert opened.model[0].bias.tolist() == [0.5] * 4 and opened.new_head == "5"
    assert opened.preprocessing is None and opened.named.code.path.name == "mine.py"
    assert open_network(net).new_head is None


def test_a_name_that_is_nothing_is_refused(tmp_path):
    with pytest.raises(OptionError, match="there is no folder 'resnet18'; give timm:NAME"):
        open_network("resnet18")
    with pytest.raises(RunError, match="holds no trained network"):
        open_network(tmp_path)


def trained(model, data, folder, **saved):
    result = ddpnas.train(model, data, ddpnas.Recipe(epochs=1, batch_size=16), device="cpu")
    result.save(folder, **saved)
    return result


def test_a_trained_network_of_a_space_starts_another_training(small_space, stripes, tmp_path):
    architecture = small_space.sample(np.random.default_rng(0))
    model = small_space.build(architecture)
    result = trained(model, stripes, tmp_path, space=small_space, architecture=architecture)
    again = open_network(tmp_path)
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(again.model.eval()(x), result.model(x))
    assert again.classes == stripes.classes and again.preprocessing == stripes.preprocessing
    other = open_network(tmp_path, num_classes=5, input_shape=(1, 12, 12))
    assert other.new_head is not None and other.space.options["num_classes"] == 5
    assert other.model.eval()(torch.randn(2, 1, 12, 12)).shape == (2, 5)
    assert other.architecture == architecture
    with pytest.raises(OptionError, match="has its own weights"):
        open_network(tmp_path, weights=tmp_path / "model.safetensors")


def test_a_network_of_a_library_is_saved_by_its_name_and_loaded(hub, stripes, tmp_path):
    opened = open_network(NAME, num_classes=3, input_shape=(1, 8, 8))
    data = dataclasses.replace(opened.prepare(stripes), interpolation="bicubic")
    result = trained(opened.model, data, tmp_path / "net", named=opened.named)
    hub.clear()
    model = ddpnas.load(tmp_path / "net")
    assert hub == []  # the weights are in the folder
    x = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    assert model.preprocessing == data.preprocessing and model.mean == opened.preprocessing.mean
    with torch.no_grad():
        wanted = result.model(data.preprocessing(x)).softmax(dim=1)
    torch.testing.assert_close(model.predict(x), wanted)
    assert open_network(tmp_path / "net", num_classes=4).new_head == "fc"
    assert model.about["provenance"]["versions"]["timm"] == timm.__version__
    card = (tmp_path / "net" / "README.md").read_text()
    assert f"a `{NAME}`" in card and 'ddpnas.load("net")' in card and "resized bicubic" in card


def test_a_network_of_a_users_file_is_executed_only_when_it_is_named(net, stripes, tmp_path):
    opened = open_network(net, num_classes=3, input_shape=(1, 8, 8))
    folder = tmp_path / "net"
    result = trained(opened.model, stripes, folder, named=opened.named)
    with pytest.raises(RunError, match=r"name it to have it executed: --network .*net/mine.py:net"):
        ddpnas.load(folder)
    copied = f"{folder / 'mine.py'}:network"
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(ddpnas.load(folder, model=copied).network(x), result.model(x))
    again = open_network(folder, code=copied)
    torch.testing.assert_close(again.model.eval()(x), result.model(x))
    assert str(tmp_path) not in (folder / "architecture.json").read_text()
    (folder / "mine.py").write_text(NET.replace("0.5", "0.6"))
    with pytest.raises(RunError, match="the code in .* is no longer that of"):
        ddpnas.load(folder, model=copied)
