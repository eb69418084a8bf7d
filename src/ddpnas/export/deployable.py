"""Deployable: a network with what a file of it must say, and Input: what the file takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ddpnas.data.preprocessing import Preprocessing
from ddpnas.errors import OptionError
from ddpnas.training.trained_model import TrainedModel
from ddpnas.utils.settings import Interpolation, checked

__all__ = ["Deployable", "Input"]


@dataclass(frozen=True)
class Input:
    """The inputs that an exported graph accepts.

    Example:
        >>> Input((3, 32, 32), mean=(0.5,) * 3, std=(0.2,) * 3, preprocessing=True).layout
        'uint8 NHWC (batch, height, width, channels), RGB or grey, 0 to 255'
        >>> Input((16,)).layout
        'float32 (batch, 16)'

    Attributes:
        shape: Shape of one input: (channels, height, width) for images.
        mean: Mean of each channel, for images scaled to [0, 1]. Empty for inputs that are not
            normalized.
        std: Standard deviation of each channel, for images scaled to [0, 1].
        preprocessing: Whether the graph normalizes. If so, it takes images as cameras, Pillow and
            OpenCV store them: uint8, (N, height, width, channels), red first. Otherwise it takes
            normalized float32 tensors, (N, channels, height, width). Cropping and resizing stay
            outside either way: height and width are fixed.
        dtype: Type of inputs that are not images; ``torch.int64`` for tokens.
        interpolation: How the images of the training were resized, for the file's metadata.

    Raises:
        OptionError: If ``mean`` and ``std`` do not match the channels, or if ``preprocessing`` is
            set for inputs that are not images.
    """

    shape: tuple[int, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    preprocessing: bool = False
    dtype: torch.dtype = torch.float32
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        if self.preprocessing and (len(self.shape) != 3 or not self.mean):
            raise OptionError(
                "preprocessing is for images: it needs an input shape of (channels, height, width) "
                "and the mean and standard deviation of each channel"
            )
        if len(self.mean) != len(self.std) or (self.mean and len(self.mean) != self.shape[0]):
            raise OptionError(
                f"mean and std must hold one number for each of {self.shape[0]} channels, not "
                f"{len(self.mean)} and {len(self.std)}"
            )

    @property
    def layout(self) -> str:
        """Describe type, layout and range of the inputs in one line."""
        if self.preprocessing:
            return "uint8 NHWC (batch, height, width, channels), RGB or grey, 0 to 255"
        if self.mean:
            return "float32 NCHW (batch, channels, height, width), (pixel / 255 - mean) / std"
        shape = ", ".join(str(n) for n in self.shape)
        return f"{str(self.dtype).removeprefix('torch.')} (batch, {shape})"

    def feed(self, raw: Tensor) -> Tensor:
        """Return what the graph takes for these raw inputs.

        Args:
            raw: Images as uint8 (N, C, H, W) if ``mean`` is given, otherwise (N, *shape).

        Raises:
            OptionError: If the inputs have another shape or type.
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
        return Preprocessing(self.shape, self.mean, self.std).normalize(raw).contiguous()

    def batches(self, raw: Tensor, size: int = 100) -> Iterator[Tensor]:
        """Yield :meth:`feed` of the raw inputs in batches of ``size``."""
        for chunk in raw.split(size):  # type: ignore[no-untyped-call]
            yield self.feed(chunk)

    def examples(self, images: Tensor | None) -> Tensor:
        """Return raw inputs to check a file with: some of noise, if none are given.

        Raises:
            OptionError: If they are not a tensor of inputs, or there are none.
        """
        if images is None:
            return self.random(64)
        raw: Tensor = checked("images to check a file with", Tensor, images)
        if raw.ndim == 0 or len(raw) == 0:
            raise OptionError("images to check a file with must be at least one")
        self.feed(raw[:1])
        return raw

    def random(self, n: int) -> Tensor:
        """Return ``n`` raw inputs of noise, the same on every call; zeros for integer inputs."""
        generator = torch.Generator().manual_seed(0)
        if self.mean:
            return torch.randint(0, 256, (n, *self.shape), dtype=torch.uint8, generator=generator)
        if self.dtype.is_floating_point:
            return torch.randn(n, *self.shape, generator=generator, dtype=self.dtype)
        return torch.zeros(n, *self.shape, dtype=self.dtype)


@dataclass(frozen=True)
class Deployable:
    """A network with everything that an exported file needs to state about it.

    What :func:`ddpnas.load` returns knows all of this: the exporters take it directly, or as
    ``Deployable.of(model, preprocessing=True)`` to put the normalization into the graph. Any
    other module is described by its fields.

    Example:
        >>> model = Deployable(nn.Linear(16, 2), Input((16,)), classes=("cat", "dog"))
        >>> model.takes.layout
        'float32 (batch, 16)'

    Attributes:
        network: The module. Exporters leave it unchanged and export its evaluation mode.
        takes: The inputs that the exported graph accepts.
        classes: Class names in the order of the outputs.
        about: Origin of the network (architecture, data, versions, ...) as plain data. It is
            written into the file, so keep local paths out of it.
    """

    network: nn.Module
    takes: Input
    classes: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: TrainedModel,
        *,
        preprocessing: bool = False,
        dtype: torch.dtype | None = None,
    ) -> Deployable:
        """Return the description of a trained network.

        Args:
            model: A network loaded with :func:`ddpnas.load`.
            preprocessing: Whether the graph normalizes, see :class:`Input`.
            dtype: Type of inputs that are not images; ``torch.int64`` for tokens. By default that
                of the network's space, or ``torch.float32`` without one.
        """
        if dtype is None:
            dtype = torch.float32 if model.space is None else model.space.input_dtype
        takes = Input(
            model.input_shape, model.mean, model.std, preprocessing, dtype, model.interpolation
        )
        return cls(model.network, takes, model.classes, _origin(model))


def as_deployable(model: Deployable | TrainedModel) -> Deployable:
    """Return the description of what an exporter was given.

    Raises:
        OptionError: If it is a plain module, whose input shape is unknown.
    """
    if isinstance(model, TrainedModel):
        return Deployable.of(model)
    if not isinstance(model, Deployable):
        raise OptionError(
            f"the input shape of a {type(model).__name__} is unknown: export "
            "Deployable(model, Input((3, 32, 32))), both from ddpnas.export"
        )
    return model


def _origin(model: TrainedModel) -> dict[str, Any]:
    """Return architecture, costs and provenance, without the local path of the data."""
    provenance = {**model.about.get("provenance", {})}
    provenance["data"] = {k: v for k, v in provenance.get("data", {}).items() if k != "source"}
    keys = ("space", "space_options", "costs", "limits")
    kept = {key: model.about[key] for key in keys if key in model.about}
    return {**kept, "architecture": model.text, "provenance": provenance}
