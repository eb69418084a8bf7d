"""MixedChoices: a supernet in which every choice runs several options, weighted.

Notation.  x          input of a choice
           o_k(x)     output of option k
           w    (K,)  weights of the options of the decision, the same at all its places

    soft   y = sum over k of w_k o_k(x)
    hard   y = w_i o_i(x) + sum over k != i of w_k         w one-hot in value, i the chosen option

In the hard form one option runs. The other weights are 0, so their sum changes no output, but the
gradient reaches them (Dong and Yang, "GDAS", CVPR 2019, arXiv 1910.04465).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddpnas.errors import SpaceError
from ddpnas.space.supernet import Choice, Supernet
from ddpnas.utils.seeds import seeded

__all__ = ["Draw", "MixedChoices"]


@dataclass(frozen=True)
class Draw:
    """The weights of one decision in one run of the network.

    Attributes:
        weights: (K,) weight of each option; 0 for those that neither run nor count.
        runs: Indices of the options that run.
        adds: Indices of options that do not run, but whose weights are added to the output.
        edge: Weight of the edge on which the decision stands, a scalar; None counts 1. Only edges
            on a part of the channels have one, see :mod:`ddpnas.relaxed.partial_channels`.
    """

    weights: Tensor
    runs: tuple[int, ...]
    adds: tuple[int, ...] = ()
    edge: Tensor | None = None

    def detached(self) -> Draw:
        """Return the same weights without gradient."""
        edge = None if self.edge is None else self.edge.detach()
        return Draw(self.weights.detach(), self.runs, self.adds, edge)


class MixedChoices:
    """Runs the options of a supernet's choices with weights, inside a context.

    Outside the context, the supernet runs one path as ever.

    Args:
        supernet: The supernet.

    Attributes:
        dropout: Name of an option -> dropout on its outputs.

    Example:
        >>> from ddpnas import create_space
        >>> space = create_space("toy", input_shape=(1, 8, 8))
        >>> supernet = space.supernet().eval()
        >>> mixed = MixedChoices(supernet)
        >>> third = torch.full((3,), 1 / 3)
        >>> with mixed({d.name: Draw(third, (0, 1, 2)) for d in space.decisions}):
        ...     supernet(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 2])
    """

    def __init__(self, supernet: Supernet) -> None:
        self._choices = supernet.choices
        self.dropout: Mapping[str, float] = {}
        self._draws: Mapping[str, Draw] = {}
        # (choice, shape of its input) -> shape of its output for one item; for choices whose
        # drawn option gives no output
        self._shapes: dict[tuple[int, torch.Size], torch.Size | None] = {}

    @contextlib.contextmanager
    def __call__(self, draws: Mapping[str, Draw]) -> Iterator[None]:
        """Return the context in which the choices run by these weights.

        Args:
            draws: Weights by the name of the decision, on the device of the network.
        """
        self._draws = draws
        for choice in self._choices:
            choice.mixer = self._run
        try:
            yield
        finally:
            self._draws = {}
            for choice in self._choices:
                choice.mixer = None

    def _run(self, choice: Choice, *args: Any, **kwargs: Any) -> Tensor | None:
        draw = self._draws[choice.decision]
        total: Tensor | None = None
        weights: dict[int, Tensor] = {}  # of what runs, once for options that are one module
        for k in draw.runs:
            same = next(j for j in draw.runs if choice.options[j] is choice.options[k])
            weights[same] = weights[same] + draw.weights[k] if same in weights else draw.weights[k]
        for k, weight in weights.items():
            output = _output(choice, k, *args, **kwargs)
            if output is None:  # no connection, the same as zeros
                continue
            if rate := self.dropout.get(choice.names[k]):
                output = functional.dropout(output, rate)
            weight = weight.to(output.dtype)
            total = weight * output if total is None else torch.addcmul(total, weight, output)
        if draw.adds and draw.weights.requires_grad and torch.is_grad_enabled():
            if total is None and (shape := self._shape(choice, *args, **kwargs)) is not None:
                total = args[0].new_zeros(len(args[0]), *shape)
            if total is not None:
                total = total + draw.weights[list(draw.adds)].sum().to(total.dtype)
        return total

    def _shape(self, choice: Choice, *args: Any, **kwargs: Any) -> torch.Size | None:
        """Return the shape of a choice's output for one item; None if no option has an output.

        An option runs for it on two items, once for each choice and shape of inputs.
        """
        key = id(choice), args[0].shape[1:]
        if key not in self._shapes:
            self._shapes[key] = None
            few = [arg[:2] if isinstance(arg, Tensor) else arg for arg in args]
            with torch.no_grad(), seeded(0):
                for k in range(len(choice.options)):
                    output = _output(choice, k, *few, **kwargs)
                    if output is not None:
                        self._shapes[key] = output.shape[1:]
                        break
        return self._shapes[key]


def _output(choice: Choice, k: int, *args: Any, **kwargs: Any) -> Tensor | None:
    """Return the output of one option, which must leave the inputs of the others alone."""
    inputs = [arg for arg in (*args, *kwargs.values()) if isinstance(arg, Tensor)]
    versions = [tensor._version for tensor in inputs]
    option: nn.Module = choice.options[k]
    output = option(*args, **kwargs)
    named = f"option {choice.names[k]!r} of decision {choice.decision!r}"
    if [tensor._version for tensor in inputs] != versions:
        raise SpaceError(
            f"{named} changes its input in place, which the other options of a mixture need too; "
            f"begin it with a layer that does not, such as nn.ReLU() without inplace=True"
        )
    if output is not None and not isinstance(output, Tensor):
        raise SpaceError(
            f"{named} returns {type(output).__name__}; a mixture needs options that return one "
            f"tensor"
        )
    return output
