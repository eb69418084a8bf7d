"""How large the images of a pretrained network are: as large as the time allows.

Networks of a library learned from large photographs. To enlarge small ones costs time and gains
accuracy, until too few steps are left (records/fine-tuning.md).
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ddpnas.costs.network import count_network
from ddpnas.data.data import Data
from ddpnas.data.splits import TensorSplit
from ddpnas.errors import OptionError
from ddpnas.fitting.request import FitRequest
from ddpnas.fitting.speed import epoch_seconds_by_threads
from ddpnas.fitting.started import RECIPE, check_limits
from ddpnas.relaxed.memory import free_bytes
from ddpnas.training.device import pick_device
from ddpnas.training.networks import NamedNetwork, find_network
from ddpnas.training.out_of_memory import is_out_of_memory
from ddpnas.training.protections import trained_items
from ddpnas.training.recipes import create_recipe
from ddpnas.utils.memory import free_memory
from ddpnas.utils.quiet import quieted
from ddpnas.utils.seeds import seeded

__all__ = ["Larger", "takes"]

_MULTIPLE = 16  # of pixels a side
_TIMED = 64  # from here on, the seconds of a step follow the pixels
_LATER = (96, 128)  # where a network takes none so small
_FEWEST_STEPS = 80  # in whole epochs; with fewer, smaller images end better
_SURE = 0.9  # share of the time that an estimate may use up
_MEMORY = 0.25  # share of what is free, on the device too, that all images may take


@dataclass(frozen=True)
class Larger:
    """Larger images of the same data.

    Attributes:
        read: Returns the data with square images; takes their side in pixels.
        reading: Seconds that reading takes.
    """

    read: Callable[[int], Data]
    reading: float

    def of(self, request: FitRequest, start: str, *, choose_threads: bool) -> FitRequest:
        """Return the request with images as large as time, memory and limits allow.

        They are at most as large as those that the library trained its network on. A network that
        takes none so small gets the smallest that it takes.

        Args:
            request: Its images are the smallest in question.
            start: Name of the network, see :func:`ddpnas.open_network`. Only those of timm and
                torchvision say how large their images were; with others, nothing changes.
            choose_threads: Whether the number of threads may be changed to what is faster.

        Raises:
            OptionError: There is no such network.
        """
        data = request.data
        network = find_network(start) if start.startswith(("timm:", "torchvision:")) else None
        square = bool(data.mean) and data.input_shape[1] == data.input_shape[2]
        if network is None or network.preprocessing is None or not square:
            return request
        smallest, own = data.input_shape[-1], network.preprocessing.shape[-1]
        larger = [side for side in (*range(0, own, _MULTIPLE), own) if side > smallest]
        if not larger:
            return request
        timed, step = _timed_step(request, network, [smallest, *larger], choose_threads)
        if step is None:
            return request
        for side in reversed(larger):
            each = step * (side / timed) ** 2
            if self._are_enough(request, side, each) and _is_allowed(request, network, side):
                return self._resized(request, side)
        if takes(network, data):
            return request
        return self._resized(request, next(side for side in larger if takes(network, data, side)))

    def _are_enough(self, request: FitRequest, side: int, step: float) -> bool:
        """Return whether there are time and memory for the fewest steps on images of a size."""
        data, recipe = request.data, create_recipe(RECIPE)
        steps = max(1, trained_items(data, recipe) // (recipe.batch_size or 1))
        each = steps * step
        left = _SURE * (request.left(request.reserve(each=each)) - self.reading)
        held = sum(map(len, data.splits.values())) * data.input_shape[0] * side**2
        free = [free_memory(), free_bytes(pick_device(request.device))]
        room = _MEMORY * min(one for one in free if one is not None)
        return int(left / each) * steps >= _FEWEST_STEPS and held <= room

    def _resized(self, request: FitRequest, side: int) -> FitRequest:
        request.tell(f"images are resized to {side}x{side}, as the time allows; see --image-size")
        with quieted("ddpnas.data", logging.WARNING):  # it was said when they were read before
            return dataclasses.replace(request, data=self.read(side))


def takes(network: NamedNetwork, data: Data, side: int | None = None) -> bool:
    """Return whether a network takes square images.

    Args:
        network: The network.
        data: Says how many classes and channels there are.
        side: Side of the images in pixels; by default that of the data.
    """
    shape = data.input_shape if side is None else (data.input_shape[0], side, side)
    try:
        network.build(len(data.classes), shape)
    except OptionError:
        return False
    return True


def _timed_step(
    request: FitRequest, network: NamedNetwork, sides: Sequence[int], choose_threads: bool
) -> tuple[int, float | None]:
    """Return how large images were shown, and the seconds of a step; None if memory ran out."""
    largest = sides[-1]
    first = next(side for side in sides if side >= min(_TIMED, largest))
    for side in (first, *(side for side in _LATER if first < side < largest)):
        try:
            return side, _step_seconds(request, network, side, choose_threads)
        except OptionError:  # it takes none so small
            continue
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return side, None
    return largest, _step_seconds(request, network, largest, choose_threads)


def _step_seconds(
    request: FitRequest, network: NamedNetwork, side: int, choose_threads: bool
) -> float:
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
    shown = dataclasses.replace(data, train=few, input_shape=shape)
    return epoch_seconds_by_threads(model, shown, recipe, request.device, choose=choose_threads)


def _is_allowed(request: FitRequest, network: NamedNetwork, side: int) -> bool:
    """Return whether the network takes images of a size and is then within the limits."""
    shape = (request.data.input_shape[0], side, side)
    try:
        model = network.build(len(request.data.classes), shape)
        check_limits(network.name, count_network(model, shape), request.limits)
    except OptionError:
        return False
    return True
