"""Damaged folders of a fit and a shrink: each command ends in a result or in one sentence."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import ddpnas
from ddpnas.fitting import FitPlan
from ddpnas.report.watch import Watch
from ddpnas.runs import Run

from .conftest import bounded, call, command
from .damage import copied, damage

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]
READS = (
    ("resume", "--quiet"), ("report",), ("generate", "--limit", "macs=60%"),
    ("generate", "--limit", "macs=50K", "--json"), ("evaluate", "--json"),
    ("predict", "one.png", "--json"), ("export", "--torch-export", "net.pt2"),
    ("watch",), ("load",),
)  # fmt: skip
OWN = ("resume", "evaluate", "predict", "export")  # may need the name of a user's network
ANSWERS = ("evaluate", "predict")


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """Return a path for the copy that an example damages."""
    return tmp_path_factory.mktemp("damaged") / "copy"


def stopped(word):
    """Return what takes progress and interrupts it at a line with that word."""

    def tell(text):
        if word in text:
            raise KeyboardInterrupt

    return tell


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    """Return the folders of a finished fit, and of fits that were interrupted."""
    base = tmp_path_factory.mktemp("fits")
    plan = TESTS / "fitting" / "tiny_plan.json"
    options = {"plan": plan, "export": "none"}
    ddpnas.fit("sign-digits-small", out=base / "finished", **options)
    for name, word in (("racing", "[2/"), ("training", "epoch 1")):
        with contextlib.suppress(KeyboardInterrupt):
            ddpnas.fit("sign-digits-small", out=base / name, on_progress=stopped(word), **options)
    return base


@pytest.fixture(scope="module")
def shrinks(tmp_path_factory):
    """Return the folders of a finished shrink, and of shrinks that were interrupted."""
    base = tmp_path_factory.mktemp("shrinks")
    shutil.copy(TESTS / "shrinking" / "tiny_network.py", base / "mine.py")
    name = f"{base / 'mine.py'}:network"
    data = ddpnas.load_data("sign-digits-small", image_size=8, limit_train_images=100)
    opened = ddpnas.open_network(name, num_classes=10, input_shape=data.input_shape)
    options = {"epochs": 1, "head_epochs": 1, "candidates": 2, "device": "cpu", "factory": name}
    ends = {
        "finished": ("none", "sensitivity"), "measuring": ("channels: loss", "sensitivity"),
        "tuning": ("uniform widths: epoch", "sensitivity"), "masking": ("masks: epoch 2", "pas"),
    }  # fmt: skip
    for folder, (word, method) in ends.items():
        with contextlib.suppress(KeyboardInterrupt):
            ddpnas.shrink(
                opened.model, data, {"macs": "60%"}, method=method, out=base / folder,
                on_progress=stopped(word), **options,
            )  # fmt: skip
    return base


def files_of(folder):
    """Return the names of the files in a folder that commands read again."""
    ends = (".json", ".jsonl", ".safetensors", ".yaml")
    found = (p for p in folder.rglob("*") if p.suffix in ends)
    return sorted(str(p.relative_to(folder)) for p in found)


def use(data, base, there, own):
    """Damage a file of a folder, and run a command on it.

    Where tensors are damaged, figures and predictions are those of before, or refused.
    """
    folder = data.draw(st.sampled_from(sorted(p for p in base.iterdir() if files_of(p))))
    name, words = data.draw(st.sampled_from(files_of(folder))), data.draw(st.sampled_from(READS))
    made = copied(folder, there)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(made / "one.png")
    places = [made / word if word in ("one.png", "net.pt2") else word for word in words[1:]]
    line = [words[0], made, *places, *(own if words[0] in OWN else ())]
    whole = command(line) if words[0] in ANSWERS else None
    how = data.draw(damage(made / name))
    if words[0] == "watch":
        call(lambda: Watch([str(made)], port=0)._server.server_close(), 60)
        return
    if words[0] == "load":
        call(lambda: ddpnas.load(made, model=own[-1] if own else None), 60)
        return
    ended = command(line, 360)
    if whole is not None and name.endswith(".safetensors") and how == "bytes" and ended.code == 0:
        assert ended.out == whole.out


@bounded(40)
@given(st.data())
def test_a_fit_is_used(fits, there, data):
    use(data, fits, there, ())


@bounded(40)
@given(st.data())
def test_a_shrink_is_used(shrinks, there, data):
    use(data, shrinks, there, ("--network", f"{shrinks / 'mine.py'}:network"))


@bounded(300)
@given(st.data())
def test_a_plan_is_read(fits, there, data):
    folder = copied(fits / "finished", there)
    data.draw(damage(folder / "plan.json"))
    call(lambda: FitPlan.read(folder))


@bounded(20)
@given(st.data())
def test_a_plan_is_followed(fits, there, data):
    folder = copied(fits / "finished", there)
    plan = folder / "plan.json"
    data.draw(damage(plan))
    words = ["fit", "sign-digits-small", "--plan", plan, "--export", "none", "--quiet"]
    command([*words, "--out", there.parent / "other", "--overwrite"], 360)


@bounded(60)
@given(st.data())
def test_a_fit_is_loaded(fits, there, data):
    folder = copied(fits / "finished", there)
    data.draw(damage(folder / data.draw(st.sampled_from(files_of(folder)))))
    call(lambda: Run(folder).trained)
