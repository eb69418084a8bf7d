"""``ddpnas train``."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from ddpnas.architecture import Architecture
from ddpnas.cli import show
from ddpnas.cli.options import (
    Command,
    add_quiet,
    add_seed_and_device,
    add_space,
    new_parser,
)
from ddpnas.cost_table import CostTable
from ddpnas.costs import count_costs
from ddpnas.data import Data, load_data
from ddpnas.disk import read_json, writable
from ddpnas.errors import OptionError, RunError
from ddpnas.limits import Limit, read_limits, say_limits
from ddpnas.reopen import run_data, run_space
from ddpnas.search import SearchResult, check_fit, open_space
from ddpnas.space import SearchSpace
from ddpnas.training import Trained, compare, save_trained

__all__ = ["COMMANDS"]


def _train_parser() -> ArgumentParser:
    parser = new_parser("train the network of a run, or of any architecture, and test it")
    parser.add_argument("run", nargs="?", help="folder of a finished search")
    add_space(parser, None)
    parser.add_argument("--architecture", help="text of the architecture; default: the run's")
    parser.add_argument("--data", help="images; default: the run's")
    parser.add_argument("--image-size", type=int, help="pixels a side; default: the run's")
    parser.add_argument("--limit-train-images", type=int, help="train on so many images only")
    parser.add_argument("--recipe", default="quick", help="how it is trained")
    parser.add_argument("--epochs", type=int, help="other than the recipe's")
    parser.add_argument(
        "--random",
        type=int,
        default=0,
        help="also train so many random architectures within the same limits, to compare",
    )
    add_seed_and_device(parser)
    parser.add_argument("--out", help="folder for the result; default: RUN/trained")
    parser.add_argument("--overwrite", action="store_true", help="replace what --out holds")
    add_quiet(parser)
    return parser


def train(options: Namespace) -> None:
    """``ddpnas train``."""
    space, data, architecture, limits, tables = _what_to_train(options)
    out = Path(options.out or (f"{options.run}/trained" if options.run else "runs/trained"))
    if (out / "result.json").exists() and not options.overwrite:
        raise RunError(f"{out} holds a trained network; give another --out, or --overwrite")
    with writable(out):
        out.mkdir(parents=True, exist_ok=True)
    costs = {**count_costs(space), **tables}
    show.line(f"training {space.format(architecture)}", quiet=options.quiet)
    with show.TrainProgress(quiet=options.quiet) as progress:
        trained = compare(
            space,
            architecture,
            data,
            costs=costs,
            limits=limits,
            random=options.random,
            recipe=options.recipe,
            epochs=options.epochs,
            seed=options.seed,
            device=options.device,
            on_epoch=progress.update,
        )
    save_trained(out, space, data, trained, seed=options.seed, limits=limits)
    _show_trained(trained, costs, limits)
    print(f"\nkept in {out}: the weights, how to rebuild the network, all figures, a model card")
    if options.run:
        print(f"run folder: {options.run}")
        print(f"next: ddpnas generate {options.run} --limit macs=..., then ddpnas train again")


def _what_to_train(
    options: Namespace,
) -> tuple[SearchSpace, Data, Architecture, dict[str, Limit], dict[str, CostTable]]:
    """Return space, data, architecture, limits and measured costs: the run's, or as given."""
    changes: dict[str, Any] = {"limit_train_images": options.limit_train_images}
    if options.image_size is not None:
        changes["image_size"] = options.image_size
    if options.run is None:
        if not (options.space and options.architecture and options.data):
            raise OptionError(
                "what should be trained? `ddpnas train RUN`, or --space, --architecture and --data"
            )
        data = load_data(options.data, **changes)
        space = open_space(options.space, data, options.space_options)
        return space, data, space.parse(options.architecture), {}, {}
    if options.data is not None:
        changes["data"] = options.data
    result = SearchResult.load(options.run)
    data = run_data(options.run, **changes)
    chosen = result.architecture
    limits: dict[str, Limit] = {}
    tables: dict[str, CostTable] = {}
    space_options = options.space_options
    generated = Path(options.run) / "generated.json"
    if options.architecture is None and generated.exists():
        record = read_json(generated)
        chosen, limits = Architecture(record["architecture"]), read_limits(record["limits"])
        given = map(CostTable.from_dict, record.get("tables", []))
        tables = {table.name: table for table in given}
        space_options = {**record["space_options"], **space_options}
        within = say_limits(limits)
        show.line(
            f"the architecture generated last{f', within {within}' if within else ''}",
            quiet=options.quiet,
        )
    space = run_space(
        options.run,
        space=options.space,
        options={**space_options, "input_shape": data.input_shape},
    )
    check_fit(space, data)
    if options.architecture is not None:
        chosen = space.parse(options.architecture)
    return space, data, space.check(chosen), limits, tables


def _show_trained(
    trained: list[Trained], costs: dict[str, CostTable], limits: dict[str, Limit]
) -> None:
    split = trained[0].result.split
    rows = [
        [
            one.name,
            one.text,
            *(f"{one.costs[name]:,.0f}" for name in costs),
            f"{100 * one.result.accuracy:.2f} %",
        ]
        for one in trained
    ]
    random = trained[1:]
    if random:
        accuracies = [100 * one.result.accuracy for one in random]
        spread = f" +- {statistics.stdev(accuracies):.2f}" if len(accuracies) > 1 else ""
        within = " within the limits" if limits else ""
        rows.append(
            [
                "random, mean",
                f"of {len(random)}{within}",
                *(f"{statistics.mean(o.costs[name] for o in random):,.0f}" for name in costs),
                f"{statistics.mean(accuracies):.2f}{spread} %",
            ]
        )
    recipe = trained[0].result.recipe
    print()
    show.table(
        ["network", "architecture", *costs, f"{split} accuracy"],
        rows,
        title=f"trained alike: recipe {recipe.name}, {recipe.epochs} epochs",
    )


COMMANDS: dict[str, Command] = {
    "train": (_train_parser, train),
}
