"""search(): space, data, strategy and evaluator put together, in a run folder that can resume."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ddpnas.data.data import Data
from ddpnas.data.load import as_data
from ddpnas.errors import DataError, OptionError, RunError, SpaceError
from ddpnas.evaluators.config import SupernetConfig
from ddpnas.evaluators.standalone import StandaloneConfig, StandaloneEvaluator
from ddpnas.evaluators.supernet import SupernetEvaluator
from ddpnas.runs.folder import RunFolder
from ddpnas.runs.identity import about_run, note_processes, refuse_another, run_identity, versions
from ddpnas.runs.loop import Progress, SearchLoop
from ddpnas.space.decisions import Architecture
from ddpnas.space.distribution import JointDistribution
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import UserCode
from ddpnas.spaces.registry import named_space
from ddpnas.strategies.base import Strategy
from ddpnas.strategies.user_strategy import NamedStrategy
from ddpnas.training.distributed import join
from ddpnas.utils.files import read_json, read_records
from ddpnas.utils.options import check_seed

__all__ = ["Progress", "SearchResult", "check_fit", "open_space", "search"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        architecture: the most likely one made of survivors.
        text: the same in the space's text form.
        distribution: theta of all options, and survivors; what ``generate`` takes.
        history: one record an evaluated architecture, in order: evaluation, stage,
            architecture, score, what the evaluator measured, and ``strategy_seconds`` (asking
            and telling the strategy) and ``saving_seconds`` (writing the record and checkpoint
            before this one, in this session).
        seconds: spent evaluating, over all sessions.
    """

    architecture: Architecture
    text: str
    distribution: JointDistribution
    history: list[dict[str, Any]] = field(repr=False)
    seconds: float

    def save(self, path: str | Path) -> None:
        """Write the result and its history into a folder of their own.

        Raises:
            RunError: the folder cannot be written or is not empty.
        """
        folder = RunFolder.create(path)
        try:
            for record in self.history:
                folder.append("history.jsonl", record)
            folder.write_json("result.json", self._to_dict())
        finally:
            folder.close()

    @classmethod
    def load(cls, path: str | Path) -> SearchResult:
        """Return the result of a finished run.

        Raises:
            RunError: there is no result in the folder, or the run is not finished.
        """
        folder = Path(path)
        if (folder / "run.json").exists() and not (folder / "result.json").exists():
            raise RunError(f"the run in {path} is not finished; go on: ddpnas resume {path}")
        data = read_json(folder / "result.json")
        return cls(
            architecture=Architecture(data["architecture"]),
            text=data["text"],
            distribution=JointDistribution.from_dict(data["distribution"]),
            history=read_records(folder / "history.jsonl"),
            seconds=data["seconds"],
        )

    def _to_dict(self) -> dict[str, Any]:
        return {
            "architecture": dict(self.architecture),
            "text": self.text,
            "evaluations": len(self.history),
            "seconds": self.seconds,
            "distribution": self.distribution.to_dict(),
        }


def search(
    space: SearchSpace | str,
    data: Data | Any = "fashion-mnist-12k",
    strategy: str | Callable[..., Strategy] = "ddpnas",
    *,
    out: str | Path | None = None,
    seed: int = 0,
    strategy_options: Mapping[str, Any] | None = None,
    supernet: SupernetConfig | None = None,
    standalone: StandaloneConfig | None = None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    on_progress: Callable[[Progress], object] | None = None,
) -> SearchResult:
    """Search the space, with shared weights if not told otherwise; return what was found.

    Started in several processes by ``torchrun`` or ``accelerate launch``, all of them search
    together, see :mod:`ddpnas.distributed`: each trains on its part of every batch, the first
    writes the folder and reports progress, all return the result.

    Args:
        space: a search space, or the name of a published one, which is fitted to the data.
        data: a name, a path, a pair of tensors, a Dataset: see :func:`ddpnas.data.as_data`.
        strategy: a name in :func:`ddpnas.list_strategies`, or a class of your own, which is called
            as ``strategy(space, seed=seed, **strategy_options)``; or ``my_file.py:MyStrategy``,
            which is executed.
        out: run folder; None keeps nothing on disk.
        seed: of everything random.
        strategy_options: of the strategy, see ``ddpnas strategies NAME``.
        supernet: how the shared weights are trained.
        standalone: given, each architecture is trained on its own, in this way, and no weights
            are shared.
        device: "auto", "cpu", "cuda", ...
        resume: go on with the unfinished run in ``out``, to the result that it would have had.
        overwrite: replace whatever run ``out`` holds.
        on_progress: called at the start, after each evaluation, and after each epoch of training
            that comes before the scores of a batch.

    Raises:
        DdpnasError: for whatever does not fit, with a sentence that says what to change.
    """
    check_seed(seed)
    processes = join(device)
    data = as_data(data)
    if isinstance(space, str):
        space = open_space(space, data, {})
    check_fit(space, data)
    supernet = supernet or SupernetConfig()
    given = dict(strategy_options or {})
    named, source, plan = _create_strategy(strategy, space, seed, given)
    config = {
        "space": space.name,
        "space_options": space.plain_options,
        **data.source,
        "strategy": named,
        "strategy_options": given,
        "evaluator": "supernet" if standalone is None else "standalone",
        "supernet": dataclasses.asdict(supernet),
        "standalone": dataclasses.asdict(standalone or StandaloneConfig()),
        "seed": seed,
        "device": device,
    }
    identity = run_identity(config, space, data, source)
    processes.check_equal("data, space or settings", json.dumps(identity))
    evaluator: SupernetEvaluator | StandaloneEvaluator
    if standalone is None:
        evaluator = SupernetEvaluator(
            space, data, plan.evaluations, supernet, seed=seed, device=device, processes=processes
        )
    elif processes.size == 1:
        how = dataclasses.asdict(standalone)
        evaluator = StandaloneEvaluator(space, data, **how, seed=seed, device=device)
    else:
        raise OptionError(
            "standalone trainings are spread by --standalone.workers, start the search without "
            "torchrun or accelerate"
        )
    if out is None and resume:
        raise RunError("resume needs the run folder: out=...")

    def open_folder() -> RunFolder | None:
        if out is None:
            return None
        return RunFolder.open(out) if resume else RunFolder.create(out, overwrite=overwrite)

    def begin() -> SearchResult | None:
        if folder is None:
            return None
        if resume:
            kept = read_json(folder.path / "run.json")
            refuse_another(kept["identity"], identity, space, source, folder.path)
            if data.source:
                folder.note_images(data.source["data"])
            if (folder.path / "result.json").exists():
                return SearchResult.load(folder.path)
            note_processes(kept["made_with"], processes.size)
            return None
        about = about_run(space, data, plan.evaluations)
        made_with = versions(evaluator.device, processes.size)
        folder.write_identity(
            config, {"identity": identity, "about": about, "made_with": made_with}
        )
        return None

    folder = processes.on_first(open_folder)  # None in the others: they write nothing
    try:
        found = processes.share(processes.on_first(begin))
        if found is not None:
            return found
        report = on_progress if processes.first else None
        history = SearchLoop(plan, evaluator, folder, report, processes).run()
        result = SearchResult(
            architecture=plan.architecture,
            text=space.format(plan.architecture),
            distribution=plan.distribution,
            history=history,
            seconds=sum(record["seconds"] for record in history),
        )
        if folder is not None:
            folder.write_json("result.json", result._to_dict())
        return result
    finally:
        if folder is not None:
            folder.close()


def _create_strategy(
    strategy: str | Callable[..., Strategy],
    space: SearchSpace,
    seed: int,
    options: Mapping[str, Any],
) -> tuple[str, UserCode | None, Strategy]:
    """Return the name of a strategy, the file that it is from if any, and the strategy."""
    if isinstance(strategy, str):
        named = NamedStrategy.read(strategy)
        named.rehearse(space, seed, **options)
        return named.name, named.source, named.create(space, seed, **options)
    if callable(strategy):
        kind = getattr(strategy, "__qualname__", type(strategy).__qualname__)
        return f"{strategy.__module__}.{kind}", None, strategy(space, seed=seed, **options)
    raise OptionError(
        f"strategy is a name or a class, not an object such as {type(strategy).__name__}: a "
        f"search makes its own"
    )


def open_space(name: str, data: Data, options: Mapping[str, Any]) -> SearchSpace:
    """Return the space of that name, published or in a user's file, for the data.

    Args:
        name: one of :func:`ddpnas.list_spaces`, or ``my_file.py:network``, which is executed.
        data: gives the number of classes and the input shape.
        options: of the space; what contradicts the data is an error.

    Raises:
        DataError: other classes or another input shape asked for than the data has.
        SpaceError, OptionError: see :func:`ddpnas.create_space`.
    """
    fitting = {"num_classes": len(data.classes), "input_shape": data.input_shape}
    for option, value in fitting.items():
        asked = options.get(option, value)
        if (tuple(asked) if isinstance(asked, list) else asked) != value:
            raise DataError(
                f"{option} {asked} was asked for, but {data.name} has {value}; leave {option} out "
                f"to take it from the data"
            )
    space = named_space(name, {**options, **fitting})
    check_fit(space, data)
    return space


def check_fit(space: SearchSpace, data: Data) -> None:
    """Raise :class:`SpaceError` when the space's networks do not fit the data."""
    if space.input_shape != data.input_shape:
        raise SpaceError(
            f"space {space.name!r} takes inputs of shape {space.input_shape}, {data.name} has "
            f"{data.input_shape}; use space.with_options(input_shape={data.input_shape})"
        )
    if space.output_shape != (len(data.classes),):
        raise SpaceError(
            f"space {space.name!r} gives outputs of shape {space.output_shape}, {data.name} has "
            f"{len(data.classes)} classes; let its network end in {len(data.classes)} outputs"
        )
