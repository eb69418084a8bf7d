"""One search, networks for five budgets, and the whole frontier they lie on.

    ddpnas search --data photos/ --out runs/photos
    ddpnas latency --run runs/photos
    python examples/five_budgets.py runs/photos --latency runs/photos/latency.json --out five/

The search is not repeated: each budget is an integer program over what it learned. For
multiply-adds, and for milliseconds if a table is given, budgets lie evenly between the cheapest
network there is and the most likely one; each network is the provably most likely one within its
budget. Written are `networks.json` (with the text that `ddpnas train --architecture` takes) and
`frontier.svg`, where the line is the exact trade-off: no network has a higher likelihood at its
cost. The plot needs `pip install 'ddpnas[report]'`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import ddpnas
from ddpnas.runs import Run

BUDGETS = 5


def five_budgets(result, space, cost, costs):
    """Return the frontier and five (budget, network within it), the last the most likely one."""
    frontier = ddpnas.frontier(result.distribution, space, cost, costs=costs)
    least, most = frontier[0].costs[cost], frontier[-1].costs[cost]
    budgets = [least + (most - least) * i / BUDGETS for i in range(1, BUDGETS)] + [most]
    return frontier, [
        (budget, ddpnas.generate(result.distribution, space, {cost: budget}, costs))
        for budget in budgets
    ]


def main(run, latency=None, out="five_budgets"):
    """Print and write five networks a cost; return their rows."""
    result, space = Run(run).result, Run(run).space()
    costs = ddpnas.count_costs(space)
    if latency is not None:
        costs["latency_ms"] = ddpnas.CostTable.load(latency)
        costs["latency_ms"].check(space)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    axes = ["macs"] if latency is None else ["macs", "latency_ms"]
    found = {cost: five_budgets(result, space, cost, costs) for cost in axes}
    rows = []
    for cost, (_, networks) in found.items():
        for budget, one in networks:
            network = space.build(one.architecture)  # a plain torch module
            assert sum(p.numel() for p in network.parameters()) == one.costs["params"]
            text = space.format(one.architecture)
            rows.append({"cost": cost, "budget": budget, "architecture": text,
                         "log_prob": one.log_prob, "costs": one.costs})  # fmt: skip
            print(f"{cost} <= {budget:,.4g}: {one.costs[cost]:,.4g}, {text}")
    (folder / "networks.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    plot(found, costs, folder / "frontier.svg")
    return rows


def plot(found, costs, path):
    """Draw the frontier of each cost as steps, and the five networks on it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(found), 4), layout="constrained")
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for panel, (cost, (frontier, networks)) in zip(panels, found.items(), strict=True):
        panel.step(
            [one.costs[cost] for one in frontier],
            [one.log_prob for one in frontier],
            where="post",
            label=f"exact frontier, {len(frontier)} networks",
        )
        for budget, one in networks:
            panel.axvline(budget, color="0.8", zorder=0)
            panel.plot(one.costs[cost], one.log_prob, "o", color="tab:red")
        panel.set_xlabel(f"{cost} ({costs[cost].unit}); lines: five budgets")
        panel.set_ylabel("log probability")
        panel.legend(loc="lower right")
    figure.savefig(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Networks for five budgets from one search.")
    parser.add_argument("run", help="folder of a finished search")
    parser.add_argument("--latency", help="a table of `ddpnas latency`")
    parser.add_argument("--out", default="five_budgets", help="folder to write")
    given = parser.parse_args()
    main(given.run, given.latency, given.out)
