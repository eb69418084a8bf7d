"""How much longer `import ddpnas` takes than `import torch` alone.

Claim: less than 1.25 times. Names are imported on first use, so ``import ddpnas`` alone loads no
torch; the time with every public name in use is what a program pays in the end, and is measured
too. All are imported in fresh processes, in turn, so that a machine whose speed drifts gives the
same ratio; the first round is not counted.

    python -m benchmarks.import_time --rounds 10
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys

import torch

IMPORTS = {
    "torch": "import torch",
    "ddpnas": "import ddpnas",
    "ddpnas_all_names": "import ddpnas; [getattr(ddpnas, name) for name in ddpnas.__all__]",
}


def seconds(code: str) -> float:
    """Return how long a fresh process takes to run these imports."""
    timed = f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    measured = [{name: seconds(code) for name, code in IMPORTS.items()} for _ in range(rounds + 1)][
        1:
    ]
    result: dict[str, object] = {
        "command": f"python -m benchmarks.import_time --rounds {rounds}",
        "n": rounds,
        "torch_version": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.platform(),
    }
    for name in IMPORTS:
        ratios = sorted(one[name] / one["torch"] for one in measured)
        result[name] = {
            "seconds_median": statistics.median(one[name] for one in measured),
            "ratio_median": statistics.median(ratios),
            "ratio_min": ratios[0],
            "ratio_max": ratios[-1],
        }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
