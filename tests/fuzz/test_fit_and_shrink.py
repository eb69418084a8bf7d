"""Damaged folders of a fit and a shrink: each command ends in a result or in one sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ddpnas
from ddpnas.cli import main
from ddpnas.fitting import FitPlan
from ddpnas.runs import Run

from .conftest import bounded, call, command
from .damage import copied, damage

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]
OF_A_FIT = (
    "plan.json", "run.json", "result.json", "history.jsonl", "checkpoint.safetensors",
    "trained/result.json", "trained/architecture.json", "trained/model.safetensors",
)  # fmt: skip
OF_A_SHRINK = (
    "shrink.json", "costs.json", "scores.jsonl", "trained/result.json",
    "trained/architecture.json", "trained/model.safetensors",
)  # fmt: skip
READS = (
    ("resume", "--quiet"), ("report",), ("generate", "--limit", "macs=60%"),
    ("generate", "--limit", "macs=50K", "--json"), ("evaluate",),
)  # fmt: skip


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """Return a path for the copy that an example damages."""
    return tmp_path_factory.mktemp("damaged") / "copy"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    out = tmp_path_factory.mktemp("fits") / "fit"
    plan = str(TESTS / "fitting" / "tiny_plan.json")
    words = ["fit", "sign-digits-small", "--plan", plan, "--out", str(out)]
    assert main([*words, "--export", "none", "--quiet"]) == 0
    return out


@pytest.fixture(scope="module")
def shrunk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shrinks")
    shutil.copy(TESTS / "shrinking" / "tiny_network.py", folder / "mine.py")
    words = ["shrink", f"{folder / 'mine.py'}:network", "--data", "sign-digits-small"]
    words += ["--limit", "macs=60%", "--image-size", "8", "--limit-train-images", "100"]
    words += ["--epochs", "1", "--head-epochs", "1", "--candidates", "2", "--device", "cpu"]
    assert main([*words, "--out", str(folder / "small")]) == 0
    return folder / "small"


@bounded(40)
@given(st.sampled_from(OF_A_FIT), st.sampled_from(READS), st.data())
def test_a_fit_is_used(fitted, there, name, words, data):
    folder = copied(fitted, there)
    data.draw(damage(folder / name))
    command([words[0], folder, *words[1:]])


@bounded(300)
@given(st.data())
def test_a_plan_is_read(fitted, there, data):
    folder = copied(fitted, there)
    data.draw(damage(folder / "plan.json"))
    call(lambda: FitPlan.read(folder))


@bounded(20)
@given(st.data())
def test_a_plan_is_followed(fitted, there, data):
    folder = copied(fitted, there)
    plan = folder / "plan.json"
    data.draw(damage(plan))
    words = ["fit", "sign-digits-small", "--plan", plan, "--export", "none", "--quiet"]
    command([*words, "--out", there.parent / "other", "--overwrite"], 60)


@bounded(40)
@given(st.sampled_from(OF_A_SHRINK), st.sampled_from(READS), st.data())
def test_a_shrink_is_used(shrunk, there, name, words, data):
    folder = copied(shrunk, there)
    data.draw(damage(folder / name))
    own = ["--network", f"{shrunk.parent / 'mine.py'}:network"]
    command([words[0], folder, *words[1:], *(own if words[0] in ("resume", "evaluate") else ())])
    call(lambda: ddpnas.load(folder, model=own[1]))


@bounded(60)
@given(st.sampled_from(OF_A_FIT), st.data())
def test_a_fit_is_loaded(fitted, there, name, data):
    folder = copied(fitted, there)
    data.draw(damage(folder / name))
    call(lambda: ddpnas.load(folder))
    call(lambda: Run(folder).trained)
