"""The command line: parse, call, print. Everything it does can be done from Python."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from ddpnas.errors import DdpnasError, RunError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in ``argv`` (default: the process's arguments); return the exit code.

    2 with one sentence on standard error for a wrong input, 130 when interrupted.
    """
    from ddpnas.cli.parser import parse

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        command, arguments = parse(sys.argv[1:] if argv is None else argv)
        command(arguments)
    except DdpnasError as error:
        print(f"ddpnas: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:  # not about a file that was named: a defect, shown whole
            raise
        print(f"ddpnas: {RunError(f'{error.filename}: {error.strerror}')}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "ddpnas: interrupted; `ddpnas resume RUN` goes on with a search, the same "
            "command with a latency table",
            file=sys.stderr,
        )
        return 130
    return 0
