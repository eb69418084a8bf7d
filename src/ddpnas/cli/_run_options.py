"""The options of commands that generate from a run, and what they keep in its folder."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from jsonargparse import ArgumentParser, Namespace

from ddpnas.cli._options import add_costs, add_limit, add_space
from ddpnas.errors import OptionError, RunError
from ddpnas.generation.limits import parse_limits
from ddpnas.runs.generation_request import GenerationRequest
from ddpnas.utils.settings import Count, Extra

__all__ = ["add_request", "read_request", "refuse_of_a_search", "warn_if_not_kept"]

_OF_A_SEARCH = (
    "costs",
    "margin",
    "space",
    "space_options",
    "objective",
    "network",
    "survivors_only",
    "height",
    "parametric",
    "rescore",
    "data",
    "device",
)

logger = logging.getLogger(__name__)


def add_request(parser: ArgumentParser) -> None:
    """Add the run, and the options that make a :class:`GenerationRequest`."""
    parser.add_argument("run", help="folder of a finished search, or of a shrink")
    add_limit(parser)
    add_costs(parser)
    parser.add_argument(
        "--margin",
        help="tighten limits on measured costs by this share, such as 5%; by default by the 95th "
        "percentile of the table's own error; 0 for none",
    )
    add_space(parser, None)
    parser.add_argument(
        "--objective",
        default="log-theta",
        help="what to maximize: log-theta (the likelihood), theta (the sum of probabilities, as in "
        "the authors' code) or expected-score (the sum of the fitted effects of all choices)",
    )
    parser.add_argument(
        "--survivors-only", action="store_true", help="leave out the options that the search pruned"
    )
    parser.add_argument(
        "--height",
        type=Count,
        help="largest length of a chain of nodes in each cell (the darts space only)",
    )
    parser.add_argument(
        "--parametric",
        type=Extra,
        help="exact number of convolutions in each cell (the darts space only)",
    )


def refuse_of_a_search(options: Namespace, use: str) -> None:
    """Refuse an option that only a search has a use for, in the folder of a shrink.

    Args:
        options: The options of the command; where one is not the default, it was given.
        use: The options that the command takes there.
    """
    usual = {"objective": "log-theta", "device": "auto"}
    unfit = [n for n in _OF_A_SEARCH if options.get(n) and options[n] != usual.get(n)]
    if unfit:
        raise OptionError(
            f"{options.run} is the folder of a shrink, where --{unfit[0].replace('_', '-')} does "
            f"not apply; use {use}"
        )


def read_request(options: Namespace) -> GenerationRequest:
    """Return the request that the options make.

    Raises:
        OptionError: A limit cannot be read, or is given twice.
    """
    return GenerationRequest(
        limits=parse_limits(options.limit),
        costs=options.costs,
        objective=options.objective,
        survivors_only=options.survivors_only,
        height=options.height,
        parametric=options.parametric,
        space_options=options.space_options,
        margin=options.margin,
    )


@contextlib.contextmanager
def warn_if_not_kept(what: str) -> Iterator[None]:
    """Warn if the run folder cannot be written; the command has printed its answer already.

    Args:
        what: Begins the warning, such as "this answer is not kept in generated.json".
    """
    try:
        yield
    except RunError as error:
        logger.warning("warning: %s: %s", what, error)
