"""Networks that a fit is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from torch import nn

from ddpnas.data.data import Data
from ddpnas.errors import InfeasibleError, OptionError
from ddpnas.fitting.timed import split_limits
from ddpnas.generation.limits import Limit
from ddpnas.spaces.edge import DESIGNS, EdgeSpace
from ddpnas.spaces.registry import create_space
from ddpnas.training.networks import find_baseline

__all__ = ["baseline_network", "check_baseline", "check_baselines"]


def check_baseline(name: str) -> None:
    """Check the name of a baseline.

    Raises:
        OptionError: There is no such network.
    """
    if name in DESIGNS:
        return
    try:
        find_baseline(name)
    except OptionError as error:
        raise OptionError(f"{error}; or a design: {', '.join(DESIGNS)}") from None


def check_baselines(names: Sequence[str], limits: Mapping[str, Limit], data: Data) -> None:
    """Build all baselines once, so that one that cannot be built is noticed before the fit.

    Args:
        names: Names of the baselines.
        limits: Limits of the fit. Without any that can be counted, designs are not built: how large
            they are is not known yet.
        data: The data.

    Raises:
        InfeasibleError: A design has no network within the limits.
        OptionError: A network does not take such images.
    """
    counted, _ = split_limits(limits)
    for name in dict.fromkeys(names):
        if name in DESIGNS and not counted:
            continue
        try:
            baseline_network(name, counted, data)
        except InfeasibleError as error:
            reason, _, _ = str(error).partition("; make the space")
            raise InfeasibleError(
                f"the baseline {name} cannot be trained: {reason}; leave it out, or give other "
                f"limits"
            ) from None


def baseline_network(name: str, limits: Mapping[str, Limit], data: Data) -> nn.Module:
    """Return an untrained network.

    Args:
        name: A standard design of the space ``edge``, scaled to the limits; a network of
            torchvision or timm; or ``FILE.py:function``, which is executed.
        limits: What the design is scaled to; the fit may have taken a smaller one.
        data: The data that it has to take.

    Raises:
        InfeasibleError: The design has no network within the limits.
        OptionError: The name is unknown, or the network does not take such images.
    """
    if name in DESIGNS:
        options = {"num_classes": len(data.classes), "input_shape": data.input_shape}
        texts = {cost: str(limit) for cost, limit in limits.items()}
        space = cast(EdgeSpace, create_space("edge", **options, limits=texts))
        return space.build(space.scaled(name, dict(limits)))
    return find_baseline(name).build(len(data.classes), data.input_shape)
