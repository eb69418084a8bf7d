"""Two processes search together as one would: the same history, one folder, one voice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ddpnas
from ddpnas.training.distributed import ALONE

from ..conftest import striped_images
from .together import (
    CONFIG,
    FAIR,
    MIXTURES,
    OPTIONS,
    SIEVE,
    layers,
    network,
    several_eval_batches,
    step,
)

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("together.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def timeless(history):
    return [{k: v for k, v in r.items() if not k.endswith("seconds")} for r in history]


def assert_alike(history, expected):
    assert len(history) == len(expected)
    for one, other in zip(history, expected, strict=True):
        one, other = dict(one), dict(other)
        for name in {"loss", "valid_loss", "mixture_valid_loss", "entropy"} & one.keys():
            assert one.pop(name) == pytest.approx(other.pop(name), rel=1e-4), name
        for name in ("score", "accuracy"):  # one of 24 images may stand on the edge
            assert one.pop(name) == pytest.approx(other.pop(name), abs=1.01 / 24)
        assert one == other


class StopSearchError(Exception):
    pass


def stop_at_third(progress):
    if progress.done == 3:
        raise StopSearchError


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Return (folder, what each process found, what one finds).

    One finds something on paths, fairly without and with a sieve, and by mixtures.
    """
    folder = tmp_path_factory.mktemp("together")
    images, labels = map(torch.from_numpy, striped_images(120))
    torch.save((images, labels), folder / "stripes.pt")
    data = ddpnas.make_data((images, labels), name="stripes", flip=True)
    space = ddpnas.SearchSpace(network, (1, 8, 8))
    arguments = {"strategy_options": OPTIONS, "evaluator_options": CONFIG, "device": "cpu"}
    with pytest.MonkeyPatch.context() as patch:
        several_eval_batches(patch.setattr)
        alone = ddpnas.search(space, data, out=folder / "alone", **arguments)
        fairly = {**arguments, "evaluator_options": FAIR}
        fair = ddpnas.search(space, data, **fairly)
        sieved = ddpnas.search(space, data, **fairly, **SIEVE)
        mixtures = {
            name: ddpnas.search(
                space, data, name, strategy_options=options,
                evaluator_options={"eval_batch_size": 7}, device="cpu",
            )
            for name, options in MIXTURES.items()
        }  # fmt: skip
        with pytest.raises(StopSearchError):
            ddpnas.search(space, data, out=folder / "begun", on_progress=stop_at_third, **arguments)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(SCRIPT), str(folder)]
    done = subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Resuming with 2 processes (was 1)" in done.stderr
    found = [json.loads((folder / f"found-{rank}.json").read_text()) for rank in (0, 1)]
    return folder, found, alone, (fair, sieved), mixtures


def test_the_history_is_that_of_one_process(together):
    _, found, alone, (fair, sieved), _ = together
    for one in found:
        assert_alike(timeless(one["history"]), timeless(alone.history))
        assert_alike(timeless(one["fair"]), timeless(fair.history))
        assert_alike(timeless(one["sieved"]), timeless(sieved.history))
        assert one["text"] == alone.text
    assert timeless(found[0]["history"]) == timeless(found[1]["history"])


def test_a_mixture_is_trained_as_by_one_process(together):
    _, found, _, _, mixtures = together
    for one in found:
        for name, expected in mixtures.items():
            history, text = one[name]
            assert_alike(timeless(history), timeless(expected.history))
            assert text == expected.text


def test_the_first_process_writes_the_folder_and_reports(together):
    folder, found, alone, _, _ = together
    assert [one["reports"] for one in found] == [len(alone.history) + 1, 0]
    kept = ddpnas.SearchResult.load(folder / "run")
    assert kept.history == found[0]["history"]
    assert json.loads((folder / "run" / "run.json").read_text())["made_with"]["processes"] == 2


def test_a_run_of_one_process_goes_on_with_two(together):
    _, found, alone, _, _ = together
    for one in found:
        assert_alike(timeless(one["resumed"]), timeless(alone.history))
        assert one["finished"] == alone.text


def test_a_step_has_the_loss_gradients_and_averages_of_the_whole_batch(together):
    _, found, _, _, _ = together
    model, x, y = layers()
    loss, gradients, buffers = step(model, ALONE, x, y)
    for one in found:
        assert one["step"][0] == pytest.approx(loss, rel=1e-12)
        for mine, expected in zip(one["step"][1], gradients, strict=True):
            assert mine == pytest.approx(expected, rel=1e-9, abs=1e-12)
        for mine, expected in zip(one["step"][2], buffers, strict=True):
            assert mine == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_an_error_is_the_same_in_all_processes(together):
    _, found, _, _, _ = together
    for one in found:
        assert one["in use"][0] == "RunError" and "holds a finished run" in one["in use"][1]
        assert one["differs"] == [
            "RunError",
            "process 1 and process 0 hold different numbers; run the same versions on the same "
            "data in all processes",
        ]
        assert "the 1 images of a path's step cannot be split over 2 processes" in one["too few"][1]


FAILING = """
import sys
import ddpnas.evaluators.supernet as supernet
from ddpnas.cli import main
from ddpnas.errors import DataError

def broken(model, decisions, paths, batches, processes, *others):
    if processes.rank == 1:
        raise DataError("the image a.png cannot be read")
    return unbroken(model, decisions, paths, batches, processes, *others)

unbroken, supernet.score_paths = supernet.score_paths, broken
sys.exit(main(sys.argv[1:]))
"""


def test_where_one_process_fails_all_end_and_one_says_why(tmp_path):
    # They meet here, as they would at torchrun: no port can be taken before they begin.
    store = torch.distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    command = [sys.executable, "-c", FAILING, "search", "--preset", "paper", "--space", "toy"]
    command += ["--device", "cpu"]
    command += ["--limit-train-images", "100", "--out", str(tmp_path / "run")]
    together = {**ENVIRONMENT, "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}
    together |= {"MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    together |= {"TORCHELASTIC_RESTART_COUNT": "0"}
    started = [
        subprocess.Popen(
            command,
            env={**together, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    try:
        said = [process.communicate(timeout=600) for process in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()
    assert [process.returncode for process in started] == [2, 2], said
    assert said[0][0].startswith("searching ") and said[1][0] == ""
    told = [line for _, errors in said for line in errors.splitlines() if "ddpnas:" in line]
    assert told == ["ddpnas: the image a.png cannot be read"]


def test_commands_of_one_process_refuse_several(monkeypatch, capsys):
    from ddpnas.cli import main

    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["generate", "runs/a"]) == 2
    assert "`ddpnas generate` runs in one process" in capsys.readouterr().err
