"""read_run(): what a run folder holds, finished or not, as frozen data; nothing is executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ddpnas.errors import ArchitectureError, RunError
from ddpnas.generation.limits import Limit
from ddpnas.runs.resume import read_config, run_generated
from ddpnas.space.decisions import Architecture, DecisionSpace
from ddpnas.space.distribution import JointDistribution
from ddpnas.space.user_code import without_folders
from ddpnas.training.results import Comparison
from ddpnas.training.trained_folder import read_comparison
from ddpnas.utils.files import read_json, read_records

__all__ = ["Run", "Stage", "read_run", "said_path"]


@dataclass(frozen=True)
class Stage:
    """The distribution after one pruning.

    Attributes:
        number: of prunings so far, 1 after the first; 0 is the uniform start.
        evaluations: architectures scored by then.
        distribution: theta and survivors.
    """

    number: int
    evaluations: int
    distribution: JointDistribution


@dataclass(frozen=True)
class Run:
    """A run folder, read whole.

    Attributes:
        path: as it was named.
        label: short name, unique in a comparison.
        config: the resolved configuration.
        made_with: versions, machine, device, start.
        data_name, data: of the images; classes, input shape and numbers of items.
        fingerprint: hash of the images that the search saw.
        space: decisions and rules, without any network.
        planned: architectures to score in all; None where the run did not say.
        history: one record an evaluated architecture.
        stages: the uniform start and one entry a pruning.
        distribution: the newest.
        architecture, text: what the search found; None while it goes on.
        generated: the record of ``ddpnas generate``, None before it.
        trained: None before ``ddpnas train``.
        latency_check: what ``ddpnas latency check`` measured, None before it.
    """

    path: Path
    label: str
    config: Mapping[str, Any]
    made_with: Mapping[str, Any]
    data_name: str
    data: Mapping[str, Any]
    fingerprint: str
    space: DecisionSpace
    planned: int | None
    history: tuple[Mapping[str, Any], ...]
    stages: tuple[Stage, ...]
    distribution: JointDistribution
    architecture: Architecture | None
    text: str | None
    generated: Mapping[str, Any] | None
    trained: Comparison | None
    latency_check: Mapping[str, Any] | None

    @property
    def space_name(self) -> str:
        """The name of the space; of one in a file, without where the file lies."""
        return without_folders(str(self.config["space"]))

    @property
    def strategy_name(self) -> str:
        """The name of the strategy, likewise."""
        return without_folders(str(self.config["strategy"]))

    @property
    def finished(self) -> bool:
        """Whether the search came to its end."""
        return self.architecture is not None

    @property
    def shared(self) -> bool:
        """Whether scores came from shared weights, not from a training of each architecture."""
        return str(self.config["evaluator"]) == "supernet"

    @property
    def accuracies(self) -> list[float]:
        """The validation accuracy of every scored architecture (the score itself may be a loss)."""
        return [record.get("accuracy", record["score"]) for record in self.history]

    @property
    def chosen(self) -> Architecture | None:
        """The architecture that this run is about: generated within limits, else found."""
        if self.generated is not None:
            return Architecture(self.generated["architecture"])
        return self.architecture

    @property
    def chosen_text(self) -> str | None:
        """The text form of :attr:`chosen`."""
        return self.generated["text"] if self.generated is not None else self.text

    @property
    def limits(self) -> dict[str, Limit]:
        """The limits that the chosen architecture had to meet, by name of the cost."""
        given = self.generated["limits"] if self.generated is not None else {}
        return {name: Limit.from_json(limit) for name, limit in given.items()}


def said_path(path: Path) -> str:
    """Return a path as a page for others says it: of a full one the name alone."""
    return path.name if path.is_absolute() else str(path)


def read_run(path: str | Path, label: str | None = None, trained: str | Path | None = None) -> Run:
    """Return what the folder of a run holds.

    Args:
        path: of the run; it may still be running.
        label: other than the folder's name.
        trained: folder of a training of what the run found, other than ``RUN/trained``.

    Raises:
        RunError: it is no run folder, or a file in it is damaged, or ``trained`` is no training
            of an architecture of the run's space.
    """
    folder = Path(path)
    if not (folder / "run.json").is_file():
        raise RunError(f"{path} is not a run folder (it holds no run.json)")
    about = read_json(folder / "run.json")
    try:
        run = _read(folder, label or folder.resolve().name, about)
        return run if trained is None else replace(run, trained=_of_this_run(run, Path(trained)))
    except (KeyError, TypeError, IndexError) as error:
        raise RunError(f"{path} was not written by this version of ddpnas: {error!r}") from None


def _of_this_run(run: Run, folder: Path) -> Comparison:
    trained = read_comparison(folder)
    if trained is None:
        raise RunError(f"{folder} is not a folder of ddpnas train (it holds no result.json)")
    try:
        run.space.check(trained.found.architecture)
    except ArchitectureError as error:
        raise RunError(f"{folder} was trained in another space than {run.path}: {error}") from None
    return trained


def _read(folder: Path, label: str, about: Mapping[str, Any]) -> Run:
    identity = about["identity"]
    more = about["about"]
    space = DecisionSpace.from_dict(more["space"])
    stages = [Stage(0, 0, JointDistribution.uniform(space.decisions))]
    for record in read_records(folder / "distributions.jsonl"):
        distribution = JointDistribution.from_dict(record)
        stages.append(Stage(record["stage"], record["evaluations"], distribution))
    distribution = stages[-1].distribution
    architecture = text = None
    if (folder / "result.json").is_file():
        result = read_json(folder / "result.json")
        architecture, text = Architecture(result["architecture"]), result["text"]
        distribution = JointDistribution.from_dict(result["distribution"])
    return Run(
        path=folder,
        label=label,
        config=read_config(folder),
        made_with=about["made_with"],
        data_name=identity["data"]["name"],
        data=more.get("data", {}),
        fingerprint=identity["data"]["fingerprint"],
        space=space,
        planned=more.get("evaluations"),
        history=tuple(read_records(folder / "history.jsonl")),
        stages=tuple(stages),
        distribution=distribution,
        architecture=architecture,
        text=text,
        generated=run_generated(folder) or None,
        trained=read_comparison(folder / "trained"),
        latency_check=_read_optional(folder / "latency_check.json"),
    )


def _read_optional(path: Path) -> Any:
    return read_json(path) if path.is_file() else None
