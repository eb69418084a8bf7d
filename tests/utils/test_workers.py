"""Tasks on workers: their order, their errors, and workers that die."""

import contextlib
import functools
import importlib.machinery
import importlib.util
import logging
import os
import signal
import subprocess
import sys
import time
import types
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
        deadline = time.monotonic() + 120
        while not (folder / "all others told").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        raise DataError("the image a.png cannot be read")
    return task if isinstance(task, str) else (base**task, os.getpid())


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["local", RAY])
def test_results_come_in_order_and_a_worker_that_dies_is_replaced(
    tmp_path, caplog, monkeypatch, executor
):
    # Ray kills workers where other programs take the memory.
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")
    tasks, found = [1, 2, "die once", 3, 4, "fail"], []
    with (
        caplog.at_level(logging.WARNING, logger="ddpnas.utils.workers"),
        pytest.raises(DataError, match=r"^the image a.png cannot be read(\n|$)"),
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


# A shell that starts the tests in the background lets its programs ignore interruptions.
PARENT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from tests.utils.test_workers import numbered
from ddpnas.utils.workers import run_tasks

if __name__ == "__main__":
    for number in run_tasks(numbered, None, [0.0, 0.0, 600.0, 600.0], workers=2):
        print(number, flush=True)
"""


def numbered(_, seconds):
    """Return the number of this process after a while."""
    time.sleep(seconds)
    return os.getpid()


@pytest.fixture
def parent(tmp_path):
    """Return a program of two workers, each at a task that takes long, and their numbers."""
    (tmp_path / "parent.py").write_text(PARENT)
    program = subprocess.Popen(
        [sys.executable, "parent.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}, text=True,
        start_new_session=True,
    )  # fmt: skip
    yield program, {int(program.stdout.readline()) for _ in range(2)}
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGKILL)
    program.communicate()


def is_gone(process, seconds=10.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        state = Path(f"/proc/{process}/stat")
        if not state.exists() or state.read_text().split()[2] == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc here")
def test_workers_end_with_their_killed_parent(parent):
    program, workers = parent
    program.kill()
    assert all(map(is_gone, workers))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc here")
def test_an_interrupt_ends_all_at_once_and_workers_print_nothing(parent):
    program, workers = parent
    os.killpg(program.pid, signal.SIGINT)  # as Ctrl-C in a terminal does
    _, printed = program.communicate(timeout=60)
    assert all(map(is_gone, workers))
    assert printed.count("Traceback") == 1 and printed.rstrip().endswith("KeyboardInterrupt")


def test_an_error_of_a_worker_has_its_traceback(tmp_path):
    with pytest.raises(ZeroDivisionError) as failed:
        list(run_tasks(divmod, 1, [0], workers=2))
    assert "in a worker process:" in failed.value.__notes__[0]


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


# Not below `if __name__ == "__main__"`.
UNGUARDED = """
from ddpnas.utils.workers import run_tasks

print(list(run_tasks(pow, 2, [1, 2, 3], workers=2)))
"""


def test_a_script_that_starts_workers_whenever_it_is_imported_is_told_so(tmp_path):
    (tmp_path / "script.py").write_text(UNGUARDED)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=environment, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1 and not done.stdout
    last = done.stderr.rstrip().splitlines()[-1]
    assert "RunError" in last and 'below `if __name__ == "__main__":`' in last
    assert "is given to another" not in done.stderr


def test_by_default_there_is_a_worker_for_each_cpu_that_may_be_used(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3}, raising=False)
    assert [f[1] for f in run_tasks(work, (Path(), 2), [1, 2])] == [os.getpid()] * 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert [f[1] for f in run_tasks(work, (Path(), 2), [1, 2])] == [os.getpid()] * 2


def test_ray_without_a_gpu_is_refused_where_each_worker_needs_one(monkeypatch):
    ray = types.ModuleType("ray")
    ray.__spec__ = importlib.machinery.ModuleSpec("ray", None)
    begun = []
    ray.is_initialized = lambda: False
    ray.init = lambda **options: begun.append(options)
    ray.shutdown = begun.clear
    ray.cluster_resources = lambda: {"CPU": 4.0}
    monkeypatch.setitem(sys.modules, "ray", ray)
    with pytest.raises(OptionError, match="no GPU on Ray.*the cpu, or take executor local"):
        list(run_tasks(work, (Path(), 2), [1], executor="ray", accelerated=True))
    assert not begun
