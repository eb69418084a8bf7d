"""Loads what commands load, once for all processes that are forked afterwards."""

import torch
import torch._dynamo
import torch.export
import torchvision

import ddpnas.cli.parser
import ddpnas.runs.search
import ddpnas.testing

__all__ = ["ddpnas", "torch", "torchvision"]
torch.set_num_threads(1)
