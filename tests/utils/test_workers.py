"""Tasks on workers: their order, their errors, and workers that die."""

import functools
import importlib.util
import logging
import os
import signal
import time
from pathlib import Path

import pytest

from ddpnas.errors import DataError, OptionError, RunError
from ddpnas.utils import workers
from ddpnas.utils.workers import run_tasks, worker_number

RAY = pytest.param(
    "ray",
    marks=pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="ray is not installed: ddpnas[ray]"
    ),
)


def work(shared, task):
    """Return a power; or die, or fail, as the task says."""
    folder, base = shared
    if task == "die once" and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "fail":
        while not (folder / "all others told").exists():
            time.sleep(0.01)
        raise DataError("the image a.png cannot be read")
    return task if isinstance(task, str) else (base**task, os.getpid())


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["local", RAY])
def test_results_come_in_order_and_a_worker_that_dies_is_replaced(tmp_path, caplog, executor):
    tasks, found = [1, 2, "die once", 3, 4, "fail"], []
    with (
        caplog.at_level(logging.WARNING, logger="ddpnas.utils.workers"),
        pytest.raises(DataError, match=r"^the image a.png cannot be read$"),
    ):
        for number, result in enumerate(
            run_tasks(work, (tmp_path, 2), tasks, workers=2, executor=executor), 1
        ):
            found.append(result)
            if number == 5:
                (tmp_path / "all others told").touch()
    assert [f if isinstance(f, str) else f[0] for f in found] == [2, 4, "die once", 8, 16]
    assert os.getpid() not in {f[1] for f in found if not isinstance(f, str)}
    (lost,) = [r.getMessage() for r in caplog.records if r.name == "ddpnas.utils.workers"]
    assert lost.startswith("a worker died at task 3 of 6 (")


def test_a_task_that_kills_every_worker_ends_it(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "ATTEMPTS", 2)
    with pytest.raises(RunError, match="2 workers died of task 1 of 1"):
        list(run_tasks(work, (tmp_path, 2), ["die"], workers=2))


def test_one_local_worker_is_this_process(tmp_path):
    assert [f[1] for f in run_tasks(work, (tmp_path, 2), [1, 2], workers=1)] == [os.getpid()] * 2
    assert worker_number() == 0


def test_what_cannot_be_is_refused():
    with pytest.raises(OptionError, match="unknown executor 'rays': did you mean 'ray'"):
        list(run_tasks(work, None, [1], executor="rays"))
    with pytest.raises(OptionError, match="at least 1 worker, not 0"):
        list(run_tasks(work, None, [1], workers=0))
    with pytest.raises(OptionError, match="define functions and classes at the top"):
        list(run_tasks(functools.partial(lambda x: x), Path(), [1], workers=2))
