"""Networks by name: timm's, torchvision's, or a function in a user's file; built untrained.

This is the one place that turns a name into a network. :mod:`ddpnas.training.pretrained` adds
weights, and the folders of trained networks.
"""

from __future__ import annotations

import abc
import difflib
import inspect
import logging
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ddpnas.data.preprocessing import Preprocessing
from ddpnas.errors import DdpnasError, OptionError, nearest, reason_of
from ddpnas.space.user_code import UserCode, as_user_error, names_file
from ddpnas.training._heads import first_convolution, replace_head, replace_layer, with_inputs
from ddpnas.utils.quiet import quieted

__all__ = ["FORMS", "NamedNetwork", "find_baseline", "find_network"]

logger = logging.getLogger(__name__)

FORMS = "timm:NAME, torchvision:NAME or FILE.py:function"


@dataclass(frozen=True)
class NamedNetwork(abc.ABC):
    """A network that a library or a user's file builds, by its name.

    Attributes:
        name: The name, such as "timm:mobilenetv3_small_100" or "nets/mine.py:network".
    """

    name: str

    @property
    def code(self) -> UserCode | None:
        """The user's file; None for a network of a library."""
        return None

    @property
    def preprocessing(self) -> Preprocessing | None:
        """How the library prepares images for its pretrained weights; None if it does not say."""
        return None

    def build(self, num_classes: int | None, input_shape: Sequence[int] | None) -> nn.Module:
        """Return the network, untrained, in training mode.

        Args:
            num_classes: Number of outputs; None for the library's own.
            input_shape: (channels, height, width); None for the library's own.

        Raises:
            OptionError: The network does not take such inputs, or is no classifier.
        """
        network = self._build(num_classes, input_shape)
        return network if input_shape is None else self.fitted(network, num_classes, input_shape)

    @abc.abstractmethod
    def _build(self, num_classes: int | None, input_shape: Sequence[int] | None) -> nn.Module:
        """Return the network, if it can be built."""

    @abc.abstractmethod
    def pretrained_weights(self, input_shape: Sequence[int] | None) -> Mapping[str, Tensor]:
        """Return the published weights, downloaded or from the library's cache.

        Those of a user's file are what its function gives the network, built for that shape.

        Raises:
            OptionError: There are none, or they cannot be downloaded.
        """

    def fitted(
        self, network: nn.Module, num_classes: int | None, input_shape: Sequence[int]
    ) -> nn.Module:
        """Return a network that was built by this name, fitted to classes and inputs.

        Args:
            network: The network, of any widths. It is changed in place: it gets a new first
                convolution or a new last layer where these do not fit.
            num_classes: See :meth:`build`.
            input_shape: See :meth:`build`.

        Raises:
            OptionError: See :meth:`build`.
        """
        channels = input_shape[0]
        if (found := first_convolution(network)) and found[1].in_channels != channels:
            replace_layer(network, found[0], with_inputs(found[1], channels, self.name))
        outputs = self._outputs(network, input_shape)
        if num_classes is not None and outputs != num_classes:
            replace_head(network, num_classes, self.name)
            outputs = self._outputs(network, input_shape)
            if outputs != num_classes:
                raise OptionError(
                    f"the network {self.name} has {outputs} outputs, not {num_classes}, even with "
                    f"a new last layer; build it with a parameter num_classes"
                )
        return network.train()

    def _outputs(self, network: nn.Module, input_shape: Sequence[int]) -> int:
        shape = "x".join(str(n) for n in input_shape)
        try:
            with torch.no_grad():
                output = network.eval()(torch.zeros(1, *input_shape))
        except DdpnasError:
            raise
        except Exception as error:
            own = self.preprocessing
            size = f"; its own are {own.shape[-1]} pixels a side (--image-size)" if own else ""
            raise OptionError(
                f"the network {self.name} cannot take images of {shape}: {reason_of(error)}{size}"
            ) from error
        if not isinstance(output, Tensor) or output.ndim != 2:
            raise OptionError(f"the network {self.name} is not a plain classifier")
        return output.shape[1]


def find_network(name: str) -> NamedNetwork:
    """Return the network of a name.

    Args:
        name: "timm:NAME", where NAME may have a tag as in "resnet18.a1_in1k";
            "torchvision:NAME", where NAME may have a width factor as in "mobilenet_v2_x0.5"; or
            "FILE.py:function". The function may take ``num_classes`` and ``input_shape``; the
            file is executed.

    Raises:
        OptionError: There is no such network.

    Example:
        >>> network = find_network("torchvision:squeezenet1_1").build(3, (1, 32, 32))
        >>> network(torch.zeros(2, 1, 32, 32)).shape
        torch.Size([2, 3])
    """
    library, colon, inner = name.partition(":")
    if colon and library == "timm":
        return _Timm(name, inner)
    if colon and library == "torchvision":
        return _Torchvision(name, inner)
    if names_file(name):
        return _File(name, UserCode.read(name, "network", OptionError))
    raise OptionError(f"{name!r} names no network; give {FORMS}")


def find_baseline(name: str) -> NamedNetwork:
    """Return the network of a name as :func:`find_network` does; of torchvision if none is said.

    Example:
        >>> find_baseline("resnet18").name
        'torchvision:resnet18'
    """
    return find_network(name if ":" in name else f"torchvision:{name}")


@dataclass(frozen=True)
class _Timm(NamedNetwork):
    inner: str

    def __post_init__(self) -> None:
        import timm

        architecture, _, tag = self.inner.partition(".")
        if not timm.is_model(architecture):
            close = difflib.get_close_matches(architecture, timm.list_models(), n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(close)}? " if close else ""
            raise OptionError(
                f"timm has no network {architecture!r}: {hint}timm.list_models() lists them"
            )
        tags = [one.partition(".")[2] for one in timm.list_pretrained(f"{architecture}.*")]
        if tag and tag not in tags:
            raise OptionError(nearest(f"weights of timm's {architecture}", tag, tags))

    @cached_property
    def preprocessing(self) -> Preprocessing:
        from timm import get_pretrained_cfg

        config = get_pretrained_cfg(self.inner)
        return Preprocessing(config.input_size, config.mean, config.std, config.interpolation)

    def _build(self, num_classes: int | None, input_shape: Sequence[int] | None) -> nn.Module:
        import timm

        channels = 3 if input_shape is None else input_shape[0]
        network: nn.Module = timm.create_model(
            self.inner, num_classes=num_classes, in_chans=channels
        )
        return network

    def pretrained_weights(self, input_shape: Sequence[int] | None) -> Mapping[str, Tensor]:
        import timm

        if not timm.list_pretrained(f"{self.inner.partition('.')[0]}.*"):
            raise _unpublished(self.name)
        network = _downloaded(self.name, lambda: timm.create_model(self.inner, pretrained=True))
        weights: Mapping[str, Tensor] = network.state_dict()
        return weights


@dataclass(frozen=True)
class _Torchvision(NamedNetwork):
    inner: str

    def __post_init__(self) -> None:
        known = self._known()
        if self._parts[0] not in known:
            raise OptionError(nearest("network of torchvision", self._parts[0], known))

    @staticmethod
    def _known() -> list[str]:
        from torchvision import models

        known: list[str] = models.list_models(module=models)
        return known

    @property
    def _parts(self) -> tuple[str, float | None]:
        """Name and width factor; some names have one as part of them."""
        wide = re.fullmatch(r"(.+)_x(\d+(?:\.\d+)?)", self.inner)
        if wide is None or self.inner in self._known():
            return self.inner, None
        return wide[1], float(wide[2])

    @cached_property
    def preprocessing(self) -> Preprocessing | None:
        weights = self._weights
        if weights is None:
            return None
        presets = weights.transforms()
        size = presets.crop_size[-1]
        mean, std = tuple(presets.mean), tuple(presets.std)
        return Preprocessing((len(mean), size, size), mean, std, presets.interpolation.value)

    @property
    def _weights(self) -> Any:
        """The published weights that torchvision recommends; None for other widths."""
        from torchvision import models

        name, width = self._parts
        if width not in (None, 1.0):
            return None
        return getattr(models.get_model_weights(name), "DEFAULT", None)

    def _build(self, num_classes: int | None, input_shape: Sequence[int] | None) -> nn.Module:
        from torchvision import models

        name, width = self._parts
        arguments: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
        if width is not None:
            arguments["width_mult"] = width
        if name in ("googlenet", "inception_v3") and (input_shape is None or input_shape[0] == 3):
            arguments["transform_input"] = True  # as their weights need it
        try:
            network: nn.Module = models.get_model(name, **arguments)
        except TypeError:
            raise OptionError(
                f"the network {name} takes no width factor, as in {self.name!r}"
            ) from None
        return network

    def pretrained_weights(self, input_shape: Sequence[int] | None) -> Mapping[str, Tensor]:
        weights = self._weights
        if weights is None:
            raise _unpublished(self.name)
        found: Mapping[str, Tensor] = _downloaded(
            self.name, lambda: weights.get_state_dict(progress=False, check_hash=True)
        )
        return found


@dataclass(frozen=True)
class _File(NamedNetwork):
    source: UserCode

    @property
    def code(self) -> UserCode:
        return self.source

    def _build(self, num_classes: int | None, input_shape: Sequence[int] | None) -> nn.Module:
        module = self.source.execute(OptionError)
        factory = getattr(module, self.source.attribute, None) if self.source.attribute else None
        if not callable(factory):
            known = sorted(
                name
                for name, value in vars(module).items()
                if callable(value) and getattr(value, "__module__", None) == module.__name__
            )
            raise OptionError(self.source.not_there("network function", known, "network"))
        given = {"num_classes": num_classes, "input_shape": input_shape}
        takes = inspect.signature(factory).parameters
        with as_user_error(self.source, OptionError):
            network = factory(
                **{name: v for name, v in given.items() if name in takes and v is not None}
            )
        if not isinstance(network, nn.Module):
            raise OptionError(
                f"{self.name} returns a {type(network).__name__}; it must return a torch.nn.Module"
            )
        return network

    def pretrained_weights(self, input_shape: Sequence[int] | None) -> Mapping[str, Tensor]:
        return self._build(None, input_shape).state_dict()


def _downloaded(name: str, call: Callable[[], Any]) -> Any:
    """Return what a library downloads; its HTTP clients raise errors of many kinds."""
    logger.info("the weights of %s come from its cache, or are downloaded now", name)
    try:
        # Without a connection the hub's client warns of each of its many attempts.
        with quieted("huggingface_hub", logging.ERROR):
            return call()
    except Exception as error:
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", 150, placeholder=" ...")
        raise OptionError(
            f"the weights of {name} cannot be downloaded ({reason}); give a file that holds them: "
            f"--weights FILE (from Python: weights=...)"
        ) from error


def _unpublished(name: str) -> OptionError:
    return OptionError(f"the library publishes no weights of {name}; give --weights FILE")
