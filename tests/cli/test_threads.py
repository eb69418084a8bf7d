"""How OpenMP's threads wait: the command says so before torch is imported, the package never."""

import os
import subprocess
import sys

import pytest


def spins(*words, **environment):
    """Return for how many rounds a thread of a process waits before it sleeps, as OpenMP says."""
    ours = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    clean = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        [sys.executable, *words], env={**clean, "OMP_DISPLAY_ENV": "VERBOSE", **environment},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = [line for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line]
    if not found:
        pytest.skip("this OpenMP does not say for how long threads spin")
    return int(found[0].partition("=")[2].strip().strip("'"))


def test_threads_of_a_command_sleep_while_they_wait_unless_told_otherwise():
    assert spins("-m", "ddpnas", "--version") == 0
    assert spins("-m", "ddpnas", "--version", OMP_WAIT_POLICY="ACTIVE") > 0


@pytest.mark.slow
def test_neither_a_latency_nor_the_package_changes_how_threads_wait():
    default = spins("-c", "import torch")
    assert default > 0
    assert spins("-m", "ddpnas", "latency", "--help") == default
    assert spins("-c", "import ddpnas; ddpnas.list_spaces(); import torch") == default
