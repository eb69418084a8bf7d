"""Where a network computes."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from ddpnas.training.device import place
from ddpnas.training.distributed import Processes

TRAIN = """
import torch
from torch import nn
from ddpnas.training.device import place
for channels in (2, 4, 6):
    layer = place(nn.Conv2d(channels, 8, 1, 2, bias=False), torch.device("cpu"))
    for _ in range(300):
        x = torch.randn(4, channels, 8, 8).contiguous(memory_format=torch.channels_last)
        layer(x.requires_grad_()).sum().backward()
"""


@pytest.mark.slow
def test_strided_pointwise_convolutions_of_few_channels_keep_to_their_memory():
    """Torch's channels-last gradient of these ends the process; a placed network has another."""
    subprocess.run([sys.executable, "-c", TRAIN], check=True, timeout=120)


def test_placing_twice_adds_nothing():
    """A placed network that is placed again runs as before."""
    layer = place(place(nn.Conv2d(4, 8, 1, 2), torch.device("cpu")), torch.device("cpu"))
    assert len(layer._forward_pre_hooks) == 1
    x = torch.randn(2, 4, 8, 8)
    expected = nn.functional.conv2d(x, layer.weight, layer.bias, 2)
    x = x.contiguous(memory_format=torch.channels_last)
    assert torch.allclose(layer(x), expected) and torch.allclose(layer(input=x), expected)


def test_processes_sum_on_their_devices(monkeypatch):
    """One that has seen no batch may hold zeros of the processor, the others tensors of a GPU."""
    summed = []
    monkeypatch.setattr(torch.distributed, "all_reduce", summed.append)
    found = Processes(0, 2, torch.device("meta")).sum(torch.zeros(2, 3))
    assert summed == [found] and found.device.type == "meta"
