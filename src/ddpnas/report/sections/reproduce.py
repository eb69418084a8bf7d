"""The section that answers: how can the run be repeated, and what was it made with?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from ddpnas.data.load import DataConfig
from ddpnas.generation.limits import Limit
from ddpnas.report.analysis import TrainedView, View
from ddpnas.report.blocks import Block, Commands, Fact, Facts, Listing, Section
from ddpnas.report.commands import (
    command,
    made_in_python,
    option_words,
    said_options,
    said_path,
    space_is_named,
    user_code_words,
)
from ddpnas.runs.folder import PLAN, TRAINED
from ddpnas.runs.run import Run
from ddpnas.space.user_code import without_folders
from ddpnas.training.recipes import RECIPES
from ddpnas.training.results import Comparison
from ddpnas.utils.read import read_json

__all__ = ["reproduce_section", "run_commands", "search_config", "trained_reproduce_section"]

_FROM_DATA = ("num_classes", "input_shape")  # options of a space that the data set
_CONFIG_FILE = "run.yaml"  # the name that the page gives to the configuration
_LIKELIEST = "log-theta"  # the default objective of `ddpnas generate`
_NAMED = ("name", "source", "epochs", "network")  # of a recipe: not an option


_BY_PLAN = (
    "The folder holds plan.json. A fit that follows it trains the same network in whatever time "
    "that takes; without it, the clock decides anew how much is trained."
)


class _PlanForm(TypedDict):
    """The parts of a fit's plan that this section shows."""

    start: str | None
    teacher: str | None
    baselines: list[str]
    export: str
    seed: int
    epochs: int | None
    data: dict[str, Any] | None


def reproduce_section(view: View) -> Section:
    """Return the commands that made the run, and its versions and machine."""
    run = view.run
    made = run.made_with
    facts = [Fact(name, str(made[name])) for name in
             ("ddpnas", "torch", "numpy", "python", "platform", "device", "threads", "cpus")
             if name in made]  # fmt: skip
    lines = run_commands(view)
    words = []
    objects = made_in_python(run)
    if objects:
        parts = " and the ".join(objects)
        words.append(f"The {parts} came from Python objects: only a Python program can repeat it.")
    words.append(
        "The same seed on the same device gives the same result. On another device, the last "
        "digits of scores may differ."
    )
    if (run.path / PLAN).is_file():
        words.append(_BY_PLAN)
    words.append("Files and folders that were given by full path appear by name only.")
    blocks: tuple[Block, ...] = (Commands("In a shell", tuple(lines)), Facts(tuple(facts)))
    if not objects and not (run.path / PLAN).is_file():
        listing = Listing(f"{_CONFIG_FILE}, the configuration of the search", search_config(run))
        blocks = (blocks[0], listing, blocks[1])
    return Section("reproduce", "Reproduce this run", tuple(words), blocks)


def run_commands(view: View) -> list[str]:
    """Return the commands that repeat the run, as far as there are: search, generate, train, ..."""
    run = view.run
    folder = said_path(run.path)
    own = user_code_words("space", run.space_name)
    lines, objects = [], made_in_python(run)
    fitted = _fit_words(run.path, folder)
    if fitted is not None:
        lines.append(command(*fitted))
    elif not objects:
        lines.append(command("search", "--config", _CONFIG_FILE, "--out", folder))
    generated = None if view.network is None else view.network.generated
    if generated is not None and "space" not in objects:
        lines.append(command("generate", folder, *own, *_generate_words(generated, view.limits)))
    by_fit = run.trained is not None and trained_by_fit(run.trained)
    trainable = not by_fit and not {"space", "data"} & {*objects}
    if run.trained is not None and view.network is not None and trainable:
        given = view.network.origin == "given"
        which = ["--architecture", view.network.text] if given else []
        searched = {**run.config.space_options, **((generated or {}).get("space_options", {}))}
        which += _train_words(run.trained, searched, run.config.data)
        if run.trained.path.resolve() != (run.path / TRAINED).resolve():
            which += ["--out", said_path(run.trained.path)]
        lines.append(command("train", folder, *own, *which))
    lines.append(command("report", folder, *own))
    return lines


def trained_reproduce_section(view: TrainedView) -> Section:
    """Return the command that trains the network again, and its versions."""
    trained = view.trained
    facts = Facts(tuple(Fact(name, str(value)) for name, value in trained.versions.items()))
    named = trained.start is not None or space_is_named(str(trained.space))
    if not trained.source or not named:
        words = "The network or its data came from Python objects, so only a program can repeat it."
        return Section("reproduce", "Reproduce this training", (words,), (facts,))
    fitted = _fit_words(trained.path.parent, said_path(trained.path.parent))
    if fitted is not None and trained_by_fit(trained):
        line = fitted
    elif trained.start is not None:
        line = ["train", "--start", str(trained.start["name"])]
        if (weights := trained.start["weights"]) is not None:
            line += ["--weights", weights]
        line += _train_words(trained, trained.space_options, None)
    else:
        line = ["train", "--space", without_folders(str(trained.space))]
        defaults = {} if view.space is None else view.space.plain_defaults
        line += ["--architecture", view.network.text, *_train_words(trained, defaults, None)]
    words = "Files and folders that were given by full path appear by name only."
    if line is fitted:
        words = f"{_BY_PLAN} {words}"
    else:
        line += ["--out", said_path(trained.path)]
    if trained.random and trained.limits:
        words += " The random networks were drawn within limits that only the run can repeat."
    blocks = (Commands("In a shell", (command(*line),)), facts)
    return Section("reproduce", "Reproduce this training", (words,), blocks)


def trained_by_fit(trained: Comparison) -> bool:
    """Return whether a network was trained by the fit in whose folder it lies."""
    plan = _plan_above(trained.path)
    result = trained.found.result
    return plan is not None and (plan["epochs"], plan["seed"]) == (
        result.recipe.epochs,
        result.seed,
    )


def _plan_above(path: Path) -> _PlanForm | None:
    """Return what the plan of a fit says, by the folder of its network."""
    file = path.parent / PLAN
    if path.name != TRAINED or not file.is_file():
        return None
    kept: _PlanForm = read_json(file, _PlanForm)
    return kept


def _fit_words(folder: Path, said: str) -> list[str] | None:
    """Return the command that makes a fit again by its plan; None if a folder holds none.

    Args:
        folder: The folder.
        said: How the page calls it.
    """
    plan = _plan_above(folder / TRAINED)
    if plan is None or plan["data"] is None:
        return None
    words = ["fit", said_path(plan["data"]["data"]), "--plan", str(Path(said) / PLAN)]
    if (side := plan["data"].get("image_size")) is not None:
        words += ["--image-size", str(side)]
    for option in ("start", "teacher"):  # a plan does not make a file run: name it
        words += user_code_words(option, without_folders(plan[option] or ""))
    for name in plan["baselines"]:
        words += ["--baseline", without_folders(name)]
    if plan["export"] != "onnx":
        words += ["--export", plan["export"]]
    return [*words, "--out", f"{said}-again"]


def search_config(run: Run) -> str:
    """Return the configuration of the search as YAML, without the folders of files."""
    config, data = run.config, run.config.data
    if data is not None:
        data = dataclasses.replace(data, data=said_path(data.data))
    shown = dataclasses.replace(
        config,
        space=run.space_name,
        strategy=run.strategy_name,
        data=data,
        **{
            name: said_options(getattr(config, name))
            for name in ("space_options", "strategy_options", "evaluator_options", "sieve_options")
        },
    )
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
    if (margin := generated.get("error_margin")) is not None:
        words += ["--margin", str(margin)]
    if rescored := generated.get("rescored", 0):
        words += ["--rescore", str(rescored)]
    return words + option_words("--space-options", generated["space_options"])


def _train_words(
    trained: Comparison, searched: Mapping[str, Any], data: DataConfig | None
) -> list[str]:
    """Return the options of a training.

    Args:
        trained: The trained networks.
        searched: Options of the space that hold without an option here.
        data: The data that is used without an option here; None if it was no file.
    """
    result = trained.found.result
    recipe = dataclasses.asdict(result.recipe)
    name = recipe["name"] if recipe["name"] in RECIPES else "quick"  # a file of the user's
    standard = dataclasses.asdict(RECIPES[name])
    words = ["--recipe", name, "--epochs", str(recipe["epochs"])]
    changed = {k: v for k, v in recipe.items() if v != standard[k] and k not in _NAMED}
    if standard["batch_size"] is None:
        changed.pop("batch_size", None)  # as many as the number of images makes it
    words += option_words("--recipe-options", changed)
    final = {k: v for k, v in trained.space_options.items() if v != searched.get(k)}
    words += option_words(
        "--space-options", {k: v for k, v in final.items() if k not in _FROM_DATA}
    )
    source = trained.source
    if source and (data is None or Path(data.data).name != source["data"]):
        words += ["--data", str(source["data"])]
    for option in ("image_size", "limit_train_images"):
        value = source.get(option)
        if value is not None and (data is None or value != getattr(data, option)):
            words += [f"--{option.replace('_', '-')}", str(value)]
    if trained.random:
        words += ["--random", str(len(trained.random))]
    if trained.same_size:
        words += ["--same-size", str(len(trained.same_size))]
    if result.teacher is not None:
        words += ["--teacher", said_path(result.teacher.rpartition(" ")[0])]
    if result.sieve is not None:
        words += ["--sieve", result.sieve["name"]]
        words += option_words("--sieve-options", result.sieve["options"])
    if result.mixed_precision != "no":
        words += ["--mixed-precision", result.mixed_precision]
    for network in trained.baselines:
        words += ["--baseline", network.name]
    return [*words, "--seed", str(result.seed)]
