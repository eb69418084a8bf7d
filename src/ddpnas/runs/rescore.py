"""rescore(): a finished search's weights judge the candidates of a generator, each as a whole.

What a search learned about single choices is a sum, and the largest sum within limits is often far
from what the search scored. The first of that list are told apart by what told architectures apart
in the search: the same score, with the weights that the search left.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ddpnas.data.data import Data
from ddpnas.errors import RunError
from ddpnas.evaluators.base import Evaluation
from ddpnas.evaluators.registry import create_evaluator
from ddpnas.runs.folder import CHECKPOINT
from ddpnas.runs.resume import read_config, run_data, run_space
from ddpnas.space.decisions import Architecture
from ddpnas.space.search_space import SearchSpace
from ddpnas.training.checkpoint import load_checkpoint

__all__ = ["rescore"]


def rescore(
    run: str | Path,
    architectures: Sequence[Architecture],
    *,
    space: SearchSpace | str | None = None,
    data: Data | str | Path | None = None,
    device: str = "auto",
) -> list[Evaluation]:
    """Score architectures once more with the weights that a search left; return them in order.

    The score is the search's own, on the whole validation split, so these scores can be compared
    with each other. If the search went on training after its first scores (the options ``training``
    "path" or ``epochs`` of the evaluator), scores in its history come from other weights and cannot
    be compared with these.

    Args:
        run: folder of a finished search.
        architectures: of the run's space.
        space: of a run over a user's own space, its ``file.py:network`` once more; or the
            space itself, at the size that was searched.
        data: of a run whose data came from Python objects; or where the run's images are now, if
            they have moved; default: the run's, read again from where they were.
        device: "auto", "cpu", "cuda", ...

    Raises:
        RunError: the run is not finished, or its space or data have to be given.
        ArchitectureError: one of the architectures is of another space.
    """
    config = read_config(run)
    if not (Path(run) / "result.json").is_file():
        raise RunError(f"the run in {run} is not finished; go on: ddpnas resume {run}")
    if not isinstance(space, SearchSpace):
        space = run_space(run, space=space)
    if not isinstance(data, Data):
        data = run_data(run, moved_to=data)
    saved = load_checkpoint(Path(run) / CHECKPOINT)
    if saved is None:
        raise RunError(f"{run} holds no weights ({CHECKPOINT} is missing)")
    tensors, plain = saved
    evaluator = create_evaluator(
        config["evaluator"],
        space,
        data,
        evaluations=plain["evaluations"],
        seed=config["seed"],
        device=device,
        **config["evaluator_options"],
    )
    evaluator.load_state_dict(tensors, plain["evaluator"])
    return evaluator.rescore(architectures)
