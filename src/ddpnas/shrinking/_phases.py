"""Phases: what a shrink does, one after the other, each from where it was interrupted."""

from __future__ import annotations

import copy
import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from torch import nn

from ddpnas.costs.table import CostTable
from ddpnas.data.data import Data
from ddpnas.data.loader import Loader
from ddpnas.errors import InfeasibleError, OptionError
from ddpnas.export.onnx_runtime import raw_inputs
from ddpnas.export.torch_export import export_torch
from ddpnas.export.trained import export_trained
from ddpnas.generation.best import Generated, sample_within
from ddpnas.generation.limits import Limit, amount, tightened_limits, within
from ddpnas.shrinking.candidates import Candidate, score_candidates
from ddpnas.shrinking.controls import magnitude_widths, uniform_widths
from ddpnas.shrinking.folder import HEAD, MASKS, ONNX, PROGRAM, ShrinkFolder
from ddpnas.shrinking.importance import order_channels
from ddpnas.shrinking.pas import search_masks
from ddpnas.shrinking.plan import MASK_EPOCHS, RECIPE, ShrinkPlan
from ddpnas.shrinking.recalibration import recalibrate
from ddpnas.shrinking.sensitivity import Sensitivity, batches_of, mean_loss, measure_sensitivity
from ddpnas.shrinking.shrinkable_space import ShrinkableSpace
from ddpnas.shrinking.shrunk import ShrinkComparison, Shrunk
from ddpnas.shrinking.width_scores import WidthScores
from ddpnas.space.decisions import Architecture
from ddpnas.space.user_code import without_folders
from ddpnas.training.checkpoint import load_weights, save_weights
from ddpnas.training.device import pick_device
from ddpnas.training.metrics import confusion
from ddpnas.training.networks import NamedNetwork
from ddpnas.training.results import Comparison, TrainResult
from ddpnas.training.saving import TrainedFolder, lock_trained
from ddpnas.training.train import train
from ddpnas.training.trained_folder import load, read_comparison
from ddpnas.utils.duration import duration
from ddpnas.utils.files import writable

__all__ = ["Phases", "whole_of"]

logger = logging.getLogger(__name__)

_TRAINED = "trained"
_IMAGES = 500  # with which a file is checked
_NEAR = 0.97  # of the found network's multiply-adds that random widths have at least


class Phases:
    """The phases of a shrink.

    Args:
        plan: What to do.
        space: The widths.
        data: The data.
        costs: Cost name -> table.
        limits: The limits.
        named: What builds the given network by name; None if nothing does.
        folder: Where everything is kept.
        tell: Takes lines of text.
    """

    def __init__(
        self,
        plan: ShrinkPlan,
        space: ShrinkableSpace,
        data: Data,
        costs: Mapping[str, CostTable],
        limits: Mapping[str, Limit],
        named: NamedNetwork | None,
        folder: ShrinkFolder,
        tell: Callable[[str], object],
    ) -> None:
        self.plan, self.settings, self.named = plan, plan.settings, named
        self.space, self.data = space, data
        self.costs, self.limits = dict(costs), dict(limits)
        self.folder, self.tell = folder, tell
        self.device = pick_device(self.settings.device)
        self.trained = TrainedFolder(folder.path / _TRAINED)
        self.seconds: dict[str, float] = {}
        self._begun = time.perf_counter()

    def nothing_cut(self) -> Shrunk:
        """Return the given network."""
        whole = whole_of(self.space)
        full = {name: table.cost(whole) for name, table in self.costs.items()}
        given = self._accuracy(copy.deepcopy(self.space.model).to(self.device))
        model = copy.deepcopy(self.space.model).eval()
        return Shrunk(
            model, self.space.groups, {}, whole, given, full, (), full, self.limits, [], []
        )

    def all_phases(self) -> Shrunk:
        """Train the head, score widths and candidates, fine-tune, and return the result."""
        with lock_trained(self.trained.path):
            if self.settings.head_epochs:
                self._train_head()
            self._begun = time.perf_counter()
            given = self._known_accuracy("given", lambda: self.space.model)
            by_masks = self.settings.method == "pas"
            sensitivity = self._masks() if by_masks else self._sensitivity()
            scored = self._candidates(sensitivity)
            chosen = {"found": scored[0].architecture, **self._controls(scored[0])}
            before = read_comparison(self.trained.path)
            networks = tuple(self._network(name, widths, before) for name, widths in chosen.items())
            if before is None:
                self.trained.save(
                    None, [one.compared for one in networks],
                    limits=self.limits, named=self.named, start=self._start,
                )  # fmt: skip
            self._mark("fine-tuning")
        scores = WidthScores(
            self.space,
            self.costs,
            WidthScores.to_dict(self.space, {}, self.space.groups)["groups"],
            sensitivity,
        )
        return Shrunk(
            model=networks[0].result.model,
            groups=self.space.groups,
            order=self.space.order,
            architecture=networks[0].architecture,
            given=given,
            given_costs=scores.whole,
            networks=networks,
            costs=networks[0].costs,
            limits=self.limits,
            frontier=self._frontier(scores),
            candidates=scored,
            seconds=self.seconds,
            estimated=self.plan.phases,
        )

    def _frontier(self, scores: WidthScores) -> list[Generated]:
        """Return the best widths at every value of the first limited cost; none if too many."""
        try:
            return scores.frontier(next(iter(self.limits), "macs"))
        except OptionError as error:  # the smaller network is trained all the same
            self.tell(str(error))
            return []

    def write(self) -> None:
        """Write the smaller network as files that need no code of it, and check them."""
        path, data = self.folder.path, self.data
        if (path / ONNX).exists():
            return
        named = self.named
        by = named.name if named is not None and named.code is not None else self.space.model
        loaded = load(self.trained.path, model=by)
        if named is None:  # no name rebuilds it
            raw = raw_inputs(data, data.splits[data.held_out], _IMAGES)
            with writable(path):
                export_torch(loaded, path / PROGRAM, images=raw)
        export_trained("onnx", loaded, data, path, self.tell)
        self._mark("writing")

    def _mark(self, phase: str) -> None:
        """Note how long a phase took in this session, and say so."""
        now = time.perf_counter()
        self.seconds[phase], self._begun = now - self._begun, now
        planned = self.plan.phases.get(phase)
        about = "" if planned is None else f" (estimated: {duration(planned)})"
        self.tell(f"{phase}: {duration(self.seconds[phase])}{about}")

    @property
    def _start(self) -> dict[str, str | None]:
        """What the folder says of the given network, without paths."""
        named, weights = self.named, self.plan.weights
        name = type(self.space.model).__name__ if named is None else without_folders(named.name)
        return {"name": name, "weights": None if weights is None else Path(weights).name}

    def _train_head(self) -> None:
        """Fine-tune the given network for the classes of the data."""
        model, file = self.space.model, self.folder.path / HEAD
        if not file.exists():
            result = train(
                copy.deepcopy(model), self.data, RECIPE, epochs=self.settings.head_epochs,
                seed=self.settings.seed, device=str(self.device), resume=True,
                folder=self.trained.checkpoints / "head", on_epoch=self._tell_epoch("head"),
            )  # fmt: skip
            with writable(self.folder.path):
                save_weights(file, result.model.state_dict())
        model.load_state_dict(load_weights(file))
        self._mark("head")

    def _tell_epoch(self, what: str) -> Callable[[Mapping[str, float]], object]:
        return lambda r: self.tell(f"{what}: epoch {r['epoch']:.0f}, loss {r['loss']:.3f}")

    def _sensitivity(self) -> Sensitivity:
        def keep(group: str, width: int, loss: float) -> None:
            self.folder.add("width", loss, group=group, width=str(width))
            self.tell(f"{group} with {width} channels: loss {loss:.4f}")

        found = measure_sensitivity(
            self.space, self.data,
            importance=self.settings.importance, images=self.settings.images,
            seed=self.settings.seed, device=self.device,
            known=self.folder.widths(), on_width=keep,
        )  # fmt: skip
        self._mark("sensitivity")
        return found

    def _masks(self) -> Sensitivity:
        """Return the prices of widths by masks, in place of measured rises."""
        settings, space, device = self.settings, self.space, self.device
        batches = batches_of(self.data, self.data.train, settings.images, settings.seed, device)
        model = copy.deepcopy(space.model).to(device)
        space.order = order_channels(model, space.groups, settings.importance, batches)
        known = self.folder.widths()
        if len(known) < sum(len(d.options) for d in space.decisions) or not self.folder.left():
            recalibrate(model, batches)
            validation = batches_of(
                self.data, self.data.valid, settings.images, settings.seed, device
            )
            loss = mean_loss(model, validation)
            found = search_masks(
                space, self.data, self.limits, self.costs,
                epochs=MASK_EPOCHS, seed=settings.seed, device=device,
                checkpoint=self.folder.path / MASKS, on_epoch=self._tell_epoch("masks"),
            )  # fmt: skip
            if self.folder.left() is None:
                reached = next(iter(found.reached.values()))
                self.folder.add("masks", reached, architecture=dict(found.widths))
            for (group, width), price in found.prices.items():
                if (group, width) not in known:
                    self.folder.add("width", loss + price, group=group, width=width)
            known = self.folder.widths()
        (self.folder.path / MASKS).unlink(missing_ok=True)  # all that it led to is in the scores
        self._mark("masks")
        first = space.decisions[0]
        whole = known[first.name, first.options[-1]]
        return Sensitivity.of_losses(space, whole, known)

    def _candidates(self, sensitivity: Sensitivity) -> list[Candidate]:
        def keep(candidate: Candidate) -> None:
            widths = dict(candidate.architecture)
            self.folder.add("candidate", candidate.loss, architecture=widths)

        by_masks = self.settings.ending == "masks"
        found = score_candidates(
            self.space, self.data,
            self._near_masks(sensitivity) if by_masks else sensitivity, self.limits, self.costs,
            candidates=1 if by_masks else self.settings.candidates, images=self.settings.images,
            seed=self.settings.seed, device=self.device,
            known=self.folder.candidates(), on_candidate=keep,
        )  # fmt: skip
        self._mark("candidates")
        return found

    def _near_masks(self, prices: Sensitivity) -> Sensitivity:
        """Return prices by which the best widths are those that the masks leave.

        If these exceed a limit, only wider ones cost more than before.
        """
        left = self.folder.left()
        assert left is not None, "masks are trained before candidates are scored"
        fits = within(left, tightened_limits(self.limits, self.costs), self.costs)
        if not fits:
            costs = {name: self.costs[name].cost(left) for name in self.limits}
            listed = ", ".join(f"{name} {amount(cost)}" for name, cost in costs.items())
            self.tell(
                f"the widths that the masks leave are not within the limits ({listed}); the best "
                f"ones that are no wider are generated"
            )
        most = 1.0 + sum(prices.rises.values())
        rises = {
            (group, width): price
            + most * (width != left[group] if fits else int(width) > int(left[group]))
            for (group, width), price in prices.rises.items()
        }
        return dataclasses.replace(prices, rises=rises)

    def _controls(self, found: Candidate) -> dict[str, Architecture]:
        """Return the widths to compare with, of about the multiply-adds of the found ones."""
        space, costs, limits = self.space, self.costs, self.limits
        macs = found.costs["macs"]
        same = {**limits, "macs": Limit(upper=min(macs, limits.get("macs", Limit()).upper))}

        def random() -> Architecture:
            rng = np.random.default_rng(self.settings.seed)
            try:
                near = {**same, "macs": Limit(_NEAR * macs, macs)}
                return sample_within(space, near, costs, rng)
            except InfeasibleError:  # no other widths have as many
                return sample_within(space, limits, costs, rng)

        make: dict[str, Callable[[], Architecture]] = {
            "uniform": lambda: uniform_widths(space, same, costs),
            "random": random,
            "magnitude": lambda: magnitude_widths(space, same, costs),
        }
        chosen: dict[str, Architecture] = {}
        for name in self.settings.controls:
            try:
                chosen[name] = make[name]()
            except InfeasibleError as error:
                logger.warning("no %s widths to compare with: %s", name, error)
        return chosen

    def _accuracy(self, network: nn.Module) -> float:
        """Return the accuracy of a network on images that are not trained on."""
        split = self.data.splits[self.data.held_out]
        loader = Loader(self.data, [split], self.device)
        counts = confusion(network.eval(), loader.eval_batches(500), len(self.data.classes))
        return float(counts.trace() / counts.sum())

    def _known_accuracy(self, name: str, network: Callable[[], nn.Module]) -> float:
        known = self.folder.accuracies()
        if name in known:
            return known[name]
        found = self._accuracy(copy.deepcopy(network()).to(self.device))
        self.folder.add("accuracy", found, network=name)
        return found

    def _network(
        self, name: str, widths: Architecture, before: Comparison | None
    ) -> ShrinkComparison:
        """Return a network of these widths, cut and fine-tuned.

        Args:
            name: What it is called.
            widths: The widths.
            before: The fine-tuned networks of a session before; None if there is none.
        """

        @functools.cache
        def network() -> nn.Module:
            made, settings = self.space.build(widths).to(self.device), self.settings
            images, seed = settings.images, settings.seed
            recalibrate(made, batches_of(self.data, self.data.train, images, seed, self.device))
            return made

        costs = {cost: table.cost(widths) for cost, table in self.costs.items()}
        cut = self._known_accuracy(name, network)
        tuned = self._tuned(name, network()) if before is None else self._tuned_before(name, before)
        return ShrinkComparison(name, widths, costs, cut, tuned)

    def _tuned_before(self, name: str, before: Comparison) -> TrainResult:
        """Return a network as it was fine-tuned in a session before; the found one with weights."""
        result = next(one.result for one in before.networks if one.name == name)
        if name != "found":
            return dataclasses.replace(result, data=self.data)
        loaded = load(self.trained.path, model=self.space.model)
        model = loaded.network.requires_grad_(True).to(self.device)
        return dataclasses.replace(result, model=model, data=self.data)

    def _tuned(self, name: str, network: nn.Module) -> TrainResult:
        """Return a network, fine-tuned from where an interruption left it."""
        return train(
            network, self.data, RECIPE, epochs=self.settings.epochs, seed=self.settings.seed,
            device=str(self.device), teacher=self.space.model if self.settings.distil else None,
            folder=self.trained.checkpoints / name, resume=True,
            on_epoch=self._tell_epoch(f"{name} widths"),
        )  # fmt: skip


def whole_of(space: ShrinkableSpace) -> Architecture:
    """Return the widths of the given network."""
    return Architecture({d.name: d.options[-1] for d in space.decisions})
