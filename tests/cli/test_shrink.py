"""``ddpnas shrink``: the table of groups, and a network that is cut, saved and loaded again."""

import json
import runpy
import shutil
from pathlib import Path

import pytest
import torch

import ddpnas
from ddpnas.cli import main

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


def test_json_is_all_that_is_printed(network, tmp_path, capsys):
    out = tmp_path / "small"
    command = ["shrink", network, "--data", "sign-digits-small", "--limit", "macs=60%", "--json"]
    command += ["--image-size", "8", "--limit-train-images", "100", "--epochs", "1"]
    command += ["--head-epochs", "1", "--candidates", "1", "--device", "cpu", "--out", str(out)]
    assert main(command) == 0
    printed = json.loads(capsys.readouterr().out)
    found, *others = printed["networks"]
    assert [one["name"] for one in (found, *others)] == ["found", "uniform", "random"]
    assert found["costs"] == printed["costs"] and found["architecture"] == printed["architecture"]
    assert found["costs"]["macs"] <= 0.6 * printed["given_costs"]["macs"]
    assert 0 <= found["fine_tuned"] <= 1 and printed["folder"] == str(out)
    assert all(Path(file).exists() for file in printed["files"].values())


def _other_limits(out, capsys):
    assert main(["generate", str(out), "--limit", "macs=60%", "--top", "2", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    whole, reached = (json.loads((out / "costs.json").read_text()), answer["costs"]["macs"])
    assert len(answer["top"]) == 2 and {g["name"] for g in whole["groups"]} >= {"0", "3"}
    assert main(["generate", str(out), "--limit", "macs=60%"]) == 0
    assert f"{reached:,.0f}" in capsys.readouterr().out
    assert main(["generate", str(out), "--limit", "macs=1%"]) == 2
    assert "channels that cannot be cut: 7" in capsys.readouterr().err
    assert main(["generate", str(out), "--limit", "macs=40%", "--rescore", "3"]) == 2
    assert "--rescore does not apply" in capsys.readouterr().err
    assert main(["report", str(out)]) == 0
    page = (out / "report.html").read_text()
    assert "as given" in page and "the network&#39;s output" in page


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
