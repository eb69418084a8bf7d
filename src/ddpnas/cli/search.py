"""``ddpnas search`` and ``ddpnas resume``."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonargparse
import yaml
from jsonargparse import ArgumentParser, Namespace

from ddpnas.cli import _show as show
from ddpnas.cli._options import (
    Command,
    add_own_space,
    add_quiet,
    fields,
    new_parser,
    only_network,
    own_network,
    own_space,
    own_strategy,
)
from ddpnas.cli._presets import PRESETS
from ddpnas.cli.fit import resume as resume_fit
from ddpnas.cli.shrink import resume as resume_shrink
from ddpnas.costs.count import count_costs
from ddpnas.data.load import DataConfig, load_data
from ddpnas.data.sieves import SieveConfig
from ddpnas.errors import OptionError, nearest
from ddpnas.generation.cost_ranges import cost_bounds
from ddpnas.generation.limits import amount, parse_limits
from ddpnas.relaxed.estimate import MixtureEstimate
from ddpnas.relaxed.load import MixtureLoad
from ddpnas.runs.config import RunConfig
from ddpnas.runs.estimate import estimate_search, with_epochs
from ddpnas.runs.folder import PLAN, RESULT, SHRINK
from ddpnas.runs.resume import resume as resume_run
from ddpnas.runs.run import Run
from ddpnas.runs.search import SearchResult, check_without_data, open_space
from ddpnas.runs.search import search as search_space
from ddpnas.space.search_space import SearchSpace
from ddpnas.spaces.registry import list_spaces, takes_limits
from ddpnas.strategies.gradient import GradientStrategy
from ddpnas.strategies.user_strategy import NamedStrategy
from ddpnas.training.distributed import current, join, launched
from ddpnas.utils.duration import duration
from ddpnas.utils.read import read_yaml
from ddpnas.utils.text import resume_command

__all__ = ["COMMANDS"]

_OF_A_SEARCH = ("space", "strategy", "device")  # options of `ddpnas resume`


class _Config(jsonargparse.ActionConfigFile):  # type: ignore[name-defined,misc]
    """Takes a configuration file, or as --preset the name of one; later options override it."""

    def __call__(
        self, parser: Any, namespace: Any, values: Any, option_string: str | None = None
    ) -> None:
        if option_string == "--preset":
            if values not in PRESETS:
                raise OptionError(nearest("preset", values, PRESETS))
            values = yaml.safe_dump(PRESETS[values].options)
        elif Path(values).exists():  # read here, since it may be anything
            read_yaml(values, dict[str, Any], OptionError)
        super().__call__(parser, namespace, values, option_string)


def _search_parser() -> ArgumentParser:
    parser = new_parser(
        "search a space of networks on your images",
        "ddpnas search --data photos/ --limit macs=20M --out runs/photos",
    )
    parser.add_argument(
        "--config",
        "--preset",
        action=_Config,
        help="YAML file with any of these options, or as --preset the name of a published method: "
        f"{', '.join(PRESETS)} (`ddpnas strategies`)",
    )
    parser.add_class_arguments(RunConfig, None, skip={"data"})
    parser.add_class_arguments(DataConfig, None)
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        help="size the space edge for this limit, such as macs=20M; may be repeated. `ddpnas "
        "generate` keeps limits, these or others",
    )
    parser.add_argument("--out", default="runs/search", help="folder for the run")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in --out")
    add_quiet(parser)
    return parser


def _resume_parser() -> ArgumentParser:
    parser = new_parser(
        "resume an interrupted search, fit or shrink. The result is that of an uninterrupted run."
    )
    parser.add_argument("run", help="folder of the search, fit or shrink")
    add_own_space(parser)
    parser.add_argument(
        "--network",
        action="append",
        default=[],
        help="name your own network again, my_file.py:function; the file is executed; may be "
        "repeated for a fit with several",
    )
    parser.add_argument(
        "--strategy",
        help="name your own strategy again, my_file.py:MyStrategy; the file is executed",
    )
    parser.add_argument("--data", help="where the images are now, if they have moved")
    parser.add_argument("--device", help="default: the device that the search began with")
    parser.add_argument("--json", action="store_true", help="print JSON; for a fit or a shrink")
    add_quiet(parser)
    return parser


def search(options: Namespace) -> None:
    """``ddpnas search``."""
    join(options.device)
    of_space = _space_options(options)
    check_without_data(
        options.space, options.strategy, options.evaluator, space_options=of_space,
        strategy_options=options.strategy_options, evaluator_options=options.evaluator_options,
        device=options.device, sieve=options.sieve, sieve_options=options.sieve_options,
        out=options.out, overwrite=options.overwrite,
    )  # fmt: skip
    data = load_data(fields(DataConfig, options))
    space = open_space(options.space, data, of_space)
    show.line(f"searching {space} on {data.name}: {show.sizes(data)}", quiet=options.quiet)
    chosen = options.strategy_options
    if issubclass(NamedStrategy.read(options.strategy).made(), GradientStrategy) and (
        not options.quiet or "seconds" in chosen
    ):
        estimate = estimate_search(
            space,
            data,
            options.strategy,
            seed=options.seed,
            strategy_options=chosen,
            evaluator_options=options.evaluator_options,
            sieve=SieveConfig(options.sieve, options.sieve_options),
            device=options.device,
        )
        chosen = with_epochs(chosen, estimate)
        if estimate is not None and not options.quiet:
            _show_load(space, estimate)
    with (
        show.SearchProgress(space, options.evaluator, quiet=options.quiet) as progress,
        _resumed(options, progress),
    ):
        result = search_space(
            space,
            data,
            options.strategy,
            out=options.out,
            seed=options.seed,
            strategy_options=chosen,
            evaluator=options.evaluator,
            evaluator_options=options.evaluator_options,
            sieve=options.sieve,
            sieve_options=options.sieve_options,
            device=options.device,
            overwrite=options.overwrite,
            on_progress=progress.update,
        )
    _show_result(options.out, space, result, options.space, options.limit)


def _space_options(options: Namespace) -> dict[str, Any]:
    """Return the options of the space, and the limits from which its sizes follow, if any.

    Raises:
        OptionError: A limit cannot be read, or the sizes of the space do not follow from limits.
    """
    if not options.limit:
        return options.space_options  # type: ignore[no-any-return]
    if not takes_limits(options.space):
        sized = ", ".join(filter(takes_limits, list_spaces()))
        raise OptionError(
            f"the sizes of space {options.space!r} do not follow from limits, only those of "
            f"{sized}; one search serves all limits, which come after it: `ddpnas generate "
            f"{shlex.quote(options.out)} --limit {shlex.quote(options.limit[0])}`"
        )
    return {**options.space_options, "limits": parse_limits(options.limit)}


def _show_load(space: SearchSpace, estimate: MixtureEstimate) -> None:
    """Print what a step costs where the strategy trains a mixture of all options."""
    strategy = estimate.strategy
    load = MixtureLoad.of(space, strategy)
    channels = f", before one of {strategy.parts} parts is taken" if strategy.parts > 1 else ""
    show.line(
        f"training a mixture: {load.macs / 1e6:.3g}M multiply-adds an image, "
        f"{load.macs / load.path_macs:.1f} times those of the mean path{channels}"
    )
    step = max(estimate.step_seconds.values())
    show.line(
        f"a step on {estimate.batch_size} images takes about {step:.2g} s and at least "
        f"{estimate.memory_bytes / 1e6:,.0f} MB; the search about {duration(estimate.seconds())} "
        f"(epochs: {strategy.epochs}, steps in each: {estimate.share * estimate.steps:.0f})"
    )


@contextlib.contextmanager
def _resumed(options: Namespace, progress: show.SearchProgress) -> Iterator[None]:
    """Let an interrupt say the command that goes on, once there is a run to go on with."""
    try:
        yield
    except KeyboardInterrupt:
        if not progress.begun:
            raise
        own = own_space(options.space) + own_strategy(options.strategy)
        own += own_network(options.evaluator_options.get("teacher") or "")
        raise KeyboardInterrupt(f"{resume_command(options.out)}{own}") from None


def resume(options: Namespace) -> None:
    """``ddpnas resume``."""
    for file, what, go_on in ((PLAN, "fit", resume_fit), (SHRINK, "shrink", resume_shrink)):
        if (Path(options.run) / file).is_file():
            _refuse_unfit(options, what)
            go_on(options)
            return
    config = Run(options.run).config
    if options.json:
        raise OptionError(
            f"{options.run} is the folder of a search, where --json does not apply; "
            f"{Path(options.run) / RESULT} will hold the result as JSON"
        )
    join(options.device or config.device)
    with show.SearchProgress(None, config.evaluator, quiet=options.quiet) as progress:
        result = resume_run(
            options.run,
            space=options.space,
            strategy=options.strategy,
            network=only_network(options.network),
            data=options.data,
            device=options.device,
            on_progress=progress.update,
        )
    named = options.space or config.space
    _show_result(options.run, Run(options.run).space(options.space), result, named)


def _refuse_unfit(options: Namespace, what: str) -> None:
    """Refuse what only a search can be resumed with: some options, and several processes.

    Args:
        options: Options of ``ddpnas resume``.
        what: What the folder holds: "fit" or "shrink".
    """
    if launched() > 1:
        raise OptionError(
            f"a {what} runs in one process; resume {options.run} without torchrun or accelerate"
        )
    if unfit := [name for name in _OF_A_SEARCH if options[name] is not None]:
        raise OptionError(
            f"{options.run} is the folder of a {what}, where --{unfit[0]} does not apply; use "
            f"--network, --data, --json and --quiet"
        )


def _show_result(
    folder: str, space: SearchSpace, result: SearchResult, named: str, limits: Sequence[str] = ()
) -> None:
    """Print what was found, and what to type next.

    Args:
        folder: The run folder.
        space: The space.
        result: The result.
        named: How the space was named in this command, or before.
        limits: The limits that the space was sized for.
    """
    if not current().first:
        return
    run = Run(folder)
    show.pruning(result.distribution, run.stages[1:])
    show.line(f"architecture found: {result.text}")
    best = run.best_measure
    reached = "" if best is None else f"; best {run.judged_by} {run.written_measure(best)}"
    show.line(f"{run.scored} in {duration(result.seconds)}{reached}")
    macs = count_costs(space)["macs"]
    least, most = cost_bounds(macs, space)
    found = macs.cost(result.architecture)
    show.line(f"MACs: {amount(least)} at least, {amount(found)} found, {amount(most)} at most")
    show.line(f"run folder: {folder}")
    rescore = " --rescore 50" if run.shared else ""
    words = f"{shlex.quote(folder)}{own_space(named)}"
    # An example: less than what was found costs, if the space has that.
    wanted = limits or [f"macs={show.short_limit(max(least, 0.8 * found))}"]
    said = " ".join(f"--limit {shlex.quote(limit)}" for limit in wanted)
    show.line(f"next: ddpnas generate {words} {said}{rescore}")
    show.line(f"then: ddpnas train {words} --random 3")


COMMANDS: dict[str, Command] = {
    "search": (_search_parser, search),
    "resume": (_resume_parser, resume),
}
