"""``ddpnas shrink``: the table of groups, and a network that is cut, saved and loaded again."""

import pytest
import torch

import ddpnas
from ddpnas.cli import main

NETWORK = """
from torch import nn

def make(num_classes=3, input_shape=(1, 8, 8)):
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes),
    )
"""


@pytest.fixture
def network(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(NETWORK)
    return f"{file}:make"


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
    assert "as given" in printed and "uniform widths" in printed and "random widths" in printed
    loaded = ddpnas.load(out, model=network)
    channels = loaded.network[0].out_channels, loaded.network[3].out_channels
    assert 8 in channels and loaded.predict(torch.zeros(1, *loaded.input_shape)).shape[0] == 1
    assert main([*command]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["evaluate", str(out), "--network", network]) == 0


def test_what_is_missing_is_said(network, capsys):
    assert main(["shrink", network]) == 2
    assert "needs --data and --limit and --out" in capsys.readouterr().err
