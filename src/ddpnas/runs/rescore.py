"""rescore(): score the candidates of a generator with the weights that a search left.

What a search learned about single choices is a sum, and the largest sum within limits is often far
from everything that the search scored. Scoring the first candidates of the list as whole networks
tells them apart as the search did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ddpnas.data.data import Data
from ddpnas.evaluators.base import Evaluation
from ddpnas.runs.run import Run
from ddpnas.space.decisions import Architecture
from ddpnas.space.search_space import SearchSpace
from ddpnas.utils.settings import checks_arguments

__all__ = ["rescore"]


@checks_arguments
def rescore(
    run: str | Path,
    architectures: Sequence[Architecture],
    *,
    space: SearchSpace | str | None = None,
    data: Data | str | Path | None = None,
    network: str | None = None,
    device: str = "auto",
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Evaluation]:
    """Score architectures once more with the weights that a search left; return them in order.

    The score is the search's own, on the whole validation split, so these scores can be compared
    with each other. If the search went on training after its first scores (the option ``training``
    "path" of the evaluator, or a gradient-based strategy), scores in its history come from other
    weights and cannot be compared with these.

    Args:
        run: Folder of a finished search.
        architectures: Architectures of the run's space.
        space: For a run over a user's space, its ``file.py:network`` once more; or the space
            itself, at the size that was searched.
        data: The data itself, for a run whose data came from Python objects; or where the run's
            images are now, if they have moved. None reads them from where they were.
        network: For a run whose evaluator has a teacher in a user's file, its ``file.py:function``
            once more.
        device: "auto", "cpu", "cuda", ...
        on_progress: Called now and then with the number of architectures scored so far and in all.

    Raises:
        RunError: The run is not finished, or its space or data must be given.
        ArchitectureError: One of the architectures belongs to another space.

    Example:
        >>> import ddpnas, tempfile
        >>> out = tempfile.mkdtemp() + "/run"
        >>> found = ddpnas.search("nasbench201", "sign-digits-small", evaluator="table", out=out)
        >>> [again] = ddpnas.rescore(out, [found.architecture])
        >>> 0 < again.score < 1
        True
    """
    return Run(run).rescore(
        architectures, space=space, data=data, network=network, device=device,
        on_progress=on_progress,
    )  # fmt: skip
