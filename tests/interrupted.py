"""Runs a command in a process of its own and interrupts it in its n-th operation on files."""

from __future__ import annotations

import errno
import math
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
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
        every_checkpoint: Whether a search writes all checkpoints, also those that take longer than
            what they save. Without, lines of the history wait for the next one.
    """

    kind: str = "none"
    at: int = 0
    every_checkpoint: bool = True


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
    received, sent = zip(*(processes.Pipe(duplex=False) for _ in range(3)), strict=True)
    child = processes.Process(target=_command, args=(words, folder, fault, sent))
    child.start()
    for end in sent:
        end.close()
    # At the same time: a child waits for whoever reads a pipe that is full.
    with ThreadPoolExecutor(len(received)) as readers:
        out, err, log = readers.map(_read, received)
    child.join()
    assert child.exitcode is not None
    lines = [line.split() for line in log.splitlines()]
    operations = sum(kind == "changed" for kind, *_ in lines)
    return Ended(child.exitcode, out, err, operations, _synced(lines))


def _synced(lines: list[list[str]]) -> dict[str, int]:
    """Return how many bytes of each file were synced, under its last name."""
    synced: dict[str, int] = {}
    for kind, path, value in lines:
        if kind == "synced":
            synced[path] = int(value)
        if kind == "renamed":  # a file, or a folder with those below it
            inside = {p: p.removeprefix(path) for p in synced if f"{p}/".startswith(f"{path}/")}
            synced |= {value + rest: synced.pop(p) for p, rest in inside.items()}
    return synced


def _read(end: Connection) -> str:
    with os.fdopen(os.dup(end.fileno())) as file:
        return file.read()


def _command(words: list[str], folder: Path, fault: Fault, ends: tuple) -> None:
    sys.stdout = open(ends[0].fileno(), "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(ends[1].fileno(), "w", closefd=False)  # noqa: SIM115
    count = 0

    def note(*values: object) -> None:
        os.write(ends[2].fileno(), f"{' '.join(map(str, values))}\n".encode())

    def hook(event: str, given: tuple) -> None:
        nonlocal count
        if event not in CHANGES or (event == "open" and not given[2] & WRITING):
            return
        path = str(given[0])
        if not path.startswith(f"{folder}/") or path.endswith(".lock"):
            return
        count += 1
        note("changed", path, count)
        if fault.kind == "kill" and count == fault.at:
            os.kill(os.getpid(), signal.SIGKILL)
        if fault.kind == "full" and count >= fault.at and event in NEEDING_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if event == "os.rename":
            note("renamed", path, given[1])

    def fsync(descriptor: int) -> None:
        really(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_file():
            note("synced", path, path.stat().st_size)

    really, os.fsync = os.fsync, fsync
    import ddpnas.runs.loop
    from ddpnas.cli import main

    if fault.every_checkpoint:
        ddpnas.runs.loop._SAVING_SHARE = math.inf
    sys.addaudithook(hook)
    if fault.kind == "size":
        tempfile.tempdir = None  # not yet looked for, whatever the parent of this process did
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.at, fault.at))
    code = main(words)
    sys.stdout.flush()
    sys.exit(code)
