"""The command ``ddpnas``, also as ``python -m ddpnas``."""

import os
import sys

__all__ = ["main"]


def main() -> int:
    """Run the command of this process; return its exit code.

    Threads of OpenMP wait for each other without computing, unless the environment says otherwise.
    By default they spin, and beside a single busy program a training then takes many times as long.
    Only ``ddpnas latency`` leaves that as it is, since it measures as other programs will run.
    """
    if sys.argv[1:2] != ["latency"]:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported

    from ddpnas.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
