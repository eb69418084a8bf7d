"""FastNAS of NVIDIA ModelOpt (Apache-2.0) as a peer of benchmarks.shrink.

It takes a limit on MACs and searches the widths of a network with given weights.

    pip install nvidia-modelopt==0.47.0 omegaconf torchprofile==0.0.4
"""

from __future__ import annotations

import copy
import itertools
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

import ddpnas
from ddpnas.shrinking.sensitivity import mean_loss

__all__ = ["fastnas"]

_CALIBRATION = 50  # batches that it expects


def fastnas(
    model: nn.Module,
    data: ddpnas.Data,
    macs: float,
    images: list[tuple[Tensor, Tensor]],
    validation: list[tuple[Tensor, Tensor]],
    divisor: int,
) -> nn.Module:
    """Return the network that FastNAS finds within the MACs.

    Args:
        model: The network; it is not changed.
        data: Its data.
        macs: The limit. ModelOpt's FLOPs are twice the MACs, without BatchNorm.
        images: Batches that BatchNorm is calibrated on for each score.
        validation: Batches whose mean loss is the score.
        divisor: Numbers of channels are multiples of it.
    """
    from modelopt.torch import prune

    config = prune.fastnas.FastNASConfig().model_dump()
    for rules in config.values():
        for rule in rules.values():
            rule.update({name: divisor for name in rule if name.endswith("_divisor")})

    def score(network: nn.Module) -> float:
        return -mean_loss(network, validation)

    enough = list(itertools.islice(itertools.cycle(images), _CALIBRATION))
    with tempfile.TemporaryDirectory() as scratch:
        network: nn.Module = prune.prune(
            copy.deepcopy(model),
            mode=[("fastnas", config)],
            constraints={"flops": 2 * macs},
            dummy_input=torch.zeros(1, *data.input_shape),
            config={
                "data_loader": enough,
                "score_func": score,
                "checkpoint": str(Path(scratch) / "search.pth"),
            },
        )[0]
    return network.eval()
