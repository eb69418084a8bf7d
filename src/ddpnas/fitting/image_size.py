"""How large the images of a pretrained network are: as large as the time allows.

Networks of a library learned from large photographs. To enlarge small ones costs time and gains
accuracy, until too few steps are left (records/fine-tuning.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ddpnas.costs.network import count_network
from ddpnas.data.data import Data
from ddpnas.data.splits import TensorSplit
from ddpnas.errors import OptionError
from ddpnas.fitting.request import FitRequest
from ddpnas.fitting.speed import epoch_seconds
from ddpnas.fitting.started import RECIPE, check_limits
from ddpnas.training.networks import NamedNetwork, find_network
from ddpnas.training.out_of_memory import is_out_of_memory
from ddpnas.training.protections import trained_items
from ddpnas.training.recipes import create_recipe
from ddpnas.utils.memory import free_memory
from ddpnas.utils.seeds import seeded

__all__ = ["Larger"]

_MULTIPLE = 16  # of pixels a side
_TIMED = 64  # from here on, the seconds of a step follow the pixels
_FEWEST_STEPS = 80  # in whole epochs; with fewer, smaller images end better
_SURE = 0.9  # share of the time that an estimate may use up
_MEMORY = 0.25  # share of what is free that all images may take


@dataclass(frozen=True)
class Larger:
    """Larger images of the same data.

    Attributes:
        read: Returns the data with images of so many pixels a side.
        reading: Seconds that this takes.
    """

    read: Callable[[int], Data]
    reading: float

    def of(self, request: FitRequest, start: str) -> FitRequest:
        """Return the request with images as large as time, memory and limits allow.

        They are at most as large as those that the library trained its network on. A network that
        takes no smaller ones gets images of that size.

        Args:
            request: Its images are the smallest in question.
            start: Name of the network, see :func:`ddpnas.open_network`. Only those of timm and
                torchvision say how large their images were; with others, nothing changes.

        Raises:
            OptionError: There is no such network.
        """
        data = request.data
        network = find_network(start) if start.startswith(("timm:", "torchvision:")) else None
        if network is None or network.preprocessing is None or not _square_images(data):
            return request
        smallest, own = data.input_shape[-1], network.preprocessing.shape[-1]
        larger = [side for side in (*range(0, own, _MULTIPLE), own) if side > smallest]
        if not larger:
            return request
        timed = next(side for side in (smallest, *larger) if side >= min(_TIMED, own))
        try:
            step = _step_seconds(request, network, timed)
        except OptionError:  # it takes images of one size
            return self._with(request, own)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return request
        batch = create_recipe(RECIPE).batch_size or 1
        steps = max(1, trained_items(data, create_recipe(RECIPE)) // batch)
        images = sum(map(len, data.splits.values()))
        for side in reversed(larger):
            each = steps * step * (side / timed) ** 2
            left = _SURE * (request.left(request.reserve(each=each)) - self.reading)
            enough = int(left / each) * steps >= _FEWEST_STEPS
            room = images * data.input_shape[0] * side**2 < _MEMORY * free_memory()
            if enough and room and _allowed(request, network, side):
                return self._with(request, side)
        return request

    def _with(self, request: FitRequest, side: int) -> FitRequest:
        request.tell(f"images are resized to {side}x{side}, as the time allows; see --image-size")
        return dataclasses.replace(request, data=self.read(side))


def _square_images(data: Data) -> bool:
    return bool(data.mean) and data.input_shape[1] == data.input_shape[2]


def _step_seconds(request: FitRequest, network: NamedNetwork, side: int) -> float:
    """Return the seconds of a training step on images of a size.

    Raises:
        OptionError: The network does not take such images.
    """
    data, recipe = request.data, create_recipe(RECIPE)
    shape = (data.input_shape[0], side, side)
    batch = min(recipe.batch_size or 1, len(data.train))
    with seeded(0):
        model = network.build(len(data.classes), shape)
        images = torch.randint(256, (batch, *shape), dtype=torch.uint8)
    few = TensorSplit(images, torch.arange(batch) % len(data.classes))
    return epoch_seconds(
        model, dataclasses.replace(data, train=few, input_shape=shape), recipe, request.device
    )


def _allowed(request: FitRequest, network: NamedNetwork, side: int) -> bool:
    """Return whether the network takes images of a size and is then within the limits."""
    shape = (request.data.input_shape[0], side, side)
    try:
        model = network.build(len(request.data.classes), shape)
        check_limits(network.name, count_network(model, shape), request.limits)
    except OptionError:
        return False
    return True
