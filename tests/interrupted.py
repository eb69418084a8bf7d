"""Runs a command in a process of its own and interrupts it in its n-th operation on files."""

from __future__ import annotations

import errno
import math
import multiprocessing
import os
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

WRITING = os.O_WRONLY | os.O_RDWR
CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
NEEDING_ROOM = ("open", "os.mkdir")


@dataclass(frozen=True)
class Fault:
    """What befalls a command.

    Attributes:
        kind: "none"; "kill": before an operation; "full": the disk is full from an operation on;
            "size": no file may grow beyond so many bytes, as ``ulimit -f`` has it.
        at: Number of the operation, from 1, or the largest size.
    """

    kind: str = "none"
    at: int = 0


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: Exit code, below zero for a signal.
        out: What it printed.
        err: What it printed as an error.
        operations: Number of operations on files below its folder.
        synced: Number of bytes of each file that are sure to survive a power cut.
    """

    code: int
    out: str
    err: str
    operations: int
    synced: dict[str, int]


def run(words: list[str], folder: Path, fault: Fault = Fault()) -> Ended:
    """Run ``ddpnas`` with these words; operations below ``folder`` count."""
    processes = multiprocessing.get_context("forkserver")  # no process loads torch again
    processes.set_forkserver_preload(["tests.interrupted", "tests.preloaded"])
    logs = folder.parent / f"{folder.name}.logs"
    logs.mkdir(exist_ok=True)
    child = processes.Process(target=_command, args=(words, folder, fault, logs))
    child.start()
    child.join()
    out, err, counted, synced = (
        (logs / name).read_text() if (logs / name).exists() else ""
        for name in ("out", "err", "operations", "synced")
    )
    sizes = {path: int(size) for path, size in map(str.split, synced.splitlines())}
    assert child.exitcode is not None
    return Ended(child.exitcode, out, err, counted.count("\n"), sizes)


def _command(words: list[str], folder: Path, fault: Fault, logs: Path) -> None:
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(logs / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    operations, synced = (open(logs / name, "w") for name in ("operations", "synced"))  # noqa: SIM115
    count = 0

    def hook(event: str, given: tuple) -> None:
        nonlocal count
        if event not in CHANGES or (event == "open" and not given[2] & WRITING):
            return
        path = str(given[0])
        if not path.startswith(f"{folder}/") or path.endswith(".lock"):
            return
        count += 1
        operations.write(f"{event} {path}\n")
        operations.flush()
        if fault.kind == "kill" and count == fault.at:
            os.kill(os.getpid(), signal.SIGKILL)
        if fault.kind == "full" and count >= fault.at and event in NEEDING_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fsync(descriptor: int) -> None:
        really(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_file():
            synced.write(f"{path} {path.stat().st_size}\n")
            synced.flush()

    really, os.fsync = os.fsync, fsync
    import ddpnas.runs.loop
    from ddpnas.cli import main

    ddpnas.runs.loop._SAVING_SHARE = math.inf  # leave out no checkpoint
    sys.addaudithook(hook)
    if fault.kind == "size":
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.at, fault.at))
    code = main(words)
    sys.stdout.flush()
    sys.exit(code)
