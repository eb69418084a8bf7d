"""search_masks(): a trainable mask for each channel, pulled down by what the channel costs.

In the manner of Pruning-as-Search (Li et al., IJCAI 2022, arXiv 2206.01198). Notation:

    w_c    weight of class c of channels, from 0 to 1; all start at 1
    b_c    1 where w_c > 1/2, else 0: whether the network has the channels in this step
    r      cost of the network at these b, relative to that of the whole one
    t      the limit, relative to the same

    loss = cross-entropy(b) + strength (r - t)^2

The layers that use a channel see it multiplied by b. The gradient of b goes to w unchanged
(straight-through), also where b is 0, so that channels come back. What differs from the authors'
code: a mask belongs to a group, so that the network can be cut; masks have no weight decay; at
least the smallest width of a group stays; costs are relative, so that one strength suits all
networks. The authors take the channels that are left at the end, near the target. That is
``MaskSearch.widths``; by default, :func:`ddpnas.shrink` takes prices only and meets the limits by
exact generation.

A mask is where the worth of a channel and the price of it balance, so that cutting a channel costs
its mean w times its share of the network's cost.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from ddpnas.costs.table import CostTable
from ddpnas.data.data import Data
from ddpnas.data.loader import Loader
from ddpnas.errors import DivergedError, OptionError
from ddpnas.generation.limits import Limits, checked_limits, tightened_limits
from ddpnas.relaxed.expected_cost import ExpectedCost
from ddpnas.shrinking.cutting import Order
from ddpnas.shrinking.groups import Axis, Group
from ddpnas.shrinking.shrinkable_space import ShrinkableSpace
from ddpnas.space.decisions import Architecture
from ddpnas.space.outputs import main_output
from ddpnas.training.checkpoint import (
    load_checkpoint,
    load_optimizer,
    optimizer_state,
    restoring,
    save_checkpoint,
    with_prefix,
    without_prefix,
)
from ddpnas.utils.read import Whole, checked_content
from ddpnas.utils.seeds import seeded
from ddpnas.utils.settings import Epochs, LearningRate, Seed, checked
from ddpnas.utils.shapes import Range

__all__ = ["MaskSearch", "refuse_unmasked", "search_masks"]

_BATCH = 64
_MOMENTUM, _DECAY, _CLIP = 0.9, 1e-4, 1.0
_LAST = 1 / 3  # of all steps, over which masks are averaged
_UNFOLLOWED = 10.0  # price of cutting channels whose users cannot be masked: more than all others

Strength = Annotated[float, Range(0, 1_000_000)]


@dataclass(frozen=True)
class MaskSearch:
    """What the masks say.

    Attributes:
        order: Group -> for each of its parts, its classes, those with the largest masks first.
            Pairs of channels that cancel each other deceive it (``records/shrink.md``), so that
            :func:`ddpnas.shrink` takes the order of :func:`order_channels` and only the prices.
        prices: (group, width) -> what cutting it to that width costs.
        widths: The channels that are left at the end, rounded to the nearest width of each group.
            The published method ends there.
        reached: Cost name -> relative cost of the channels that are left at the end. It is near
            the limit, above or below.
        revived: How often a channel came back.
    """

    order: Order = field(repr=False)
    prices: dict[tuple[str, str], float]
    widths: Architecture
    reached: dict[str, float]
    revived: int


def search_masks(
    space: ShrinkableSpace,
    data: Data,
    limits: Limits,
    costs: Mapping[str, CostTable],
    *,
    epochs: Epochs = 3,
    strength: Strength = 40.0,
    lr: LearningRate = 0.02,
    seed: Seed = 0,
    device: torch.device | None = None,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Mapping[str, float]], object] | None = None,
) -> MaskSearch:
    """Return which channels a network keeps when it is trained with a price on its cost.

    Args:
        space: The widths of a network; ``space.order`` is not changed. A copy is trained.
        data: Data with inputs of the shape that the network takes; its training split trains.
        limits: The limits; those from above pull.
        costs: Cost name -> table, one for every limit.
        epochs: Epochs of training.
        strength: How strongly costs pull.
        lr: Learning rate of weights and masks.
        seed: Seed for everything random.
        device: Where the network runs; by default the CPU.
        checkpoint: File to go on from after an interruption; written after each epoch.
        on_epoch: Called with the epoch, its mean loss and the relative cost.

    Raises:
        OptionError: There is no limit from above, or no mask can reach a channel.
        DivergedError: The loss became NaN or infinite.

    Example:
        >>> import ddpnas
        >>> data = ddpnas.make_data((torch.randn(320, 4), torch.arange(320) % 2))
        >>> layers = nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2)
        >>> space = ddpnas.shrinkable(nn.Sequential(*layers), (4,))
        >>> found = search_masks(space, data, {"macs": 48}, ddpnas.count_costs(space), epochs=2)
        >>> sorted(found.prices), found.prices["0", "16"]
        ([('0', '16'), ('0', '8')], 0.0)
    """
    checked("epochs of search_masks()", Epochs, epochs)
    checked("strength of search_masks()", Strength, strength)
    asked = tightened_limits(checked_limits(limits, costs), costs)
    targets = {name: limit.upper for name, limit in asked.items() if math.isfinite(limit.upper)}
    if not targets:
        raise OptionError("masks need a limit from above, such as macs=50%")
    refuse_unmasked(space)
    device = device or torch.device("cpu")
    search = _Search(space, data, costs, targets, epochs, strength, lr, seed, device)
    search.run(checkpoint, on_epoch or (lambda record: None))
    return search.result()


def refuse_unmasked(space: ShrinkableSpace) -> None:
    """Refuse a network in which no mask can reach a channel.

    Args:
        space: The widths of the network.

    Raises:
        OptionError: No layer that a mask can act on uses channels that can be cut.
    """
    axes = (axis for group in space.groups if group.is_open for axis in group.axes)
    if not any(_follows(space.model, axis) for axis in axes):
        raise OptionError(
            "masks act on the inputs of linear layers and of convolutions without groups, and no "
            "such layer uses channels that can be cut; take the method sensitivity"
        )


class _Search:
    """A training with masks."""

    def __init__(
        self,
        space: ShrinkableSpace,
        data: Data,
        costs: Mapping[str, CostTable],
        targets: Mapping[str, float],
        epochs: int,
        strength: float,
        lr: float,
        seed: int,
        device: torch.device,
    ) -> None:
        self._groups = [group for group in space.groups if group.is_open]
        self._epochs, self._strength, self._seed = epochs, strength, seed
        self._model = copy.deepcopy(space.model).to(device).train()
        parameters = dict(self._model.named_parameters())
        self._users = {
            group.name: [axis for axis in group.axes if _follows(self._model, axis)]
            for group in self._groups
        }
        self._masks = {
            f"{group.name}/{number}": torch.ones(part.classes, device=device, requires_grad=True)
            for group in self._groups
            if self._users[group.name]
            for number, part in enumerate(group.parts)
        }
        self._places = {
            axis: torch.ones(parameters[axis.tensor].shape[1], device=device)
            for axes in self._users.values()
            for axis in axes
        }
        decaying = {"params": list(parameters.values()), "weight_decay": _DECAY}
        masks = {"params": list(self._masks.values()), "weight_decay": 0.0}
        self._optimizer = torch.optim.SGD([decaying, masks], lr=lr, momentum=_MOMENTUM)
        self._loader = Loader(data, [data.train], device)
        self._batch = min(_BATCH, self._loader.batch_size(None))
        whole = {d.name: d.options[-1] for d in space.decisions}
        self._full = {name: costs[name].cost(whole) for name in targets}
        self._targets = {name: most / self._full[name] for name, most in targets.items()}
        self._expected = {name: ExpectedCost(costs[name], space) for name in targets}
        self._share = {
            group.name: 1
            - costs[first].cost({**whole, group.name: str(group.widths[0])}) / self._full[first]
            for first in [next(iter(targets))]
            for group in self._groups
        }
        self._sums = {name: torch.zeros_like(mask) for name, mask in self._masks.items()}
        self._effects = {name: torch.zeros_like(mask) for name, mask in self._masks.items()}
        self._steps = self._counted = self._revived = 0

    def run(self, checkpoint: Path | None, on_epoch: Callable[[Mapping[str, float]], Any]) -> None:
        """Train for all epochs, from the checkpoint if there is one."""
        total = self._epochs * self._loader.steps(self._batch)
        for epoch in range(self._restore(checkpoint), self._epochs):
            losses = []
            seed = self._seed * 100_003 + epoch
            with seeded(seed):
                for inputs, labels in self._loader.train_batches(self._batch, seed):
                    losses.append(
                        self._step(inputs, labels, last=self._steps >= total * (1 - _LAST))
                    )
            record = {"epoch": epoch + 1, "loss": float(torch.stack(losses).mean())}
            if not math.isfinite(record["loss"]):
                raise DivergedError(
                    f"the loss became {record['loss']} in epoch {epoch + 1} of the training with "
                    f"masks; use the method sensitivity, or give weights that fit the images"
                )
            self._keep(checkpoint, epoch + 1)
            on_epoch({**record, **self.reached()})

    def _step(self, inputs: Tensor, labels: Tensor, *, last: bool) -> Tensor:
        before = {name: mask.detach() > 0.5 for name, mask in self._masks.items()}
        used = self._used()
        outputs = main_output(functional_call(self._model, self._weights(used), (inputs,)))
        loss = functional.cross_entropy(outputs, labels)
        price = self._price(used)
        self._optimizer.zero_grad()
        effects = torch.autograd.grad(loss, list(used.values()), retain_graph=True)
        (loss + price).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._model.parameters(), _CLIP)
        self._optimizer.step()
        self._steps += 1
        self._counted += last
        for (name, mask), effect in zip(self._masks.items(), effects, strict=True):
            mask.data.clamp_(0, 1)
            self._revived += int(((mask.detach() > 0.5) & ~before[name]).sum())
            if last:
                self._sums[name] += mask.detach()
                self._effects[name] += effect**2
        return loss.detach()

    def _used(self) -> dict[str, Tensor]:
        """Return b of each part, with the gradient of w; the largest ones stay."""
        used = {}
        for group in self._followed():
            for number, least in enumerate(group.counts(group.widths[0])):
                name = f"{group.name}/{number}"
                weights = self._masks[name]
                hard = (weights.detach() > 0.5).float()
                hard[weights.detach().topk(least).indices] = 1.0
                used[name] = weights - (weights.detach() - hard)
        return used

    def _followed(self) -> Iterator[Group]:
        return (group for group in self._groups if self._users[group.name])

    def _weights(self, used: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of layers that use masked channels."""
        scales = dict(self._places)
        for group in self._followed():
            for number, part in enumerate(group.parts):
                for axis in self._users[group.name]:
                    if axis in part.members:
                        of_class = torch.from_numpy(part.members[axis]).to(scales[axis].device)
                        values = used[f"{group.name}/{number}"][:, None].expand(of_class.shape)
                        places = of_class.reshape(-1)
                        scales[axis] = scales[axis].scatter(0, places, values.reshape(-1))
        parameters = dict(self._model.named_parameters())
        masked = {}
        for axis, scale in scales.items():
            weight = parameters[axis.tensor]
            masked[axis.tensor] = weight * scale.view(1, -1, *[1] * (weight.ndim - 2))
        return masked

    def _price(self, used: Mapping[str, Tensor]) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for name, relative in self._relative(used).items():
            total = total + self._strength * (relative - self._targets[name]) ** 2
        return total

    def _relative(self, used: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the relative costs, linear between two widths of a group."""
        weights = {}
        for group in self._groups:
            widths = torch.tensor(group.widths, dtype=torch.float64)
            number = self._left(group, used)
            at = int(torch.searchsorted(widths, number.detach()).clamp(1, len(widths) - 1))
            share = (number - widths[at - 1]) / (widths[at] - widths[at - 1])
            row = torch.zeros(len(widths), dtype=torch.float64)
            places = torch.tensor([at - 1, at])
            weights[group.name] = row.scatter(0, places, torch.stack([1 - share, share]))
        return {name: cost(weights) / self._full[name] for name, cost in self._expected.items()}

    def _left(self, group: Group, used: Mapping[str, Tensor]) -> Tensor:
        """Return the number of channels of a group that are left."""
        if not self._users[group.name]:
            return torch.tensor(group.channels, dtype=torch.float64)
        parts = [used[f"{group.name}/{i}"] for i in range(len(group.parts))]
        classes = sum(part.classes for part in group.parts)
        return group.channels / classes * torch.cat(parts).cpu().double().sum()

    def reached(self) -> dict[str, float]:
        """Return the relative costs of the channels that are left."""
        with torch.no_grad():
            return {name: float(value) for name, value in self._relative(self._used()).items()}

    def result(self) -> MaskSearch:
        """Return order, prices and widths."""
        order, prices = {}, {}
        for group in self._groups:
            worth = [self._worth(group, number) for number in range(len(group.parts))]
            order[group.name] = [np.argsort(-values, kind="stable") for values in worth]
            classes = sum(part.classes for part in group.parts)
            share = self._share[group.name] * group.channels / (group.channels - group.widths[0])
            for width in group.widths:
                cut = [
                    np.sort(values)[: len(values) - kept].sum()
                    for values, kept in zip(worth, group.counts(width), strict=True)
                ]
                prices[group.name, str(width)] = float(sum(cut)) * share / classes
        with torch.no_grad():
            used = self._used()
            widths = {
                group.name: str(_nearest(group, float(self._left(group, used))))
                for group in self._groups
            }
        return MaskSearch(order, prices, Architecture(widths), self.reached(), self._revived)

    def _worth(self, group: Group, number: int) -> Any:
        """Return the mean w of each class; equal ones differ by their effect on the loss."""
        name = f"{group.name}/{number}"
        if name not in self._masks:
            return np.full(group.parts[number].classes, _UNFOLLOWED)
        effects = self._effects[name] / self._effects[name].max().clamp(min=1e-30)
        means = self._sums[name] / max(self._counted, 1)
        return (means + 1e-3 * effects).cpu().double().numpy()

    # What is kept on disk.

    def _tensors(self) -> dict[str, Tensor]:
        return {
            **with_prefix("model", self._model.state_dict()),
            **with_prefix("mask", {name: mask.detach() for name, mask in self._masks.items()}),
            **with_prefix("sum", self._sums),
            **with_prefix("effect", self._effects),
        }

    def _keep(self, checkpoint: Path | None, epoch: int) -> None:
        if checkpoint is None:
            return
        state, numbers = optimizer_state(self._optimizer)
        plain = {
            "epoch": epoch, "steps": self._steps, "counted": self._counted,
            "revived": self._revived, "optimizer": numbers,
        }  # fmt: skip
        save_checkpoint(checkpoint, self._tensors() | with_prefix("optimizer", state), plain)

    def _restore(self, checkpoint: Path | None) -> int:
        """Return the number of epochs that are done."""
        saved = None if checkpoint is None else load_checkpoint(checkpoint)
        if saved is None:
            return 0
        tensors, plain = saved
        state = checked_content(plain, _StateForm, checkpoint)
        held = {"mask": self._masks, "sum": self._sums, "effect": self._effects}
        with restoring(checkpoint):
            self._model.load_state_dict(without_prefix("model", tensors))
            for kind, ours in held.items():
                for name, kept in without_prefix(kind, tensors).items():
                    ours[name].data.copy_(kept.view_as(ours[name]))
            numbers = state["optimizer"]
            load_optimizer(self._optimizer, without_prefix("optimizer", tensors), numbers)
        self._steps, self._counted = state["steps"], state["counted"]
        self._revived = state["revived"]
        return int(state["epoch"])


def _nearest(group: Group, number: float) -> int:
    """Return the width of a group that is nearest to a number of channels."""
    return min(group.widths, key=lambda width: abs(width - number))


class _StateForm(TypedDict):
    """The plain data of a checkpoint."""

    epoch: Whole
    steps: Whole
    counted: Whole
    revived: Whole
    optimizer: dict[str, dict[str, Any]]


def _follows(model: nn.Module, axis: Axis) -> bool:
    """Return whether an axis is that of the inputs of a layer that uses each channel once."""
    path, _, name = axis.tensor.rpartition(".")
    layer = model.get_submodule(path)
    dense = isinstance(layer, nn.Linear) or (
        isinstance(layer, nn.modules.conv._ConvNd)
        and not isinstance(layer, nn.modules.conv._ConvTransposeNd)
        and layer.groups == 1
    )
    return dense and name == "weight" and axis.index == 1
