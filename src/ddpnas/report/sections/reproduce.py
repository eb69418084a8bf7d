"""The section that answers: how can the run be repeated, and what was it made with?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddpnas.generation.limits import Limit
from ddpnas.report.analysis import View
from ddpnas.report.blocks import Block, Commands, Fact, Facts, Listing, Section
from ddpnas.report.commands import command, said_path, user_code_words
from ddpnas.runs.run import Run
from ddpnas.training.recipes import RECIPES
from ddpnas.training.results import Comparison

__all__ = ["reproduce_section", "run_commands", "search_config"]

_FROM_DATA = ("num_classes", "input_shape")  # options of a space that the data set
_CONFIG_FILE = "run.yaml"  # the name that the page gives to the configuration
_LIKELIEST = "log-theta"  # the default objective of `ddpnas generate`
_NAMED = ("name", "source", "epochs", "network")  # of a recipe: no option of its own


def reproduce_section(view: View) -> Section:
    """Return the commands that made the run, and its versions and machine."""
    run = view.run
    made = run.made_with
    facts = [Fact(name, str(made[name])) for name in
             ("ddpnas", "torch", "numpy", "python", "platform", "device", "threads", "cpus")
             if name in made]  # fmt: skip
    lines = run_commands(view)
    words = []
    if run.config.data is None:
        words.append("The data came from Python objects, so only a Python program can repeat it.")
    words.append(
        "The same seed on the same device gives the same result. On another device, the last "
        "digits of scores may differ."
    )
    words.append("Files and folders that were given by full path appear by name only.")
    blocks: tuple[Block, ...] = (Commands("In a shell", tuple(lines)), Facts(tuple(facts)))
    if run.config.data is not None:
        listing = Listing(f"{_CONFIG_FILE}, the configuration of the search", search_config(run))
        blocks = (blocks[0], listing, blocks[1])
    return Section("reproduce", "Reproduce this run", tuple(words), blocks)


def run_commands(view: View) -> list[str]:
    """Return the commands that repeat the run: search, generate, train, report."""
    run = view.run
    folder = said_path(run.path)
    own = user_code_words("space", run.space_name)
    lines = []
    if run.config.data is not None:
        lines.append(command("search", "--config", _CONFIG_FILE, "--out", folder))
    generated = None if view.network is None else view.network.generated
    if generated is not None:
        lines.append(command("generate", folder, *own, *_generate_words(generated, view.limits)))
    if run.trained is not None and view.network is not None:
        given = view.network.origin == "given"
        which = ["--architecture", view.network.text] if given else []
        lines.append(command("train", folder, *own, *which, *_train_words(view, run.trained)))
    lines.append(command("report", folder, *own))
    return lines


def search_config(run: Run) -> str:
    """Return the configuration of the search as YAML, without the folders of files."""
    config, data = run.config, run.config.data
    if data is not None:
        data = dataclasses.replace(data, data=said_path(data.data))
    shown = dataclasses.replace(config, space=run.space_name, strategy=run.strategy_name, data=data)
    return shown.to_yaml()


def _generate_words(generated: Mapping[str, Any], limits: Mapping[str, Limit]) -> list[str]:
    words = []
    for name, limit in limits.items():
        words += ["--limit", f"{name}={limit}"]
    if (objective := generated.get("objective", _LIKELIEST)) != _LIKELIEST:
        words += ["--objective", objective]
    for path in generated.get("costs_from", []):
        words += ["--costs", said_path(Path(path))]
    if generated.get("survivors_only"):
        words.append("--survivors-only")
    for name in ("height", "parametric"):
        if (value := generated.get(name)) is not None:
            words += [f"--{name}", str(value)]
    if rescored := generated.get("rescored", 0):
        words += ["--rescore", str(rescored)]
    return words + _options("--space-options", generated["space_options"])


def _train_words(view: View, trained: Comparison) -> list[str]:
    run, result = view.run, trained.found.result
    recipe = dataclasses.asdict(result.recipe)
    words = ["--recipe", str(recipe["name"]), "--epochs", str(recipe["epochs"])]
    standard = dataclasses.asdict(RECIPES[recipe["name"]]) if recipe["name"] in RECIPES else {}
    changed = {k: v for k, v in recipe.items() if v != standard.get(k) and k not in _NAMED}
    if standard and standard["batch_size"] is None:
        changed.pop("batch_size", None)  # as many as the number of images makes it
    words += _options("--recipe-options", changed)
    generated = None if view.network is None else view.network.generated
    asked = {} if generated is None else generated["space_options"]
    searched = {**run.config.space_options, **asked}
    final = {k: v for k, v in trained.space_options.items() if v != searched.get(k)}
    words += _options("--space-options", {k: v for k, v in final.items() if k not in _FROM_DATA})
    limit = trained.source.get("limit_train_images")
    searched_limit = None if run.config.data is None else run.config.data.limit_train_images
    if limit is not None and limit != searched_limit:
        words += ["--limit-train-images", str(limit)]
    if trained.random:
        words += ["--random", str(len(trained.random))]
    if trained.same_size:
        words += ["--same-size", str(len(trained.same_size))]
    for network in trained.baselines:
        words += ["--baseline", network.name]
    if trained.path.resolve() != (run.path / "trained").resolve():
        words += ["--out", said_path(trained.path)]
    return [*words, "--seed", str(result.seed)]


def _options(prefix: str, options: Mapping[str, Any]) -> list[str]:
    words = []
    for name, value in options.items():
        words += [f"{prefix}.{name.replace('_', '-')}", _value(value)]
    return words


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    return str(value)
