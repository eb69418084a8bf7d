import pytest
from torch import nn

import ddpnas
from ddpnas.errors import RunError
from ddpnas.runs.folder import RunFolder
from ddpnas.runs.resume import read_config, run_data, run_space

CONFIG = {"batch_size": 32, "warmup_epochs": 2, "proxy_weight": 0}
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
    ddpnas.search(
        space, stripes, out=out, evaluator_options=CONFIG, strategy_options=SHORT, device="cpu"
    )
    return out


def test_a_run_over_python_objects_says_where_to_go_on(from_python):
    assert "ReLU" in read_config(from_python)["space_options"]["activation"]
    with pytest.raises(RunError, match=r"came from Python objects.*resume=True"):
        run_data(from_python)
    with pytest.raises(RunError, match="'mine', was made in a Python program"):
        run_space(from_python)


def test_a_published_space_is_made_again_at_another_size(small_space, stripes, tmp_path):
    ddpnas.search(
        small_space, stripes, out=tmp_path / "r", evaluator_options=CONFIG, strategy_options=SHORT,
        device="cpu",
    )  # fmt: skip
    again = run_space(tmp_path / "r")
    assert again.options == small_space.options and again.decisions == small_space.decisions
    wider = run_space(tmp_path / "r", options={"channels": 5})
    assert wider.options["channels"] == 5 and wider.input_shape == (1, 8, 8)
    with pytest.raises(RunError, match="leave --space out"):
        run_space(tmp_path / "r", space="other")


def test_folders_that_hold_no_run_are_refused(tmp_path):
    with pytest.raises(RunError, match="not a run folder"):
        read_config(tmp_path)
    (tmp_path / "config.yaml").write_text("{ broken")
    with pytest.raises(RunError, match="damaged"):
        read_config(tmp_path)
    (tmp_path / "config.yaml").write_text("just text")
    with pytest.raises(RunError, match="no configuration"):
        read_config(tmp_path)


def test_a_setting_of_another_version_is_named(tmp_path):
    (tmp_path / "config.yaml").write_text(
        "space: toy\nevaluator: supernet\nevaluator_options: {lr: 0.1, tomorrow: 1}\n"
    )
    with pytest.raises(RunError, match=r"evaluator_options\.tomorrow, which this version"):
        read_config(tmp_path)


def test_a_run_killed_before_it_began_may_begin_again(tmp_path):
    (tmp_path / "config.yaml").write_text("space: x")
    (tmp_path / "run.json.tmp").write_text("{")
    RunFolder.create(tmp_path).close()
    assert not (tmp_path / "config.yaml").exists()
