"""The graph of a network by torch.export, with the normalization in front, and its metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ddpnas.errors import ExportError
from ddpnas.export.deployable import Deployable
from ddpnas.space.repvgg import merge_branches
from ddpnas.training.out_of_memory import is_out_of_memory
from ddpnas.utils.environment import versions
from ddpnas.utils.onnx import quiet

__all__ = ["file_metadata", "trace"]


class Normalized(nn.Module):
    """A network with its normalization in front: uint8 images (N, H, W, C) to logits.

    The names of the buffers end up in the graph. Quantization finds the normalization by them.
    """

    pixel_mean: Tensor
    pixel_scale: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("pixel_mean", _per_channel(mean))
        self.register_buffer("pixel_scale", _per_channel(std).reciprocal())

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, classes)."""
        x = images.permute(0, 3, 1, 2).to(torch.float32)
        logits: Tensor = self.network((x - self.pixel_mean) * self.pixel_scale)
        return logits


def trace(model: Deployable, dynamic_batch: bool = True) -> tuple[nn.Module, ExportedProgram]:
    """Return a copy of the network as it is deployed (evaluation mode, CPU), and its program.

    Args:
        model: The network to deploy.
        dynamic_batch: Whether the program takes any number of inputs; otherwise exactly one.

    Raises:
        ExportError: The network fails on such inputs, or does not return one tensor (N, classes);
            or torch.export cannot trace it, as if what it does depends on values.
    """
    takes = model.takes
    network = merge_branches(model.network).cpu().eval()
    if takes.preprocessing:
        network = Normalized(network, takes.mean, takes.std).eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    # torch.export takes a batch of 1 for a constant, so a dynamic batch is traced with 2.
    example = takes.feed(takes.random(2 if dynamic_batch else 1))
    batch = ({0: Dim("batch")},) if dynamic_batch else None
    with quiet():
        try:
            logits = network(example)  # before torch.export, which would hide what fails
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise ExportError(
                f"the network fails on {takes.layout}: {_cause(error)}; give a Deployable whose "
                f"Input has the shape and dtype that the network takes"
            ) from error
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else ()
        if len(shape) != 2 or shape[0] != len(example):
            found = f"a tensor {shape}" if isinstance(logits, Tensor) else type(logits).__name__
            raise ExportError(
                f"for {len(example)} inputs the network gives {found}; a network to export gives "
                f"one tensor ({len(example)}, classes)"
            )
        try:
            return network, torch.export.export(network, (example,), dynamic_shapes=batch)
        except OSError:  # of the disk, not of the network
            raise
        except Exception as error:  # torch documents no base class of these
            raise ExportError(f"torch.export cannot trace this network: {_cause(error)}") from error


def file_metadata(model: Deployable) -> dict[str, str]:
    """Return the metadata of a file, as texts by name."""
    takes = model.takes
    return {
        "classes": json.dumps(list(model.classes)),
        "mean": json.dumps(takes.mean),
        "std": json.dumps(takes.std),
        "interpolation": takes.interpolation,
        "input_shape": json.dumps(takes.shape),
        "input_layout": takes.layout,
        "preprocessing": "normalization inside" if takes.preprocessing else "outside",
        "about": json.dumps(dict(model.about)),
        "versions": json.dumps(versions("torch")),
    }


def _cause(error: Exception) -> str:
    """Return the first line of what an error says."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))


def _per_channel(values: Sequence[float]) -> Tensor:
    """Return values for the range 0 to 1 as values for 0 to 255, (1, C, 1, 1)."""
    return torch.tensor(values, dtype=torch.float32).mul(255).view(1, -1, 1, 1)
