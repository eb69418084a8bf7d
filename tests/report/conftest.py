"""Run folders for the tests of the report: a small one with everything, and copies of it."""

import shutil

import numpy as np
import pytest

from ddpnas.cli import main

from ..conftest import striped_images


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory):
    """Return the folder of a search of the toy space, generated from and trained. Not to change."""
    root = tmp_path_factory.mktemp("report")
    images, labels = striped_images(120)
    test_images, test_labels = striped_images(60, seed=1)
    np.savez(
        root / "stripes.npz",
        train_images=images[:, 0],
        train_labels=labels,
        test_images=test_images[:, 0],
        test_labels=test_labels,
        classes=np.array(["across", "<b>down</b>", "slanted & half"]),
    )
    out = str(root / "run")
    search = ["search", "--data", str(root / "stripes.npz"), "--space", "toy", "--out", out]
    search += ["--strategy-options.cycles-per-stage", "3", "--strategy-options.draws", "20"]
    search += ["--evaluator-options.warmup-epochs", "5"]
    assert main([*search, "--device", "cpu", "--quiet"]) == 0
    assert main(["generate", out, "--limit", "macs=4K"]) == 0
    assert (
        main(["train", out, "--epochs", "2", "--random", "2", "--same-size", "1", "--quiet"]) == 0
    )
    return root / "run"


@pytest.fixture
def run(whole_run, tmp_path):
    """Return a copy of the whole run that a test may change."""
    shutil.copy(whole_run.parent / "stripes.npz", tmp_path)
    return shutil.copytree(whole_run, tmp_path / "run")


@pytest.fixture
def unfinished(run):
    """Return the folder as it was in the middle of the search, its last line half written."""
    for name in ("result.json", "generated.json"):
        (run / name).unlink()
    shutil.rmtree(run / "trained")
    lines = (run / "history.jsonl").read_text().splitlines(keepends=True)
    (run / "history.jsonl").write_text("".join(lines[:7]) + lines[7][:30])
    stages = (run / "distributions.jsonl").read_text().splitlines(keepends=True)
    (run / "distributions.jsonl").write_text(stages[0] if len(lines) > 7 else "")
    return run
