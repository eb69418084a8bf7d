"""peak_limit(): a limit on the memory needed at one time, exactly, where the network is a chain.

The peak is a maximum over moments and no sum over choices. In a chain (``nn.Sequential``) what is
in memory while a module runs, besides its own tensors, is its input and the network's, whatever was
chosen before. A limit on the peak is then a limit on each module, and forbids the options that
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

    Limited to 0, it leaves exactly the architectures whose ``peak_activation_bytes``
    (:func:`ddpnas.count_network`) is at most that:

        costs["places_over_peak"] = ddpnas.costs.peak_limit(space, 2e6)
        ddpnas.generate(distribution, space, {"places_over_peak": 0}, costs)

    Args:
        space: whose network is an ``nn.Sequential`` of fixed modules and choices; an option is
            without choices inside, or itself a choice.
        at_most: bytes, for one input.

    Raises:
        SpaceError: a network of another form, whose peak depends on several choices together.
    """
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
        f"a limit on the peak memory of space {space.name!r} is no limit on single choices: its "
        f"network is no plain chain of modules and choices ({why}); ddpnas.count_network tells the "
        f"peak of a network that is built"
    )
