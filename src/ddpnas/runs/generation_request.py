"""Ask a finished run for networks within limits: the request, the task and the result."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ddpnas.costs.count import count_costs
from ddpnas.costs.table import CostTable
from ddpnas.errors import OptionError, nearest
from ddpnas.evaluators.base import Evaluation
from ddpnas.generation.best import Generated, top_k
from ddpnas.generation.frontier import frontier
from ddpnas.generation.limits import Limit, Limits, parse_limits
from ddpnas.generation.objective import Objective
from ddpnas.runs.search import SearchResult
from ddpnas.space.decisions import Architecture, Rule
from ddpnas.space.search_space import SearchSpace
from ddpnas.spaces.darts_rules import darts_height, parametric_operations
from ddpnas.strategies.choice_effects import choice_effects

__all__ = ["GenerationRequest", "GenerationResult", "GenerationTask"]

OBJECTIVES = ("log-theta", "theta", "expected-score")


@dataclass(frozen=True)
class GenerationRequest:
    """What a network generated from a run must be like.

    Attributes:
        limits: Limits by name of the cost, such as ``{"macs": "20M"}``.
        costs: Further cost tables (latency, energy, ...), or the JSON files that hold them.
        objective: What is maximized: "log-theta" (the likelihood), "theta" (its sum, as the
            authors' generator) or "expected-score" (the sum of the fitted effects of all choices).
        survivors_only: Leave out what the search pruned.
        height: Largest length of a chain of nodes in each cell (the darts space only).
        parametric: Exact number of convolutions in each cell (the darts space only).
        space_options: Options of the space that override those of the run.
        margin: Share by which measured costs may be wrong, such as "5%"; see
            :func:`ddpnas.generate`.

    Example:
        >>> GenerationRequest(limits={"macs": "20M"}).objective
        'log-theta'
    """

    limits: Limits = field(default_factory=dict)
    costs: Sequence[CostTable | str | Path] = ()
    objective: str = "log-theta"
    survivors_only: bool = False
    height: int | None = None
    parametric: int | None = None
    space_options: Mapping[str, Any] = field(default_factory=dict)
    margin: float | str | None = None

    def tables(self) -> list[CostTable]:
        """Return the further cost tables, read from their files."""
        return [c if isinstance(c, CostTable) else CostTable.load(c) for c in self.costs]

    def rules(self, space: SearchSpace) -> list[Rule]:
        """Return the rules that ``height`` and ``parametric`` stand for in the space.

        Raises:
            SpaceError: The space does not have the cells of DARTS.
        """
        rules = []
        if self.height is not None:
            rules += darts_height(space, self.height)
        if self.parametric is not None:
            rules += parametric_operations(space, self.parametric)
        return rules

    def to_dict(self) -> dict[str, Any]:
        """Return the request as plain data for JSON, cost tables included."""
        return {
            "limits": {name: limit.to_json() for name, limit in parse_limits(self.limits).items()},
            "objective": self.objective,
            "survivors_only": self.survivors_only,
            "height": self.height,
            "parametric": self.parametric,
            "costs_from": [str(c) for c in self.costs if not isinstance(c, CostTable)],
            "space_options": dict(self.space_options),
            "error_margin": self.margin,
            "tables": [table.to_dict() for table in self.tables()],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> GenerationRequest:
        """Return the request that :meth:`to_dict` described, with the cost tables it had then.

        Args:
            content: Plain data; it may hold more.
        """
        names = ("objective", "survivors_only", "height", "parametric", "space_options")
        return cls(
            limits={name: Limit.from_json(limit) for name, limit in content["limits"].items()},
            costs=[CostTable.from_dict(table) for table in content["tables"]],
            margin=content.get("error_margin", 0.0),  # answers of before were given without one
            **{name: content[name] for name in names},
        )


@dataclass(frozen=True)
class GenerationTask:
    """A request, applied to a finished run: all that the solver needs.

    Attributes:
        request: What was asked.
        result: Result of the search.
        space: The space at the size that was asked for.
        limits: Limits by name of the cost.
        costs: Counted and further tables by name.
        objective: What is maximized.
        rules: Rules in addition to those of the space.
    """

    request: GenerationRequest
    result: SearchResult
    space: SearchSpace
    limits: dict[str, Limit]
    costs: dict[str, CostTable]
    objective: Objective
    rules: list[Rule]

    @classmethod
    def of(
        cls, request: GenerationRequest, result: SearchResult, space: SearchSpace
    ) -> GenerationTask:
        """Return the task of a request.

        Args:
            request: What is asked.
            result: Result of the search.
            space: The space at the size that is asked for.

        Raises:
            OptionError: An unknown objective, a limit that cannot be read, or a cost given twice.
            SpaceError: A table of another space or size.
        """
        limits = parse_limits(request.limits)
        costs = count_costs(space)
        for table in request.tables():
            table.check(space)
            if table.name in costs:
                raise OptionError(
                    f"two cost tables are named {table.name!r}; rename one in its file"
                )
            costs[table.name] = table
        objective = _objective(request.objective, space, result.history)
        return cls(request, result, space, limits, costs, objective, request.rules(space))

    def top_k(self, k: int) -> list[Generated]:
        """Return the ``k`` best networks, best first; see :func:`ddpnas.top_k`."""
        return top_k(
            self.result.distribution,
            self.space,
            k,
            self.limits,
            self.costs,
            objective=self.objective,
            survivors_only=self.request.survivors_only,
            rules=self.rules,
            margin=self.request.margin,
        )

    def frontier(self, costs: Sequence[str]) -> list[Generated]:
        """Return the best network for every budget of these costs; see :func:`ddpnas.frontier`."""
        return frontier(
            self.result.distribution,
            self.space,
            costs,
            self.limits,
            self.costs,
            objective=self.objective,
            survivors_only=self.request.survivors_only,
            rules=self.rules,
            margin=self.request.margin,
        )


@dataclass(frozen=True)
class GenerationResult:
    """The best networks within limits, and the one that was chosen.

    Attributes:
        task: What was asked.
        candidates: The best networks, best first.
        scores: Evaluations of the first candidates by the weights of the search, if asked for.
    """

    task: GenerationTask
    candidates: list[Generated]
    scores: list[Evaluation]

    @property
    def place(self) -> int:
        """Position of the chosen network, from 0: the highest score, or 0 without scores.

        A score that is not finite, as of a network that diverged, is the lowest.
        """
        scores = [s.score if math.isfinite(s.score) else -math.inf for s in self.scores]
        # max() keeps the first of equal scores, which is the likelier network.
        return max(range(len(scores)), key=scores.__getitem__, default=0)

    @property
    def chosen(self) -> Generated:
        """The chosen network."""
        return self.candidates[self.place]

    @property
    def text(self) -> str:
        """The text form of the chosen architecture."""
        return self.task.space.format(self.chosen.architecture)

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as plain data for JSON: the choice, its list and the request."""
        listed = [self._candidate(one) for one in self.candidates]
        for record, score in zip(listed, self.scores, strict=False):
            record["score"] = score.score
            if "accuracy" in score.details:
                record["accuracy"] = score.details["accuracy"]
        content = {**listed[self.place], **self.task.request.to_dict()}
        if len(listed) > 1:
            content["top"] = listed
        if self.scores:
            changed = self.place > 0
            content |= {
                "rescored": len(self.scores),
                "chosen": self.place,
                "changed_by_rescoring": changed,
            }
        return content

    def _candidate(self, one: Generated) -> dict[str, Any]:
        return {
            "architecture": dict(one.architecture),
            "text": self.task.space.format(one.architecture),
            "costs": one.costs,
            "margin": one.margin,
            "log_prob": one.log_prob,
            "certificate": {**dataclasses.asdict(one.certificate), "gap": one.certificate.gap},
        }


def _objective(name: str, space: SearchSpace, history: Sequence[Mapping[str, Any]]) -> Objective:
    name = name.replace("_", "-")  # as the functions in Python spell it
    if name not in OBJECTIVES:
        raise OptionError(nearest("objective", name, OBJECTIVES))
    if name != "expected-score":
        return name.replace("-", "_")
    architectures = [Architecture(record["architecture"]) for record in history]
    effects = choice_effects(space, architectures, [record["score"] for record in history])
    return {(effect.decision, effect.option): effect.mean for effect in effects}
