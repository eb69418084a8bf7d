"""run_tasks(): independent tasks on worker processes of this machine, or on Ray.

A task is a function at the top of a module and one argument. Its result depends on these alone.
So it does not matter which worker computes it, or how many there are. If a worker dies, its task
is given to another one, and the loss is logged. Workers end with the process that started them.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import functools
import importlib.util
import logging
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, TypeVar

from ddpnas.errors import OptionError, RunError, nearest

__all__ = ["EXECUTORS", "check_workers", "run_tasks", "worker_number"]

logger = logging.getLogger(__name__)

EXECUTORS = ("local", "ray")
ATTEMPTS = 3  # of a task, before its workers' deaths are taken for its fault

Task = TypeVar("Task")
Result = TypeVar("Result")


class _LostError(Exception):
    """The worker that had the task is gone."""


class _Pool(Protocol):
    """Workers, each of which has one task at a time."""

    workers: int

    def submit(self, key: int, task: Any) -> None:
        """Give a free worker a task."""

    def wait(self) -> list[tuple[int, Callable[[], Any]]]:
        """Return the tasks that ended: key, and what gives the result or raises its error."""

    def close(self) -> None:
        """End the workers."""


def check_workers(workers: int | None, executor: str) -> None:
    """Check the number and the kind of workers.

    Args:
        workers: Number of workers; None for the default.
        executor: One of ``EXECUTORS``.

    Raises:
        OptionError: The number is below 1, the executor is unknown, or its package is missing.
    """
    if workers is not None and workers < 1:
        raise OptionError(f"there must be at least 1 worker, not {workers}")
    if executor not in EXECUTORS:
        raise OptionError(nearest("executor", executor, EXECUTORS))
    if executor == "ray" and importlib.util.find_spec("ray") is None:
        raise OptionError("executor ray needs its package: pip install 'ddpnas[ray]'")


def run_tasks(
    call: Callable[[Any, Task], Result],
    shared: Any,
    tasks: Sequence[Task],
    *,
    workers: int | None = None,
    executor: str = "local",
    accelerated: bool = False,
) -> Iterator[Result]:
    """Yield ``call(shared, task)`` for each task, in the order of the tasks.

    A single local worker is this process itself. Several compute with one thread each, unless the
    call sets another number. Each imports the script that is running, so a script starts them below
    ``if __name__ == "__main__":``.

    Args:
        call: Function at the top of a module.
        shared: First argument of every call; sent to each worker once.
        tasks: Second arguments; each is sent to a worker when it becomes free.
        workers: Number of workers. By default one for each CPU, on Ray as many as its cluster has.
        executor: "local" or "ray". Ray runs on this machine unless ``RAY_ADDRESS`` names a
            cluster, on which this version of ddpnas has to be installed.
        accelerated: Whether each worker of Ray gets a GPU. A local worker takes one itself, by
            :func:`worker_number`.

    Raises:
        OptionError: See :func:`check_workers`; something cannot be sent to another process; or
            ``accelerated`` workers have no GPU on Ray.
        RunError: Three workers died of one task, or one failed before its first task.

    Example:
        >>> list(run_tasks(pow, 2, [3, 4], workers=1))
        [8, 16]
    """
    check_workers(workers, executor)
    if executor == "local" and (workers or _cpus()) == 1:
        for task in tasks:
            yield call(shared, task)
        return
    _check_sendable(call, shared)
    with _one_thread_a_process():
        pool: _Pool
        if executor == "ray":
            pool = _Ray(call, shared, workers, accelerated)
        else:
            pool = _Local(call, shared, min(workers or _cpus(), max(1, len(tasks))))
        try:
            yield from _in_order(pool, tasks)
        finally:
            pool.close()


def _cpus() -> int:
    """Return the number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _in_order(pool: _Pool, tasks: Sequence[Any]) -> Iterator[Any]:
    """Yield the results in the order of the tasks, keeping all workers busy."""
    waiting = collections.deque(range(len(tasks)))
    attempts: collections.Counter[int] = collections.Counter()
    running = 0
    results: dict[int, Any] = {}
    following = 0
    while following < len(tasks):
        while waiting and running < pool.workers:
            key = waiting.popleft()
            attempts[key] += 1
            running += 1
            pool.submit(key, tasks[key])
        for key, get in pool.wait():
            running -= 1
            try:
                results[key] = get()
            except _LostError as lost:
                if attempts[key] == ATTEMPTS:
                    raise RunError(
                        f"{ATTEMPTS} workers died of task {key + 1} of {len(tasks)} ({lost}); is "
                        f"there memory enough for that many workers?"
                    ) from None
                logger.warning(
                    "a worker died at task %d of %d (%s); it is given to another",
                    key + 1,
                    len(tasks),
                    lost,
                )
                waiting.appendleft(key)
        while following in results:
            yield results.pop(following)
            following += 1


class _Local:
    """Processes of this machine, each with a pipe: the death of one leaves the others."""

    def __init__(self, call: Callable[[Any, Any], Any], shared: Any, workers: int) -> None:
        self.workers, self._shared = workers, (call, shared)
        self._processes = multiprocessing.get_context("spawn")  # a fork would copy threads' locks
        self._free = [self._start(number) for number in range(workers)]
        self._running: dict[Connection, tuple[int, _Worker]] = {}
        self._ready: set[Connection] = set()
        atexit.register(self.close)  # an uncaught error may keep the generator of results alive

    def _start(self, number: int) -> _Worker:
        ours, theirs = self._processes.Pipe()
        process = self._processes.Process(target=_work, args=(theirs, *self._shared, number))
        with _no_interrupt():
            process.start()
        theirs.close()  # so that ours ends with the process
        return _Worker(number, process, ours)

    def submit(self, key: int, task: Any) -> None:
        """Give a free worker a task."""
        worker = self._free.pop()
        self._running[worker.pipe] = (key, worker)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # wait() finds it dead
            worker.pipe.send(task)

    def wait(self) -> list[tuple[int, Callable[[], Any]]]:
        """Return the tasks that ended; none where a worker has just become ready."""
        ended = map(self._take, connection.wait([*self._running]))  # type: ignore[arg-type]
        return [one for one in ended if one is not None]

    def _take(self, pipe: Connection) -> tuple[int, Callable[[], Any]] | None:
        key, worker = self._running[pipe]
        try:
            if pipe not in self._ready:
                pipe.recv()
                self._ready.add(pipe)
                return None
            get: Callable[[], Any] = functools.partial(_result, *pipe.recv())
        except (EOFError, ConnectionResetError):
            if pipe not in self._ready:
                worker.check_start()
            worker.end()
            self._free.append(self._start(worker.number))
            get = _lost
        else:
            self._free.append(worker)
        del self._running[pipe]
        return key, get

    def close(self) -> None:
        """End the workers at once, whatever they are doing."""
        atexit.unregister(self.close)
        for worker in [*self._free, *(worker for _, worker in self._running.values())]:
            worker.end()


@dataclass(frozen=True)
class _Worker:
    """A process and our end of its pipe."""

    number: int
    process: BaseProcess
    pipe: Connection

    def check_start(self) -> None:
        """Check that a process which ended before it was ready was killed, and did not fail.

        Raises:
            RunError: It failed, as it does where it runs the script that starts workers again.
        """
        self.process.join(10)
        if (self.process.exitcode or 0) > 0:
            raise RunError(
                "a worker process failed as it started, for the reason printed above. In a script, "
                'start workers below `if __name__ == "__main__":`, because each of them imports '
                "the script; with one worker, no process is started"
            )

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _result(value: Any, error: Exception | None) -> Any:
    """Return what a worker sent, or raise it."""
    if error is not None:
        raise error
    return value


def _lost() -> Any:
    raise _LostError("its process ended")


class _Ray:
    """Tasks of Ray (https://docs.ray.io), on this machine or on the cluster in RAY_ADDRESS."""

    def __init__(
        self,
        call: Callable[[Any, Any], Any],
        shared: Any,
        workers: int | None,
        accelerated: bool,
    ) -> None:
        import ray

        self._ray = ray
        self._started = not ray.is_initialized()
        if self._started and "RAY_ADDRESS" in os.environ:
            ray.init(log_to_driver=False)
        elif self._started:
            ray.init(num_cpus=workers or _cpus(), include_dashboard=False, log_to_driver=False)
        resource = "GPU" if accelerated else "CPU"
        there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        if accelerated and there.get(resource, 0) < 1:
            self.close()
            raise OptionError(
                "there is no GPU on Ray, whose workers would wait for one without end; compute on "
                "the cpu, or take executor local"
            )
        self.workers = workers or int(there.get(resource, 1))
        self._shared = ray.put(shared)
        self._remote = ray.remote(max_retries=0, num_gpus=int(accelerated))(call)
        self._running: dict[Any, int] = {}

    def submit(self, key: int, task: Any) -> None:
        """Give a free worker a task."""
        self._running[self._remote.remote(self._shared, task)] = key

    def wait(self) -> list[tuple[int, Callable[[], Any]]]:
        """Return the tasks that ended."""
        ended, _ = self._ray.wait(list(self._running), num_returns=1)
        return [(self._running.pop(one), functools.partial(self._get, one)) for one in ended]

    def _get(self, reference: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except (errors.WorkerCrashedError, errors.OutOfMemoryError, errors.NodeDiedError) as lost:
            raise _LostError(str(lost).strip().splitlines()[0]) from None
        except errors.RayTaskError as failed:
            if isinstance(failed.cause, Exception):
                raise failed.cause from None
            raise

    def close(self) -> None:
        """End what was started here."""
        if self._started:
            self._ray.shutdown()


_number = 0  # of this local worker


def _work(pipe: Connection, call: Callable[[Any, Any], Any], shared: Any, number: int) -> None:
    """Do the tasks that come through the pipe, until its other end is closed."""
    global _number
    _number = number
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # see _no_interrupt
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        pipe.send("ready")
        while True:
            task = pipe.recv()
            done: tuple[Any, Exception | None]
            try:
                done = (call(shared, task), None)
            except Exception as error:  # noqa: BLE001
                done = (None, _sendable(error))
            pipe.send(done)


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Let a process started inside ignore Ctrl-C from its first moment.

    Ctrl-C reaches all processes of a terminal. The one that started the others ends them, so that
    none of them prints a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """End this process once its parent has ended, even in the middle of a task."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _sendable(error: Exception) -> Exception:
    """Return an error that reaches the parent, with its traceback here as a note."""
    where = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever its class does when it is pickled
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(f"in a worker process:\n{where}")
    return error


def worker_number() -> int:
    """Return the number of this local worker process, from 0; 0 in any other process."""
    return _number


def _check_sendable(call: Any, shared: Any) -> None:
    try:
        pickle.dumps((call, shared))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise OptionError(
            f"worker processes cannot be given what they need ({error}); define functions and "
            f"classes at the top of a module, or use one local worker"
        ) from None


@contextlib.contextmanager
def _one_thread_a_process() -> Iterator[None]:
    """Let processes started inside compute with one thread each: there is one a CPU."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
