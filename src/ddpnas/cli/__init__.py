"""The command line: parse, call, print. Everything it does can be done from Python."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence

from ddpnas.distributed import abandon, first_to_fail, leave
from ddpnas.errors import DdpnasError, RunError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in ``argv`` (default: the process's arguments); return the exit code.

    2 with one sentence on standard error for a wrong input, 130 when interrupted. Of several
    processes that run a command together, one speaks: the first, or else the first that fails.
    """
    from ddpnas.cli.parser import parse

    try:
        with _one_speaks():
            command, arguments = parse(sys.argv[1:] if argv is None else argv)
            command(arguments)
            leave()
    except DdpnasError as error:
        return _fail(2, str(error))
    except OSError as error:
        if error.filename is not None:
            return _fail(2, str(RunError(f"{error.filename}: {error.strerror}")))
        if first_to_fail():
            raise  # not about a file that was named: a defect, shown whole
        return abandon(1)
    except KeyboardInterrupt:
        sentence = (
            "interrupted; `ddpnas resume RUN` goes on with a search, the same command with a "
            "latency table"
        )
        return _fail(130, sentence)
    except Exception:
        if first_to_fail():
            raise
        return abandon(1)
    return 0


def _fail(code: int, sentence: str) -> int:
    if first_to_fail():
        print(f"ddpnas: {sentence}", file=sys.stderr, flush=True)
    return abandon(code)


@contextlib.contextmanager
def _one_speaks() -> Iterator[None]:
    """Let the first of several processes print and log, and the others only their errors."""
    first = int(os.environ.get("RANK", "0")) == 0
    logging.basicConfig(level=logging.INFO if first else logging.ERROR, format="%(message)s")
    if first:
        yield
        return
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield
