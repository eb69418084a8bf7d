"""ShrinkableSpace: the widths of an existing network as a search space."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ddpnas.errors import SpaceError
from ddpnas.shrinking._trace import made_by_a_run
from ddpnas.shrinking.cutting import Order, kept_positions, resize, undecided_sizes
from ddpnas.shrinking.finding import DIVISOR, FRACTIONS, Fractions, find_groups
from ddpnas.shrinking.groups import Axis, Group, Positions
from ddpnas.space.choose import Choose
from ddpnas.space.copies import advice_on_weights
from ddpnas.space.meta import move_to_meta
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.supernet import Supernet
from ddpnas.utils.settings import Count, checks_arguments

__all__ = ["ShrinkableSpace", "shrinkable"]


class ShrinkableSpace(SearchSpace):
    """The networks that are an existing one with fewer channels; see :func:`ddpnas.shrinkable`.

    Built networks are copies of the network with smaller layers, with its weights.

    Args:
        model: The network; it is not changed.
        input_shape: Shape of one input.
        groups: Its groups.
        input_dtype: Type of the input.

    Attributes:
        groups: The groups of channels. Each that can be cut is a decision of that name.
        model: The network.
        order: Group -> for each of its parts, its classes of channels, the most important first;
            the first ones stay. Empty at first: then channels stay as they stand in the network.
    """

    def __init__(
        self,
        model: nn.Module,
        input_shape: Sequence[int],
        groups: Sequence[Group],
        input_dtype: torch.dtype = torch.float32,
    ) -> None:
        self.model, self.groups = model, tuple(groups)
        self.order: Order = {}
        bare = move_to_meta(copy.deepcopy(model))
        made_by_a_run(bare, input_shape, input_dtype)  # tables of positions, say, have no width

        def network(choose: Choose) -> nn.Module:
            on_meta = torch.get_default_device().type == "meta"
            made = copy.deepcopy(bare if on_meta else model).train()
            widths = {g.name: choose.width(g.name, g.widths) for g in self.groups if g.is_open}
            if any(width.parts for width in widths.values()):
                undecided_sizes(made, self.groups, widths)
            else:
                chosen = {name: int(width) for name, width in widths.items()}
                resize(made, kept_positions(made, self.groups, chosen, self.order))
            return made

        super().__init__(network, input_shape, name=type(model).__name__, input_dtype=input_dtype)

    def supernet(self, *, seed: int | None = None) -> Supernet:
        """Return a supernet whose paths are the smaller networks, with the network's weights.

        Channels are sorted by :attr:`order` first, since a path uses the first ones of each layer.
        So set the order before a search: :func:`measure_sensitivity` does, or
        ``space.order = order_channels(...)``.

        Args:
            seed: Without effect here, since nothing is random.

        Raises:
            SpaceError: The channels of some group are not the first ones of a layer at each width,
                as behind a concatenation. Then search with the evaluator "continued" or
                "standalone", which build the networks.

        Example:
            >>> import ddpnas
            >>> layers = nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2)
            >>> space = ddpnas.shrinkable(nn.Sequential(*layers), (4,))
            >>> supernet = space.supernet()
            >>> supernet.set_path({"0": "8"})
            >>> torch.equal(supernet.network[0].weight, layers[0].weight[:8])
            True
        """
        supernet = super().supernet(seed=seed)
        network = supernet.network
        tensors = dict(network.named_parameters()) | dict(network.named_buffers())
        for group in self.groups:
            if group.is_open and (axis := _scattered(group, tensors)):
                raise SpaceError(
                    f"no supernet: the channels made by {group.name} do not come first in "
                    f"{axis.tensor} at each width; use the evaluator 'continued' or 'standalone'"
                )
            if group.is_open and group.name in self.order:
                _sort(group, self.order[group.name][0], tensors)
        return supernet


def _scattered(group: Group, tensors: Mapping[str, Tensor]) -> Axis | None:
    """Return an axis of which a narrower group does not use the first positions, if any."""
    for axis, positions in group.parts[0].members.items():
        # The rows of all classes, one after the other, are the whole axis.
        rows = positions[np.argsort(positions[:, 0])].reshape(-1)
        size = tensors[axis.tensor].shape[axis.index]
        if len(group.parts) > 1 or not np.array_equal(rows, np.arange(size)):
            return axis
    return None


def _sort(group: Group, ranks: Positions, tensors: Mapping[str, Tensor]) -> None:
    """Bring the channels of a group into the order of its classes, in every tensor."""
    for axis, positions in group.parts[0].members.items():
        tensor = tensors[axis.tensor]
        order = torch.from_numpy(positions[ranks].reshape(-1)).to(tensor.device)
        with torch.no_grad():
            tensor.copy_(tensor.index_select(axis.index, order))


@checks_arguments
def shrinkable(
    model: nn.Module,
    input_shape: Sequence[int],
    *,
    fractions: Fractions = FRACTIONS,
    divisor: Count = DIVISOR,
    keep: Sequence[str] = (),
    input_dtype: torch.dtype = torch.float32,
) -> ShrinkableSpace:
    """Return the widths of an existing network as a search space.

    Its decisions are the groups of channels that can be cut, its options numbers of channels. Count
    costs and generate as with any space; ``space.build(architecture)`` returns the smaller network.

    Args:
        model: The network, on any device; it is not changed, and must not be while the space is
            in use.
        input_shape: Shape of one input, without the batch.
        fractions: Shares of its channels that a group may keep.
        divisor: Numbers of channels are multiples of it.
        keep: Paths of layers whose channels all stay.
        input_dtype: Type of the input.

    Raises:
        SpaceError: The network does not run on such an input, or nothing in it can be cut.
        OptionError: A path in ``keep`` is not that of a layer that makes channels.

    Example:
        >>> import ddpnas
        >>> model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 10, 1))
        >>> space = ddpnas.shrinkable(model, (3, 8, 8))
        >>> space.decisions[0].options
        ('8', '16')
        >>> ddpnas.count_costs(space)["macs"].cost({"0": "8"})
        10656.0
    """
    groups = find_groups(
        model,
        input_shape,
        fractions=fractions,
        divisor=divisor,
        keep=keep,
        input_dtype=input_dtype,
    )
    if not any(group.is_open for group in groups):
        reasons = "; ".join(f"{g.name}: {g.fixed or 'too narrow'}" for g in groups[:5])
        advice = advice_on_weights(model)
        raise SpaceError(
            f"no channels of {type(model).__name__} can be cut ({reasons})"
            f"{advice and f'; {advice}'}"
        )
    return ShrinkableSpace(model, input_shape, groups, input_dtype)
