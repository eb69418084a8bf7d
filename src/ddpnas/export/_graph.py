"""The network as it is deployed: what goes into it, and its graph by torch.export."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ddpnas.data.preprocessing import Normalisation
from ddpnas.errors import OptionError
from ddpnas.training.trained_model import TrainedModel
from ddpnas.utils.onnx import quiet

__all__ = ["Deployed", "Input", "deploy", "describe"]


@dataclass(frozen=True)
class Input:
    """What one input of a deployed network is.

    Attributes:
        shape: without the batch: (channels, height, width) for images.
        mean: per channel of images scaled to [0, 1]; empty for inputs taken as they are.
        std: likewise, the standard deviation.
        preprocessing: whether the normalisation is in the graph. Then the graph takes images as
            cameras, Pillow and OpenCV hold them: uint8, (N, height, width, channels), red
            first; otherwise float32, (N, channels, height, width), normalised. Cropping and
            resizing is outside either way: height and width are fixed.
        dtype: of inputs that are no images; ``torch.int64`` for tokens.
    """

    shape: tuple[int, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    preprocessing: bool = False
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        if self.preprocessing and (len(self.shape) != 3 or not self.mean):
            raise OptionError(
                "preprocessing is for images: it needs an input shape of (channels, height, width) "
                "and the mean and standard deviation of each channel"
            )
        if len(self.mean) != len(self.std) or (self.mean and len(self.mean) != self.shape[0]):
            raise OptionError(
                f"mean and std hold a number for each of {self.shape[0]} channels, not "
                f"{len(self.mean)} and {len(self.std)}"
            )

    @property
    def layout(self) -> str:
        """What the graph takes, in a line."""
        if self.preprocessing:
            return "uint8 NHWC (batch, height, width, channels), RGB or grey, 0 to 255"
        if self.mean:
            return "float32 NCHW (batch, channels, height, width), (pixel / 255 - mean) / std"
        shape = ", ".join(str(n) for n in self.shape)
        return f"{str(self.dtype).removeprefix('torch.')} (batch, {shape})"

    def feed(self, raw: Tensor) -> Tensor:
        """Return what the graph takes for these inputs.

        Args:
            raw: uint8 (N, C, H, W) where ``mean`` is given, else inputs as they are.

        Raises:
            OptionError: inputs of another shape or kind.
        """
        if tuple(raw.shape[1:]) != self.shape or (self.mean and raw.dtype != torch.uint8):
            raise OptionError(
                f"inputs are {raw.dtype} of shape {tuple(raw.shape[1:])}; the network takes "
                f"{'uint8 images' if self.mean else self.dtype} of shape {self.shape}"
            )
        if self.preprocessing:
            return raw.permute(0, 2, 3, 1).contiguous()
        if not self.mean:
            return raw.to(self.dtype)
        return Normalisation(self.mean, self.std, raw.device)(raw).contiguous()

    def batches(self, raw: Tensor, size: int = 100) -> Iterator[Tensor]:
        """Yield :meth:`feed` of the inputs, ``size`` at a time."""
        for chunk in raw.split(size):  # type: ignore[no-untyped-call]
            yield self.feed(chunk)

    def random(self, n: int) -> Tensor:
        """Return n raw inputs of noise, the same each time; zeros where inputs are integers."""
        generator = torch.Generator().manual_seed(0)
        if self.mean:
            return torch.randint(0, 256, (n, *self.shape), dtype=torch.uint8, generator=generator)
        if self.dtype.is_floating_point:
            return torch.randn(n, *self.shape, generator=generator, dtype=self.dtype)
        return torch.zeros(n, *self.shape, dtype=self.dtype)


class Deployed(nn.Module):
    """The network with its normalisation in front; see :class:`Input`."""

    pixel_mean: Tensor
    pixel_scale: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("pixel_mean", _per_channel(mean))
        self.register_buffer("pixel_scale", _per_channel(std).reciprocal())

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of uint8 images (N, H, W, C)."""
        x = images.permute(0, 3, 1, 2).to(torch.float32)
        logits: Tensor = self.network((x - self.pixel_mean) * self.pixel_scale)
        return logits


def describe(
    model: nn.Module | TrainedModel,
    input_shape: Sequence[int] | None,
    mean: Sequence[float],
    std: Sequence[float],
    classes: Sequence[str],
    preprocessing: bool,
    input_dtype: torch.dtype,
    about: Mapping[str, Any] | None,
) -> tuple[nn.Module, Input, tuple[str, ...], dict[str, Any]]:
    """Return network, what it takes, its classes, and where it comes from.

    A :class:`ddpnas.TrainedModel` knows all of that itself.

    Raises:
        OptionError: a module without ``input_shape``.
    """
    if isinstance(model, TrainedModel):
        takes = Input(model.input_shape, model.mean, model.std, preprocessing, input_dtype)
        return model.network, takes, model.classes, _origin(model)
    if input_shape is None:
        raise OptionError("a plain module is exported with its input_shape, such as (3, 32, 32)")
    takes = Input(tuple(input_shape), tuple(mean), tuple(std), preprocessing, input_dtype)
    return model, takes, tuple(classes), dict(about or {})


def _origin(model: TrainedModel) -> dict[str, Any]:
    """Return architecture, costs and provenance, without where the data lay on the disk."""
    provenance = {**model.about.get("provenance", {})}
    provenance["data"] = {k: v for k, v in provenance.get("data", {}).items() if k != "source"}
    keys = ("space", "space_options", "costs", "limits")
    kept = {key: model.about[key] for key in keys if key in model.about}
    return {**kept, "architecture": model.text, "provenance": provenance}


def deploy(
    model: nn.Module, takes: Input, dynamic_batch: bool = True
) -> tuple[nn.Module, ExportedProgram]:
    """Return the network as it is deployed and its program: evaluation mode, on the CPU.

    Args:
        model: left as it is; a copy is exported.
        takes: what goes in.
        dynamic_batch: whether the program takes any number of inputs; otherwise one.
    """
    network = copy.deepcopy(model).cpu().eval()
    if takes.preprocessing:
        network = Deployed(network, takes.mean, takes.std).eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    example = takes.feed(takes.random(2 if dynamic_batch else 1))
    batch = ({0: Dim("batch")},) if dynamic_batch else None
    with quiet():
        return network, torch.export.export(network, (example,), dynamic_shapes=batch)


def _per_channel(values: Sequence[float]) -> Tensor:
    """Return the values of the scale 0 to 1 on the scale 0 to 255, as (1, C, 1, 1)."""
    return torch.tensor(values, dtype=torch.float32).mul(255).view(1, -1, 1, 1)
