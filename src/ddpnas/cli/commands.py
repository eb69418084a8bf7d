"""What each command calls and prints."""

from __future__ import annotations

import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from ddpnas.architecture import Architecture
from ddpnas.cli import show
from ddpnas.cli.describe import describe
from ddpnas.cost_table import CostTable
from ddpnas.costs import count_costs
from ddpnas.data import Data, DataConfig, list_data, load_data
from ddpnas.disk import read_json, writable
from ddpnas.errors import OptionError, RunError
from ddpnas.evaluators import SupernetConfig
from ddpnas.generate import Generated
from ddpnas.generate import generate as generate_within
from ddpnas.reopen import resume as resume_run
from ddpnas.reopen import run_data, run_space
from ddpnas.run import RunFolder
from ddpnas.search import SearchResult, check_fit, open_space
from ddpnas.search import search as search_space
from ddpnas.space import SearchSpace
from ddpnas.spaces import about_space, list_spaces
from ddpnas.strategies import list_strategies, strategy_options
from ddpnas.training.compare import Trained, compare, save_trained

__all__ = ["data", "generate", "resume", "search", "spaces", "strategies", "train"]


def search(options: Namespace) -> None:
    """``ddpnas search``."""
    data = load_data(_fields(DataConfig, options))
    space = open_space(options.space, data, options.space_options)
    show.line(f"searching {space} on {data.name}: {_sizes(data)}", quiet=options.quiet)
    with show.SearchProgress(space, quiet=options.quiet) as progress:
        result = search_space(
            space,
            data,
            options.strategy,
            out=options.out,
            seed=options.seed,
            strategy_options=options.strategy_options,
            supernet=_fields(SupernetConfig, options.supernet),
            device=options.device,
            overwrite=options.overwrite,
            on_progress=progress.update,
        )
    _show_result(options.out, result)


def resume(options: Namespace) -> None:
    """``ddpnas resume``."""
    with show.SearchProgress(None, quiet=options.quiet) as progress:
        result = resume_run(
            options.run, space=options.space, device=options.device, on_progress=progress.update
        )
    _show_result(options.run, result)


def generate(options: Namespace) -> None:
    """``ddpnas generate``."""
    result = SearchResult.load(options.run)
    limits = parse_limits(options.limit)
    space = run_space(options.run, space=options.space, options=options.space_options)
    generated = generate_within(
        result.distribution,
        space,
        limits,
        count_costs(space),
        survivors_only=options.survivors_only,
    )
    record = {
        "architecture": dict(generated.architecture),
        "text": space.format(generated.architecture),
        "limits": limits,
        "costs": generated.costs,
        "slack": generated.slack,
        "log_prob": generated.log_prob,
        "certificate": dataclasses.asdict(generated.certificate),
        "space_options": options.space_options,
    }
    folder = RunFolder.open(options.run)
    try:
        folder.write_json("generated.json", record)
    finally:
        folder.close()
    if options.json:
        print(json.dumps(record, indent=1))
        return
    _show_generated(generated, record["text"], limits)
    print(f"next: ddpnas train {options.run} --random 3")


def train(options: Namespace) -> None:
    """``ddpnas train``."""
    space, data, architecture, limits = _what_to_train(options)
    out = Path(options.out or (f"{options.run}/trained" if options.run else "runs/trained"))
    if (out / "result.json").exists() and not options.overwrite:
        raise RunError(f"{out} holds a trained network; give another --out, or --overwrite")
    with writable(out):
        out.mkdir(parents=True, exist_ok=True)
    costs = count_costs(space)
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
    save_trained(out, space, data, trained, options.seed)
    _show_trained(trained, costs, limits)
    print(f"\nkept in {out}: model.safetensors, architecture.json, result.json")
    if options.run:
        print(f"run folder: {options.run}")
        print(f"next: ddpnas generate {options.run} --limit macs=..., then ddpnas train again")


def spaces(options: Namespace) -> None:
    """``ddpnas spaces``, or of one of them with its name."""
    if options.name is not None:
        describe(options.name, options.space_options, parse_limits(options.limit))
        return
    show.table(["space", "what"], [[name, about_space(name)] for name in list_spaces()])
    print("one of them: ddpnas spaces NAME; your own: ddpnas spaces my_file.py:network")


def strategies(options: Namespace) -> None:
    """``ddpnas strategies``."""
    rows = []
    for name in list_strategies():
        defaults = ", ".join(f"{k}={v}" for k, v in strategy_options(name).items())
        rows.append([name, defaults])
    show.table(["strategy", "options (--strategy-options.NAME VALUE)"], rows)


def data(options: Namespace) -> None:
    """``ddpnas data``."""
    rows = []
    for name in list_data():
        loaded = load_data(name)
        rows.append([name, "x".join(map(str, loaded.input_shape)), _sizes(loaded)])
    show.table(["data", "image", "what"], rows)
    print(
        "your own: --data FOLDER with train/ and optionally valid/ and test/, a folder a class; "
        "or folders\nof classes only; or a .npz of arrays; or a directory with CIFAR-10, "
        "CIFAR-100 or Fashion-MNIST files"
    )


def parse_limits(texts: list[str]) -> dict[str, float]:
    """Return limits from texts such as ``macs=20M``.

    Raises:
        OptionError: a text of another form, or a limit named twice.
    """
    scales = {"K": 1e3, "M": 1e6, "G": 1e9}
    limits: dict[str, float] = {}
    for text in texts:
        name, equals, amount = text.partition("=")
        scale = scales.get(amount[-1:].upper(), 1.0)
        try:
            value = float(amount[:-1] if scale != 1.0 else amount) * scale
        except ValueError:
            equals = ""
        if not equals or name in limits:
            raise OptionError(
                f"cannot read the limit {text!r}; one limit a cost, such as --limit macs=20M"
            )
        limits[name] = value
    return limits


def _what_to_train(
    options: Namespace,
) -> tuple[SearchSpace, Data, Architecture, dict[str, float]]:
    """Return space, data, architecture and limits: of the run, or as named in the options."""
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
        return space, data, space.parse(options.architecture), {}
    if options.data is not None:
        changes["data"] = options.data
    result = SearchResult.load(options.run)
    data = run_data(options.run, **changes)
    chosen = result.architecture
    limits: dict[str, float] = {}
    space_options = options.space_options
    generated = Path(options.run) / "generated.json"
    if options.architecture is None and generated.exists():
        record = read_json(generated)
        chosen, limits = Architecture(record["architecture"]), record["limits"]
        space_options = {**record["space_options"], **space_options}
        within = ", ".join(f"{name} <= {value:,.0f}" for name, value in limits.items())
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
    return space, data, space.check(chosen), limits


def _fields(kind: Any, options: Namespace) -> Any:
    """Return the dataclass with its fields taken from the options."""
    return kind(**{field.name: options[field.name] for field in dataclasses.fields(kind)})


def _sizes(data: Data) -> str:
    test = f", {len(data.test):,} test" if data.test is not None else ""
    return (
        f"{len(data.classes)} classes, {len(data.train):,} training, {len(data.valid):,} "
        f"validation{test} images"
    )


def _show_result(run: str, result: SearchResult) -> None:
    stages = Path(run) / "distributions.jsonl"
    records = [json.loads(line) for line in stages.read_text().splitlines()]
    show.pruning(result.distribution, records)
    best = max(record["score"] for record in result.history)
    print(f"most likely architecture: {result.text}")
    print(
        f"{len(result.history)} architectures scored in {show.duration(result.seconds)}; best "
        f"validation accuracy on shared weights {100 * best:.2f} %"
    )
    print(f"run folder: {run}")
    print(f"next: ddpnas generate {run} --limit macs=..., then ddpnas train {run}")


def _show_generated(generated: Generated, text: str, limits: dict[str, float]) -> None:
    rows = []
    for name, value in generated.costs.items():
        limit = f"{limits[name]:,.0f}" if name in limits else "-"
        slack = f"{generated.slack[name]:,.0f}" if name in limits else "-"
        rows.append([name, f"{value:,.0f}", limit, slack])
    show.table(["cost", "value", "limit", "left"], rows)
    proof = generated.certificate
    print(f"architecture: {text}")
    print(
        f"log probability {generated.log_prob:.4f}, proven optimal (gap {proof.gap:.1g}) in "
        f"{1000 * proof.seconds:.0f} ms"
    )


def _show_trained(
    trained: list[Trained], costs: dict[str, CostTable], limits: dict[str, float]
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
