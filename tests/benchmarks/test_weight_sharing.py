"""The experiment of the weight-sharing searches, at the smallest size at which it runs."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.weight_sharing.__main__ import main
from benchmarks.weight_sharing.methods import METHODS
from benchmarks.weight_sharing.training_free import naswot, synflow


def test_naswot_counts_agreeing_relus():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU())
    images = torch.randn(6, 3)
    with torch.no_grad():
        first = network[0](images)
        second = network[2](first.relu())
    codes = torch.cat([first > 0, second > 0], dim=1).numpy()
    kernel = np.array([[(a == b).sum() for b in codes] for a in codes], dtype=float)
    assert naswot(network, images) == pytest.approx(np.linalg.slogdet(kernel)[1])


def test_synflow_is_the_sum_of_paths_times_the_number_of_layers():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(3, 4, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Linear(4, 2, bias=False)
    )
    before = [p.clone() for p in network.parameters()]
    a, b = (network[i].weight.detach().abs().double() for i in (0, 3))
    paths = float((b @ a).sum())  # of ones, every path's product of absolute weights
    assert synflow(network, (3,)) == pytest.approx(np.log(2 * paths))
    assert all(torch.equal(p, q) for p, q in zip(before, network.parameters()))


def test_every_method_leaves_a_result_and_finished_ones_are_not_done_again(tmp_path, capsys):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (300, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", train_images=images, train_labels=np.arange(300) % 10)
    command = [
        "--data", str(tmp_path / "images.npz"), "--out", str(tmp_path / "out"), "--seeds", "1",
        "--seconds", "0.3", "--channels", "2", "--image-size", "8", "--train-images", "128",
        "--valid-images", "64", "--judged", "4", "--batch-size", "64", "--cycles-per-stage", "1",
        "--finalists", "2", "--prior-cycles", "2", "--standalone-epochs", "1",
    ]  # fmt: skip
    main(command)
    first = capsys.readouterr().out.splitlines()
    results = [json.loads(p.read_text()) for p in (tmp_path / "out").glob("*.json")]
    assert {result["method"] for result in results} == set(METHODS)
    for result in results:
        assert 9 < result["test_accuracy"] < 95
        assert result["tau"] is None or -1 <= result["tau"] <= 1
    main(command)
    again = capsys.readouterr().out.splitlines()
    assert first[-len(again) :] == again and len(again) == 2 + len(METHODS)
