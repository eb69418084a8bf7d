"""View: a run with everything that a report computes from it, each computed only once."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ddpnas.costs.count import count_costs
from ddpnas.costs.table import CostTable
from ddpnas.errors import DataError, RunError, SpaceError
from ddpnas.generation.best import Generated
from ddpnas.generation.frontier import frontier
from ddpnas.generation.limits import Limit
from ddpnas.report.measures import Point, random_points
from ddpnas.runs.run import Run
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import names_file
from ddpnas.strategies.choice_effects import ChoiceEffect, choice_effects

__all__ = ["MOST_FITTED", "View"]

logger = logging.getLogger(__name__)

MOST_FITTED = 500  # accuracies to fit effects to: the time of the fit grows with their cube


class View:
    """A run, and what a report computes from it.

    Attributes:
        network: The network that the report is about; None before the search has found one.

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
        self.network = run.network
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
        if names_file(self.run.config.space) and self.space_name is None:
            return None
        try:
            return self.run.space(self.space_name, options=self._network["options"])
        except RunError:
            if self.space_name is not None:
                raise
            return None  # a function of a Python program, which cannot be found by its name

    @functools.cached_property
    def costs(self) -> Mapping[str, CostTable]:
        """Cost tables by name; without the space, only those that were given.

        A table that was measured for networks of another size is left out, with a warning.
        """
        fitting = {}
        for table in self.tables:
            try:
                table.check(self.space or self.run.decision_space)
                fitting[table.name] = table
            except SpaceError as error:
                logger.warning("the report leaves out a cost: %s", error)
        return {**self._counted, **fitting}

    @functools.cached_property
    def _counted(self) -> Mapping[str, CostTable]:
        if self._before is not None:
            return self._before._counted
        return count_costs(self.space) if self.space is not None else {}

    @property
    def _network(self) -> dict[str, Any]:
        """Everything that the final networks depend on, to tell whether a view can be reused."""
        return {
            "space": str(self.run.config.space),
            "searched": self.run.config.space_options,
            "options": {} if self.network is None else dict(self.network.space_options),
        }

    @functools.cached_property
    def units(self) -> dict[str, str]:
        """The unit of each cost."""
        return {"macs": "MACs", "params": "parameters", "latency_ms": "ms"} | {
            name: table.unit for name, table in self.costs.items()
        }

    @property
    def limits(self) -> Mapping[str, Limit]:
        """The limits that the network had to meet, by name of the cost."""
        return {} if self.network is None else self.network.limits

    @functools.cached_property
    def network_costs(self) -> dict[str, float]:
        """Costs of the network by name."""
        if self.network is None:
            return {}
        told, architecture = self.network.costs, self.network.architecture
        more = {n: t.cost(architecture) for n, t in self.costs.items() if n not in told}
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
        """What ``ddpnas latency check`` measured for the network; None if it did not."""
        found, network = self.run.latency_check, self.network
        if found is None or network is None or found["text"] != network.text:
            return None
        now = {} if self.space is None else json.loads(json.dumps(self.space.plain_options))
        before = found["space_options"]
        return found if all(before.get(name) == now[name] for name in now) else None
