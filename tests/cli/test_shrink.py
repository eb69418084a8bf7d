"""``ddpnas shrink``: the table of groups, and a network that is cut, saved and loaded again."""

import dataclasses
import json
import runpy
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import ddpnas
from ddpnas.cli import main
from ddpnas.cli import shrink as shrink_command
from ddpnas.cli.shrink import _show_accuracies as show_accuracies
from ddpnas.data import load_data
from ddpnas.errors import OptionError

TINY = Path(__file__).parents[1] / "shrinking" / "tiny_network.py"


@pytest.fixture
def network(tmp_path):
    shutil.copy(TINY, tmp_path / "mine.py")
    return f"{tmp_path / 'mine.py'}:network"


def test_list_names_what_can_be_cut_and_what_fixes_the_rest(capsys):
    assert main(["shrink", "torchvision:squeezenet1_1", "--list", "--image-size", "64"]) == 0
    printed = capsys.readouterr().out
    assert "25 of 26 groups of channels can be cut" in printed
    assert "the network's output" in printed and "features.3.squeeze" in printed


def test_a_network_is_cut_fine_tuned_saved_and_evaluated(network, tmp_path, capsys):
    out = tmp_path / "small"
    command = ["shrink", network, "--data", "sign-digits-small", "--limit", "macs=60%"]
    command += ["--image-size", "8", "--limit-train-images", "200", "--epochs", "1"]
    command += ["--head-epochs", "1", "--candidates", "2", "--device", "cpu", "--out", str(out)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "estimated minutes" in printed and "for a copy of its weights" in printed
    assert (
        "MACs in the file" in printed and "adds up to" in printed and (out / "report.html").exists()
    )
    assert "as given" in printed and "uniform widths" in printed and "random widths" in printed
    loaded = ddpnas.load(out, model=network)
    channels = loaded.network[0].out_channels, loaded.network[3].out_channels
    assert 8 in channels and loaded.predict(torch.zeros(1, *loaded.input_shape)).shape[0] == 1
    assert main([*command]) == 2
    assert "holds a shrink; go on with `ddpnas resume" in capsys.readouterr().err
    assert main(["evaluate", str(out), "--network", network]) == 0
    assert main(["resume", str(out)]) == 2
    assert "name it to have it executed: --network" in capsys.readouterr().err
    _other_limits(out, capsys)


def test_the_next_command_finds_the_images_of_a_folder(network, tmp_path, capsys):
    digits = load_data("sign-digits-small")
    for split in ("train", "test"):
        part = getattr(digits, split)
        for i in range(0, len(part), 2):
            label = digits.classes[int(part.labels[i])]
            place = tmp_path / "photos" / split / label
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(part.inputs[i].permute(1, 2, 0).numpy()).save(place / f"{i}.png")
    out = tmp_path / "small"
    command = ["shrink", network, "--data", str(tmp_path / "photos"), "--limit", "macs=60%"]
    command += ["--image-size", "8", "--epochs", "1", "--head-epochs", "1"]
    assert main([*command, "--candidates", "1", "--out", str(out)]) == 0
    [line] = [one for one in capsys.readouterr().out.splitlines() if "next: ddpnas" in one]
    assert main(shlex.split(line.split("next: ddpnas ")[1])) == 0
    assert "on 50 images (photos, split test)" in capsys.readouterr().out
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "photos").rename(photos := tmp_path / "elsewhere" / "photos")
    assert main(["evaluate", str(out), "--network", network]) == 2
    assert main(["resume", str(out), "--network", network, "--data", str(photos)]) == 0
    assert main(["evaluate", str(out), "--network", network]) == 0
    out.rename(tmp_path / "moved")
    assert main(["evaluate", str(tmp_path / "moved"), "--network", network]) == 0
    (tmp_path / "moved" / "trained").rename(tmp_path / "given")
    assert main(["evaluate", str(tmp_path / "given"), "--network", network]) == 2
    assert "name them with --data" in capsys.readouterr().err


def test_a_control_that_is_what_was_found_is_marked(capsys):
    def one(name, width):
        costs = {"macs": 10.0, "params": 5.0}
        return SimpleNamespace(
            name=name, architecture={"0": width}, costs=costs, cut=0.5, fine_tuned=0.5
        )

    networks = [one("found", "8"), one("uniform", "16"), one("random", "8")]
    given = SimpleNamespace(
        limits={}, given_costs={"macs": 20, "params": 9}, given=0.6, networks=networks
    )
    show_accuracies(given)
    said = capsys.readouterr().out
    assert "random widths (the found ones)" in said and said.count("the found ones") == 1


def test_json_is_all_that_is_printed(network, tmp_path, capsys):
    out = tmp_path / "small"
    command = ["shrink", network, "--data", "sign-digits-small", "--limit", "macs=60%", "--json"]
    command += ["--image-size", "8", "--limit-train-images", "100", "--epochs", "1"]
    command += ["--head-epochs", "1", "--candidates", "1", "--device", "cpu", "--out", str(out)]
    command += ["--controls", "magnitude", "uniform"]
    assert main(command) == 0
    printed = json.loads(capsys.readouterr().out)
    found, *others = printed["networks"]
    assert [one["name"] for one in (found, *others)] == ["found", "magnitude", "uniform"]
    assert found["costs"] == printed["costs"] and found["architecture"] == printed["architecture"]
    assert found["costs"]["macs"] <= 0.6 * printed["given_costs"]["macs"]
    groups = {group["name"]: group for group in printed["groups"]}
    assert groups["7"]["fixed"] == "the network's output" and groups["0"]["widths"] == [8, 16]
    [candidate] = printed["candidates"]
    assert candidate["architecture"] == found["architecture"] and candidate["loss"] > 0
    points = [one["costs"]["macs"] for one in printed["frontier"]]
    assert points == sorted(points) and points[0] <= found["costs"]["macs"]
    rises = [one["predicted"] for one in printed["frontier"]]
    assert rises == sorted(rises, reverse=True) and rises[0] >= candidate["predicted"]
    assert printed["estimated_seconds"].keys() == printed["seconds"].keys() > {"fine-tuning"}
    assert 0 <= found["fine_tuned"] <= 1 and printed["folder"] == str(out)
    assert all(Path(file).exists() for file in printed["files"].values())
    assert main(["resume", str(out), "--network", network, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again.keys() == printed.keys() and again["networks"] == printed["networks"]


def _other_limits(out, capsys):
    assert main(["generate", str(out), "--limit", "macs=60%", "--top", "2", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    whole, reached = (json.loads((out / "costs.json").read_text()), answer["costs"]["macs"])
    assert len(answer["top"]) == 2 and {g["name"] for g in whole["groups"]} >= {"0", "3"}
    assert main(["generate", str(out), "--limit", "macs=60%"]) == 0
    assert f"{reached:,.0f}" in capsys.readouterr().out
    words = ["frontier", str(out), "--cost", "macs", "--limit", "macs=60%"]
    assert main([*words, "--json", "--out", str(out / "curve.svg")]) == 0
    points = json.loads(capsys.readouterr().out)
    assert points[-1] == {**points[-1], **{k: answer[k] for k in ("costs", "predicted")}}
    assert main(words) == 0
    assert "nothing beats in rise of the loss and macs" in capsys.readouterr().out
    assert main([*words, "--csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(points) + 1
    assert main([*words, "--objective", "theta"]) == 2
    assert "--objective does not apply; use --cost, --limit, --out" in capsys.readouterr().err
    assert main(["generate", str(out), "--limit", "macs=1%"]) == 2
    assert "channels that cannot be cut: 7" in capsys.readouterr().err
    assert main(["generate", str(out), "--limit", "macs=40%", "--rescore", "3"]) == 2
    assert "--rescore does not apply" in capsys.readouterr().err
    assert main(["report", str(out)]) == 0
    page = (out / "report.html").read_text()
    assert "as given" in page and "the network&#39;s output" in page


def test_a_limit_in_milliseconds_holds_by_a_measured_table(network, tmp_path, capsys):
    given = runpy.run_path(str(TINY))["network"](num_classes=10, input_shape=(3, 32, 32))
    space = ddpnas.shrinkable(given, (3, 32, 32))
    quick = {"architectures": 4, "seconds": 0.02, "rounds": 1, "most_rounds": 1}
    table = ddpnas.measure_latency(space, **quick)
    # Times of a moment say little: these grow with the multiply-adds, and are sure to 5 %.
    counted = ddpnas.count_costs(space)["macs"]
    table = dataclasses.replace(
        table,
        fixed=counted.fixed / 1e6,
        terms={choices: macs / 1e6 for choices, macs in counted.terms.items()},
        about={**table.about, "check": {"p95_percent": 5.0}},
    )
    table.save(tmp_path / "latency.json")
    costs = [table.cost({"0": one, "3": other}) for one in ("8", "16") for other in ("8", "16")]
    limit = (costs[0] + costs[-1]) / 2
    command = ["shrink", network, "--data", "sign-digits-small", "--image-size", "32", "--json"]
    command += ["--limit", f"latency_ms={limit}", "--costs", str(tmp_path / "latency.json")]
    command += ["--limit-train-images", "100", "--epochs", "1", "--head-epochs", "1"]
    command += ["--candidates", "1", "--device", "cpu", "--out", str(tmp_path / "small")]
    assert main([*command, "--controls"]) == 0
    printed = json.loads(capsys.readouterr().out)
    [found] = printed["networks"]
    predicted = table.cost(found["architecture"])
    assert found["costs"]["latency_ms"] == pytest.approx(predicted) and predicted <= 0.95 * limit
    assert printed["given_costs"]["latency_ms"] == pytest.approx(costs[-1])
    command[command.index("32")] = "64"
    assert main([*command[:-1], str(tmp_path / "other")]) == 2
    assert "the table of latency_ms belongs to another network" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("size", "shape"), [([], (3, 224, 224)), (["--image-size", "64"], (3, 64, 64))]
)
def test_images_get_the_size_that_the_network_was_trained_on(
    tmp_path, capsys, monkeypatch, size, shape
):
    def stop(name, *, input_shape, **options):
        raise OptionError(f"opened for {input_shape}")

    monkeypatch.setattr(shrink_command, "open_network", stop)
    command = ["shrink", "timm:tf_efficientnet_lite0", "--data", "sign-digits-small"]
    command += ["--limit-train-images", "20", "--limit", "macs=50%", "--out", str(tmp_path / "it")]
    assert main([*command, *size]) == 2
    assert f"opened for {shape}" in capsys.readouterr().err


def test_what_is_missing_is_said(network, capsys):
    assert main(["shrink", network]) == 2
    assert "needs --data and --limit and --out" in capsys.readouterr().err


def test_what_takes_too_long_is_refused_after_the_estimate(network, tmp_path, capsys):
    command = ["shrink", network, "--data", "sign-digits-small", "--limit", "macs=60%"]
    assert main([*command, "--minutes", "0.001", "--out", str(tmp_path / "small")]) == 2
    printed = capsys.readouterr()
    assert "fine-tuning" in printed.out and "more than the 0.001 of --minutes" in printed.err
    assert main([*command, "--keep-head", "--out", str(tmp_path / "small")]) == 2
    assert "leave --keep-head out" in capsys.readouterr().err
    assert not (tmp_path / "small").exists()


UNTRACEABLE = """
from torch import nn

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 16, 3)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = self.layer(x)
        if float(x.sum()) > 0:
            x = -x
        return self.head(x.mean((2, 3)))

network = Network
"""


def test_bad_input_is_one_sentence(network, tmp_path, capsys):
    (tmp_path / "odd.py").write_text(UNTRACEABLE)
    out = tmp_path / "small"
    data = ["--data", "sign-digits-small", "--limit-train-images", "100", "--out", str(out)]
    assert main(["shrink", f"{tmp_path / 'odd.py'}:network", *data, "--limit", "macs=50%"]) == 2
    assert "(odd.py, line 12 `if float(x.sum()) > 0:`)" in capsys.readouterr().err
    assert main(["shrink", network, *data, "--limit", "macs=50%", "--controls", "others"]) == 2
    assert "controls" in (said := capsys.readouterr().err) and "magnitude" in said
    assert main(["shrink", network, *data, "--limit", "macs=120%"]) == 0
    assert "within the limits already; nothing is cut" in capsys.readouterr().out
    assert main(["shrink", network, *data, "--limit", "macs=120%", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"networks": []}
    command = ["shrink", network, *data, "--divisor", "16", "--limit", "macs=50%"]
    assert main(command) == 2
    assert "no channels of Sequential can be cut" in capsys.readouterr().err
    assert not out.exists()
    small = ["shrink", "torchvision:alexnet", *data, "--image-size", "16", "--limit", "macs=50%"]
    assert main(small) == 2
    assert "cannot take images of 3x16x16" in capsys.readouterr().err


def test_weights_of_another_network_are_refused_with_the_tensors(network, tmp_path, capsys):
    tiny = runpy.run_path(str(TINY))["network"](num_classes=10, input_shape=(3, 32, 32))
    file, out = tmp_path / "weights.pth", tmp_path / "small"
    command = ["shrink", network, "--data", "sign-digits-small", "--limit-train-images", "100"]
    command += ["--weights", str(file), "--limit", "macs=50%", "--out", str(out)]
    weights = tiny.state_dict()
    for unfit, says in (
        ({"3.weight": torch.zeros(16, 8, 3, 3)}, "3.weight: 16 x 8 x 3 x 3, and 16 x 16 x 3 x 3"),
        ({"1.running_mean": None}, "1.running_mean: not in"),
    ):
        kept = {name: t for name, t in {**weights, **unfit}.items() if t is not None}
        torch.save(kept, file)
        assert main(command) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert f"does not fit {network}: {says}" in error and "only a trained network" in error
    torch.save({"1.num_batches_tracked": weights["1.num_batches_tracked"]}, file)
    assert main(command) == 2
    assert "none of the 1 tensors" in capsys.readouterr().err
    assert not out.exists()


def test_a_shrink_of_a_trained_folder_goes_on(tmp_path, monkeypatch, capsys):
    """Its network may be one of a space, which no name builds."""
    data = load_data("sign-digits-small", image_size=8, limit_train_images=100)
    space = ddpnas.create_space(
        "edge", num_classes=10, input_shape=(3, 8, 8), limits={"macs": "100K"}
    )
    chosen = space.scaled("residual", {"macs": "100K"})
    trained = ddpnas.train(space.build(chosen), data, epochs=1, device="cpu")
    trained.save(tmp_path / "given", space=space, architecture=chosen)
    command = ["shrink", "given", "--data", "sign-digits-small", "--limit", "macs=80%"]
    command += ["--image-size", "8", "--limit-train-images", "100", "--epochs", "1"]

    def stop(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("ddpnas.shrinking._phases.score_candidates", stop)
        assert main([*command, "--candidates", "1", "--device", "cpu", "--out", "small"]) == 130
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    capsys.readouterr()
    assert main(["resume", str(tmp_path / "small")]) == 0
    assert "MACs in the file" in capsys.readouterr().out
