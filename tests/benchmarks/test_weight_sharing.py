"""The experiment of the weight-sharing searches, at the smallest size at which it runs."""

import json

import numpy as np
import pytest

from benchmarks.weight_sharing.__main__ import main
from benchmarks.weight_sharing.methods import METHODS
from ddpnas import create_space
from ddpnas.benchmarks import load_table

pytestmark = pytest.mark.slow


def test_every_method_leaves_a_result_and_finished_ones_are_not_done_again(tmp_path, capsys):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (300, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", train_images=images, train_labels=np.arange(300) % 10)
    command = [
        "--data", str(tmp_path / "images.npz"), "--out", str(tmp_path / "out"), "--seeds", "1",
        "--seconds", "0.3", "--channels", "2", "--image-size", "8", "--train-images", "128",
        "--valid-images", "64", "--judged", "4", "--batch-size", "64", "--cycles-per-stage", "1",
        "--finalists", "2", "--prior-cycles", "2", "--standalone-epochs", "1", "--prior", "0",
    ]  # fmt: skip
    main(command)
    first = capsys.readouterr().out.splitlines()
    results = [json.loads(p.read_text()) for p in (tmp_path / "out").glob("*.json")]
    assert {result["method"] for result in results} == set(METHODS)
    table, space = load_table("nasbench201"), create_space("nasbench201")
    for result in results:
        published = table.query(space.parse(result["text"]), 200).test
        assert result["test_accuracy"] == pytest.approx(100 * published)
        assert result["tau"] is None or -1 <= result["tau"] <= 1
    main(command)
    again = capsys.readouterr().out.splitlines()
    assert first[-len(again) :] == again and len(again) == 2 + len(METHODS)
