"""measure_sensitivity(): how much the loss rises when one group of channels is cut alone.

Every group takes each of its widths while all others stay whole. The network is cut, BatchNorm
recalibrated, and the loss on validation images compared with that of the whole network, which is
recalibrated too. A narrower width never counts as better than a wider one: each has at least the
largest rise of all wider ones.

The rises of several groups are added, which is a first-order model of cutting them together.
ModelOpt's FastNAS bounds the largest rise instead. A sum is an objective of
:func:`ddpnas.generate`, so all limits at once, the next best networks and the whole frontier need
no further measurement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddpnas.data.data import Data
from ddpnas.data.loader import Loader
from ddpnas.data.splits import Split
from ddpnas.errors import DivergedError
from ddpnas.shrinking.cutting import cut_for_now
from ddpnas.shrinking.groups import Group
from ddpnas.shrinking.importance import Importance, order_channels
from ddpnas.shrinking.recalibration import recalibrate
from ddpnas.shrinking.shrinkable_space import ShrinkableSpace
from ddpnas.space.decisions import DecisionSpace
from ddpnas.utils.settings import MostImages, Seed, checked

__all__ = ["Sensitivity", "batches_of", "mean_loss", "measure_sensitivity"]

# Images at a time. Of more, what a layer returns does not fit into the cache of a processor.
_BATCH = 250
_CPU_BATCH = 50


@dataclass(frozen=True)
class Sensitivity:
    """What each width of each group costs in loss.

    Attributes:
        loss: Loss of the whole network, recalibrated, on the validation images.
        rises: (group, width) -> what the loss rises when the group has that width alone.

    Example:
        >>> Sensitivity(0.5, {("conv", "8"): 0.25, ("conv", "16"): 0.0}).objective
        {('conv', '8'): -0.25, ('conv', '16'): -0.0}
    """

    loss: float
    rises: dict[tuple[str, str], float]

    @property
    def objective(self) -> dict[tuple[str, str], float]:
        """The objective of :func:`ddpnas.generate`: the negative rise of each choice."""
        return {choice: -rise for choice, rise in self.rises.items()}

    @classmethod
    def of_losses(
        cls, space: DecisionSpace, loss: float, losses: Mapping[tuple[str, str], float]
    ) -> Sensitivity:
        """Return the rises: each the largest of its width and of all wider ones.

        A width at which the network overflows, so that its loss is no number, rises more than all
        other groups together.

        Args:
            space: A decision for each group, its widest option last.
            loss: Loss of the whole network.
            losses: (group, width) -> loss with that width alone; of all but the widest.

        Raises:
            DivergedError: The loss of the whole network is no finite number.

        Example:
            >>> from ddpnas.space import Decision
            >>> space = DecisionSpace([Decision("conv", ("8", "16", "24"))])
            >>> losses = {("conv", "8"): 0.6, ("conv", "16"): 0.75}
            >>> Sensitivity.of_losses(space, 0.5, losses).rises
            {('conv', '24'): 0.0, ('conv', '16'): 0.25, ('conv', '8'): 0.25}
        """
        _check_loss(loss)
        finite = [one - loss for one in losses.values() if math.isfinite(one)]
        worst = 1.0 + len(space.decisions) * max(finite, default=0.0)
        rises: dict[tuple[str, str], float] = {}
        for decision in space.decisions:
            largest = 0.0
            rises[decision.name, decision.options[-1]] = 0.0
            for width in decision.options[-2::-1]:
                measured = losses[decision.name, width]
                largest = max(largest, measured - loss if math.isfinite(measured) else worst)
                rises[decision.name, width] = largest
        return cls(loss, rises)


def measure_sensitivity(
    space: ShrinkableSpace,
    data: Data,
    *,
    importance: Importance = "outputs",
    images: MostImages = 500,
    seed: Seed = 0,
    device: torch.device | None = None,
    known: Mapping[tuple[str, str], float] | None = None,
    on_width: Callable[[str, int, float], object] | None = None,
) -> Sensitivity:
    """Return what each width of each group costs in loss.

    The order of channels becomes that of the importance: ``space.order`` is set, so that built
    networks keep the most important channels.

    Args:
        space: The widths of a network, as :func:`ddpnas.shrinkable` returns them.
        data: Data with inputs of the shape that the network takes. BatchNorm is recalibrated on
            training images, losses are those of validation images.
        importance: What tells which channels go first; see :func:`order_channels`.
        images: Number of images for either, at most.
        seed: Seed for choosing them.
        device: Where the network runs; by default the CPU.
        known: (group, width) -> loss that was measured before and is not measured again.
        on_width: Called with each group, width and loss that is measured. The loss of the whole
            network is that of the first group at all its channels.

    Example:
        >>> import ddpnas
        >>> data = ddpnas.make_data((torch.randn(80, 4), torch.arange(80) % 2))
        >>> model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> found = measure_sensitivity(ddpnas.shrinkable(model, (4,)), data)
        >>> sorted(found.rises), found.rises["0", "16"]
        ([('0', '16'), ('0', '8')], 0.0)
    """
    checked("images of measure_sensitivity()", MostImages, images)
    device = device or torch.device("cpu")
    batches = batches_of(data, data.train, images, seed, device)
    validation = batches_of(data, data.valid, images, seed, device)
    model = space.build({d.name: d.options[-1] for d in space.decisions}).to(device)
    space.order = order_channels(model, space.groups, importance, batches)
    recalibrate(model, batches)  # as the cut networks, so that only the cut tells them apart
    found = dict(known or {})

    def loss_of(group: Group, width: int) -> float:
        key = group.name, str(width)
        if key not in found:
            with cut_for_now(model, space.groups, {group.name: width}, space.order):
                recalibrate(model, batches)
                found[key] = mean_loss(model, validation)
            if on_width is not None:
                on_width(group.name, width, found[key])
        return found[key]

    groups = [group for group in space.groups if group.is_open]
    loss = loss_of(groups[0], groups[0].channels)
    _check_loss(loss)
    losses = {
        (group.name, str(width)): loss_of(group, width)
        for group in groups
        for width in group.widths[-2::-1]
    }
    return Sensitivity.of_losses(space, loss, losses)


def _check_loss(loss: float) -> None:
    if not math.isfinite(loss):
        raise DivergedError(
            f"the loss of the given network is {loss} on these images, so that nothing tells what "
            f"its channels are worth; give weights that fit the images"
        )


def batches_of(
    data: Data, split: Split, images: int, seed: int, device: torch.device
) -> list[tuple[Tensor, Tensor]]:
    """Return some images of a split, chosen at random, as (inputs, labels) without augmentation.

    Args:
        data: Supplies the normalization.
        split: The split.
        images: Number of images, at most.
        seed: Seed for choosing them.
        device: Device of the batches.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(split), generator=generator)[:images].sort().values
    loader = Loader(data, [split.subset(chosen.tolist())], device)
    return list(loader.eval_batches(_CPU_BATCH if device.type == "cpu" else _BATCH))


def mean_loss(model: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> float:
    """Return the mean cross-entropy of a network, in evaluation mode, over all items.

    Args:
        model: The network; it stays in its mode.
        batches: (inputs, labels) on its device.
    """
    training = model.training
    model.eval()
    with torch.no_grad():
        losses = [functional.cross_entropy(model(x), y, reduction="sum") for x, y in batches]
    model.train(training)
    return float(sum(losses)) / sum(len(labels) for _, labels in batches)
