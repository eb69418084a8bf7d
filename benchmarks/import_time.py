"""How much longer `import ddpnas` takes than `import torch` alone.

Claim: less than 1.5 times. Both are imported in processes of their own, in turn, so that a machine
whose speed drifts gives the same ratio; the first pair is not counted.

    python -m benchmarks.import_time --pairs 10
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys

import torch

CODE = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def seconds(module: str) -> float:
    """Return how long a fresh process takes to import the module."""
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(module)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10)
    pairs = parser.parse_args().pairs
    measured = [(seconds("ddpnas"), seconds("torch")) for _ in range(pairs + 1)][1:]
    ratios = sorted(ours / torchs for ours, torchs in measured)
    result = {
        "command": f"python -m benchmarks.import_time --pairs {pairs}",
        "n": pairs,
        "ddpnas_s_median": statistics.median(ours for ours, _ in measured),
        "torch_s_median": statistics.median(torchs for _, torchs in measured),
        "ratio_median": statistics.median(ratios),
        "ratio_min": ratios[0],
        "ratio_max": ratios[-1],
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.platform(),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
