"""``ddpnas train``."""

from __future__ import annotations

import dataclasses
import shlex
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from ddpnas.cli import _show as show
from ddpnas.cli._fine_tuning import fine_tune
from ddpnas.cli._options import (
    Command,
    add_own_network,
    add_quiet,
    add_scoring,
    add_seed_and_device,
    add_sieve,
    add_space,
    add_start,
    new_parser,
    own_network,
    own_space,
)
from ddpnas.cli._run_options import warn_if_not_kept
from ddpnas.costs.count import count_costs
from ddpnas.costs.table import CostTable
from ddpnas.data.data import Data
from ddpnas.data.load import load_data
from ddpnas.errors import OptionError
from ddpnas.generation.limits import Limit, amount, checked_limits, parse_limits
from ddpnas.runs.folder import TRAINED
from ddpnas.runs.generation_request import GenerationRequest
from ddpnas.runs.networks import RunNetwork, provenance_of
from ddpnas.runs.run import Run
from ddpnas.runs.search import check_fit, open_space
from ddpnas.space.decisions import Architecture, Rule
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import without_folders
from ddpnas.training.compare import compare
from ddpnas.training.distributed import is_main_process
from ddpnas.training.final_spaces import final_space, inference_space
from ddpnas.training.protections import planned_epochs
from ddpnas.training.recipes import Recipe, create_recipe
from ddpnas.training.results import Compared, trained_for
from ddpnas.training.saving import TrainedFolder
from ddpnas.utils.settings import Count, Epochs, Extra, Pixels

__all__ = ["COMMANDS"]


def _train_parser() -> ArgumentParser:
    parser = new_parser(
        "train the network of a run, or another, and test it. Random networks and baselines "
        "are trained alike to compare.",
        "ddpnas train runs/photos --epochs 30 --random 3",
    )
    parser.add_argument("run", nargs="?", help="folder of a finished search")
    add_space(parser, None)
    parser.add_argument("--architecture", help="architecture in text form; default: the run's")
    add_start(parser, "training the network of a run")
    add_own_network(parser)
    parser.add_argument("--data", help="images; default: those of the run")
    parser.add_argument("--image-size", type=Pixels, help="pixels a side; default: the run's")
    parser.add_argument("--limit-train-images", type=Count, help="train on this many images only")
    parser.add_argument(
        "--recipe",
        help="training recipe (see `ddpnas recipes`) or a .yaml file; default: quick, or finetune "
        "with --start",
    )
    parser.add_argument(
        "--recipe-options",
        type=dict[str, Any],
        default={},
        help="options of the recipe, one by one: --recipe-options.lr 0.05",
    )
    parser.add_argument(
        "--epochs",
        type=Epochs,
        help="number of epochs; default: the recipe's, or as many as its steps take",
    )
    parser.add_argument(
        "--patience",
        type=Epochs,
        help="keep the validation images out of training, stop after this many epochs without a "
        "better score on them, and keep the weights of the best epoch",
    )
    add_scoring(parser)
    parser.add_argument(
        "--random",
        type=Extra,
        default=0,
        help="also train N random architectures within the same limits",
    )
    parser.add_argument(
        "--same-size",
        type=Extra,
        default=0,
        help="also train N random architectures of about the same MACs, to separate architecture "
        "from size",
    )
    parser.add_argument(
        "--baseline",
        action="append",
        default=[],
        help="also train a known network: resnet18, mobilenet_v2_x0.5, ... of torchvision, "
        "timm:NAME or FILE.py:function; may be repeated",
    )
    parser.add_argument("--mixed-precision", default="no", help="no, bf16 or fp16")
    add_sieve(parser)
    parser.add_argument("--track", help="log every epoch to tensorboard, mlflow or wandb")
    add_seed_and_device(parser)
    parser.add_argument("--out", help="folder for the result; default: RUN/trained")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted training")
    parser.add_argument("--overwrite", action="store_true", help="replace the content of --out")
    add_quiet(parser)
    return parser


def train(options: Namespace) -> None:
    """Run ``ddpnas train``; of several processes, the first one writes."""
    recipe = _recipe(options)
    if options.start is not None:
        _train_started(options, recipe)
        return
    for name in ("weights", "network"):
        if options[name] is not None:
            raise OptionError(f"--{name} belongs to --start, which names the network; give both")
    searched, space, data, architecture, within = _what_to_train(options, recipe)
    limits, tables, rules, generated = within
    epochs = planned_epochs(recipe, data)
    recipe = dataclasses.replace(recipe, epochs=epochs)
    costs = {**count_costs(inference_space(space)), **tables}
    _check_limits(recipe, searched, space, architecture, costs, limits)
    out = Path(options.out or (f"{options.run}/{TRAINED}" if options.run else "runs/trained"))
    show.line(f"training {space.format(architecture)}", quiet=options.quiet)
    other = searched if searched.plain_options != space.plain_options else None
    with (
        TrainedFolder.opened(out, resume=options.resume, overwrite=options.overwrite) as folder,
        show.TrainProgress(epochs, quiet=options.quiet) as progress,
    ):
        trained = compare(
            space,
            architecture,
            data,
            costs=costs,
            limits=limits,
            margin=(generated or {}).get("error_margin", 0.0),
            rules=rules,
            random=options.random,
            same_size=options.same_size,
            baselines=options.baseline,
            recipe=recipe,
            seed=options.seed,
            device=options.device,
            mixed_precision=options.mixed_precision,
            track=options.track,
            teacher=options.teacher,
            sieve=options.sieve,
            sieve_options=options.sieve_options,
            folder=folder.checkpoints,
            resume=options.resume,
            on_epoch=progress.update,
        )
        folder.save(space, trained, limits=limits, searched=other, generated=generated)
    _show_trained(trained, costs, limits)
    # The folder holds a copy of a user's own space, which the commands need to be named again.
    _say_next(out, own_space(f"{out / Path(str(space.name)).name}"))
    if options.run:
        show.line(f"run folder: {options.run}")


def _train_started(options: Namespace, recipe: Recipe) -> None:
    """Run ``ddpnas train --start``."""
    out = Path(options.out or "runs/trained")
    trained, opened = fine_tune(options, recipe, out)
    _show_trained([trained], trained.costs, {})
    network = "" if opened.named is None else without_folders(opened.named.name)
    space = "" if opened.space is None else without_folders(str(opened.space.name))
    _say_next(out, own_network(f"{out / network}") + own_space(f"{out / space}"))


def _say_next(out: Path, code: str) -> None:
    """Say where the network is and what to do with it.

    Args:
        out: Its folder.
        code: The option that names the user's own code again; empty without such code.
    """
    show.line(f"\nkept in {out}: weights, architecture, all figures, and a model card")
    words = f"{shlex.quote(str(out))}{code}"
    show.line(f"next: ddpnas predict {words} IMAGE..., or ddpnas evaluate {words} --data FOLDER")


def _recipe(options: Namespace) -> Recipe:
    given = ("epochs", "patience", "metric", "class_weights")
    changes = {name: options[name] for name in given if options[name] is not None}
    name = options.recipe or ("quick" if options.start is None else "finetune")
    recipe = create_recipe(name, **options.recipe_options, **changes)
    if recipe.metric != "accuracy" and not recipe.keep_best:
        raise OptionError(
            f"{recipe.metric} chooses the best epoch, and this training ends with the last one: "
            f"give --patience too, or leave --metric out"
        )
    return recipe


_Within = tuple[dict[str, Limit], dict[str, CostTable], list[Rule], dict[str, Any] | None]


def _what_to_train(
    options: Namespace, recipe: Recipe
) -> tuple[SearchSpace, SearchSpace, Data, Architecture, _Within]:
    """Return searched space, final space, data, architecture, and what it was generated within.

    The last is (limits, measured costs, rules in addition to those of the space, the answer of
    ``generate`` that the trained folder keeps). All come from the run unless the options name
    them. The size of the final network comes from the options, else from ``generate``, the recipe,
    or the run.
    """
    changes: dict[str, Any] = {"limit_train_images": options.limit_train_images}
    if (image_size := options.image_size or recipe.image_size) is not None:
        changes["image_size"] = image_size
    if options.run is None:
        if not (options.space and options.architecture and options.data):
            raise OptionError(
                "what should be trained? `ddpnas train RUN`, or --space, --architecture and "
                "--data, or --start and --data"
            )
        data = load_data(options.data, **changes)
        searched = open_space(options.space, data, options.space_options)
        space = final_space(searched, recipe, **options.space_options)
        return searched, space, data, searched.parse(options.architecture), ({}, {}, [], None)
    if options.data is not None:
        changes["data"] = options.data
    run = Run(options.run)
    chosen, generated = run.result.architecture, None  # raises if the search is not finished
    data = run.data(**changes)
    if options.data is not None and is_main_process():
        with warn_if_not_kept("where the images are now is not kept"):
            run.note_place(data)
    request = GenerationRequest()
    if options.architecture is None and run.generated is not None:
        last = RunNetwork.from_generated(run.generated)
        request, chosen = run.generation_request or request, last.architecture
        generated = provenance_of(run.generated)
    limits = parse_limits(request.limits)
    tables = {table.name: table for table in request.tables()}
    if generated is not None:
        within = ", ".join(f"{name} {limit.describe()}" for name, limit in limits.items())
        show.line(
            f"the architecture generated last{f', within {within}' if within else ''}",
            quiet=options.quiet,
        )
    searched = run.space(options.space, options={"input_shape": data.input_shape})
    space = final_space(searched, recipe, **{**request.space_options, **options.space_options})
    check_fit(space, data)
    if options.architecture is not None:
        chosen = space.parse(options.architecture)
    within_all = limits, tables, request.rules(space), generated
    return searched, space, data, space.check(chosen), within_all


def _check_limits(
    recipe: Recipe,
    searched: SearchSpace,
    space: SearchSpace,
    architecture: Architecture,
    costs: Mapping[str, CostTable],
    limits: Mapping[str, Limit],
) -> None:
    """Raise :class:`OptionError` if the training makes the network larger than the limits allow.

    A recipe, ``--space-options`` or ``--image-size`` can do that. Measured costs hold only for the
    size that was measured.
    """
    for table in costs.values():
        table.check(inference_space(space))
    sizes = recipe.network.get(str(searched.name), {})
    for name, limit in checked_limits(limits, costs).items():
        if costs[name].cost(architecture) > limit.upper:
            by, instead = "this training", "leave --space-options and --image-size out"
            if sizes:
                by, instead = (
                    f"recipe {recipe.name}",
                    "keep the searched size:"
                    + "".join(
                        f" --space-options.{option.replace('_', '-')} {searched.options[option]}"
                        for option in sizes
                    ),
                )
            raise OptionError(
                f"at the size that {by} gives the network it has "
                f"{amount(costs[name].cost(architecture))} {costs[name].unit}, over the limit "
                f"{name} <= {amount(limit.upper)}; generate one at that size, or {instead}"
            )


def _show_trained(trained: list[Compared], costs: Iterable[str], limits: dict[str, Limit]) -> None:
    split = show.split(trained[0].evaluation)
    both = trained[0].evaluation.is_imbalanced
    costs = [name for name in costs if name in ("macs", "params", *limits)]
    rows = [
        [
            one.name,
            one.text,
            *(amount(one.costs[name]) if name in one.costs else "-" for name in costs),
            f"{100 * one.evaluation.accuracy:.2f} %",
            *([f"{100 * one.evaluation.macro_f1:.2f} %"] if both else []),
        ]
        for one in trained
    ]
    for group in ("random", "same size"):
        drawn = [one for one in trained if one.name.startswith(f"{group} ")]
        if drawn:
            accuracies = [100 * one.evaluation.accuracy for one in drawn]
            spread = f" +- {statistics.stdev(accuracies):.2f}" if len(accuracies) > 1 else ""
            within = " within the limits" if limits else ""
            rows.append(
                [
                    f"{group}, mean",
                    f"of {len(drawn)}{within}",
                    *(amount(statistics.mean(o.costs[name] for o in drawn)) for name in costs),
                    f"{statistics.mean(accuracies):.2f}{spread} %",
                    *(
                        [f"{100 * statistics.mean(o.evaluation.macro_f1 for o in drawn):.2f} %"]
                        if both
                        else []
                    ),
                ]
            )
    recipe = trained[0].result.recipe
    show.line("")
    show.table(
        ["network", "architecture", *costs, f"{split} accuracy", *(["macro-F1"] if both else [])],
        rows,
        title=f"trained alike: recipe {recipe.name}, {trained_for(trained)}",
    )
    show.line(show.memory())


COMMANDS: dict[str, Command] = {
    "train": (_train_parser, train),
}
