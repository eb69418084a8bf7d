"""RunFiles: what stands in a run folder, each file read when it is first needed."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ddpnas.costs.table import CostTable
from ddpnas.errors import ArchitectureError, RunError
from ddpnas.evaluators.table import TableConfig
from ddpnas.runs._forms import GeneratedForm, LatencyCheckForm, RecordForm, StageForm
from ddpnas.runs.config import RunConfig
from ddpnas.runs.folder import (
    CONFIG,
    GENERATED,
    HISTORY,
    LATENCY,
    LATENCY_CHECK,
    RESULT,
    RUN,
    STAGES,
    TRAINED,
    no_run,
)
from ddpnas.runs.generation_request import GenerationRequest
from ddpnas.runs.identity import RunForm, RunIdentity
from ddpnas.runs.loop import search_seconds
from ddpnas.runs.networks import RunNetwork
from ddpnas.runs.search import SearchResult
from ddpnas.space.decisions import DecisionSpace
from ddpnas.space.distribution import JointDistribution
from ddpnas.space.user_code import without_folders
from ddpnas.training.results import Comparison
from ddpnas.training.trained_folder import read_comparison
from ddpnas.utils.read import blaming, read_json, read_records

__all__ = ["RunFiles", "Stage"]

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


def _part(read: Callable[[RunFiles], Part]) -> functools.cached_property[Part]:
    """Make a part of a run that is read once, when it is first asked for."""
    return functools.cached_property(read)


class RunFiles:
    """The files of a run folder, finished or not. Nothing in it is executed.

    Each file is read when it is first needed and then kept. :class:`ddpnas.runs.Run` adds what
    can be done with a run.

    See there for the arguments.
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
                raise no_run(self.path, name)
        self.config = RunConfig.read(self.path / CONFIG)
        if trained is not None:
            self._check_trained()

    # What the search is.

    @_part
    def _about(self) -> RunForm:
        found: RunForm = read_json(self.path / RUN, RunForm)
        return found

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

    @property
    def images(self) -> str | None:
        """Path or name of the images; None if the data came from Python objects."""
        return None if self.config.data is None else self.config.data.data

    @_part
    def planned(self) -> int:
        """Number of architectures that the whole search scores."""
        return self._about["about"]["evaluations"]

    @_part
    def decision_space(self) -> DecisionSpace:
        """The decisions and rules of the space, without its networks."""
        with blaming(self.path / RUN):
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

    @property
    def mixed(self) -> bool:
        """Whether a gradient-based strategy trained a mixture of all options."""
        return self.shared and "training" not in self.config.evaluator_options

    # How far it got, and what it found.

    @_part
    def history(self) -> tuple[Mapping[str, Any], ...]:
        """One record for each evaluated architecture, see :class:`ddpnas.SearchResult`."""
        records = read_records(self.path / HISTORY, RecordForm)
        for number, record in enumerate(records, 1):
            with blaming(f"line {number} of {self.path / HISTORY}"):
                self.decision_space.check(record["architecture"], path=True)
        return tuple(records)

    @property
    def has_accuracies(self) -> bool:
        """Whether each score came with an accuracy, which a user's evaluator need not measure."""
        return all("accuracy" in record for record in self.history)

    @property
    def measures(self) -> list[float]:
        """The accuracy of each scored architecture (the score may be a loss), else its score."""
        name = "accuracy" if self.has_accuracies else "score"
        return [record[name] for record in self.history]

    @property
    def best_measure(self) -> float | None:
        """The highest of :attr:`measures` on all classes; None before there is a finite one."""
        records = zip(self.history, self.measures, strict=True)
        whole = (value for record, value in records if "classes" not in record)
        return max(filter(math.isfinite, whole), default=None)

    def written_measure(self, value: float) -> str:
        """Return one of :attr:`measures` as text: an accuracy in percent, a score as a number."""
        return f"{100 * value:.2f} %" if self.has_accuracies else f"{value:.4g}"

    @property
    def judged_by(self) -> str:
        """What :attr:`measures` are: not all come from the images of the run."""
        if not self.has_accuracies:
            return "score"
        if self.config.evaluator == "table":
            table = TableConfig(**self.config.evaluator_options).table
            return f"accuracy in benchmark table {table}"
        return "validation accuracy"

    @property
    def scored(self) -> str:
        """In words, how many architectures were scored, and how many of them differ."""
        scores = len(self.history)
        different = len({tuple(sorted(r["architecture"].items())) for r in self.history})
        if different == scores:
            return f"{scores:,} architecture{'s' * (scores != 1)} scored"
        whole = " (the whole space)" if different == self.decision_space.valid_size else ""
        return f"{scores:,} scores of {different:,} different architectures{whole}"

    @_part
    def seconds(self) -> float:
        """Seconds that the search has taken so far, over all sessions."""
        return search_seconds(self.history)

    @_part
    def stages(self) -> tuple[Stage, ...]:
        """The uniform start, and one entry for each pruning."""
        start = Stage(0, 0, JointDistribution.uniform(self.decision_space.decisions))
        stages = [start]
        for number, record in enumerate(read_records(self.path / STAGES, StageForm), 1):
            with blaming(f"line {number} of {self.path / STAGES}"):
                distribution = self._of_this_space(JointDistribution.from_dict(record))
            stages.append(Stage(record["stage"], record["evaluations"], distribution))
        return tuple(stages)

    @property
    def finished(self) -> bool:
        """Whether the search came to its end."""
        return self._found is not None

    @_part
    def _found(self) -> SearchResult | None:
        if not (self.path / RESULT).exists():
            return None
        found = SearchResult.load(self.path)
        with blaming(self.path / RESULT):
            self._of_this_space(found.distribution)
            self.decision_space.check(found.architecture)
        return found

    @property
    def result(self) -> SearchResult:
        """What the search found; :class:`RunError` if it is not finished."""
        return self._found or SearchResult.load(self.path)

    @property
    def distribution(self) -> JointDistribution:
        """The newest distribution: that of the result, or of the last stage so far."""
        return self.stages[-1].distribution if self._found is None else self._found.distribution

    # What came after the search.

    @_part
    def generated(self) -> Mapping[str, Any] | None:
        """The last kept answer of :meth:`ddpnas.runs.Run.generate`; None before it."""
        found = self._optional(GENERATED, GeneratedForm)
        if found is not None:
            with blaming(self.path / GENERATED):
                for one in (found, *found.get("top", ())):
                    self.decision_space.check(one["architecture"])
        return found

    @_part
    def generation_request(self) -> GenerationRequest | None:
        """What :attr:`generated` was asked for, with the cost tables of then."""
        if self.generated is None:
            return None
        with blaming(self.path / GENERATED):
            return GenerationRequest.from_dict(self.generated)

    @_part
    def trained(self) -> Comparison | None:
        """The trained networks; None before the training."""
        return read_comparison(self._trained or self.path / TRAINED)

    @_part
    def latency_check(self) -> Mapping[str, Any] | None:
        """What ``ddpnas latency check`` measured; None before it."""
        return self._optional(LATENCY_CHECK, LatencyCheckForm)

    @_part
    def latency_table(self) -> CostTable | None:
        """The latency that was measured for the run's space; None before it."""
        path = self.path / LATENCY
        return CostTable.load(path) if path.exists() else None

    @_part
    def chosen(self) -> RunNetwork | None:
        """The network that a training takes: the one generated last, else the found one.

        None while the search is not finished.
        """
        if self.generated is not None:
            return RunNetwork.from_generated(self.generated)
        return None if self._found is None else RunNetwork.found(self._found)

    @_part
    def network(self) -> RunNetwork | None:
        """The network that the figures of the run are about: the trained one, if there is one.

        Before the training it is :attr:`chosen`.
        """
        if self.trained is None:
            return self.chosen
        found = None if self._found is None else RunNetwork.found(self._found)
        return RunNetwork.from_trained(self.trained, found, self.generated)

    @_part
    def untrained(self) -> RunNetwork | None:
        """The network generated last, if it is another one than the trained one; else None."""
        if self.trained is None or self.generated is None:
            return None
        last, network = self.chosen, self.network
        if last is None or network is None or last.same_as(network, self.decision_space):
            return None
        return last

    def _optional(self, name: str, shape: Any) -> Mapping[str, Any] | None:
        path = self.path / name
        return dict(read_json(path, shape)) if path.exists() else None

    def _of_this_space(self, distribution: JointDistribution) -> JointDistribution:
        """Return a distribution, after checking that it is over the decisions of the run."""
        if distribution.decisions != self.decision_space.decisions:
            raise RunError(f"its decisions are not those of {self.path / RUN}")
        return distribution

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
