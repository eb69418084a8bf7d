"""The first and the last layer of a network: which they are, and others in their place."""

from __future__ import annotations

from torch import nn

from ddpnas.errors import OptionError

__all__ = ["first_convolution", "head_of", "replace_head", "replace_layer", "with_inputs"]


def head_of(network: nn.Module) -> str | None:
    """Return the name of the layer that gives the logits.

    This is timm's classifier where the network has one, else the last linear layer, else the last
    convolution (SqueezeNet).

    Example:
        >>> head_of(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
        '2'
    """
    modules: list[tuple[str, nn.Module]] = list(network.named_modules())
    if callable(getter := getattr(network, "get_classifier", None)):
        classifier = getter()
        named = [name for name, module in modules if module is classifier]
        return named[0] if named else None
    for kind in (nn.Linear, nn.Conv2d):
        if found := [name for name, module in modules if isinstance(module, kind)]:
            return found[-1]
    return None


def replace_head(network: nn.Module, num_classes: int, name: str) -> None:
    """Give the network a new last layer with that many outputs.

    Args:
        network: Changed in place. Where its last layer is not linear, timm's ``reset_classifier``
            makes the new one. That has the inputs of the published network, so a cut network needs
            a linear one.
        num_classes: Number of outputs.
        name: Name of the network, for messages.

    Raises:
        OptionError: It has no linear layer.
    """
    at = head_of(network)
    head = network.get_submodule(at) if at else None
    if not isinstance(head, nn.Linear) or at is None:
        if callable(reset := getattr(network, "reset_classifier", None)):
            reset(num_classes)
            return
        raise OptionError(
            f"the network {name} has no last linear layer to replace by one of {num_classes} "
            f"outputs; give its function a parameter num_classes"
        )
    replace_layer(network, at, nn.Linear(head.in_features, num_classes, bias=head.bias is not None))


def first_convolution(network: nn.Module) -> tuple[str, nn.Conv2d] | None:
    """Return the name of the first convolution, which reads the images, and the layer."""
    layers = ((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
    return next(layers, None)


def with_inputs(layer: nn.Conv2d, channels: int, name: str) -> nn.Conv2d:
    """Return a new convolution like this one for another number of input channels.

    Args:
        layer: The convolution.
        channels: Number of input channels.
        name: Name of its network, for messages.

    Raises:
        OptionError: It has groups, which fit its own number of channels only.
    """
    if layer.groups > 1:
        raise OptionError(
            f"the first convolution of the network {name} takes {layer.in_channels} channels in "
            f"{layer.groups} groups, and these images have {channels}; give its function a "
            f"parameter input_shape"
        )
    return nn.Conv2d(
        channels,
        layer.out_channels,
        layer.kernel_size,  # type: ignore[arg-type]
        layer.stride,  # type: ignore[arg-type]
        layer.padding,  # type: ignore[arg-type]
        layer.dilation,  # type: ignore[arg-type]
        bias=layer.bias is not None,
        padding_mode=layer.padding_mode,
    )


def replace_layer(network: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, layer)
