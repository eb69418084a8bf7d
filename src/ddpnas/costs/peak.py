"""peak_limit(): an exact limit on peak memory, where the network is a chain.

The peak is a maximum over moments, not a sum over choices. While a module of a chain
(``nn.Sequential``) runs, its own tensors, its input and the network's input are in memory, whatever
was chosen before. A limit on the peak is then a limit on each module, and forbids the options that
exceed it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ddpnas.costs.network import peak_bytes, quick_norms
from ddpnas.costs.table import CostTable, add_term
from ddpnas.errors import SpaceError
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.supernet import Condition, walk

__all__ = ["peak_limit"]


def peak_limit(space: SearchSpace, at_most: float) -> CostTable:
    """Return the table "places_over_peak": in how many places a network exceeds the peak.

    Limit this cost to 0, and exactly the architectures remain whose ``peak_activation_bytes``
    (:func:`ddpnas.count_network`) is at most ``at_most``.

    Args:
        space: A space whose network is an ``nn.Sequential`` of fixed modules and choices, without
            undecided widths. An option has no choices inside, or is itself a choice.
        at_most: Largest allowed peak for one input, in bytes.

    Raises:
        SpaceError: The network has another form, so that its peak depends on several choices
            together.

    Example:
        >>> import ddpnas
        >>> space = ddpnas.create_space("toy")
        >>> costs = {"places_over_peak": peak_limit(space, 3000)}
        >>> uniform = ddpnas.JointDistribution.uniform(space.decisions)
        >>> found = ddpnas.generate(uniform, space, {"places_over_peak": 0}, costs)
        >>> network = space.build(found.architecture)
        >>> ddpnas.count_network(network, space.input_shape)["peak_activation_bytes"] <= 3000
        True
    """
    if widths := [decision.name for decision in space.decisions if decision.ordered]:
        raise _refused(space, f"the width {widths[0]!r} is undecided")
    with torch.device("meta"):
        opened = quick_norms(space.opened())
        example = torch.empty(1, *space.input_shape, dtype=space.input_dtype)
    if not isinstance(opened, nn.Sequential) or type(opened).forward is not nn.Sequential.forward:
        raise _refused(space, f"it is a {type(opened).__name__}")
    terms: dict[Condition, int] = {}
    given: Any = example
    for module in opened:
        outputs: list[Tensor] = []
        for condition, inside, choices in walk(module):
            if inside and choices:
                raise _refused(space, f"a {type(inside[0]).__name__} has choices inside")
            if not inside:  # a choice: its options come next
                continue
            option, kept = inside[0], list[Tensor]()

            def run(option: nn.Module = option, given: Any = given, to: Any = kept) -> None:
                to.append(option(given))

            if peak_bytes(option, run, [example, given]) > at_most:
                add_term(terms, condition, 1)
            outputs += kept
        if not all(isinstance(output, Tensor) for output in outputs):
            raise _refused(space, "not all its modules give one tensor")
        if len({(_is_alias(o, example), o.untyped_storage().nbytes()) for o in outputs}) > 1:
            raise _refused(space, "whether more than an output stays in use depends on a choice")
        given = outputs[0]
    about = {**space.identity, "options": space.plain_options, "at_most_bytes": at_most}
    return CostTable("places_over_peak", "places", 0, terms, about)


def _is_alias(output: Tensor, example: Tensor) -> bool:
    return bool(output.untyped_storage()._cdata == example.untyped_storage()._cdata)


def _refused(space: SearchSpace, why: str) -> SpaceError:
    return SpaceError(
        f"peak_limit needs a network that is a plain chain of modules and choices, and that of "
        f"space {space.name!r} is not ({why}); use ddpnas.count_network for the peak of a built "
        f"network"
    )
