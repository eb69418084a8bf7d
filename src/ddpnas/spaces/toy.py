"""A tiny space with a known best architecture, for tests, examples and documentation.

Four decisions of three options, 81 networks of a few hundred parameters that run in less than a
millisecond. :func:`merit` gives each architecture a score without any training: a number in
[0, 1] that is 1 for :data:`BEST` alone, so that a strategy can be tested in no time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

from torch import nn

from ddpnas.space.choose import Choose
from ddpnas.space.layers import conv_bn
from ddpnas.space.search_space import SearchSpace
from ddpnas.utils.settings import Channels, Count, Pixels

__all__ = ["BEST", "SPACE", "merit", "network"]

OPTIONS = ("skip", "conv1", "conv3")
BEST = {"layer1": "conv3", "layer2": "skip", "layer3": "conv1", "layer4": "conv3"}


def network(
    choose: Choose,
    *,
    width: Channels = 4,
    num_classes: Count = 2,
    input_shape: Sequence[Pixels] = (1, 8, 8),
) -> nn.Module:
    """Return a chain of four layers.

    Args:
        choose: See :class:`ddpnas.space.Choose`.
        width: Channels.
        num_classes: Outputs of the classifier, (N, num_classes).
        input_shape: Shape of an image, (channels, height, width).
    """
    searching = choose.searching

    def conv(kernel: int) -> nn.Module:
        return conv_bn(width, width, kernel, activation=nn.ReLU, searching=searching, option=True)

    options: dict[str, Callable[[], nn.Module]] = {
        "skip": nn.Identity,
        "conv1": lambda: conv(1),
        "conv3": lambda: conv(3),
    }
    return nn.Sequential(
        conv_bn(input_shape[0], width, 3, stride=2, activation=nn.ReLU, searching=searching),
        *(choose(layer, options) for layer in BEST),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, num_classes),
    )


def merit(architecture: Mapping[str, str]) -> float:
    """Return how good the architecture is by definition, from 0 to 1.

    Each layer adds up to a quarter. It adds less the further its option is from the best option
    in the list of options.

    Args:
        architecture: An option for every layer.

    Example:
        >>> merit(BEST), merit({**BEST, "layer1": "skip"})
        (1.0, 0.75)
    """
    distances = [
        abs(OPTIONS.index(architecture[layer]) - OPTIONS.index(best))
        for layer, best in BEST.items()
    ]
    return 1.0 - sum(distances) / (2 * len(BEST))


SPACE = functools.partial(SearchSpace, network)
