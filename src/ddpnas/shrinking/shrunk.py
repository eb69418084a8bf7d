"""shrink(): an existing network cut to your limits, fine-tuned, next to what other widths reach."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ddpnas.costs.count import count_costs
from ddpnas.data.data import Data
from ddpnas.data.load import as_data
from ddpnas.data.loader import Loader
from ddpnas.errors import InfeasibleError, OptionError
from ddpnas.generation.best import Generated, sample_within
from ddpnas.generation.frontier import frontier
from ddpnas.generation.limits import Limit, Limits, checked_limits, parse_limits, within
from ddpnas.shrinking.candidates import Candidate, score_candidates, uniform_widths
from ddpnas.shrinking.finding import DIVISOR, FRACTIONS, Fractions
from ddpnas.shrinking.groups import Group
from ddpnas.shrinking.importance import Importance
from ddpnas.shrinking.recalibration import recalibrate
from ddpnas.shrinking.sensitivity import batches_of, measure_sensitivity
from ddpnas.shrinking.shrinkable_space import ShrinkableSpace, shrinkable
from ddpnas.space.decisions import Architecture
from ddpnas.space.distribution import JointDistribution
from ddpnas.training.device import pick_device
from ddpnas.training.metrics import confusion
from ddpnas.training.networks import NamedNetwork
from ddpnas.training.results import Compared, TrainResult
from ddpnas.training.train import train
from ddpnas.training.trained_folder import save_networks
from ddpnas.utils.settings import Count, Epochs, MostImages, Seed, checked

__all__ = ["ShrinkComparison", "Shrunk", "shrink"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShrinkComparison:
    """Widths within the limits, and the accuracies of their network.

    Attributes:
        name: "found", "uniform" or "random".
        architecture: The widths.
        costs: Its cost by every table.
        cut: Accuracy after cutting and recalibration.
        result: The network after fine-tuning, and its figures.
    """

    name: str
    architecture: Architecture
    costs: dict[str, float]
    cut: float
    result: TrainResult = field(repr=False)

    @property
    def fine_tuned(self) -> float:
        """Accuracy after fine-tuning."""
        return self.result.evaluation.accuracy


@dataclass(frozen=True)
class Shrunk:
    """What :func:`shrink` returns.

    Attributes:
        model: The smaller network, fine-tuned, in evaluation mode: plain layers, no trace of the
            search.
        groups: The groups of channels, those that cannot be cut with what fixes them.
        architecture: The widths of the groups that can be cut.
        given: Accuracy of the given network.
        networks: The found widths, and uniform and random widths within the same limits.
        costs: Cost of the smaller network, by name.
        limits: The limits; shares are those of the given network's costs.
        frontier: The best widths at every cost, before fine-tuning.
        candidates: The networks that were scored as a whole.

    All accuracies are of the test images, or of the validation images if there are no others.
    """

    model: nn.Module
    groups: tuple[Group, ...]
    architecture: Architecture
    given: float
    networks: tuple[ShrinkComparison, ...]
    costs: dict[str, float]
    limits: dict[str, Limit]
    frontier: list[Generated] = field(repr=False)
    candidates: list[Candidate] = field(repr=False)

    def save(self, folder: str | Path, *, named: NamedNetwork | None = None) -> None:
        """Write the smaller network for :func:`ddpnas.load`, with the figures of all networks.

        Weights and widths are stored, no code. When it is loaded, the given network is built anew
        and its layers are made as large as the stored weights: by its name, or by the function that
        you give, ``ddpnas.load(folder, model=...)``.

        Args:
            folder: Made if it is not there; its files of a trained network are replaced.
            named: ``named`` of what :func:`ddpnas.open_network` returned, if the given network
                comes from it.

        Raises:
            OptionError: Nothing was cut, as the limits were met already.
            RunError: The folder is in use or cannot be written.
        """
        if not self.networks:
            raise OptionError("nothing was cut, so that there is no smaller network to save")
        compared = [
            Compared(
                one.name,
                ";".join(f"{group}={width}" for group, width in one.architecture.items()),
                one.architecture,
                one.costs,
                one.result,
            )
            for one in self.networks
        ]
        save_networks(folder, None, compared, limits=self.limits, named=named)


def shrink(
    model: nn.Module,
    data: Data,
    limits: Limits | Iterable[str],
    *,
    epochs: Epochs | None = None,
    fractions: Fractions = FRACTIONS,
    divisor: Count = DIVISOR,
    keep: Sequence[str] = (),
    importance: Importance = "outputs",
    images: MostImages = 500,
    candidates: Count = 50,
    distil: bool = True,
    controls: bool = True,
    seed: Seed = 0,
    device: str = "auto",
) -> Shrunk:
    """Cut a network to limits and fine-tune it.

    It measures what each width costs in loss, generates the widths that cost least within the
    limits, scores the best of them as whole networks, and fine-tunes the best one.

    Args:
        model: The network, with one logit for each class; it is not changed.
        data: Data with inputs of the shape that the network takes, normalized as it needs them.
        limits: Cost name -> limit; see :func:`ddpnas.generate`. Or texts such as "macs=50%". The
            costs are those of :func:`ddpnas.count_costs`. "50%" is a share of the given network's.
        epochs: Epochs of fine-tuning; by default as many as the recipe "finetune" plans.
        fractions: Shares of its channels that a group may keep.
        divisor: Numbers of channels are multiples of it.
        keep: Paths of layers whose channels all stay.
        importance: What tells which channels of a group go first.
        images: Number of images for measuring what widths cost, at most.
        candidates: Number of networks that are scored as a whole.
        distil: Whether the given network teaches the smaller one.
        controls: Whether uniform and random widths within the limits are fine-tuned too. Without
            them nothing tells whether the search paid.
        seed: Seed for everything random.
        device: "auto", "cpu", "cuda", ...

    Raises:
        InfeasibleError: The limits cannot be met; the message names the lowest reachable cost and
            what cannot be cut.
        OptionError: The network has another number of outputs than the data has classes, or a
            limit cannot be read.
        SpaceError: The network does not take the inputs of the data, or nothing in it can be cut.

    Example:
        >>> import ddpnas
        >>> data = ddpnas.make_data((torch.randn(80, 4), torch.arange(80) % 2))
        >>> model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> shrunk = ddpnas.shrink(model, data, {"macs": "50%"}, epochs=1, device="cpu")
        >>> shrunk.model[0], shrunk.costs["macs"]
        (Linear(in_features=4, out_features=8, bias=True), 48.0)
        >>> [network.name for network in shrunk.networks]
        ['found', 'uniform', 'random']
    """
    seed = checked("seed of shrink()", Seed, seed)
    data, place = as_data(data), pick_device(device)
    space = shrinkable(model, data.input_shape, fractions=fractions, divisor=divisor, keep=keep)
    if space.output_shape != (len(data.classes),):
        raise OptionError(
            f"the network has {space.output_shape} outputs and the data {len(data.classes)} "
            f"classes; open it with ddpnas.open_network(..., num_classes={len(data.classes)}) and "
            f"fine-tune it first"
        )
    costs = count_costs(space)
    whole = Architecture({d.name: d.options[-1] for d in space.decisions})
    full = {name: table.cost(whole) for name, table in costs.items()}
    asked = checked_limits(parse_limits(limits, of=full), costs)
    work = _Work(space, data, epochs, model if distil else None, images, seed, place)
    given = work.accuracy(copy.deepcopy(model).to(place))
    uniform = JointDistribution.uniform(space.decisions)
    try:
        sample_within(space, asked, costs, np.random.default_rng(seed), tries=1)
    except InfeasibleError as error:
        raise InfeasibleError(f"{error}; {_fixed(space.groups)}", error.unmet) from None
    if within(whole, asked, costs):
        logger.warning("the network is within the limits already; nothing is cut")
        model = copy.deepcopy(model).eval()
        return Shrunk(model, space.groups, whole, given, (), full, asked, [], [])
    sensitivity = measure_sensitivity(
        space, data, importance=importance, images=images, seed=seed, device=place
    )
    scored = score_candidates(
        space, data, sensitivity, asked, costs,
        candidates=candidates, images=images, seed=seed, device=place,
    )  # fmt: skip
    chosen = {"found": scored[0].architecture}
    if controls:
        try:
            chosen["uniform"] = uniform_widths(space, asked, costs)
        except InfeasibleError as error:
            logger.warning("no uniform widths to compare with: %s", error)
        rng = np.random.default_rng(seed)
        chosen["random"] = sample_within(space, asked, costs, rng)
    networks = []
    for name, architecture in chosen.items():
        cut, result = work.fine_tuned(architecture)
        spent = {cost: table.cost(architecture) for cost, table in costs.items()}
        networks.append(ShrinkComparison(name, architecture, spent, cut, result))
    return Shrunk(
        model=networks[0].result.model,
        groups=space.groups,
        architecture=networks[0].architecture,
        given=given,
        networks=tuple(networks),
        costs=networks[0].costs,
        limits=asked,
        frontier=frontier(
            uniform, space, next(iter(asked), "macs"), costs=costs, objective=sensitivity.objective
        ),
        candidates=scored,
    )


def _fixed(groups: Sequence[Group]) -> str:
    """Return a sentence on what cannot be cut, the largest first."""
    fixed = sorted((g for g in groups if not g.free), key=lambda g: -g.share)[:3]
    listed = "; ".join(f"{g.name} ({100 * g.share:.0f} % of the MACs): {g.fixed}" for g in fixed)
    return f"channels that cannot be cut: {listed or 'none'}"


@dataclass(frozen=True)
class _Work:
    """Cuts, scores and fine-tunes networks of a space.

    Attributes:
        space: The widths.
        data: The data.
        epochs: Epochs of fine-tuning; None for those of the recipe.
        teacher: The given network, if it teaches.
        images: Number of images for recalibration.
        seed: Seed.
        device: Where networks run.
    """

    space: ShrinkableSpace
    data: Data
    epochs: int | None
    teacher: nn.Module | None
    images: int
    seed: int
    device: torch.device

    def accuracy(self, network: nn.Module) -> float:
        """Return the accuracy of a network on images that are not trained on."""
        split = self.data.splits[self.data.held_out]
        loader = Loader(self.data, [split], self.device)
        counts = confusion(network.eval(), loader.eval_batches(500), len(self.data.classes))
        return float(counts.trace() / counts.sum())

    def fine_tuned(self, architecture: Architecture) -> tuple[float, TrainResult]:
        """Return (accuracy after cutting, the network after fine-tuning)."""
        network = self.space.build(architecture).to(self.device)
        data, device = self.data, self.device
        recalibrate(network, batches_of(data, data.train, self.images, self.seed, device))
        cut = self.accuracy(network)
        result = train(
            network, data, "finetune",
            epochs=self.epochs, seed=self.seed, device=str(device), teacher=self.teacher,
        )  # fmt: skip
        return cut, result
