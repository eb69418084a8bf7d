"""The command line: parse, call, print. Everything it does can be done from Python."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shlex
import sys
from collections.abc import Iterator, Sequence

from ddpnas.cli._clock import begin
from ddpnas.errors import DdpnasError, RunError
from ddpnas.training.distributed import abandon, first_to_fail, leave
from ddpnas.utils.files import is_full
from ddpnas.utils.text import printable, printable_lines

__all__ = ["main"]

_NO_MEMORY = (
    "there is not enough memory for this; close other programs, or give smaller images, fewer "
    "images a step or a smaller network; a run or training that was begun can go on"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in ``argv`` (default: the process's arguments); return the exit code.

    2 with one sentence on standard error for a wrong input, 130 when interrupted. Of several
    processes that run a command together, one speaks: the first, or else the first that fails.
    """
    from ddpnas.cli.parser import parse

    begin(with_process=argv is None)
    words = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name may have letters that it cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with _one_speaks():
            command, arguments = parse(words)
            command(arguments)
            sys.stdout.flush()
            leave()
    except DdpnasError as error:
        return _fail(2, str(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _output_fails():
            return abandon(1)  # as rich has it of what it prints
        if error.filename is None and is_full(error):
            where = "the output" if _output_fails() else "a temporary file"
            return _fail(2, f"{where} cannot be written ({error.strerror}); make room, then retry")
        if _lacks_memory(error):
            return _fail(2, _NO_MEMORY)
        if error.filename is not None:
            return _fail(2, str(RunError(f"{error.filename}: {error.strerror}")))
        if first_to_fail():
            raise  # not about a file that was named: a defect, shown whole
        return abandon(1)
    except KeyboardInterrupt as stopped:
        return _fail(130, f"interrupted{_go_on(words, stopped)}")
    except Exception as error:
        if _lacks_memory(error):
            return _fail(2, _NO_MEMORY)
        if first_to_fail():
            raise
        return abandon(1)
    return 0


def _lacks_memory(error: Exception) -> bool:
    """Return whether an error says that there is not enough memory."""
    from ddpnas.training.out_of_memory import is_out_of_memory  # loads torch

    return is_out_of_memory(error)


def _output_fails() -> bool:
    """Return whether the output goes nowhere: its reader has gone, or its disk is full.

    If so, further output is dropped.
    """
    try:
        print(flush=True)  # an empty line: an unbuffered stream has nothing left to flush
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _go_on(words: Sequence[str], stopped: KeyboardInterrupt) -> str:
    """Return the command that goes on with what was interrupted, as the end of the sentence.

    A command that goes on by another one raises the interrupt with that; some cannot go on.
    """
    if stopped.args:
        return f"; go on: {stopped}"
    if not words or words[0] not in ("resume", "latency", "train"):
        return ""
    more = ["--resume"] if words[0] == "train" and "--resume" not in words else []
    return f"; go on: ddpnas {shlex.join([*words, *more])}"


def _fail(code: int, sentence: str) -> int:
    if first_to_fail():
        with contextlib.suppress(OSError):  # the disk that it goes to may be full, too
            print(f"ddpnas: {printable(sentence)}", file=sys.stderr, flush=True)
    return abandon(code)


class _Formatter(logging.Formatter):
    """Writes messages in which no name controls the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


@contextlib.contextmanager
def _one_speaks() -> Iterator[None]:
    """Let the first of several processes print and log, and the others only their errors."""
    first = int(os.environ.get("RANK", "0")) == 0
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO if first else logging.ERROR, handlers=[handler])
    if first:
        yield
        return
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield
