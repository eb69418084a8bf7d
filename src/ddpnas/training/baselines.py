"""Known networks of torchvision, trained as baselines for a found network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ddpnas.errors import OptionError, nearest

__all__ = ["build_baseline"]


def build_baseline(name: str, input_shape: Sequence[int], classes: int) -> nn.Module:
    """Return an untrained network of torchvision whose first convolution takes the data's channels.

    Args:
        name: A classification model of torchvision, such as "resnet18", or with a width factor
            as in "mobilenet_v2_x0.5".
        input_shape: (channels, height, width) of an image.
        classes: Number of outputs.

    Raises:
        OptionError: There is no such network, or it takes no width or no images of that size.

    Example:
        >>> build_baseline("squeezenet1_1", (1, 32, 32), 3)(torch.zeros(1, 1, 32, 32)).shape
        torch.Size([1, 3])
    """
    from torchvision import models

    known = models.list_models(module=models)
    wide = re.fullmatch(r"(.+)_x(\d+(?:\.\d+)?)", name)
    arguments: dict[str, Any] = {"num_classes": classes}
    found = name
    if name not in known and wide is not None:
        found, arguments["width_mult"] = wide[1], float(wide[2])
    if found not in known:
        raise OptionError(nearest("network of torchvision", found, known))
    try:
        network: nn.Module = models.get_model(found, **arguments)
    except TypeError:
        raise OptionError(f"the network {found} takes no width factor, as in {name!r}") from None
    _fit_channels(network, input_shape[0])
    try:
        with torch.no_grad():
            output = network.eval()(torch.zeros(1, *input_shape))
    except (RuntimeError, AssertionError) as error:
        shape = "x".join(str(n) for n in input_shape)
        raise OptionError(
            f"the network {name} cannot take images of {shape}: {str(error).splitlines()[0]}"
        ) from None
    if not isinstance(output, torch.Tensor):
        raise OptionError(f"the network {name} is not a plain classifier")
    return network


def _fit_channels(network: nn.Module, channels: int) -> None:
    """Replace the first convolution by one with this many input channels."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            if module.in_channels != channels:
                parent, _, attribute = name.rpartition(".")
                fitted = nn.Conv2d(
                    channels,
                    module.out_channels,
                    module.kernel_size,  # type: ignore[arg-type]
                    module.stride,  # type: ignore[arg-type]
                    module.padding,  # type: ignore[arg-type]
                    bias=module.bias is not None,
                )
                setattr(network.get_submodule(parent), attribute, fitted)
            return
