"""TrainedModel: a trained network with what it needs to be used on images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ddpnas.data.data import Data
from ddpnas.data.folder import images_below
from ddpnas.data.preprocessing import Preprocessing
from ddpnas.errors import DataError, DivergedError
from ddpnas.space.decisions import Architecture
from ddpnas.space.search_space import SearchSpace
from ddpnas.training.metrics import not_numbers
from ddpnas.training.networks import NamedNetwork
from ddpnas.training.trained_images import find_images, read_images
from ddpnas.utils.settings import Interpolation

__all__ = ["TrainedModel"]


@dataclass(frozen=True)
class TrainedModel:
    """A trained network with its preprocessing and the names of its classes.

    :func:`ddpnas.load` returns one.

    Attributes:
        network: A plain module in evaluation mode: preprocessed inputs (N, *input_shape) to
            logits (N, number of classes).
        architecture: A choice for every decision of the space; empty for a network without one.
        text: The architecture in the text form of its space.
        input_shape: Shape of one input, (channels, height, width) for images.
        classes: Names by index of the output.
        mean: Mean of each channel, for images scaled to [0, 1]. Empty for inputs that are not
            images; they are used unchanged.
        std: Standard deviation of each channel, for images scaled to [0, 1].
        interpolation: How images are resized.
        about: Content of ``architecture.json``: space, options, costs, provenance.
        folder: Folder that it was loaded from.
        space: Search space that the network comes from; None for others.
        named: What builds the network by name, see :func:`ddpnas.open_network`; None for others.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval()
        >>> model = TrainedModel(
        ...     network, Architecture({}), "", (1, 8, 8), ("cat", "dog"), mean=(0.5,), std=(0.2,)
        ... )
        >>> model.predict(torch.zeros(3, 1, 8, 8, dtype=torch.uint8)).shape
        torch.Size([3, 2])
    """

    network: nn.Module
    architecture: Architecture
    text: str
    input_shape: tuple[int, ...]
    classes: tuple[str, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    interpolation: Interpolation = "bilinear"
    about: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    space: SearchSpace | None = None
    named: NamedNetwork | None = None

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        first = next(self.network.parameters(), None)
        return first.device if first is not None else torch.device("cpu")

    @property
    def preprocessing(self) -> Preprocessing:
        """How images become inputs of the network."""
        return Preprocessing(self.input_shape, self.mean, self.std, self.interpolation)

    def preprocess(self, images: Any) -> Tensor:
        """Return images as the network takes them, see :class:`ddpnas.data.Preprocessing`."""
        return self.preprocessing(images)

    def predict(self, images: Any, *, batch_size: int = 256) -> Tensor:
        """Return the probability of each class, (N, number of classes), on the CPU.

        Args:
            images: Images in any form, see :class:`ddpnas.data.Preprocessing`.
            batch_size: Largest number of images to process together.

        Raises:
            DivergedError: The network answers with NaN, as one with damaged weights does.
        """
        inputs = self.preprocess(images)
        with torch.inference_mode():
            outputs = [self.network(part.to(self.device)) for part in inputs.split(batch_size)]  # type: ignore[no-untyped-call]
            found = torch.cat(outputs).float().softmax(dim=1).cpu()
        if strange := int(found.isnan().any(dim=1).sum()):
            raise DivergedError(not_numbers(strange, len(found)))
        return found

    def predict_files(
        self, paths: Iterable[str | Path], *, batch_size: int = 256
    ) -> Iterator[tuple[str, Tensor | DataError]]:
        """Yield (file, probability of each class) for image files, one after the other.

        For a file that cannot be read, the error takes the place of the probabilities, and the
        other files follow.

        Args:
            paths: Files and folders; of a folder, all images in it and below, sorted.
            batch_size: Largest number of images to read and process together.

        Raises:
            DataError: A folder has no images, or the network does not take images.
        """
        self.preprocessing.require_images()
        files: list[str] = []
        for path in paths:
            files += map(str, images_below(Path(path)) if Path(path).is_dir() else [path])
        for start in range(0, len(files), batch_size):
            part = files[start : start + batch_size]
            inputs = [self._try_one(file) for file in part]
            read = [one for one in inputs if isinstance(one, Tensor)]
            rows = iter(self.predict(torch.cat(read)) if read else ())
            for file, one in zip(part, inputs, strict=True):
                yield file, one if isinstance(one, DataError) else next(rows)

    def load_data(self, place: str | Path | None = None) -> Data:
        """Return the data that it was trained on, read and split as then.

        Args:
            place: Where the images are, as :attr:`ddpnas.runs.Run.images` says; the folder of a
                trained network knows it only for embedded data.

        Raises:
            RunError: The data came from Python objects, are not there, or have changed.
        """
        return read_images(self._data, self.folder, place)

    def find_data(self, data: str | Path) -> Data | None:
        """Return the data that it was trained on, split as then, if it is what is there; else None.

        It is known by its content, wherever it lies now.

        Args:
            data: path or name.
        """
        return find_images(self._data, data)

    @property
    def _data(self) -> Mapping[str, Any]:
        """What is kept of the data of the training."""
        kept: Mapping[str, Any] = self.about.get("provenance", {}).get("data", {})
        return kept

    def _try_one(self, file: str) -> Tensor | DataError:
        try:
            return self.preprocess(file)
        except DataError as error:
            return error
