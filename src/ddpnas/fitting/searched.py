"""A fit that searches: candidates race, and the winner is trained until the time is up."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import cast

from ddpnas.costs.latency_check import check_latency, measured_here, waits_alike
from ddpnas.costs.network import count_architecture, count_network
from ddpnas.costs.table import CostTable
from ddpnas.data.loader import default_batch_size
from ddpnas.data.sieves import SieveConfig
from ddpnas.errors import DdpnasError, DivergedError, OptionError, RunError
from ddpnas.evaluators.continued import ContinuedEvaluator
from ddpnas.fitting.baselines import baseline_network
from ddpnas.fitting.designs import PEAK
from ddpnas.fitting.fitted import Candidate, Fitted
from ddpnas.fitting.following import Following, Session
from ddpnas.fitting.plan import MORE, FitPlan
from ddpnas.fitting.speed import epoch_seconds
from ddpnas.fitting.timed import split_limits
from ddpnas.generation.limits import Limit
from ddpnas.runs.folder import LATENCY, RunFolder
from ddpnas.runs.loop import Progress
from ddpnas.runs.run import Run
from ddpnas.runs.search import SearchResult, search
from ddpnas.space.decisions import Architecture
from ddpnas.spaces.edge import EdgeSpace
from ddpnas.spaces.registry import create_space
from ddpnas.training.out_of_memory import is_out_of_memory
from ddpnas.training.protections import trained_items
from ddpnas.training.recipes import Recipe, create_recipe
from ddpnas.training.results import Compared, Comparison, TrainResult
from ddpnas.training.saving import TrainedFolder, folder_name, lock_trained
from ddpnas.training.train import train
from ddpnas.training.trained_folder import read_comparison
from ddpnas.utils.duration import duration
from ddpnas.utils.seeds import seeded

__all__ = ["Searched"]

_SHARED = ("batch_size", "class_weights")  # settings of the final training and the baselines


class NoRoomError(RunError):
    """There is not enough memory for a race with this batch size."""

    def __init__(self, batch_size: int) -> None:
        super().__init__(
            f"there is not enough memory to train the candidates on {batch_size} images a step; "
            f"close other programs, or start the fit again with smaller images or tighter limits"
        )
        self.batch_size = batch_size


class Searched(Following):
    """A fit that searches, by a plan of :func:`ddpnas.fitting.planning.make_plan`; see its base.

    Args:
        plan: What to do.
        session: With what.
        space: The space of the plan, if it is there; its costs may be counted already.
    """

    training = "found"

    def __init__(self, plan: FitPlan, session: Session, space: EdgeSpace | None = None) -> None:
        super().__init__(plan, session)
        self.space = space or cast(EdgeSpace, create_space("edge", **plan.space_options))
        self._latency: CostTable | None = None
        if (self.folder / LATENCY).is_file():
            self._latency = CostTable.load(self.folder / LATENCY)
            self._latency.check(self.space)
        self._best_score = -math.inf

    def run(self, opened: RunFolder | None) -> Fitted:
        """Race, train, test, export and report.

        Args:
            opened: The folder of a new run, which this closes; None goes on with the run in it.
        """
        plan, found = self.plan, self._race(opened)
        chosen = found.architecture
        if not any(math.isfinite(record["score"]) for record in found.history):
            raise DivergedError(
                "the loss of every candidate became NaN or infinite; check the images and labels"
            )
        reached = self._costs(chosen)
        self._tell(
            f"chosen: {self.space.outline(chosen)}, with {reached['macs']:,.0f} multiply-adds and "
            f"{reached['params']:,.0f} parameters"
        )
        self._compare_latency(chosen)
        kept = self.trained
        with lock_trained(kept.path):
            before = read_comparison(kept.path)
            networks = [self._found(found, before)]
            self.mark("training")
            files = self.export()
            self.seconds["total"] = self.passed
            done = {} if before is None else {one.name: one for one in before.baselines}
            for name in plan.baselines:
                one = done.get(name) or self._baseline(name, reached["macs"])
                networks += [] if one is None else [one]
                if one is not None and name not in done:
                    kept.save(self.space, networks, limits=self.limits)
        trained = networks[0].result
        if self.kept:
            files["report"] = self.report(self.folder)
        return Fitted(
            model=trained.model,
            architecture=chosen,
            space=self.space,
            search=found if self._races else None,
            trained=trained,
            costs=reached,
            limits=self.limits,
            frontier=self._frontier(found),
            baselines=tuple(networks[1:]),
            seconds=self.seconds,
            folder=self.folder if self.kept else None,
            files=files,
        )

    def _costs(self, architecture: Architecture) -> dict[str, float]:
        """Return the counted costs of a network, and its milliseconds if limited."""
        costs = self._counted(count_architecture(self.space, architecture))
        if self._latency is not None:
            costs[self._latency.name] = self._latency.cost(architecture)
        elif self.plan.milliseconds is not None:
            costs["latency_ms"] = self.plan.milliseconds
        return costs

    def _counted(self, costs: Mapping[str, int]) -> dict[str, float]:
        """Return the costs that :func:`ddpnas.count_costs` has, and the peak if limited."""
        named = costs if PEAK in self.limits else costs.keys() - {PEAK}
        return {name: float(cost) for name, cost in costs.items() if name in named}

    def _frontier(self, found: SearchResult) -> tuple[Candidate, ...]:
        """Return the networks of the race of which none is better at no more multiply-adds."""
        if not self._races:
            return ()
        last: dict[Architecture, Candidate] = {}
        for record in found.history:
            one = Architecture(record["architecture"])
            last[one] = Candidate(
                self.space.format(one), self._costs(one), float(record["accuracy"]),
                float(record["epochs"]),
            )  # fmt: skip
        kept: list[Candidate] = []
        for candidate in sorted(last.values(), key=lambda c: (c.costs["macs"], -c.accuracy)):
            if not kept or candidate.accuracy > kept[-1].accuracy:
                kept.append(candidate)
        return tuple(kept)

    # The race.

    @property
    def _races(self) -> bool:
        """Whether candidates race; otherwise the only one is scored after a step."""
        return self.plan.strategy_options.get("candidates") != 1

    def _race(self, opened: RunFolder | None) -> SearchResult:
        plan = self.plan
        if opened is None:
            scores = [record["score"] for record in Run(self.folder).history]
            self._best_score = max(filter(math.isfinite, scores), default=-math.inf)
        try:
            found = search(
                self.space, self.data, "halving", out=self.folder if opened is None else opened,
                resume=opened is None, seed=plan.seed, device=plan.device,
                strategy_options=plan.strategy_options, evaluator="continued",
                evaluator_options=plan.evaluator_options, on_progress=self._tell_progress,
            )  # fmt: skip
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            usual = default_batch_size(len(self.data.train))
            raise NoRoomError(plan.evaluator_options.get("batch_size") or usual) from error
        self.mark("race")
        return found

    def _tell_progress(self, progress: Progress) -> None:
        if progress.record is None or not self._races:
            return
        record = progress.record
        by_f1 = self.plan.evaluator_options.get("metric") == "macro-f1"
        f1 = f"macro-F1 {100 * record['macro_f1']:.1f} %, accuracy " if by_f1 else ""
        self._tell(
            f"[{progress.done}/{progress.total}] {f1}{100 * record['accuracy']:.1f} % after "
            f"{record['epochs']:.1f} epochs: {self.space.outline(record['architecture'])}"
        )
        if record["score"] > self._best_score:
            self._best_score = record["score"]
            self._keep_best(Architecture(record["architecture"]))

    def _evaluator(self) -> ContinuedEvaluator:
        """Return the evaluator of the race as its last checkpoint left it."""
        run = Run(self.folder)
        found = run.evaluator(self.space, self.data, device=self.plan.device)
        return cast(ContinuedEvaluator, found)

    def _keep_best(self, architecture: Architecture) -> None:
        if self.best is None or not self.best.is_due():
            return
        try:
            evaluator = self._evaluator()
            network = evaluator.network(architecture)
        except (OptionError, RunError):  # its weights are not in a checkpoint yet
            return
        self.best.keep(
            network, evaluator.recipe,
            lambda folder, result: self._save(folder, architecture, result), trained_on=False,
        )  # fmt: skip

    def _compare_latency(self, chosen: Architecture) -> None:
        """Say what the network takes next to what its table predicts, if measured here."""
        table = self._latency
        if table is not None and measured_here(table) and waits_alike(table):
            found = check_latency(self.space, table, chosen)
            self._tell(
                f"predicted {found.predicted_ms:.3g} ms, measured {found.measured_ms:.3g} ms"
            )

    # The final training.

    @property
    def _images(self) -> int:
        """Images of an epoch of the final training."""
        return trained_items(self.data, self._recipe())

    def _recipe(self) -> Recipe:
        return create_recipe("quick", **self.plan.recipe)

    def _found(self, found: SearchResult, before: Comparison | None) -> Compared:
        """Return the winner of the race, trained to the end, and keep it in the folder."""
        chosen = found.architecture
        if before is not None:  # it was trained to the end in a session before
            trained = dataclasses.replace(
                before.found.result, model=self.load().network, data=self.data
            )
            return dataclasses.replace(before.found, result=trained)
        trained = self._train(found)
        return self._save(self.trained, chosen, trained)

    def _save(
        self, folder: TrainedFolder, architecture: Architecture, result: TrainResult
    ) -> Compared:
        costs = self._costs(architecture)
        one = Compared("found", self.space.format(architecture), architecture, costs, result)
        folder.save(self.space, [one], limits=self.limits)
        return one

    def _train(self, found: SearchResult) -> TrainResult:
        chosen, plan = found.architecture, self.plan
        network = self._evaluator().network(chosen)
        if plan.epochs is None:
            seen = [
                r
                for r in found.history
                if Architecture(r["architecture"]) == chosen and "train_seconds" in r
            ]
            each = min(r["train_seconds"] / r["train_images"] for r in seen) * self._images
            each *= SieveConfig(plan.sieve, plan.sieve_options).mean_share
            self.change(plan.with_epochs(max(1, int(MORE * self.left() / each))))
        self._tell(f"training it for {duration(self.left())} more")
        return self.train(
            network, self._recipe(), lambda folder, one: self._save(folder, chosen, one)
        )

    def _baseline(self, name: str, macs: float) -> Compared | None:
        """Return a network that was trained alone for the whole time; None, said, if it fails.

        The fit itself is finished by then.

        Args:
            name: Its name.
            macs: Multiply-adds of the network that was found.
        """
        try:
            return self._trained_alone(name, macs)
        except Exception as error:
            if is_out_of_memory(error):
                self._tell(f"no baseline {name}: there is not enough memory to train it")
            elif isinstance(error, DdpnasError):
                self._tell(f"no baseline {name}: {error}")
            else:
                raise
            return None

    def _trained_alone(self, name: str, macs: float) -> Compared:
        plan, (counted, timed) = self.plan, split_limits(self.limits)
        if timed:  # a design is as large as the network that was found
            counted["macs"] = Limit(upper=macs)
        with seeded(plan.seed):
            network = baseline_network(self.session.opened_as(name), counted, self.data)
        costs = self._counted(count_network(network, self.data.input_shape))
        shared = {one: plan.recipe[one] for one in _SHARED if one in plan.recipe}
        recipe = create_recipe("quick", **shared)
        if name not in plan.baseline_epochs:  # kept, as a resumed training has to know them
            each = epoch_seconds(network, self.data, recipe, plan.device)
            each *= self._images / len(self.data.train)
            epochs = max(1, int(MORE * plan.training / each))  # the clock drops what does not fit
            known = {**plan.baseline_epochs, name: epochs}
            self.change(dataclasses.replace(plan, baseline_epochs=known))
        self._tell(f"baseline {name}: training it for {duration(plan.training)}")
        result = train(
            network, self.data, recipe, epochs=self.plan.baseline_epochs[name],
            seconds=plan.training, seed=plan.seed, device=plan.device, resume=True,
            folder=self.trained.checkpoints / folder_name(f"baseline {name}"),
        )  # fmt: skip
        return Compared(name, name, Architecture({}), costs, result)
