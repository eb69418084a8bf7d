"""RunNetwork: a network that a run led to: found by the search, generated within limits, trained.

A run can lead to several networks. ``generate`` may be asked again after a training, so the network
that was generated last need not be the one that was trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ddpnas.generation.limits import Limit
from ddpnas.runs.search import SearchResult
from ddpnas.space.decisions import Architecture, DecisionSpace
from ddpnas.training.results import Comparison

__all__ = ["RunNetwork", "provenance_of"]

_COUNTED = ("macs", "params")
_NOT_SHARED = ("tables", "top")  # of an answer of `generate`: large, and not needed to repeat it


@dataclass(frozen=True)
class RunNetwork:
    """A network that a run led to.

    Attributes:
        origin: "found" by the search, "generated" from what it learned, or "given" to the training
            by its architecture.
        architecture: A choice for every decision.
        text: The architecture in the text form of its space.
        space_options: Options of the space that override those of the search.
        costs: Costs by name; empty for a network that was only found.
        limits: The limits that it had to meet, by name of the cost.
        generated: The answer of ``ddpnas generate`` that it comes from, or None.

    Example:
        >>> from ddpnas.space.decisions import Decision
        >>> network = RunNetwork("given", Architecture({"op": "conv"}), "conv")
        >>> network.same_as(RunNetwork("found", Architecture({"op": "conv"}), "conv"),
        ...                 DecisionSpace([Decision("op", ("conv", "skip"))]))
        True
    """

    origin: Literal["found", "generated", "given"]
    architecture: Architecture
    text: str
    space_options: Mapping[str, Any] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    limits: Mapping[str, Limit] = field(default_factory=dict)
    generated: Mapping[str, Any] | None = None

    @classmethod
    def found(cls, result: SearchResult) -> RunNetwork:
        """Return the network that a search found."""
        return cls("found", result.architecture, result.text)

    @classmethod
    def from_generated(cls, content: Mapping[str, Any]) -> RunNetwork:
        """Return the network of the content of a ``generated.json``."""
        return cls(
            "generated",
            Architecture(content["architecture"]),
            str(content["text"]),
            dict(content["space_options"]),
            dict(content["costs"]),
            {name: Limit.from_json(limit) for name, limit in content["limits"].items()},
            content,
        )

    @classmethod
    def from_trained(
        cls, trained: Comparison, found: RunNetwork | None, last: Mapping[str, Any] | None
    ) -> RunNetwork:
        """Return the network that was trained.

        Args:
            trained: The figures of the training.
            found: What the search found.
            last: The last answer of ``ddpnas generate``. If the network comes from it, that answer
                takes the place of the extract that the training kept.
        """
        first, generated = trained.found, trained.generated
        if generated is not None and last is not None and _extract(last) == _extract(generated):
            generated = last
        by_search = found is not None and found.architecture == first.architecture
        return cls(
            "generated" if generated is not None else "found" if by_search else "given",
            first.architecture,
            first.text,
            trained.space_options,
            first.costs,
            trained.limits,
            generated,
        )

    def same_as(self, other: RunNetwork, space: DecisionSpace) -> bool:
        """Return whether two descriptions are of one network.

        One that was trained at the size of a recipe is the one that it was generated as. Otherwise
        the counted costs tell networks of different sizes apart.

        Args:
            other: The other description.
            space: The decisions of both.
        """
        if space.canonical(self.architecture) != space.canonical(other.architecture):
            return False
        if self.generated is not None and other.generated is not None:
            return bool(self.generated["space_options"] == other.generated["space_options"])
        counted = [name for name in _COUNTED if name in self.costs and name in other.costs]
        return all(self.costs[name] == other.costs[name] for name in counted)


def provenance_of(generated: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the folder of a trained network keeps of an answer of ``ddpnas generate``.

    The folder can be shared, so files are named without their folders.

    Args:
        generated: Content of ``generated.json``.

    Example:
        >>> provenance_of({"text": "conv", "costs_from": ["/home/me/ms.json"], "tables": []})
        {'text': 'conv', 'costs_from': ['ms.json']}
    """
    kept = {name: value for name, value in generated.items() if name not in _NOT_SHARED}
    return {**kept, "costs_from": [Path(path).name for path in kept["costs_from"]]}


def _extract(generated: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is equal if two answers to the same question are: all but the time it took."""
    return {k: v for k, v in provenance_of(generated).items() if k != "certificate"}
