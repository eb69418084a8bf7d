"""open_network(): a network that already has weights, fitted to new classes and images."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ddpnas.data.data import Data
from ddpnas.data.load import load_data
from ddpnas.data.preprocessing import Preprocessing
from ddpnas.errors import OptionError
from ddpnas.space.copies import copied
from ddpnas.space.decisions import Architecture
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import names_file
from ddpnas.training._heads import first_convolution, head_of
from ddpnas.training.networks import FORMS, NamedNetwork, find_network
from ddpnas.training.trained_folder import load, own_code
from ddpnas.training.trained_model import TrainedModel
from ddpnas.training.weight_files import read_weights
from ddpnas.utils.seeds import seeded
from ddpnas.utils.settings import Count, Seed, checked, checks_arguments

__all__ = [
    "OpenedNetwork",
    "is_trained_folder",
    "library_preprocessing",
    "load_data_for",
    "open_network",
    "refuse_own_code",
]

logger = logging.getLogger(__name__)

_MOST_LISTED = 5  # tensors that a message names


@dataclass(frozen=True)
class OpenedNetwork:
    """A network with weights, as :func:`open_network` returns it.

    Attributes:
        model: The network, with one output a class.
        name: The name that it was opened by.
        preprocessing: How images become its inputs: shape, mean, deviation and interpolation. None
            if that is unknown, as for a network in a user's file.
        matched: Names of the tensors that have the given weights.
        not_matched: A line for each tensor that has not: its name and the reason.
        new_head: Name of the last layer, if it is new because the classes differ; else None.
        classes: Names of the classes that a trained network knows; empty for other networks.
        named: What builds the network by name; None for a network of a search space.
        space: Search space that the network comes from; None for others.
        architecture: Its architecture in that space, or the widths of a network that was cut; empty
            for others.
        weights: File of weights that was named; None for those of the library, file or folder.
    """

    model: nn.Module
    name: str
    preprocessing: Preprocessing | None = None
    matched: tuple[str, ...] = ()
    not_matched: tuple[str, ...] = ()
    new_head: str | None = None
    classes: tuple[str, ...] = ()
    named: NamedNetwork | None = None
    space: SearchSpace | None = None
    architecture: Architecture = field(default_factory=lambda: Architecture({}))
    weights: Path | None = None

    def prepare(self, data: Data) -> Data:
        """Return the data with images normalized as this network needs them.

        Inputs that are not images are taken unchanged. The data keep how images were resized: load
        them with the interpolation that :func:`library_preprocessing` names.

        Args:
            data: Data with inputs of the shape that the network was opened for.
        """
        wanted = self.preprocessing
        if wanted is None or not data.mean or not wanted.mean:
            return data
        return dataclasses.replace(data, mean=wanted.mean, std=wanted.std)

    @property
    def start(self) -> dict[str, str | None]:
        """Name and file of weights as the folder of a trained network keeps them, without paths."""
        library = self.name.startswith(("timm:", "torchvision:"))
        name = self.name if library else Path(self.name).name
        return {"name": name, "weights": None if self.weights is None else self.weights.name}

    def fingerprint(self) -> str:
        """Return a hash of all tensors, by name."""
        digest = hashlib.sha256()
        for name, tensor in self.model.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()[:16]


@checks_arguments
def open_network(
    name: str | Path,
    *,
    num_classes: int | None = None,
    input_shape: Sequence[int] | None = None,
    weights: str | Path | None = None,
    code: str | None = None,
    seed: int = 0,
) -> OpenedNetwork:
    r"""Return a network with weights: of timm, of torchvision, of your own file, or trained before.

    Weights are matched by the names of their tensors. Those that do not fit are logged and listed
    in the answer. If the network has another number of classes, its last layer is new and starts at
    zero. For images with another number of channels, the first convolution is converted as timm
    does: its weights are summed for gray images.

    Args:
        name: "timm:NAME", "torchvision:NAME", "FILE.py:function", or the folder of a trained
            network or of a run that has one. A function may take ``num_classes`` and
            ``input_shape``; its file is executed.
        num_classes: Number of outputs; by default the network's own.
        input_shape: (channels, height, width) of the images; by default the network's own.
        weights: File of weights, .safetensors or .pth, instead of the library's own, which are
            downloaded. A .pth file is read without executing anything in it.
        code: For a folder whose network is code in your file: that ``FILE.py:name`` once more.
        seed: Seed for the weights of new layers.

    Raises:
        OptionError: There is no such network, its weights cannot be downloaded or read, none of
            them fits, or it does not take such images.
        RunError: The folder holds no trained network, or ``code`` is missing.

    Example:
        >>> import ddpnas, tempfile
        >>> file = Path(tempfile.mkdtemp(), "mine.py")
        >>> _ = file.write_text(
        ...     "from torch import nn\n"
        ...     "def network(num_classes=5):\n"
        ...     "    layers = nn.Conv2d(1, 4, 8), nn.Flatten(), nn.Linear(4, num_classes)\n"
        ...     "    return nn.Sequential(*layers)"
        ... )
        >>> opened = open_network(f"{file}:network", num_classes=3, input_shape=(1, 8, 8))
        >>> opened.matched, opened.new_head, opened.model(torch.zeros(2, 1, 8, 8)).shape
        (('0.weight', '0.bias'), '2', torch.Size([2, 3]))
    """
    name = str(name)
    if num_classes is not None:
        num_classes = checked("num_classes of open_network()", Count, num_classes)
    seed = checked("seed of open_network()", Seed, seed)
    if is_trained_folder(name):
        if weights is not None:
            raise OptionError(f"{name} has its own weights; leave --weights out, or give {FORMS}")
        return _of_folder(name, _trained(name, code), num_classes, input_shape, seed)
    named = find_network(name)
    own = named.preprocessing
    shape = input_shape if input_shape is not None or own is None else own.shape
    with seeded(seed):
        model = named.build(num_classes, shape)
        tensors = named.pretrained_weights(shape) if weights is None else read_weights(weights)
    fitted = _fit(model, tensors, name if weights is None else str(weights))
    return dataclasses.replace(
        fitted,
        name=name,
        weights=None if weights is None else Path(weights),
        named=named,
        preprocessing=_for(own, shape),
    )


def library_preprocessing(name: str | Path, *, code: str | None = None) -> Preprocessing | None:
    """Return how a network's own images were prepared, without building it or its weights.

    Args:
        name: See :func:`open_network`.
        code: See :func:`open_network`.

    Returns:
        The shape, mean, deviation and interpolation of the library's configuration, or those that a
        trained network was trained with; None if the name does not say, as for a user's file.

    Example:
        >>> library_preprocessing("timm:tf_efficientnet_lite0").interpolation
        'bicubic'
    """
    if is_trained_folder(str(name)):
        return _trained(str(name), code).preprocessing
    return find_network(str(name)).preprocessing


def load_data_for(
    name: str | Path,
    data: str | Path,
    *,
    code: str | None = None,
    own_size: bool = False,
    **options: Any,
) -> Data:
    """Return images, resized as a network's own ones were; see :func:`ddpnas.load_data`.

    Args:
        name: The network; see :func:`open_network`.
        data: Name or path of the images.
        code: See :func:`open_network`.
        own_size: Whether images get the size of the network's own ones, unless ``image_size`` is
            given.
        options: Fields of :class:`ddpnas.data.DataConfig`; None leaves the default.

    Example:
        >>> name = "torchvision:squeezenet1_1"
        >>> load_data_for(name, "sign-digits-small", own_size=True).input_shape
        (3, 224, 224)
    """
    library = library_preprocessing(name, code=code)
    given = {key: value for key, value in options.items() if value is not None}
    if library is not None:
        given["interpolation"] = library.interpolation
        if own_size:
            given.setdefault("image_size", library.shape[-1])
    return load_data(data, **given)


def refuse_own_code(name: str | Path, option: str, *, weights: bool) -> None:
    """Refuse a trained network that is code in a user's file, where nothing names that file again.

    Args:
        name: See :func:`open_network`.
        option: The option that gave the name, such as "--start".
        weights: Whether a file of weights can be given next to that option.

    Raises:
        OptionError: The network is code in a file; the message says how to give it instead.
    """
    name = str(name)
    if not is_trained_folder(name) or (code := own_code(name)) is None:
        return
    what, copy, is_cut = code
    file = copy.parent / "model.safetensors"
    if what == "space":
        instead = "a network of a published space or of a library"
    elif weights and not is_cut:
        instead = f"{option} {copy} --weights {file}"
    else:
        instead = f"{option} FILE.py:function, with a function that loads {file}"
    raise OptionError(
        f"the {what} of {name} is code in a file, which is executed only if you name it; give "
        f"{instead}"
    )


def is_trained_folder(name: str) -> bool:
    """Return whether a name is that of a folder, and not of a library's network or a file's.

    Raises:
        OptionError: It is none of these.
    """
    if name.startswith(("timm:", "torchvision:")) or names_file(name):
        return False
    if Path(name).is_dir():
        return True
    raise OptionError(
        f"there is no folder {name!r}; give {FORMS}, or the folder of a trained network"
    )


def _trained(name: str, code: str | None) -> TrainedModel:
    return load(name, space=code, model=code)


def _of_folder(
    name: str,
    trained: TrainedModel,
    num_classes: int | None,
    input_shape: Sequence[int] | None,
    seed: int,
) -> OpenedNetwork:
    """Return a trained network with as many outputs, for inputs of such a shape."""
    classes = len(trained.classes) if num_classes is None else num_classes
    shape = trained.input_shape if input_shape is None else tuple(input_shape)
    with seeded(seed):
        if trained.space is not None:
            space = trained.space.with_options(num_classes=classes, input_shape=shape)
            model = space.build(trained.architecture)
        elif trained.named is not None:
            space, named = None, trained.named
            if trained.architecture:  # it was cut, and the name builds the whole network
                cut = copied(trained.network).requires_grad_(True)
                model = named.fitted(cut, classes, shape)
            else:
                model = named.build(classes, shape)
        else:
            raise OptionError(f"nothing says how the network in {name} is built; give {FORMS}")
    fitted = _fit(model, trained.network.state_dict(), name)
    return dataclasses.replace(
        fitted,
        name=name,
        named=trained.named,
        space=space,
        architecture=trained.architecture,
        classes=trained.classes,
        preprocessing=_for(trained.preprocessing, shape),
    )


def _for(own: Preprocessing | None, shape: Sequence[int] | None) -> Preprocessing | None:
    """Return the preprocessing for inputs of another shape."""
    if own is None or shape is None or not own.mean:
        return own
    mean, std = own.mean, own.std
    if shape[0] != len(mean):  # gray images take the place of each color
        mean, std = ((sum(v) / len(v),) * shape[0] for v in (mean, std))
    return Preprocessing(tuple(shape), mean, std, own.interpolation)


def _fit(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> OpenedNetwork:
    """Copy tensors into the network by name and shape; return what fitted.

    Args:
        model: Changed in place.
        tensors: Weights and buffers by name.
        source: Where they come from, for messages.

    Raises:
        OptionError: None of them fits.
    """
    own = model.state_dict()
    of_weights = [name for name in own if not name.endswith("num_batches_tracked")]
    head, stem = head_of(model), first_convolution(model)
    reads_images = f"{stem[0]}.weight" if stem is not None else None
    matched, new, missing = [], [], []
    for name, target in own.items():
        given = tensors.get(name)
        if given is not None and name == reads_images:
            given = _with_channels(given, target.shape[1])
        if given is None:
            if name in of_weights:  # files may leave the counters out
                missing.append(f"{name}: not in {source}")
        elif given.shape == target.shape:
            with torch.no_grad():
                target.copy_(given)
            matched.append(name)
        else:
            shapes = (" x ".join(map(str, one.shape)) or "one number" for one in (given, target))
            new.append((name, "{}: {}, and {} here".format(name, *shapes)))
    unknown = [f"{name}: not in the network" for name in tensors if name not in own]
    if not any(name in of_weights for name in matched):
        some = next(iter(tensors), "none")
        raise OptionError(
            f"none of the {len(tensors)} tensors of {source} fits the network by name and shape "
            f"(such as {some!r}; the network has {next(iter(own), 'none')!r}); give weights that "
            f"were saved from this network"
        )
    of_head = [n for n, _ in new if head is not None and n.startswith(f"{head}.")]
    if of_head and isinstance(new_head := model.get_submodule(head or ""), nn.Linear):
        # As BiT (arXiv 1912.11370): a random last layer would first disturb the layers below it.
        for parameter in new_head.parameters():
            nn.init.zeros_(parameter)
    others = [line for n, line in new if n not in of_head] + missing + unknown
    if others:
        more = f" and {len(others) - _MOST_LISTED} more" if len(others) > _MOST_LISTED else ""
        logger.warning(
            "warning: %d tensors do not fit, so they keep their initial values: %s%s",
            len(others),
            "; ".join(others[:_MOST_LISTED]),
            more,
        )
    return OpenedNetwork(
        model=model,
        name=source,
        matched=tuple(matched),
        not_matched=tuple([line for _, line in new] + missing + unknown),
        new_head=head if of_head else None,
    )


def _with_channels(weight: Tensor, channels: int) -> Tensor:
    """Return the weights of a first convolution over colors for another number of channels."""
    from timm.models import adapt_input_conv

    if weight.ndim != 4 or weight.shape[1] != 3 or channels == 3:
        return weight
    found: Tensor = adapt_input_conv(channels, weight)
    return found
