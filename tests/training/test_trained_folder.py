"""The folder of a trained network: what is written, and what loading refuses."""

import csv
import errno
import json
import math
import runpy
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load, save
from torch import nn

import ddpnas
from ddpnas import Recipe
from ddpnas.errors import OptionError, RunError
from ddpnas.training.checkpoint import CHECKPOINT
from ddpnas.training.saving import TrainedFolder
from ddpnas.training.trained_folder import read_comparison

ARCHITECTURE = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|skip_connect~2|"
OWN = """
from torch import nn

def network(choose, width=2, num_classes=3, input_shape=(1, 8, 8)):
    conv = lambda k: nn.Conv2d(input_shape[0], width, k, padding=k // 2)
    return nn.Sequential(choose("op", {"conv1": lambda: conv(1), "conv3": lambda: conv(3)}),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))
"""


def trained_by(space, text, data, **options):
    return ddpnas.compare(
        space, space.parse(text), data, costs=ddpnas.count_costs(space),
        recipe=Recipe(epochs=2, batch_size=16), device="cpu", **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def result(small_space, stripes):
    return trained_by(small_space, ARCHITECTURE, stripes, random=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, small_space, stripes, result):
    path = tmp_path_factory.mktemp("model") / "stripes-net"
    ddpnas.training.save_networks(path, small_space, result, limits={"macs": 1e9})
    return path


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def test_what_is_loaded_is_what_was_trained(folder, result, stripes):
    model = ddpnas.load(folder)
    x = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(model.network(x), result[0].result.model(x))
    assert not model.network.training
    assert model.text == ARCHITECTURE == result[0].text
    assert model.architecture == result[0].architecture
    assert model.classes == stripes.classes and model.input_shape == (1, 8, 8)
    assert model.mean == stripes.mean and model.std == stripes.std


def test_the_files_say_how_it_came_about(folder, result, stripes):
    about = json.loads((folder / "architecture.json").read_text())
    assert about["provenance"]["data"]["fingerprint"] == stripes.fingerprint()
    assert about["provenance"]["data"]["sizes"] == {"train": 96, "valid": 24, "test": 30}
    assert about["provenance"]["seed"] == 0 and about["limits"] == {"macs": 1e9}
    assert about["provenance"]["versions"]["ddpnas"] == ddpnas.__version__
    assert about["costs"] == result[0].costs
    figures = json.loads((folder / "result.json").read_text())
    assert [n["name"] for n in figures["networks"]] == ["found", "random 1"]
    for kept, one in zip(figures["networks"], result):
        assert kept["accuracy"] == one.evaluation.accuracy and kept["split"] == "test"
        counts = torch.tensor(kept["confusion"])
        assert counts.sum(dim=1).tolist() == [10, 10, 10]
        assert counts.trace() / 30 == pytest.approx(kept["accuracy"])
        assert kept["per_class"] == [counts[i, i].item() / 10 for i in range(3)]
    rows = list(csv.DictReader((folder / "history.csv").open()))
    assert [(r["network"], r["epoch"]) for r in rows] == [
        ("found", "1"), ("found", "2"), ("random 1", "1"), ("random 1", "2"),
    ]  # fmt: skip
    assert float(rows[0]["loss"]) == result[0].result.history[0]["loss"]


def test_the_card_has_the_front_matter_of_a_model_hub_and_its_example_runs(folder, monkeypatch):
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    entry = yaml.safe_load(front)["model-index"][0]["results"][0]
    figures = json.loads((folder / "result.json").read_text())
    assert entry["metrics"] == [
        {"type": "accuracy", "value": figures["networks"][0]["accuracy"]}
    ]  # fmt: skip
    assert f"{100 * figures['networks'][0]['accuracy']:.2f} %" in text and ARCHITECTURE in text
    from PIL import Image

    monkeypatch.chdir(folder.parent)
    Image.new("L", (20, 30)).save("image.png")
    (folder.parent / "example.py").write_text(text.split("```python\n")[1].split("```")[0])
    runpy.run_path("example.py")


def test_a_run_folder_with_a_trained_network_inside_is_taken_too(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "trained")
    assert ddpnas.load(tmp_path).text == ARCHITECTURE


def test_a_users_own_space_is_executed_only_when_it_is_named(stripes, tmp_path):
    (tmp_path / "mine.py").write_text(OWN + "\nfrom beside import used\n")
    (tmp_path / "beside.py").write_text("used = 1")
    space = ddpnas.spaces.user_space.space_from_file(f"{tmp_path / 'mine.py'}:network", width=3)
    trained = trained_by(space, "op=conv3", stripes)
    ddpnas.training.save_networks(tmp_path / "net", space, trained)
    with pytest.raises(RunError, match=r"name it to have it executed: --space .*net/mine.py:net"):
        ddpnas.load(tmp_path / "net")
    x = torch.randn(2, 1, 8, 8)
    for given in (f"{tmp_path / 'net' / 'mine.py'}:network", space):
        model = ddpnas.load(tmp_path / "net", space=given)
        torch.testing.assert_close(model.network(x), trained[0].result.model(x))
    assert str(tmp_path) not in (tmp_path / "net" / "architecture.json").read_text()


def test_a_function_of_a_program_is_given_again(stripes, tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    space = ddpnas.SearchSpace(runpy.run_path(tmp_path / "mine.py")["network"])
    ddpnas.training.save_networks(tmp_path, space, trained_by(space, "op=conv1", stripes))
    with pytest.raises(RunError, match=r"was made in a Python program; continue from"):
        ddpnas.load(tmp_path)
    assert ddpnas.load(tmp_path, space=space).text == "op=conv1"


class Tied(nn.Module):
    """A user's network with tied weights and a buffer."""

    def __init__(self, width=4):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.BatchNorm1d(width))
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.second.weight = self.first.weight
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.second(self.first(self.body(x)).relu()).relu())


QUICK = Recipe(epochs=2, batch_size=16, keep_best=True)


def test_a_network_without_a_space_is_saved_and_loaded_by_what_builds_it(stripes, tmp_path):
    result = ddpnas.train(Tied(), stripes, QUICK, device="cpu", folder=tmp_path / "checkpoints")
    result.save(tmp_path / "net")
    model = ddpnas.load(tmp_path / "net", model=Tied)
    x = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(model.network(x), result.model(x), rtol=0, atol=0)
    assert ddpnas.evaluate(model, stripes) == result.evaluation
    assert (len(model.architecture), model.text, model.classes) == (0, "", stripes.classes)
    (kept,) = read_comparison(tmp_path / "net").networks
    assert kept.result.history == result.history and kept.result.recipe == result.recipe
    assert kept.costs == {"params": sum(p.numel() for p in Tied().parameters())}
    card = (tmp_path / "net" / "README.md").read_text()
    assert "a `Tied`" in card and 'ddpnas.load("net", model=Tied)' in card
    with pytest.raises(RunError, match=r"\(Tied\) belongs to no search space; load it from Python"):
        ddpnas.load(tmp_path / "net")
    given = Tied()
    before = {name: tensor.clone() for name, tensor in given.state_dict().items()}
    again = ddpnas.load(tmp_path / "net", model=given)
    torch.testing.assert_close(again.network(x), model.network(x), rtol=0, atol=0)
    assert all(torch.equal(before[name], tensor) for name, tensor in given.state_dict().items())
    with pytest.raises(OptionError, match="or a function or class that returns it"):
        ddpnas.load(tmp_path / "net", model="Tied")
    with pytest.raises(RunError, match="to another network"):
        ddpnas.load(tmp_path / "net", model=lambda: Tied(width=5))


def test_a_network_of_a_space_is_saved_with_its_architecture(small_space, stripes, tmp_path):
    architecture = small_space.parse(ARCHITECTURE)
    result = ddpnas.train(small_space.build(architecture), stripes, QUICK, device="cpu")
    result.save(tmp_path, space=small_space, architecture=architecture)
    model = ddpnas.load(tmp_path)
    x = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(model.network(x), result.model(x))
    assert model.architecture == architecture
    (kept,) = read_comparison(tmp_path).networks
    assert kept.costs["macs"] == ddpnas.count_costs(small_space)["macs"].cost(architecture)
    with pytest.raises(OptionError, match="both the space and the architecture"):
        result.save(tmp_path, space=small_space)
    with pytest.raises(RunError, match="holds figures but no network"):
        kept.result.save(tmp_path / "again")
    with pytest.raises(RunError, match="holds figures only"):
        kept.result.model(x)


def test_a_folder_is_prepared_and_its_checkpoints_are_removed(stripes, tmp_path):
    with TrainedFolder.opened(tmp_path) as folder:
        place = folder.checkpoints
        result = ddpnas.train(Tied(), stripes, QUICK, device="cpu", folder=place / "network")
    with (
        pytest.raises(RunError, match="unfinished training; continue it with --resume"),
        TrainedFolder.opened(tmp_path),
    ):
        pass
    with TrainedFolder.opened(tmp_path, resume=True) as folder:
        assert folder.checkpoints == place and (place / "network").exists()
    result.save(tmp_path)
    assert not place.exists() and (tmp_path / "last.safetensors").exists() == bool(result.last)
    with (
        pytest.raises(RunError, match="holds a trained network"),
        TrainedFolder.opened(tmp_path, resume=True),
    ):
        pass
    with TrainedFolder.opened(tmp_path, overwrite=True):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused_to_trainings_saves_and_searches(result, stripes, tmp_path):
    run = tmp_path / "run"
    options = {"strategy_options": {"evaluations": 2}, "evaluator": "table", "device": "cpu"}
    space = ddpnas.create_space("nasbench201", num_classes=3, input_shape=(1, 8, 8))
    ddpnas.search(space, stripes, "random", out=run, **options)
    says = "trained is in use by another process; give another --out"
    with TrainedFolder.opened(run / "trained"):
        with pytest.raises(RunError, match=says), TrainedFolder.opened(run / "trained"):
            pass
        with pytest.raises(RunError, match=says):
            result[0].result.save(run / "trained")
        with pytest.raises(RunError, match=says):
            ddpnas.search(space, stripes, "random", out=run, overwrite=True, **options)
    with pytest.raises(RunError, match="holds a search, not a training"), TrainedFolder.opened(run):
        pass


def test_a_save_that_ends_early_leaves_an_unfinished_training(result, tmp_path, monkeypatch):
    def full(path, content):
        if path.name == "architecture.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_bytes(content)

    (tmp_path / "training" / "found").mkdir(parents=True)
    (tmp_path / "training" / "found" / CHECKPOINT).touch()
    with monkeypatch.context() as patch:
        patch.setattr("ddpnas.training.saving.write_atomic", full)
        with pytest.raises(RunError, match="left on device.; make room, then go on with --resume"):
            result[0].result.save(tmp_path)
    assert (tmp_path / "result.json").exists()
    with TrainedFolder.opened(tmp_path, resume=True) as folder:
        assert [p.name for p in folder.checkpoints.glob("*/*")] == [CHECKPOINT]


def test_folders_that_hold_no_trained_network_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(RunError, match="holds no trained network"):
            ddpnas.load(path)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"space": 3}, "space must be text, not 3"),
        ({"classes": None}, "classes must be a list of texts, not None"),
        ({"mean": [0.5, 0.5]}, "mean and std must be empty or have a number for each of the 1 "),
        ({"std": [0.0]}, r"std\[0\] must be a number of at least 1e-09, not 0.0"),
        ({"input_shape": [10**30, 8, 8]}, r"input_shape\[0\] must be a whole number from 1 to"),
        ({"limits": {"macs": [3, 2]}}, "a limit cannot range from 3"),
        ({"space": "os.system"}, "was made in a Python program"),
        ({"architecture": {"a": "b"}}, "does not belong to its space"),
        ({"space_options": {"channels": 3}}, "to another network"),
        ({"space_options": {"nonsense": 3}}, "cannot use .*nonsense"),
    ],
)
def test_damaged_descriptions_are_one_sentence(copy, change, says):
    about = json.loads((copy / "architecture.json").read_text())
    (copy / "architecture.json").write_text(json.dumps(about | change))
    with pytest.raises(RunError, match=says) as refused:
        ddpnas.load(copy)
    assert "\n" not in str(refused.value)


def test_damaged_and_missing_weights_are_one_sentence(copy):
    whole = (copy / "model.safetensors").read_bytes()
    flipped = bytearray(whole)
    flipped[-5] ^= 16
    for content in (whole[:-40], b"\x80\x04nonsense", b"", flipped):
        (copy / "model.safetensors").write_bytes(content)
        with pytest.raises(RunError, match="model.safetensors is damaged"):
            ddpnas.load(copy)
    weights = load(whole)
    name = next(name for name, tensor in weights.items() if tensor.ndim)  # the order is random
    for changed, says in (
        ({name: weights[name] * math.nan}, "that are not numbers"),
        ({name: weights[name][:1]}, "to another network"),
        ({"more": weights[name] + 1}, "to another network"),
    ):
        (copy / "model.safetensors").write_bytes(save({**weights, **changed}))
        with pytest.raises(RunError, match=says):
            ddpnas.load(copy)
    (copy / "model.safetensors").write_bytes(save(weights))  # of another program
    ddpnas.load(copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(RunError, match="there is no file .*model.safetensors"):
        ddpnas.load(copy)
    (copy / "architecture.json").write_text("{")
    with pytest.raises(RunError, match="cannot use .*architecture.json: it is not JSON"):
        ddpnas.load(copy)
