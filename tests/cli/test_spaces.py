"""``ddpnas spaces NAME``."""

import pytest
import torch

from ddpnas import create_space, list_spaces, make_data, search
from ddpnas.cli import main


def test_a_space_tells_its_decisions_size_costs_and_defaults(capsys):
    assert main(["spaces", "nasbench201"]) == 0
    out = capsys.readouterr().out
    for expected in (
        "nasbench201: 6 decisions",
        "1<-0 ... 3<-2",
        "15,625 architectures",
        "avg_pool_3x3",
        "channels=16",
        "7,783,040",
        "220,119,680",
        "73,306",
        "1,531,546",
    ):
        assert expected in out


def test_rules_and_the_final_networks_options_are_told(capsys):
    words = ["--space-options.channels", "4", "--space-options.cells", "4"]
    assert main(["spaces", "darts", *words, "--space-options.input_shape", "[3, 16, 16]"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert (
        f"of which {create_space('darts').valid_size:,} obey the rules: node 2 of the normal cell"
        in out
    )
    assert "search network: channels=4, cells=4" in out
    assert "final network: channels=36, cells=20" in out


def test_limits_that_can_be_met_are_met_by_an_example(capsys):
    assert main(["spaces", "toy", "--limit", "params=200"]) == 0
    out = capsys.readouterr().out
    assert "params at most 200: possible, for example with" in out and "layer1=" in out


def test_limits_that_cannot_be_met_are_told_with_the_least_reachable(capsys):
    assert main(["spaces", "toy", "--limit", "params=10"]) == 2
    assert "cannot be met: the lowest possible is" in capsys.readouterr().err


def test_without_a_name_all_spaces_are_listed(capsys):
    assert main(["spaces"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in list_spaces())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nasbench210"], "did you mean 'nasbench201'"),
        (["toy", "--space-options.widht", "3"], "did you mean 'width'"),
        (["toy", "--limit", "mac=3"], "did you mean 'macs'"),
        (["toy", "--limit", "latency_ms=3"], "networks that were searched: `ddpnas generate RUN"),
        (["--limit", "macs=3"], "which space?"),
        (["--image-size", "8"], "which space?"),
        (["--space-options.width", "8"], "which space?"),
        (["no_file.py:network"], "there is no file 'no_file.py'"),
    ],
)
def test_mistakes_are_told(words, says, capsys):
    assert main(["spaces", *words]) == 2
    assert says in capsys.readouterr().err


def test_the_space_of_a_run_is_shown_at_another_size_of_images(tmp_path, capsys):
    run = str(tmp_path / "run")
    data = make_data((torch.zeros(12, 1, 8, 8, dtype=torch.uint8), torch.arange(12) % 2))
    space = create_space("toy", input_shape=(1, 8, 8), num_classes=2)
    search(space, data, "random", out=run, device="cpu", strategy_options={"evaluations": 2},
           evaluator_options={"warmup_epochs": 1})  # fmt: skip
    assert main(["spaces", "--run", run, "--image-size", "16"]) == 0
    assert "input_shape=[1, 16, 16]" in capsys.readouterr().out
