"""Fitted: what a fit made, with the figures to judge it by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ddpnas.data.preprocessing import Preprocessing
from ddpnas.errors import RunError
from ddpnas.generation.limits import Limit
from ddpnas.runs.search import SearchResult
from ddpnas.space.decisions import Architecture
from ddpnas.space.search_space import SearchSpace
from ddpnas.training.networks import NamedNetwork
from ddpnas.training.results import Compared, EvaluationResult, TrainResult
from ddpnas.training.trained_model import TrainedModel

__all__ = ["Candidate", "Fitted"]


@dataclass(frozen=True)
class Candidate:
    """A network of the race.

    Attributes:
        text: The architecture in the text form of the space.
        costs: Counted costs by name.
        accuracy: Validation accuracy when it was scored last, a fraction.
        epochs: Epochs that it was trained for until then.
    """

    text: str
    costs: Mapping[str, float]
    accuracy: float
    epochs: float


@dataclass(frozen=True)
class Fitted:
    """A network that was searched for and trained in a given time.

    Attributes:
        model: The network, in evaluation mode: (N, channels, height, width), normalized, to
            (N, classes).
        architecture: Its choices in the space ``edge``; empty for a network that was started from.
        space: The space; None for a network of no space.
        search: The race: its history and its distribution, from which
            :func:`ddpnas.generate` makes networks within other limits. None without a race.
        trained: The final training, with the figures on images not trained on.
        costs: Counted costs by name.
        limits: The limits that had to be met.
        frontier: Networks of the race of which none is better at no higher cost, cheapest first.
        baselines: Networks that were trained for the same time, to compare with.
        seconds: Seconds of each phase, and "total", which leaves out baselines.
        folder: Where everything is kept; None if nothing is.
        files: Written files by kind, such as "onnx" and "report".
        named: What builds the network by its name, if the fit started from one.
    """

    model: nn.Module
    architecture: Architecture
    space: SearchSpace | None = field(repr=False)
    search: SearchResult | None = field(repr=False)
    trained: TrainResult = field(repr=False)
    costs: Mapping[str, float]
    limits: Mapping[str, Limit]
    frontier: tuple[Candidate, ...]
    baselines: tuple[Compared, ...]
    seconds: Mapping[str, float]
    folder: Path | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    named: NamedNetwork | None = field(default=None, repr=False)

    @property
    def text(self) -> str:
        """The architecture in the text form of the space; the name of a network of none."""
        if self.space is None:
            return "" if self.named is None else self.named.name
        return self.space.format(self.architecture)

    @property
    def evaluation(self) -> EvaluationResult:
        """Figures on images not trained on: test images, or validation images without them."""
        return self.trained.evaluation

    @property
    def accuracy(self) -> float:
        """Share of the images of :attr:`evaluation` that are classified correctly."""
        return self.evaluation.accuracy

    @property
    def raced(self) -> Candidate | None:
        """The network as the race left it, with its accuracy on validation images.

        Where there are test images, the final training reads the validation images too, so this is
        the last figure on them. None without a race.
        """
        if self.search is None:
            return None
        own = [
            r for r in self.search.history if Architecture(r["architecture"]) == self.architecture
        ]
        return Candidate(
            self.text, self.costs, float(own[-1]["accuracy"]), float(own[-1]["epochs"])
        )

    def predict(self, images: Any) -> Tensor:
        """Return the probability of each class, (N, classes).

        Args:
            images: Images in any form, see :class:`ddpnas.data.Preprocessing`.
        """
        data = self.trained.data
        if data is None:
            raise RunError("the data of this network is not known; load it with ddpnas.load()")
        preprocessing: Preprocessing = data.preprocessing
        model = TrainedModel(
            self.model, self.architecture, self.text, data.input_shape, data.classes,
            preprocessing.mean, preprocessing.std,
        )  # fmt: skip
        return model.predict(images)

    def save(self, folder: str | Path) -> None:
        """Write the network for :func:`ddpnas.load`.

        Args:
            folder: Made if it is not there; a trained network in it is replaced.
        """
        self.trained.save(
            folder, space=self.space, architecture=self.architecture, named=self.named
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as plain data for JSON."""
        return {
            "architecture": dict(self.architecture),
            "text": self.text,
            "split": self.evaluation.split,
            "images": self.evaluation.items,
            "accuracy": self.accuracy,
            "macro_f1": self.evaluation.macro_f1,
            "epochs": len(self.trained.history),
            "raced": None if self.raced is None else self._validated(self.raced),
            "costs": dict(self.costs),
            "limits": {name: limit.to_json() for name, limit in self.limits.items()},
            "frontier": [
                {"text": c.text, "costs": dict(c.costs), **self._validated(c)}
                for c in self.frontier
            ],
            "baselines": [
                {"name": b.name, "costs": b.costs, "accuracy": b.evaluation.accuracy,
                 "macro_f1": b.evaluation.macro_f1, "epochs": len(b.result.history),
                 "seconds": b.result.seconds}
                for b in self.baselines
            ],
            "seconds": dict(self.seconds),
            "folder": None if self.folder is None else str(self.folder),
            "files": {kind: str(path) for kind, path in self.files.items()},
        }  # fmt: skip

    def _validated(self, one: Candidate) -> dict[str, Any]:
        """Return what a candidate reached on validation images as plain data for JSON."""
        data = self.trained.data
        images = None if data is None else len(data.valid)
        return {"accuracy": one.accuracy, "images": images, "epochs": one.epochs}
