"""Damaged files: whatever a file holds or is, reading it ends in a result or in one sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ddpnas
from ddpnas.costs import CostTable
from ddpnas.costs.remote_latency import read_measurements
from ddpnas.runs import Run
from ddpnas.training import create_recipe
from ddpnas.training.trained_folder import read_comparison

from .conftest import bounded, call, command
from .damage import copied, damage

pytestmark = pytest.mark.slow

OF_A_RUN = (
    "run.json", "config.yaml", "history.jsonl", "distributions.jsonl", "result.json",
    "generated.json", "latency.json", "latency_check.json",
)  # fmt: skip
READS_A_RUN = (
    ("generate", "--limit", "macs=1M"),
    ("generate", "--objective", "expected-score", "--top", "2"),
    ("frontier", "--cost", "macs", "--json"),
    ("report",),
    ("resume", "--quiet"),
    ("latency", "check"),
)


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """Return a path for the copy that an example damages."""
    return tmp_path_factory.mktemp("damaged") / "copy"


def read_all(path: Path) -> None:
    """Read all that a run folder holds."""
    run = Run(path)
    _ = run.identity, run.made_with, run.data_about, run.planned, run.history, run.stages
    _ = run.result, run.generated, run.generation_request, run.latency_check
    _ = run.latency_table, run.chosen, run.network, run.untrained, run.trained


@bounded(600)
@given(st.sampled_from(OF_A_RUN), st.data())
def test_a_run_is_read(folders, there, name, data):
    run = copied(folders.run, there)
    data.draw(damage(run / name))
    call(lambda: read_all(run))


@bounded(20)
@given(
    st.sampled_from((*OF_A_RUN, "checkpoint.safetensors")), st.sampled_from(READS_A_RUN), st.data()
)
def test_a_run_is_used(folders, there, name, words, data):
    run = copied(folders.run, there)
    data.draw(damage(run / name))
    at = 2 if words[0] == "latency" else 1
    command([*words[:at], run, *words[at:]])


@bounded(15)
@given(st.sampled_from((*OF_A_RUN[:4], "checkpoint.safetensors")), st.data())
def test_an_unfinished_run_is_resumed(folders, there, name, data):
    run = copied(folders.unfinished, there)
    data.draw(damage(run / name))
    command(["resume", run, "--quiet"])


@bounded(150)
@given(st.sampled_from(("architecture.json", "result.json", "model.safetensors")), st.data())
def test_a_trained_network_is_loaded(folders, there, name, data):
    trained = copied(folders.trained, there)
    data.draw(damage(trained / name))
    call(lambda: ddpnas.load(trained).predict(folders.image))
    call(lambda: read_comparison(trained))


@bounded(100)
@given(st.data())
def test_an_image_is_opened(folders, there, data):
    model = ddpnas.load(folders.trained)
    folder = copied(folders.trained, there)
    image = shutil.copy(folders.image, folder / "one.png")
    data.draw(damage(image))
    call(lambda: model.predict(image))


@bounded(300)
@given(st.data())
def test_a_table_of_costs_is_read(folders, there, data):
    table = copied(folders.table.parent, there) / "energy.json"
    data.draw(damage(table))
    call(lambda: CostTable.load(table).check(Run(folders.run).decision_space))


@bounded(200)
@given(st.data())
def test_measurements_are_read(folders, there, data):
    path = copied(folders.measurements.parent, there) / "measurements.json"
    data.draw(damage(path))
    call(lambda: read_measurements(path))


@bounded(200)
@given(st.data())
def test_a_recipe_is_read(there, data):
    shutil.rmtree(there, ignore_errors=True)
    there.mkdir()
    path = there / "recipe.yaml"
    path.write_text(create_recipe("quick").to_yaml())
    data.draw(damage(path))
    call(lambda: create_recipe(path))
