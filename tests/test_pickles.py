"""Nothing read from disk runs code: a pickle in place of weights is refused and not loaded."""

import contextlib
import shutil
from pathlib import Path

import pytest
import torch

import ddpnas
from ddpnas.cli import main

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
NETWORK = f"{HERE / 'shrinking' / 'tiny_network.py'}:network"
# (folder, file in it, commands that read it)
CASES = [
    ("search", "checkpoint.safetensors", ["resume {}"]),
    ("fit", "checkpoint.safetensors", ["resume {}"]),
    ("fit", "trained/training/found/checkpoint.safetensors", ["resume {}"]),
    ("fit", "best/model.safetensors", ["evaluate {}/best", "export {}/best --onnx {}/x.onnx"]),
    (
        "finished",
        "trained/model.safetensors",
        ["evaluate {}", "predict {} {}/one.png", "resume {}"],
    ),
    ("shrink", "trained/model.safetensors", [f"evaluate {{}} --network {NETWORK}"]),
    ("shrink", "head.safetensors", [f"resume {{}} --network {NETWORK}"]),
]


class Code:
    """What makes a file when it is unpickled."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return Path.touch, (self._path,)


def stop(progress):
    """Interrupt a search after two scores, and a fit in its final training."""
    if getattr(progress, "done", 0) == 2 or str(progress).startswith("epoch 1 "):
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return a folder with interrupted runs and finished ones."""
    base = tmp_path_factory.mktemp("runs")
    few = ddpnas.load_data("sign-digits-small", limit_train_images=100)
    with contextlib.suppress(KeyboardInterrupt):
        ddpnas.search(
            "toy", few, "gdas", strategy_options={"epochs": 4}, out=base / "search", device="cpu",
            on_progress=stop,
        )  # fmt: skip
    plan = HERE / "fitting" / "tiny_plan.json"
    with contextlib.suppress(KeyboardInterrupt):
        ddpnas.fit(
            "sign-digits-small", plan=plan, out=base / "fit", export="none", on_progress=stop
        )
    shutil.copytree(base / "fit", base / "finished")
    assert main(["resume", str(base / "finished"), "--quiet"]) == 0
    network = ddpnas.open_network(NETWORK, num_classes=10, input_shape=few.input_shape).model
    ddpnas.shrink(
        network, few, {"macs": "60%"}, head_epochs=1, epochs=1, candidates=1, controls=(),
        out=base / "shrink", factory=NETWORK, device="cpu",
    )  # fmt: skip
    return base


def test_all_weights_of_these_folders_are_among_the_cases(folders):
    found = {path.name for path in folders.rglob("*.safetensors")}
    assert found == {Path(file).name for _, file, _ in CASES}


@pytest.mark.parametrize(("name", "file", "commands"), CASES)
def test_a_pickle_in_place_of_weights_is_refused_and_not_loaded(
    folders, tmp_path, capsys, name, file, commands
):
    for command in commands:
        shutil.rmtree(tmp_path / "it", ignore_errors=True)
        folder = shutil.copytree(folders / name, tmp_path / "it")
        torch.save({"weight": Code(tmp_path / "executed")}, folder / file)
        assert main(command.format(*[folder] * 2).split()) == 2
        said = capsys.readouterr().err.splitlines()
        assert said[-1].startswith("ddpnas: ") and Path(file).name in said[-1]
        assert not any(line.startswith("Traceback") for line in said)
    assert not (tmp_path / "executed").exists()
