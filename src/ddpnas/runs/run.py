"""Run: one run folder, read as it is now; reopens its space and data, and generates from it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ddpnas.costs.table import CostTable
from ddpnas.data.data import Data
from ddpnas.data.load import load_data
from ddpnas.errors import ArchitectureError, RunError
from ddpnas.evaluators.base import Evaluation, Evaluator
from ddpnas.evaluators.registry import create_evaluator, list_evaluators
from ddpnas.generation.limits import Limit
from ddpnas.runs.config import RunConfig
from ddpnas.runs.folder import (
    CHECKPOINT,
    CONFIG,
    GENERATED,
    HISTORY,
    LATENCY,
    LATENCY_CHECK,
    RESULT,
    RUN,
    STAGES,
    TRAINED,
    RunFolder,
)
from ddpnas.runs.generation_request import GenerationRequest, GenerationResult, GenerationTask
from ddpnas.runs.identity import RunIdentity
from ddpnas.runs.search import SearchResult
from ddpnas.space.decisions import Architecture, DecisionSpace
from ddpnas.space.distribution import JointDistribution
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import confirmed_name, without_folders
from ddpnas.spaces.registry import list_spaces, named_space
from ddpnas.strategies.registry import list_strategies
from ddpnas.training.checkpoint import load_checkpoint
from ddpnas.training.results import Comparison
from ddpnas.training.trained_folder import read_comparison
from ddpnas.utils.files import read_json, read_records, writable

__all__ = ["Run", "Stage"]

Part = TypeVar("Part")


@dataclass(frozen=True)
class Stage:
    """The distribution after one pruning.

    Attributes:
        number: Number of prunings so far, 1 after the first; 0 is the uniform start.
        evaluations: Number of architectures scored by then.
        distribution: Theta and survivors.
    """

    number: int
    evaluations: int
    distribution: JointDistribution


def _part(read: Callable[[Run], Part]) -> functools.cached_property[Part]:
    """Make a part of a run that is read once, when it is first asked for."""

    @functools.wraps(read)
    def checked(run: Run) -> Part:
        try:
            return read(run)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise RunError(
                f"{run.path} was not written by this version of ddpnas: {error!r}"
            ) from None

    return functools.cached_property(checked)


class Run:
    """A run folder, finished or not. Nothing in it is executed.

    Each file is read when it is first needed and then kept. To see how a search has progressed,
    make another ``Run``.

    Args:
        path: The folder.
        label: A short name for comparisons; None is the name of the folder.
        trained: Folder of a training of what the run found; None is ``trained`` in the folder.

    Attributes:
        path: The folder, as it was named.
        label: The short name.
        config: What the search was asked to do.

    Raises:
        RunError: It is not a run folder, or another version of ddpnas wrote it.

    Example:
        >>> import ddpnas, tempfile
        >>> out = tempfile.mkdtemp() + "/run"
        >>> _ = ddpnas.search("nasbench201", "sign-digits-small", evaluator="table", out=out)
        >>> run = Run(out)
        >>> run.finished, run.config.space
        (True, 'nasbench201')
        >>> found = run.generate(GenerationRequest(limits={"params": "200K"})).chosen
        >>> found.costs["params"] <= 200_000
        True
    """

    def __init__(
        self,
        path: str | Path,
        *,
        label: str | None = None,
        trained: str | Path | None = None,
    ) -> None:
        self.path = Path(path)
        self.label = label or self.path.resolve().name
        self._trained = None if trained is None else Path(trained)
        for name in (RUN, CONFIG):
            if not (self.path / name).is_file():
                raise RunError(f"{path} is not a run folder (it holds no {name})")
        self.config = RunConfig.read(self.path / CONFIG)
        if trained is not None:
            self._check_trained()

    # What the search is.

    @_part
    def _about(self) -> Mapping[str, Any]:
        return dict(read_json(self.path / RUN))

    @_part
    def identity(self) -> RunIdentity:
        """What must be equal for the run to continue."""
        return RunIdentity.from_dict(self._about["identity"], self.path / RUN)

    @_part
    def made_with(self) -> Mapping[str, Any]:
        """Versions, machine, device and start."""
        return dict(self._about["made_with"])

    @_part
    def data_about(self) -> Mapping[str, Any]:
        """``classes``, ``input_shape`` and ``items`` (the size of each split) of the data."""
        return dict(self._about["about"]["data"])

    @property
    def data_name(self) -> str:
        """The name of the data."""
        return str(self.identity.data["name"])

    @_part
    def planned(self) -> int:
        """Number of architectures that the whole search scores."""
        return int(self._about["about"]["evaluations"])

    @_part
    def decision_space(self) -> DecisionSpace:
        """The decisions and rules of the space, without its networks."""
        return DecisionSpace.from_dict(self._about["about"]["space"])

    @property
    def space_name(self) -> str:
        """The name of the space; for one in a file, without the folder that the file is in."""
        return without_folders(self.config.space)

    @property
    def strategy_name(self) -> str:
        """The name of the strategy; for one in a file, without the folder that the file is in."""
        return without_folders(self.config.strategy)

    @property
    def shared(self) -> bool:
        """Whether scores came from weights that all architectures share."""
        return self.config.evaluator == "supernet"

    # How far it got, and what it found.

    @_part
    def history(self) -> tuple[Mapping[str, Any], ...]:
        """One record for each evaluated architecture, see :class:`ddpnas.SearchResult`."""
        return tuple(read_records(self.path / HISTORY))

    @property
    def accuracies(self) -> list[float]:
        """The validation accuracy of each scored architecture (the score may be a loss)."""
        return [record.get("accuracy", record["score"]) for record in self.history]

    @_part
    def stages(self) -> tuple[Stage, ...]:
        """The uniform start, and one entry for each pruning."""
        start = Stage(0, 0, JointDistribution.uniform(self.decision_space.decisions))
        records = read_records(self.path / STAGES)
        return start, *(
            Stage(record["stage"], record["evaluations"], JointDistribution.from_dict(record))
            for record in records
        )

    @property
    def finished(self) -> bool:
        """Whether the search came to its end."""
        return self._found is not None

    @_part
    def _found(self) -> SearchResult | None:
        return SearchResult.load(self.path) if (self.path / RESULT).is_file() else None

    @property
    def result(self) -> SearchResult:
        """What the search found; :class:`RunError` if it is not finished."""
        return self._found or SearchResult.load(self.path)

    @property
    def distribution(self) -> JointDistribution:
        """The newest distribution: that of the result, or of the last stage so far."""
        return self.stages[-1].distribution if self._found is None else self._found.distribution

    @property
    def architecture(self) -> Architecture | None:
        """The architecture that the search found; None while it is not finished."""
        return None if self._found is None else self._found.architecture

    # What came after the search.

    @_part
    def generated(self) -> Mapping[str, Any] | None:
        """The last answer of :meth:`generate` that was kept, as plain data; None before it."""
        return self._optional(GENERATED)

    @_part
    def generation_request(self) -> GenerationRequest | None:
        """What :attr:`generated` was asked for, with the cost tables of then."""
        return None if self.generated is None else GenerationRequest.from_dict(self.generated)

    @_part
    def trained(self) -> Comparison | None:
        """The trained networks; None before the training."""
        return read_comparison(self._trained or self.path / TRAINED)

    @_part
    def latency_check(self) -> Mapping[str, Any] | None:
        """What ``ddpnas latency check`` measured; None before it."""
        return self._optional(LATENCY_CHECK)

    @_part
    def latency_table(self) -> CostTable | None:
        """The latency that was measured for the run's space; None before it."""
        path = self.path / LATENCY
        return CostTable.load(path) if path.is_file() else None

    @property
    def chosen(self) -> Architecture | None:
        """The architecture that this run is about: the generated one, else the found one."""
        if self.generated is not None:
            return Architecture(self.generated["architecture"])
        return self.architecture

    @property
    def chosen_text(self) -> str | None:
        """The text form of :attr:`chosen`."""
        if self.generated is not None:
            return str(self.generated["text"])
        return None if self._found is None else self._found.text

    @property
    def limits(self) -> dict[str, Limit]:
        """The limits that the chosen architecture had to meet, by name of the cost."""
        given = self.generated["limits"] if self.generated is not None else {}
        return {name: Limit.from_json(limit) for name, limit in given.items()}

    def _optional(self, name: str) -> Mapping[str, Any] | None:
        path = self.path / name
        return dict(read_json(path)) if path.is_file() else None

    def _check_trained(self) -> None:
        if self.trained is None:
            raise RunError(
                f"{self._trained} is not a folder of ddpnas train (it holds no result.json)"
            )
        try:
            self.decision_space.check(self.trained.found.architecture)
        except ArchitectureError as error:
            raise RunError(
                f"{self._trained} was trained in another space than {self.path}: {error}"
            ) from None

    # Its space and data, again.

    def space(
        self, name: str | None = None, *, options: Mapping[str, Any] | None = None
    ) -> SearchSpace:
        """Return the space of the run, at the size that was searched or another.

        Args:
            name: For a run over a user's space, its ``file.py:network`` once more: a file is
                executed only because the user names it, never because a run folder does.
            options: Options of the space that override those of the run, such as another width
                for the final network.

        Raises:
            RunError: ``name`` is needed and missing, or is another than the run's, or its code has
                changed since the search.
        """
        confirmed = confirmed_name(
            "space",
            self.path,
            self.config.space,
            name,
            known=list_spaces(),
            kept=self.identity.space_code,
        )
        return named_space(confirmed, {**self.config.space_options, **(options or {})})

    def strategy(self, name: str | None = None) -> str:
        """Return the name of the run's strategy, confirmed by the user if it is in a file.

        Args:
            name: For a user's strategy, its ``file.py:MyStrategy`` once more.

        Raises:
            RunError: as :meth:`space`.
        """
        return confirmed_name(
            "strategy",
            self.path,
            self.config.strategy,
            name,
            known=list_strategies(),
            kept=self.identity.strategy_code,
        )

    def data(self, *, moved_to: str | Path | None = None, **changes: Any) -> Data:
        """Return the data of the run, read again from where it was.

        Args:
            moved_to: Where the same images are now.
            changes: Fields of :class:`ddpnas.data.DataConfig` to set. If one differs from the
                run's, other images are accepted.

        Raises:
            RunError: The data came from Python objects, or is not where or what it was.
        """
        kept = self.config.data
        if kept is None:
            raise RunError(
                f"the data of {self.path} came from Python objects; go on from Python, with the "
                f"same objects: ddpnas.search(space, data, out={str(self.path)!r}, resume=True)"
            )
        if moved_to is not None:
            kept = dataclasses.replace(kept, data=str(moved_to))
        elif "data" not in changes and not _is_there(kept.data):
            raise RunError(
                f"the images of {self.path} are no longer at {kept.data}; say where they are: "
                f"--data FOLDER"
            )
        wanted = dataclasses.replace(kept, **changes)
        data = load_data(wanted)
        if wanted == kept and data.fingerprint() != self.identity.data["fingerprint"]:
            raise RunError(
                f"the images in {kept.data} are no longer those that {self.path} searched: other "
                f"files, classes or splits, so that test images may be ones that it learned from; "
                f"search again, or train the architecture by --space, --architecture and --data"
            )
        return data

    # What can be done with it.

    def evaluator(self, space: SearchSpace, data: Data, *, device: str = "auto") -> Evaluator:
        """Return the evaluator of the run, in the state that the search left.

        Args:
            space: The space of the run, at the size that was searched.
            data: The data of the run.
            device: "auto", "cpu", "cuda", ...

        Raises:
            RunError: The run has no checkpoint, or its evaluator is a class of a Python program.
        """
        config = self.config
        if config.evaluator not in list_evaluators():
            raise RunError(
                f"the evaluator of {self.path}, {config.evaluator!r}, is a class of a Python "
                f"program; call its own rescore"
            )
        saved = load_checkpoint(self.path / CHECKPOINT)
        if saved is None:
            raise RunError(f"{self.path} holds no weights ({CHECKPOINT} is missing)")
        tensors, plain = saved
        evaluator = create_evaluator(
            config.evaluator,
            space,
            data,
            evaluations=plain["evaluations"],
            seed=config.seed,
            device=device,
            **config.evaluator_options,
        )
        evaluator.load_state_dict(tensors, plain["evaluator"])
        return evaluator

    def rescore(
        self,
        architectures: Sequence[Architecture],
        *,
        space: SearchSpace | str | None = None,
        data: Data | str | Path | None = None,
        device: str = "auto",
    ) -> list[Evaluation]:
        """Score architectures with the weights that the search left, see :func:`ddpnas.rescore`."""
        if not self.finished:
            raise RunError(
                f"the run in {self.path} is not finished; go on: ddpnas resume {self.path}"
            )
        if not isinstance(space, SearchSpace):
            space = self.space(space)
        if not isinstance(data, Data):
            data = self.data(moved_to=data)
        return self.evaluator(space, data, device=device).rescore(architectures)

    def task(
        self, request: GenerationRequest | None = None, *, space: str | None = None
    ) -> GenerationTask:
        """Return what a request asks of this run: the space, its costs, the objective, the rules.

        Args:
            request: Limits and further wishes; None asks for the likeliest network.
            space: For a run over a user's space, its ``file.py:network`` once more.

        Raises:
            RunError: The search is not finished, or see :meth:`space`.
            OptionError: An unknown objective, or a cost that is given twice.
            SpaceError: A table of another space or size.
        """
        request = request or GenerationRequest()
        return GenerationTask.of(
            request, self.result, self.space(space, options=request.space_options)
        )

    def generate(
        self,
        request: GenerationRequest | None = None,
        *,
        top: int = 1,
        rescore: int = 0,
        space: str | None = None,
        data: Data | str | Path | None = None,
        device: str = "auto",
    ) -> GenerationResult:
        """Return the best network within limits, and the list that it was chosen from.

        Args:
            request: Limits and further wishes; None asks for the likeliest network.
            top: Length of the list of best networks.
            rescore: Score this many of the best with the weights of the search, each as a whole,
                and choose the one with the highest score.
            space: For a run over a user's space, its ``file.py:network`` once more.
            data: For ``rescore``: the data, or where the run's images are now.
            device: For ``rescore``: "auto", "cpu", "cuda", ...

        Raises:
            InfeasibleError: No network meets the limits.
            RunError, OptionError, SpaceError: see :meth:`task`.
        """
        task = self.task(request, space=space)
        candidates = task.top_k(max(top, rescore))
        scores: list[Evaluation] = []
        if rescore:
            rescored = [one.architecture for one in candidates[:rescore]]
            scores = self.rescore(rescored, space=space, data=data, device=device)
        return GenerationResult(task, candidates, scores)

    def keep(self, found: GenerationResult) -> None:
        """Write a result of :meth:`generate` to ``generated.json``, for training and report.

        Raises:
            RunError: The folder cannot be written, or is in use.
        """
        self.write(GENERATED, found.to_dict())

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write plain data to a JSON file of the folder.

        Raises:
            RunError: The folder cannot be written, or is in use.
        """
        with RunFolder.opened(self.path) as folder, writable(self.path, "make it writable"):
            folder.write_json(name, content)

    def note_place(self, data: Data) -> None:
        """Remember where the images of the run are now; other images are ignored.

        Raises:
            RunError: The folder cannot be written, or is in use.
        """
        if data.source and data.fingerprint() == self.identity.data["fingerprint"]:
            with RunFolder.opened(self.path) as folder, writable(self.path, "make it writable"):
                folder.note_images(data.source["data"])


def _is_there(data: str) -> bool:
    """Return whether data that is a path exists; names of embedded data always do."""
    return not Path(data).is_absolute() or Path(data).exists()
