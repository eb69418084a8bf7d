"""View: a run with everything that a report computes from it, each computed only once."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from ddpnas.costs.count import count_costs
from ddpnas.costs.table import CostTable
from ddpnas.errors import DataError, RunError
from ddpnas.generation.best import Generated
from ddpnas.generation.frontier import frontier
from ddpnas.report.measures import Point, random_points
from ddpnas.runs.run import Run
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import names_file
from ddpnas.strategies.choice_effects import ChoiceEffect, choice_effects

__all__ = ["MOST_FITTED", "View"]

MOST_FITTED = 500  # accuracies to fit effects to: the time of the fit grows with their cube


class View:
    """A run, and what a report computes from it.

    Args:
        run: Content of the run folder.
        space: For a run over a user's own space, its ``file.py:network``. The file is executed
            only if it is named here. Otherwise everything that needs the networks is left out.
        tables: Tables of further costs (latency, energy, ...). ``latency.json`` in the folder and
            the tables that the network was generated with are always used.
        before: An earlier view of the same folder. Its space and costs are reused unless the
            options of the space have changed.

    Raises:
        SpaceError, OptionError: If a table belongs to another space, or to other options of it.
    """

    def __init__(
        self,
        run: Run,
        space: str | None = None,
        tables: Sequence[CostTable] = (),
        before: View | None = None,
    ) -> None:
        self.run = run
        self._before = None
        if before is not None and before._network == self._network:
            before._before, self._before = None, before
        found = [] if run.latency_table is None else [run.latency_table]
        used = [] if run.generation_request is None else run.generation_request.tables()
        named = {table.name: table for table in (*found, *used, *tables)}
        self.tables = tuple(named.values())
        for table in self.tables:
            table.check(run.decision_space)
        self.space_name = space
        self._frontiers: dict[str, list[Generated]] = {}

    @functools.cached_property
    def space(self) -> SearchSpace | None:
        """The space of the final networks; None if its code is a file that was not named."""
        if self._before is not None:
            return self._before.space
        name, options = self._network["space"], self._network["generated"]
        if names_file(name) and self.space_name is None:
            return None
        try:
            return self.run.space(self.space_name, options=options)
        except RunError:
            if self.space_name is not None:
                raise
            return None  # a function of a Python program, which cannot be found by its name

    @functools.cached_property
    def costs(self) -> Mapping[str, CostTable]:
        """Cost tables by name; without the space, only those that were given."""
        return {**self._counted, **{table.name: table for table in self.tables}}

    @functools.cached_property
    def _counted(self) -> Mapping[str, CostTable]:
        if self._before is not None:
            return self._before._counted
        return count_costs(self.space) if self.space is not None else {}

    @property
    def _network(self) -> dict[str, Any]:
        """Everything that the final networks depend on, to tell whether a view can be reused."""
        generated = self.run.generated
        return {
            "space": str(self.run.config.space),
            "searched": self.run.config.space_options,
            "generated": generated["space_options"] if generated is not None else {},
        }

    @functools.cached_property
    def units(self) -> dict[str, str]:
        """The unit of each cost."""
        return {"macs": "MACs", "params": "parameters", "latency_ms": "ms"} | {
            name: table.unit for name, table in self.costs.items()
        }

    @functools.cached_property
    def chosen_costs(self) -> dict[str, float]:
        """Costs of the chosen architecture by name."""
        if self.run.chosen is None:
            return {}
        told = dict(self.run.generated["costs"]) if self.run.generated is not None else {}
        more = {n: t.cost(self.run.chosen) for n, t in self.costs.items() if n not in told}
        return {**told, **more}

    @functools.cached_property
    def effects(self) -> tuple[ChoiceEffect, ...]:
        """Effect of every choice on validation accuracy; empty while all accuracies are equal."""
        step = -(-len(self.run.history) // MOST_FITTED) or 1
        architectures = [record["architecture"] for record in self.run.history[::step]]
        try:
            return choice_effects(
                self.run.decision_space, architectures, self.run.accuracies[::step]
            )
        except DataError:
            return ()

    @functools.cached_property
    def random(self) -> list[Point]:
        """Random architectures of the space, with their costs."""
        space = self.space or self.run.decision_space
        return random_points(space, self.run.distribution, self.costs)

    def frontier(self, name: str) -> list[Generated]:
        """Return every best trade-off between probability and the named cost."""
        if name not in self._frontiers:
            space = self.space or self.run.decision_space
            self._frontiers[name] = frontier(self.run.distribution, space, name, None, self.costs)
        return self._frontiers[name]

    @property
    def latency_check(self) -> Mapping[str, Any] | None:
        """What ``ddpnas latency check`` measured for the chosen network; None if it did not."""
        found = self.run.latency_check
        return found if found is not None and found["text"] == self.run.chosen_text else None
