"""Small networks for the tests of the exports, with weights as if they were trained."""

import numpy as np
import torch
from torch import nn

import ddpnas

# Options that make each published space small; a space without an entry is small as it is.
SMALL = {
    "darts": {"channels": 4, "cells": 3, "auxiliary": True},
    "mnasnet": {"width": 0.25, "reduction": 8, "input_shape": (3, 32, 32)},
    "mobilenet-v2": {"width": 0.25, "reduction": 8, "input_shape": (3, 32, 32)},
    "mobilenet-v3": {"width": 0.25, "reduction": 8, "input_shape": (3, 32, 32)},
    "nasbench201": {"channels": 4, "cells_per_stage": 1},
    "shufflenet": {"width": 0.25, "reduction": 8, "input_shape": (3, 32, 32)},
}


def small_space(name):
    return ddpnas.create_space(name, **SMALL.get(name, {}))


def settled(network, seed=0):
    """Return the network with the terms of BatchNorm that training would leave: none is 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for terms, least in (
                (module.weight, 0.5),
                (module.bias, -0.5),
                (module.running_mean, -0.5),
                (module.running_var, 0.5),
            ):
                terms.data.copy_(torch.rand(terms.shape, generator=generator) + least)
    return network.eval()


def small_network(name, seed=0):
    """Return (space, network) of a published space."""
    space = small_space(name)
    architecture = space.sample(np.random.default_rng(seed))
    shallow = {d.name: "skip" for d in space.decisions if "skip" in d.options}
    shallow |= {d.name: "1" for d in space.decisions if d.name.endswith(".layers")}
    if name in ("mobilenet-v2", "mobilenet-v3", "mnasnet"):
        architecture = space.check({**architecture, **shallow})
    if name == "shufflenet":  # of the blocks of three convolutions each, two are enough
        plain = {d.name: "shuffle_k3" for d in space.decisions[2:]}
        architecture = space.check({**architecture, **plain, "block2": "xception"})
    torch.manual_seed(seed)
    return space, settled(space.build(architecture), seed)
