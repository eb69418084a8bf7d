"""SliceUpdates: an optimizer's steps on the slices of shared weights that paths have used.

A path of undecided widths has its own leaves (:mod:`ddpnas.space.slices`). The optimizer is
given these, with the momentum of the same slice, so that weights, momentum and weight decay outside
do not move. Where the paths of one step use several slices of a parameter, the step is done on the
whole parameter, and what lies outside all of them is put back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ddpnas.space.supernet import Supernet

__all__ = ["SliceUpdates"]

_MOMENTUM = "momentum_buffer"


class SliceUpdates:
    """Steps of SGD on what paths have used.

    A step on several paths is: :meth:`note_path` after each is set, then ``begin(gather())``, the
    step of the optimizer, and :meth:`end`.

    Args:
        supernet: The supernet.
        optimizer: SGD over all its parameters, in one group.
        mean: Whether the gradient of a weight is the mean over the paths of a step that use it; it
            is their sum otherwise.
    """

    def __init__(
        self, supernet: Supernet, optimizer: torch.optim.SGD, *, mean: bool = False
    ) -> None:
        self._supernet, self._optimizer, self._mean = supernet, optimizer, mean
        self._slices = supernet.slices
        self._used: Counter[nn.Parameter] = Counter()  # paths of this step that use it
        self._all: list[nn.Parameter] = list(optimizer.param_groups[0]["params"])
        # (tensor, its values before the step, where paths have used it)
        self._outside: list[tuple[Tensor, Tensor, Tensor]] = []

    def begin(self, parameters: Sequence[nn.Parameter]) -> None:
        """Let the optimizer step on these parameters and slices alone."""
        group, state = self._optimizer.param_groups[0], self._optimizer.state
        group["params"] = list(parameters)
        if group["momentum"] > 0:
            for leaf in parameters:
                if self._slices.whole(leaf) is not leaf:
                    state[leaf] = {_MOMENTUM: self._slices.cut(leaf, self._momentum(leaf))}

    def end(self) -> None:
        """Give the optimizer all parameters again, and no slices."""
        group, state = self._optimizer.param_groups[0], self._optimizer.state
        for leaf in group["params"]:
            if self._slices.whole(leaf) is not leaf:
                state.pop(leaf, None)
                leaf.grad = None
        group["params"] = self._all
        for tensor, before, inside in self._outside:
            torch.where(inside, tensor, before, out=tensor)
        self._outside = []

    def note_path(self) -> None:
        """Note that the step uses the supernet's present path."""
        if self._slices or self._mean:  # a sum over whole parameters needs no account
            self._used.update(self._supernet.path_parameters())

    def gather(self) -> list[nn.Parameter]:
        """Return what the step has to update, each with its gradient."""
        if not self._slices and not self._mean:
            return self._all
        used, self._used = self._used, Counter()
        slices_of: dict[nn.Parameter, list[nn.Parameter]] = {}
        for leaf in used:
            if leaf.grad is not None:
                slices_of.setdefault(self._slices.whole(leaf), []).append(leaf)
        updated = []
        for whole in self._all:  # in this order, on which the last digits of their norm depend
            leaves = slices_of.get(whole, [])
            if len(leaves) > 1:
                self._merge(whole, {leaf: used[leaf] for leaf in leaves})
                updated.append(whole)
            elif leaves:
                [leaf] = leaves
                if self._mean and used[leaf] > 1 and leaf.grad is not None:
                    leaf.grad /= used[leaf]
                updated.append(leaf)
        return updated

    @torch.no_grad()
    def _merge(self, whole: nn.Parameter, used: Mapping[nn.Parameter, int]) -> None:
        """Give a parameter the gradient of several of its slices."""
        gradient, paths = torch.zeros_like(whole), torch.zeros_like(whole)
        for leaf, count in used.items():
            assert leaf.grad is not None
            self._slices.cut(leaf, gradient).add_(leaf.grad)
            self._slices.cut(leaf, paths).add_(count)
            leaf.grad = None
        inside = paths > 0
        if not inside.all():
            moved = [whole.data]
            if self._optimizer.param_groups[0]["momentum"] > 0:
                moved.append(self._momentum(whole))
            self._outside += [(tensor, tensor.clone(), inside) for tensor in moved]
        whole.grad = gradient / paths.clamp(min=1) if self._mean else gradient

    def _momentum(self, leaf: nn.Parameter) -> Tensor:
        """Return the momentum of the whole parameter."""
        whole = self._slices.whole(leaf)
        state = self._optimizer.state[whole]
        # A new momentum is zeros: the first step then is that of a new optimizer.
        if _MOMENTUM not in state:
            state[_MOMENTUM] = torch.zeros_like(whole)
        return state[_MOMENTUM]  # type: ignore[no-any-return]
