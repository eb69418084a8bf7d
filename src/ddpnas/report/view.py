"""View: a run with everything that a report computes from it, each computed once."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from ddpnas.cost_table import CostTable
from ddpnas.costs import count_costs
from ddpnas.errors import DataError, RunError
from ddpnas.reopen import run_space
from ddpnas.report.data import Run
from ddpnas.report.measures import Point, random_points
from ddpnas.space import SearchSpace
from ddpnas.spaces.own import is_file_space
from ddpnas.strategies import ChoiceEffect, choice_effects

__all__ = ["View"]


class View:
    """A run, and what follows from it.

    Args:
        run: what its folder holds.
        space: for a run over a user's own space, its ``file.py:network``: the file is executed
            only because the user names it. Without it, what needs the networks is left out.
    """

    def __init__(self, run: Run, space: str | None = None) -> None:
        self.run = run
        self._space_name = space

    @functools.cached_property
    def space(self) -> SearchSpace | None:
        """The space of the final networks; None where its code was not named."""
        name = str(self.run.config["space"])
        if is_file_space(name) and self._space_name is None:
            return None
        options = self.run.generated["space_options"] if self.run.generated is not None else {}
        try:
            return run_space(self.run.path, space=self._space_name, options=options)
        except RunError:
            if self._space_name is not None:
                raise
            return None  # a function of a Python program

    @functools.cached_property
    def costs(self) -> Mapping[str, CostTable]:
        """What an architecture costs; empty without the space."""
        return count_costs(self.space) if self.space is not None else {}

    @functools.cached_property
    def units(self) -> dict[str, str]:
        """The unit of each cost."""
        return {"macs": "MACs", "params": "parameters", "latency_ms": "ms"} | {
            name: table.unit for name, table in self.costs.items()
        }

    @functools.cached_property
    def chosen_costs(self) -> dict[str, float]:
        """What the chosen architecture costs."""
        if self.run.generated is not None:
            return dict(self.run.generated["costs"])
        if self.run.architecture is None:
            return {}
        return {name: table.cost(self.run.architecture) for name, table in self.costs.items()}

    @functools.cached_property
    def effects(self) -> tuple[ChoiceEffect, ...]:
        """The effect of every choice on the score; empty before the scores differ."""
        architectures = [record["architecture"] for record in self.run.history]
        scores = [record["score"] for record in self.run.history]
        try:
            return choice_effects(self.run.space, architectures, scores)
        except DataError:
            return ()

    @functools.cached_property
    def random(self) -> list[Point]:
        """Random architectures of the space with their costs."""
        if self.space is None:
            return []
        return random_points(self.space, self.run.distribution, self.costs)

    @functools.cached_property
    def run_folder(self) -> Path:
        """The folder as it was named."""
        return self.run.path
