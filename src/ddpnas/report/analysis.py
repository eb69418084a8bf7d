"""View: a run with everything that a report computes from it, each computed only once."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ddpnas.costs.count import count_costs
from ddpnas.costs.table import CostTable
from ddpnas.data.data import Data
from ddpnas.errors import DataError, RunError, SpaceError
from ddpnas.generation.best import Generated
from ddpnas.generation.frontier import frontier
from ddpnas.generation.limits import Limit
from ddpnas.report.measures import Point, random_points
from ddpnas.runs.networks import RunNetwork
from ddpnas.runs.run import Run
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import names_file
from ddpnas.spaces.registry import list_spaces, named_space
from ddpnas.strategies.choice_effects import ChoiceEffect, choice_effects
from ddpnas.training.results import Comparison

__all__ = ["MOST_FITTED", "TrainedView", "View"]

logger = logging.getLogger(__name__)

MOST_FITTED = 500  # accuracies to fit effects to: the time of the fit grows with their cube

_UNITS = {"macs": "MACs", "params": "parameters", "latency_ms": "ms"}


class TrainedView:
    """A trained network without the run that it may come from.

    Attributes:
        network: The network that the page is about.

    Args:
        trained: Content of its folder.
        space: For a network of a user's own space, its ``file.py:network``. The file is executed
            only if it is named here. Otherwise the picture and the images are left out.
        data: Its images, if they are in memory.
    """

    def __init__(
        self, trained: Comparison, space: str | None = None, data: Data | None = None
    ) -> None:
        self.trained, self.data = trained, data
        self.space_name = space
        self.network = RunNetwork.from_trained(trained, None, None)
        self.data_name = trained.found.evaluation.data
        run = Run.of_trained(trained.path)
        self.images = None if run is None else run.images
        self.limits: Mapping[str, Limit] = trained.limits
        self.network_costs: Mapping[str, float] = trained.found.costs
        self.units: Mapping[str, str] = _UNITS

    @functools.cached_property
    def space(self) -> SearchSpace | None:
        """The space of the network; None if it has none or its code was not named."""
        name = self.trained.space
        if name is None or (self.space_name is None and name not in list_spaces()):
            return None
        return named_space(self.space_name or name, self.trained.space_options)


class View:
    """A run, and what a report computes from it.

    Attributes:
        network: The network that the report is about; None before the search has found one.
        trained: The trained networks; None before the training.
        data_name: Name of the data that was searched on.
        images: Path or name of the images; None if the data came from Python objects.

    Args:
        run: Content of the run folder.
        space: For a run over a user's own space, its ``file.py:network``. The file is executed
            only if it is named here. Otherwise everything that needs the networks is left out.
        tables: Tables of further costs (latency, energy, ...). ``latency.json`` in the folder and
            the tables that the network was generated with are always used.
        before: An earlier view of the same folder. Its space and costs are reused unless the
            options of the space have changed.
        data: Its images, if they are in memory.

    Raises:
        SpaceError, OptionError: If a table belongs to another space, or to other options of it.
    """

    def __init__(
        self,
        run: Run,
        space: str | None = None,
        tables: Sequence[CostTable] = (),
        before: View | None = None,
        data: Data | None = None,
    ) -> None:
        self.run, self.data = run, data
        self.data_name, self.images = run.data_name, run.images
        self.network, self.trained = run.network, run.trained
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
        return _UNITS | {name: table.unit for name, table in self.costs.items()}

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
        """Effect of every choice on accuracy or score; empty while all of these are equal."""
        step = -(-len(self.run.history) // MOST_FITTED) or 1
        architectures = [record["architecture"] for record in self.run.history[::step]]
        try:
            return choice_effects(self.run.decision_space, architectures, self.run.measures[::step])
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
