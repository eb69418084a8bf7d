"""search(): run a strategy and an evaluator on a space and data, in a folder that can resume."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ddpnas.data.data import Data
from ddpnas.data.load import DataConfig, as_data
from ddpnas.data.sieves import SieveConfig
from ddpnas.errors import DataError, RunError, SpaceError
from ddpnas.evaluators.base import Evaluator
from ddpnas.runs._forms import RecordForm, ResultForm
from ddpnas.runs._search_evaluator import (
    create_search_evaluator,
    search_evaluator_config,
)
from ddpnas.runs._search_strategy import create_search_strategy
from ddpnas.runs.config import RunConfig
from ddpnas.runs.estimate import estimate_search, with_epochs, with_warmup
from ddpnas.runs.folder import CONFIG, HISTORY, RESULT, RUN, RunFolder
from ddpnas.runs.identity import (
    RunForm,
    RunIdentity,
    about_run,
    code_of_teacher,
    note_processes,
    versions,
)
from ddpnas.runs.loop import Progress, SearchLoop, search_seconds
from ddpnas.space.decisions import Architecture, DecisionSpace
from ddpnas.space.distribution import JointDistribution
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import UserCode
from ddpnas.spaces.registry import check_space, named_space
from ddpnas.strategies.base import Strategy
from ddpnas.strategies.user_strategy import NamedStrategy
from ddpnas.training.device import pick_device
from ddpnas.training.distributed import current, join
from ddpnas.utils.read import blaming, read_json, read_records
from ddpnas.utils.settings import Seed, checked, checks_arguments
from ddpnas.utils.text import resume_command

__all__ = ["Progress", "SearchResult", "check_fit", "open_space", "search"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        architecture: The most likely architecture made of surviving options.
        text: The same architecture in the text form of its space.
        distribution: Probabilities of all options, and the survivors. ``ddpnas.generate`` takes it.
        history: One record for each evaluated architecture, in order. Its keys are ``evaluation``
            (a number from 0), ``stage``, ``architecture``, ``score``, the evaluator's measurements,
            ``seconds`` (evaluating, with the training before it), ``strategy_seconds`` (asking and
            telling the strategy) and ``saving_seconds`` (writing the record and the checkpoint
            before this one, in this session).
        seconds: Seconds that the search took, over all sessions: evaluating, strategy and saving.

    Example:
        >>> import tempfile, ddpnas
        >>> data = ddpnas.load_data("sign-digits-small")
        >>> result = ddpnas.search("nasbench201", data, "random", evaluator="table",
        ...                        strategy_options={"evaluations": 3})
        >>> [record["evaluation"] for record in result.history]
        [0, 1, 2]
        >>> folder = tempfile.mkdtemp()
        >>> result.save(folder)
        >>> SearchResult.load(folder).text == result.text
        True
    """

    architecture: Architecture
    text: str
    distribution: JointDistribution
    history: list[dict[str, Any]] = field(repr=False)
    seconds: float

    def save(self, path: str | Path) -> None:
        """Write the result and its history into a new or empty folder.

        Raises:
            RunError: The folder cannot be written or is not empty.
        """
        folder = RunFolder.create(path)
        try:
            for record in self.history:
                folder.append(HISTORY, record)
            folder.write_json(RESULT, self._to_dict())
        finally:
            folder.close()

    @classmethod
    def load(cls, path: str | Path) -> SearchResult:
        """Return the result in the folder of a finished run or of :meth:`save`.

        Raises:
            RunError: There is no result in the folder, or the run is not finished.
        """
        folder = Path(path)
        if (folder / RUN).exists() and not (folder / RESULT).exists():
            raise RunError(f"the run in {path} is not finished; go on: {resume_command(path)}")
        data: ResultForm = read_json(folder / RESULT, ResultForm)
        history = read_records(folder / HISTORY, RecordForm)
        if len(history) != data["evaluations"]:
            raise RunError(
                f"{folder / HISTORY} has {len(history)} lines, but {RESULT} stands on "
                f"{data['evaluations']}; the search has to be done again, with --overwrite"
            )
        with blaming(folder / RESULT):
            distribution = JointDistribution.from_dict(data["distribution"])
            architecture = DecisionSpace(distribution.decisions).check(data["architecture"])
        return cls(
            architecture=architecture,
            text=data["text"],
            distribution=distribution,
            history=history,
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


@checks_arguments
def search(
    space: SearchSpace | str = "edge",
    data: Data | Any = "fashion-mnist-12k",
    strategy: str | Callable[..., Strategy] = "ddpnas",
    *,
    out: str | Path | RunFolder | None = None,
    seed: Seed = 0,
    strategy_options: Mapping[str, Any] | None = None,
    evaluator: str | Evaluator | Callable[..., Evaluator] = "supernet",
    evaluator_options: Mapping[str, Any] | None = None,
    sieve: str = "all",
    sieve_options: Mapping[str, Any] | None = None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    on_progress: Callable[[Progress], object] | None = None,
) -> SearchResult:
    """Search the space and return what was found.

    If ``torchrun`` or ``accelerate launch`` starts several processes, they search together: each
    trains on its part of every batch, the first writes the folder and reports progress, and all
    return the result.

    Args:
        space: A search space, or the name of a published one, which is fitted to the data.
        data: A name, a path, a pair of tensors, a Dataset: see :func:`ddpnas.data.as_data`.
        strategy: A name in :func:`ddpnas.list_strategies`, or ``my_file.py:MyStrategy``, which is
            executed; or your class, called as ``strategy(space, seed=seed, **strategy_options)``.
        out: Run folder; None keeps nothing on disk. One that is open and empty is used and closed.
        seed: Seed for everything random.
        strategy_options: Options of the strategy, see ``ddpnas strategies NAME``.
        evaluator: Where scores come from: a name in :func:`ddpnas.evaluators.list_evaluators`
            ("supernet": weights that all architectures share; "standalone": each is trained on its
            own), an object with the methods of :class:`ddpnas.evaluators.Evaluator`, or your class,
            called as ``evaluator(space, data, seed=seed, device=device, **evaluator_options)``.
        evaluator_options: Options of the evaluator, see ``ddpnas evaluators NAME``. With a
            gradient-based strategy, which trains a mixture of all options, "supernet" takes those
            of :class:`ddpnas.relaxed.MixtureConfig`.
        sieve: Which images train and score, a name in :func:`ddpnas.data.list_sieves`.
        sieve_options: Options of the sieve, see ``ddpnas data``.
        device: "auto", "cpu", "cuda", ...
        resume: Continue the unfinished run in ``out``; the result is that of an unbroken run.
        overwrite: Replace whatever run ``out`` holds.
        on_progress: Called at the start, after each evaluation, and after each epoch of training
            that comes before the scores of a batch.

    Raises:
        DdpnasError: Something does not fit; the message says what to change.

    Example:
        >>> import ddpnas
        >>> data = ddpnas.load_data("sign-digits-small")
        >>> options = {"table": "nasbench201"}  # known scores instead of training
        >>> result = ddpnas.search("nasbench201", data, evaluator="table",
        ...                        evaluator_options=options)
        >>> result.history[0].keys() >= {"architecture", "score", "stage"}
        True
    """
    if not isinstance(space, str):
        checked("space of search()", SearchSpace, space)
    seed = checked("seed", Seed, seed)
    check_without_data(
        space, strategy, evaluator, strategy_options=strategy_options or {},
        evaluator_options=evaluator_options or {}, device=device, sieve=sieve,
        sieve_options=sieve_options or {},
        out=None if resume or isinstance(out, RunFolder) else out, overwrite=overwrite,
    )  # fmt: skip
    processes = join(device)
    data = as_data(data)
    if isinstance(space, str):
        space = open_space(space, data, {})
    check_fit(space, data)
    given = dict(strategy_options or {})
    screen = SieveConfig(sieve, sieve_options or {})
    if given.get("seconds") is not None:
        begun = _as_begun(out, "strategy_options", given, "epochs") if resume else None
        if begun is None:
            estimate = estimate_search(
                space, data, strategy, seed=seed, strategy_options=given, device=device,
                evaluator_options=evaluator_options, sieve=screen,
            )  # fmt: skip
            begun = with_epochs(given, estimate)
        given = begun
    named, source, plan = create_search_strategy(strategy, space, seed, given)
    asked = dict(evaluator_options or {})
    if evaluator == "supernet" and asked.get("seconds") is not None:
        begun = _as_begun(out, "evaluator_options", asked, "warmup_epochs") if resume else None
        if begun is None:
            shared = search_evaluator_config(evaluator, plan, asked)
            begun = dataclasses.asdict(
                with_warmup(shared, space, data, plan, seed=seed, device=device)
            )
        asked = begun
    judged_by, judge_options, judge = create_search_evaluator(
        evaluator,
        asked,
        space,
        data,
        plan,
        seed=seed,
        device=device,
        processes=processes,
        sieve=screen,
    )
    judge.requires(plan)
    config = RunConfig(
        space=str(space.name),
        space_options=space.plain_options,
        data=DataConfig(**data.source) if data.source else None,
        strategy=named,
        strategy_options=given,
        evaluator=judged_by,
        evaluator_options=judge_options,
        sieve=sieve,
        sieve_options=dict(sieve_options or {}),
        seed=seed,
        device=device,
    )
    identity = RunIdentity.of(config, space, data, source, judge)
    processes.check_equal("data, space or settings", json.dumps(identity.to_dict()))
    if out is None and resume:
        raise RunError("resume needs the run folder: out=...")

    def open_folder() -> RunFolder | None:
        if out is None or isinstance(out, RunFolder):
            return out
        return RunFolder.open(out) if resume else RunFolder.create(out, overwrite=overwrite)

    def begin() -> SearchResult | None:
        """Check or write the run's identity; return the result if the run is already finished."""
        if folder is None:
            return None
        if resume:
            codes = [space.source, source, code_of_teacher(judge_options)]
            return _take_up(folder, identity, codes, data, processes.size)
        used = pick_device(device) if processes.size == 1 else processes.device
        kept = {
            "identity": identity.to_dict(),
            "about": about_run(space, data, plan.evaluations),
            "made_with": versions(used, processes.size),
        }
        folder.write_identity(config, kept)
        return None

    folder = processes.on_first(open_folder)  # None in other processes, which write nothing
    try:
        found = processes.share(processes.on_first(begin))
        if found is not None:
            return found
        report = on_progress if processes.first else None
        history = SearchLoop(plan, judge, folder, report, processes).run()
        result = SearchResult(
            architecture=plan.architecture,
            text=space.format(plan.architecture),
            distribution=plan.distribution,
            history=history,
            seconds=search_seconds(history),
        )
        if folder is not None:
            folder.write_json(RESULT, result._to_dict())
        return result
    finally:
        if folder is not None:
            folder.close()


def _as_begun(
    out: str | Path | RunFolder | None, group: str, options: Mapping[str, Any], number: str
) -> dict[str, Any] | None:
    """Return options with the number that an interrupted run keeps in place of seconds.

    All else stays as given, so that a changed option is refused as it is without seconds.

    Args:
        out: The folder of the run.
        group: Options of the run, "strategy_options" or "evaluator_options".
        options: The options that were given, with ``seconds``.
        number: Name of the number.

    Returns:
        None if the run keeps no such number.
    """
    if not isinstance(out, (str, Path)):
        return None
    kept = getattr(RunConfig.read(Path(out) / CONFIG), group)
    if kept.get("seconds") is not None or kept.get(number) is None:
        return None
    begun = {name: value for name, value in options.items() if name != "seconds"}
    if begun.get(number) is None:
        begun[number] = kept[number]
    return begun


def _take_up(
    folder: RunFolder,
    identity: RunIdentity,
    codes: Sequence[UserCode | None],
    data: Data,
    processes: int,
) -> SearchResult | None:
    """Check that a run can go on; return its result if it is finished.

    Args:
        folder: Its folder.
        identity: Identity of the search that was called.
        codes: The user's code of the space, of the strategy and of the evaluator's teacher, None
            where there is none.
        data: The images.
        processes: How many search now.

    Raises:
        RunError: The run began with something else.
    """
    kept = read_json(folder.path / RUN, RunForm)
    before = RunIdentity.from_dict(kept["identity"], folder.path / RUN)
    # Code first: its message names the file.
    fingerprints = (before.space_code, before.strategy_code, before.evaluator_code)
    for code, fingerprint in zip(codes, fingerprints, strict=True):
        if code is not None:
            code.require(fingerprint, folder.path)
    if difference := before.difference(identity):
        raise RunError(
            f"the run cannot go on with something else than it began with: {difference}; "
            f"start a new run with another --out"
        )
    if data.source:
        folder.note_images(data.source["data"])
    if (folder.path / RESULT).exists():
        return SearchResult.load(folder.path)
    note_processes(kept["made_with"], processes)
    return None


def check_without_data(
    space: SearchSpace | str,
    strategy: object,
    evaluator: object,
    *,
    space_options: Mapping[str, Any] | None = None,
    strategy_options: Mapping[str, Any] | None = None,
    evaluator_options: Mapping[str, Any] | None = None,
    sieve: str = "all",
    sieve_options: Mapping[str, Any] | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    overwrite: bool = False,
) -> None:
    """Refuse what can be refused without images, which may take minutes to read.

    Args:
        space: See :func:`search`.
        strategy: See :func:`search`. Classes and objects are checked when they are called.
        evaluator: See :func:`search`.
        space_options: Options of a space given by its name.
        strategy_options: Options of the strategy.
        evaluator_options: Options of the evaluator.
        sieve: See :func:`search`.
        sieve_options: Options of the sieve.
        device: Where the search would run.
        out: Folder of a new run.
        overwrite: Whether it may replace one.

    Raises:
        DdpnasError: A name or an option is unknown, a value out of range, or ``out`` in use.

    Example:
        >>> check_without_data("toy", "random", "table", strategy_options={"evaluations": 5})
    """
    pick_device(device)
    SieveConfig(sieve, sieve_options or {})
    made = strategy
    if isinstance(strategy, str):
        named = NamedStrategy.read(strategy)
        named.checked(strategy_options or {})
        made = named.made()
    if isinstance(evaluator, str):
        search_evaluator_config(evaluator, made, evaluator_options or {})
    if isinstance(space, str):
        check_space(space, space_options or {})
    if out is not None:  # where one process refuses, all have to
        current().on_first(lambda: RunFolder.check_free(out, overwrite=overwrite))


def open_space(name: str, data: Data, options: Mapping[str, Any]) -> SearchSpace:
    """Return the space of that name with the input shape and classes of the data.

    Args:
        name: A name in :func:`ddpnas.list_spaces`, or ``my_file.py:network``, which is executed.
        data: The data; it sets the number of classes and the input shape.
        options: Options of the space.

    Raises:
        DataError: The options ask for other classes or another input shape than the data has.
        SpaceError: See :func:`ddpnas.create_space`.
        OptionError: See :func:`ddpnas.create_space`.

    Example:
        >>> import ddpnas
        >>> open_space("toy", ddpnas.load_data("sign-digits-small"), {}).output_shape
        (10,)
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
    """Check that networks of the space take the images and give the classes of the data.

    Raises:
        SpaceError: They do not; says what to change.
    """
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
