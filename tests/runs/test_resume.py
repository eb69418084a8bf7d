import json
import shutil

import pytest
from torch import nn

import ddpnas
from ddpnas.errors import RunError
from ddpnas.evaluators import TableEvaluator
from ddpnas.runs import Run, RunConfig
from ddpnas.runs.folder import RunFolder

SHORT = {"cycles_per_stage": 1, "draws": 20}


@pytest.fixture(scope="module")
def from_python(tmp_path_factory, stripes):
    """Return the folder of a finished run whose space and data are Python objects."""

    def mine(choose, activation=nn.ReLU):
        return nn.Sequential(
            choose("op", {"conv": lambda: nn.Conv2d(1, 2, 3), "pool": lambda: nn.Sequential(
                nn.AvgPool2d(3, 1), nn.Conv2d(1, 2, 1))}),
            activation(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3),
        )  # fmt: skip

    out = tmp_path_factory.mktemp("python") / "run"
    space = ddpnas.SearchSpace(mine, (1, 8, 8), activation=nn.ReLU)
    ddpnas.search(space, stripes, out=out, evaluator=TableEvaluator(len), strategy_options=SHORT)
    return out


def test_a_run_over_python_objects_says_where_to_go_on(from_python):
    assert "ReLU" in Run(from_python).config.space_options["activation"]
    with pytest.raises(RunError, match=r"came from Python objects.*resume=True"):
        Run(from_python).data()
    with pytest.raises(RunError, match="'mine', was made in a Python program"):
        Run(from_python).space()


def test_a_published_space_is_made_again_at_another_size(small_space, stripes, tmp_path):
    ddpnas.search(
        small_space, stripes, out=tmp_path / "r", evaluator="table", strategy_options=SHORT,
        device="cpu",
    )  # fmt: skip
    again = Run(tmp_path / "r").space()
    assert again.options == small_space.options and again.decisions == small_space.decisions
    wider = Run(tmp_path / "r").space(options={"channels": 5})
    assert wider.options["channels"] == 5 and wider.input_shape == (1, 8, 8)
    with pytest.raises(RunError, match="leave --space out"):
        Run(tmp_path / "r").space("other")


def test_folders_that_hold_no_run_are_refused(tmp_path):
    with pytest.raises(RunError, match="not a run folder"):
        Run(tmp_path)
    for content, says in (
        ("{ broken", "not YAML"),
        ("just text", "must be a mapping"),
        ("seed: 3", "not the configuration of a search"),
    ):
        (tmp_path / "config.yaml").write_text(content)
        with pytest.raises(RunError, match=says):
            RunConfig.read(tmp_path / "config.yaml")


@pytest.mark.parametrize(("scores", "warned"), [(1, True), (2, False)])
def test_a_run_that_scored_a_single_network_says_that_it_knows_no_others(
    small_space, stripes, tmp_path, caplog, scores, warned
):
    ddpnas.search(
        small_space, stripes, "random", out=tmp_path, evaluator="table",
        strategy_options={"evaluations": scores}, device="cpu",
    )  # fmt: skip
    Run(tmp_path).generate()
    assert ("nothing is known of others" in caplog.text) == warned


def test_a_setting_of_another_version_is_named(tmp_path):
    for content, says in (
        ("evaluator_options: {lr: 0.1, tomorrow: 1}", r"evaluator_options\.tomorrow, which this"),
        ("supernet: {lr: 0.1}", "supernet, which this version of ddpnas does not know"),
    ):
        (tmp_path / "config.yaml").write_text(f"space: toy\n{content}\n")
        with pytest.raises(RunError, match=says):
            RunConfig.read(tmp_path / "config.yaml")


def test_an_identity_of_another_version_is_refused(from_python, tmp_path):
    copy = shutil.copytree(from_python, tmp_path / "copy")
    kept = json.loads((copy / "run.json").read_text())
    kept["identity"]["supernet"] = {}
    (copy / "run.json").write_text(json.dumps(kept))
    with pytest.raises(RunError, match="cannot use .*run.json: supernet is not known"):
        Run(copy).space()


def test_a_run_killed_before_it_began_may_begin_again(tmp_path):
    (tmp_path / "config.yaml").write_text("space: x")
    (tmp_path / "run.json.1234.tmp").write_text("{")
    RunFolder.create(tmp_path).close()
    assert not (tmp_path / "config.yaml").exists()


def test_the_configuration_of_another_program_is_not_replaced(tmp_path):
    (tmp_path / "config.yaml").write_text("trainer: {gpus: 1}")
    with pytest.raises(RunError, match="holds no run, but config.yaml, ...; give another --out"):
        RunFolder.create(tmp_path)
    assert (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize(
    ("file", "function"),
    [("plan.json", "fitting.resume_fit"), ("shrink.json", "shrinking.resume_shrink")],
)
def test_the_folder_of_a_fit_or_a_shrink_names_the_function_that_goes_on(
    from_python, tmp_path, file, function
):
    shutil.copytree(from_python, tmp_path / "run")
    (tmp_path / "run" / file).write_text("{}")
    with pytest.raises(RunError, match=rf"run is the folder of .* ddpnas\.{function}\('.*run'\)$"):
        ddpnas.resume(tmp_path / "run")
