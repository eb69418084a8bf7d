"""seconds_an_image(): how long a network takes for an image on this machine, from a few batches."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Sequence

import torch
from torch import nn

from ddpnas.costs.network import count_network
from ddpnas.space.outputs import main_output

__all__ = ["seconds_an_image"]

_MACS = 4e9  # of a batch, about: enough to hide the overhead of small networks
_LEAST, _MOST = 4, 64  # images of a batch
_LEAST_TRIES, _MOST_TRIES = 3, 10
_SECONDS = 0.5  # of all tries, about: a short time tells little where other programs run, too


def seconds_an_image(
    model: nn.Module, input_shape: Sequence[int], device: torch.device, *, training: bool
) -> float:
    """Return the seconds of an image: forward, or a whole step if it is trained.

    Args:
        model: The network; it is not changed.
        input_shape: Shape of one input.
        device: Where it runs.
        training: Whether gradients are computed too.
    """
    macs = count_network(model, input_shape)["macs"]
    batch = int(min(max(_MACS / max(macs, 1), _LEAST), _MOST))
    network = copy.deepcopy(model).to(device).train(training)
    inputs = torch.zeros(batch, *input_shape, device=device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0) if training else None
    seconds: list[float] = []
    while len(seconds) <= _LEAST_TRIES or (
        len(seconds) <= _MOST_TRIES and sum(seconds[1:]) < _SECONDS
    ):
        begun = time.perf_counter()
        with torch.set_grad_enabled(training):
            outputs = main_output(network(inputs))
            if optimizer is not None:
                outputs.sum().backward()
                optimizer.step()
                optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - begun)
    return statistics.mean(seconds[1:]) / batch  # the first one warms up
