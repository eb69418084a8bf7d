"""resume(): continue an interrupted search from its run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ddpnas.errors import RunError
from ddpnas.evaluators.registry import list_evaluators
from ddpnas.runs.folder import PLAN, SHRINK
from ddpnas.runs.loop import Progress
from ddpnas.runs.run import Run
from ddpnas.runs.search import SearchResult, search
from ddpnas.utils.settings import checks_arguments

__all__ = ["resume"]


@checks_arguments
def resume(
    run: str | Path,
    *,
    space: str | None = None,
    strategy: str | None = None,
    network: str | None = None,
    data: str | Path | None = None,
    device: str | None = None,
    on_progress: Callable[[Progress], object] | None = None,
) -> SearchResult:
    """Continue an interrupted search and return its result, that of an unbroken run.

    Args:
        run: Its folder. A finished run returns what it found. A fit goes on by
            :func:`ddpnas.fitting.resume_fit`, a shrink by :func:`ddpnas.shrinking.resume_shrink`.
        space: For a run over a user's space, its ``file.py:network``: a file is executed only
            because the user names it.
        strategy: For a run with a user's strategy, its ``file.py:MyStrategy``.
        network: For a run whose evaluator has a teacher in a user's file, its
            ``file.py:function``.
        data: Where its images are now, if they have moved.
        device: Another device than before; the last digits of scores may then differ.
        on_progress: See :func:`ddpnas.search`.

    Raises:
        RunError: Data, space, strategy or settings are no longer those of the run; says which. Or
            the folder is that of a fit or a shrink.

    Example:
        >>> import ddpnas, tempfile
        >>> out = tempfile.mkdtemp() + "/run"
        >>> found = ddpnas.search("nasbench201", "sign-digits-small", evaluator="table", out=out)
        >>> ddpnas.resume(out).architecture == found.architecture
        True
    """
    _refuse_fits_and_shrinks(Path(run))
    kept = Run(run)
    config = kept.config
    named = kept.strategy(strategy)
    if config.evaluator not in list_evaluators():
        raise RunError(
            f"the evaluator of {run}, {config.evaluator!r}, is a class of a Python program; go on "
            f"from there: ddpnas.search(space, data, strategy, evaluator=..., out={str(run)!r}, "
            f"resume=True)"
        )
    options = kept.evaluator_options(network)
    return search(
        kept.space(space),
        kept.data(moved_to=data),
        named,
        out=run,
        seed=config.seed,
        strategy_options=config.strategy_options,
        evaluator=config.evaluator,
        evaluator_options=options,
        sieve=config.sieve,
        sieve_options=config.sieve_options,
        device=device or config.device,
        resume=True,
        on_progress=on_progress,
    )


def _refuse_fits_and_shrinks(folder: Path) -> None:
    """Raise :class:`RunError` where going on with the search would be a part of the work."""
    others = {PLAN: ("fit", "fitting.resume_fit"), SHRINK: ("shrink", "shrinking.resume_shrink")}
    for file, (what, function) in others.items():
        if (folder / file).is_file():
            raise RunError(
                f"{folder} is the folder of a {what}; go on with ddpnas.{function}({str(folder)!r})"
            )
