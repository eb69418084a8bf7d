"""Results: the figures of a split, of a training, and of networks trained alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from torch import Tensor, nn

from ddpnas.costs.count import count_costs
from ddpnas.data.data import Data
from ddpnas.data.sieves import SieveForm
from ddpnas.errors import OptionError, RunError
from ddpnas.generation.limits import Limit
from ddpnas.space.decisions import Architecture
from ddpnas.space.search_space import SearchSpace
from ddpnas.training.final_spaces import inference_space
from ddpnas.training.networks import NamedNetwork
from ddpnas.training.recipes import Metric, Recipe
from ddpnas.training.saving import TrainedFolder, lock_trained
from ddpnas.utils.read import Measured, Size, Whole, checked_content
from ddpnas.utils.shapes import Range

__all__ = [
    "Compared",
    "ComparedForm",
    "Comparison",
    "EvaluationResult",
    "StartForm",
    "TrainResult",
    "trained_for",
]


class TrainedForm(TypedDict):
    """What files keep of a training, see :meth:`TrainResult.to_dict`."""

    data: str
    split: str
    items: Size
    confusion: list[list[Whole]]
    history: list[dict[str, Measured]]
    recipe: Recipe
    seed: Whole
    seconds: Annotated[float, Range(0)]
    teacher: NotRequired[str | None]
    sieve: NotRequired[SieveForm | None]
    mixed_precision: NotRequired[str]


class StartForm(TypedDict):
    """What files keep of the network that a training started from."""

    name: str
    weights: str | None


class ComparedForm(TrainedForm):
    """What files keep of a network of a comparison, see :meth:`Compared.to_dict`."""

    name: str
    text: str
    architecture: dict[str, str]
    costs: dict[str, float]


@dataclass(frozen=True)
class EvaluationResult:
    """How a network did on one split of the data.

    Attributes:
        data: Name of the data.
        split: "test", "valid", "train", or "all" for a folder without splits.
        items: Number of images (or other inputs) in the split.
        confusion: Number of items by (class, predicted class).

    Example:
        >>> result = EvaluationResult("pets", "test", 4, [[2, 1], [0, 1]])
        >>> result.accuracy
        0.75
        >>> [round(share, 2) for share in result.per_class], round(result.macro_f1, 2)
        ([0.67, 1.0], 0.73)
    """

    data: str
    split: str
    items: int
    confusion: list[list[int]]

    @property
    def accuracy(self) -> float:
        """Fraction of the items that were classified correctly."""
        return sum(row[i] for i, row in enumerate(self.confusion)) / self.items

    @property
    def per_class(self) -> list[float | None]:
        """Accuracy of each class; None for a class without items in the split."""
        return [row[i] / sum(row) if sum(row) else None for i, row in enumerate(self.confusion)]

    @property
    def macro_f1(self) -> float:
        """Mean over the classes of 2 TP / (2 TP + FP + FN), for classes of unequal size.

        Classes that neither occur nor are predicted do not count.
        """
        columns: list[int] = [sum(column) for column in zip(*self.confusion, strict=True)]
        pairs = [
            (2 * row[i], sum(row) + columns[i])
            for i, row in enumerate(self.confusion)
            if sum(row) + columns[i]
        ]
        return sum((twice / whole for twice, whole in pairs), 0.0) / len(pairs)

    @property
    def is_imbalanced(self) -> bool:
        """Whether a class has fewer than half of the items of another: accuracy then misleads."""
        sizes = [sum(row) for row in self.confusion]
        return 2 * min(sizes) < max(sizes)

    def score(self, metric: Metric) -> float:
        """Return the accuracy, or the macro-F1."""
        return self.accuracy if metric == "accuracy" else self.macro_f1

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as plain data, the derived ones included."""
        return {
            "data": self.data,
            "split": self.split,
            "items": self.items,
            "accuracy": self.accuracy,
            "macro_f1": self.macro_f1,
            "per_class": self.per_class,
            "confusion": self.confusion,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> EvaluationResult:
        """Return the result that :meth:`to_dict` wrote."""
        found = cls(**{f.name: content[f.name] for f in dataclasses.fields(cls)})
        sizes = {len(row) for row in found.confusion} | {len(found.confusion)}
        if len(sizes) > 1 or sum(map(sum, found.confusion)) != found.items:
            raise RunError(
                f"the confusion must be a square table of counts that sum to {found.items} items"
            )
        return found


@dataclass(frozen=True)
class TrainResult:
    """A trained network and its figures.

    Attributes:
        model: The network in evaluation mode, on the device it was trained on.
        evaluation: Its figures on images that it was not trained on: the test images, read once
            at the end, or the validation images where the data has no test images.
        history: One record an epoch: epoch, loss, lr, seconds, and valid_accuracy where the
            recipe keeps the best epoch. If a first attempt learned nothing, the first record has
            its learning rate and time: failed_lr, failed_seconds.
        recipe: The recipe as used: with the number of epochs, the batch size, and the learning
            rate of the last attempt.
        seed: Seed of the training.
        seconds: Time for training and evaluation, over all sessions.
        data: The data it was trained on; None for a result that was read from a file.
        teacher: Name of the network that it was distilled from, and a hash of its weights.
        sieve: Name of the sieve that chose the images of each epoch, and the options that it was
            given; None for all images.
        mixed_precision: "no", "bf16" or "fp16".
        last: Weights after the last epoch, where ``model`` has those of an earlier, better one.

    Example:
        >>> import ddpnas, torch
        >>> data = ddpnas.make_data((torch.randn(80, 5), torch.arange(80) % 2))
        >>> result = ddpnas.train(torch.nn.Linear(5, 2), data, epochs=1, device="cpu")
        >>> result.evaluation.split, result.evaluation.items, len(result.history)
        ('valid', 16, 1)
    """

    model: nn.Module
    evaluation: EvaluationResult
    history: list[dict[str, float]]
    recipe: Recipe
    seed: int
    seconds: float
    data: Data | None = field(default=None, repr=False)
    teacher: str | None = None
    sieve: SieveForm | None = None
    mixed_precision: str = "no"
    last: dict[str, Tensor] | None = field(default=None, repr=False)

    def save(
        self,
        folder: str | Path,
        *,
        space: SearchSpace | None = None,
        architecture: Architecture | None = None,
        named: NamedNetwork | None = None,
    ) -> None:
        """Write the network with its preprocessing and figures, for :func:`ddpnas.load`.

        A network of a space is rebuilt from space and architecture when it is loaded, and one that
        :func:`ddpnas.open_network` opened from its name, with the widths of ``architecture`` if it
        was cut. Any other network is loaded with the function that builds it:
        ``ddpnas.load(folder, model=...)``.

        Args:
            folder: Made if it is not there; its files of a trained network are replaced.
            space: The space that built the network, if one did.
            architecture: The architecture in that space, or that of the opened network.
            named: ``named`` of the opened network, if the training started from one.

        Raises:
            OptionError: A space without an architecture, or the reverse without ``named``.
            RunError: This result was read from a file, which holds figures only, or the folder is
                in use or cannot be written.
        """
        opened = space is None and named is not None  # its architecture is empty if it is whole
        if (space is None) != (architecture is None) and not opened:
            raise OptionError("give both the space and the architecture of the network, or neither")
        if space is None or architecture is None:
            text, chosen = "", architecture or Architecture({})
            costs = {"params": float(sum(p.numel() for p in self.model.parameters()))}
        else:
            text, chosen = space.format(architecture), space.check(architecture)
            tables = count_costs(inference_space(space))
            costs = {name: table.cost(chosen) for name, table in tables.items()}
        with lock_trained(Path(folder)):
            TrainedFolder(Path(folder)).save(
                space, [Compared("network", text, chosen, costs, self)], named=named
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the figures and the recipe as plain data, without weights and images."""
        return {
            **self.evaluation.to_dict(),
            "history": self.history,
            "recipe": dataclasses.asdict(self.recipe),
            "seed": self.seed,
            "seconds": self.seconds,
            **({} if self.teacher is None else {"teacher": self.teacher}),
            **({} if self.sieve is None else {"sieve": self.sieve}),
            **({} if self.mixed_precision == "no" else {"mixed_precision": self.mixed_precision}),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TrainResult:
        """Return the result that :meth:`to_dict` wrote; calling its ``model`` is an error.

        Raises:
            RunError: The content is something else.
        """
        form = checked_content(content, TrainedForm, "the result of a training")
        return cls(
            model=_NotKept(),
            evaluation=EvaluationResult.from_dict(form),
            history=form["history"],
            recipe=form["recipe"],
            seed=form["seed"],
            seconds=form["seconds"],
            teacher=form.get("teacher"),
            sieve=form.get("sieve"),
            mixed_precision=form.get("mixed_precision", "no"),
        )


@dataclass(frozen=True)
class Compared:
    """One network of a comparison: its costs and how its training ended.

    Attributes:
        name: "found", "random 1", ..., "same size 1", ..., or the name of a known network.
        text: The architecture in the text form of its space; for a known network, its name.
        architecture: A choice for every decision; empty for a known network.
        costs: Costs by name; for a known network, only those that can be counted.
        result: What :func:`ddpnas.train` returned.
    """

    name: str
    text: str
    architecture: Architecture
    costs: dict[str, float]
    result: TrainResult

    @property
    def evaluation(self) -> EvaluationResult:
        """Its figures on images that it was not trained on."""
        return self.result.evaluation

    def to_dict(self) -> dict[str, Any]:
        """Return all but weights and images as plain data."""
        return {
            "name": self.name,
            "text": self.text,
            "architecture": dict(self.architecture),
            "costs": self.costs,
            **self.result.to_dict(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Compared:
        """Return the network that :meth:`to_dict` wrote, without its weights.

        Raises:
            RunError: The content is something else.
        """
        form = checked_content(content, ComparedForm, "a network of a comparison")
        return cls(
            name=form["name"],
            text=form["text"],
            architecture=Architecture(form["architecture"]),
            costs=form["costs"],
            result=TrainResult.from_dict(content),
        )


@dataclass(frozen=True)
class Comparison:
    """The networks whose figures a folder of a trained network holds, without their weights.

    Attributes:
        path: The folder.
        networks: The one that the folder holds comes first, then those trained next to it.
        classes: Names by label.
        space: Name of the space that the networks come from; None for networks of no space.
        space_options: Options of the space that the networks were built with.
        source: How the images were read: arguments of :func:`ddpnas.load_data`.
        versions: Versions of the packages that it was trained with.
        limits: The limits that the first network had to meet, by name of the cost.
        generated: The answer of ``ddpnas generate`` that the first network comes from; None if
            it was not generated.
        start: Name, and perhaps file of weights, of the network that the training started from;
            None for a training from scratch.
    """

    path: Path
    networks: tuple[Compared, ...]
    classes: tuple[str, ...]
    space: str | None
    space_options: Mapping[str, Any]
    source: Mapping[str, Any]
    versions: Mapping[str, str]
    limits: Mapping[str, Limit]
    generated: Mapping[str, Any] | None
    start: StartForm | None = None

    @property
    def found(self) -> Compared:
        """The network that the search led to."""
        return self.networks[0]

    @property
    def random(self) -> tuple[Compared, ...]:
        """The random architectures within the same limits."""
        return tuple(n for n in self.networks[1:] if n.name.startswith("random "))

    @property
    def same_size(self) -> tuple[Compared, ...]:
        """The random architectures with about as many multiply-adds as the found one."""
        return tuple(n for n in self.networks[1:] if n.name.startswith("same size "))

    @property
    def baselines(self) -> tuple[Compared, ...]:
        """Known networks, trained alike."""
        others = (*self.random, *self.same_size)
        return tuple(n for n in self.networks[1:] if n not in others)


def trained_for(networks: Iterable[Compared]) -> str:
    """Return in words how many epochs networks were trained for.

    A recipe may plan more epochs than a training came to, by patience or by the clock.

    Args:
        networks: At least one.
    """
    numbers = sorted({len(network.result.history) for network in networks})
    if len(numbers) > 1:
        return f"{numbers[0]:,} to {numbers[-1]:,} epochs"
    return "one epoch" if numbers == [1] else f"{numbers[0]:,} epochs"


class _NotKept(nn.Module):
    """Stands for the network of a result that was read from a file of figures."""

    def forward(self, x: Tensor) -> Tensor:
        raise RunError(
            "this result was read from a file that holds figures only; load the network itself "
            "with ddpnas.load(FOLDER)"
        )
