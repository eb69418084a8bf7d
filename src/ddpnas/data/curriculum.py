"""The sieve ``curriculum``: whole classes, first those that were learned early.

What it keeps of the training split, a :class:`FollowingSieve` keeps of another one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ddpnas.data.ranked_sieves import Kept
from ddpnas.data.sieve import Sieve
from ddpnas.errors import OptionError
from ddpnas.utils.settings import Seed, checks_arguments
from ddpnas.utils.shapes import Share

__all__ = ["CurriculumSieve", "FollowingSieve"]

_LEAST_CLASSES = 2


class CurriculumSieve(Sieve):
    """Begins with classes that are easy, and adds harder ones, in the manner of DA-NAS.

    Dai et al., "DA-NAS", ECCV 2020, arXiv 2003.12563. Known from its abstract and a reader's note:
    the search goes from easy to hard classes (100, 300, 600, 1000 of 1000 in a warm-up and three
    steps), and the order of classes is much the same for all networks. How a class is called easy
    is not known. Ours: all classes are trained in the warm-up, and the sum over its epochs of a
    class's training accuracy is its order. Then absent classes are neither read nor answered for.

    Args:
        labels: (N,) label of each item.
        epochs: Epochs of the training.
        seed: Not used; it has no randomness.
        warmup: Part of the epochs that read all classes, at least one epoch.
        classes: Share of the classes in each of the stages after it; the last is 1.

    Raises:
        OptionError: The shares do not rise to 1.

    Example:
        >>> labels = torch.arange(100) % 10
        >>> sieve = CurriculumSieve(labels, epochs=4, warmup=0.25)
        >>> for _ in range(2):
        ...     sieve.observe(torch.arange(100), torch.eye(10)[labels % 5], labels)
        ...     sieve.end_epoch()
        >>> sieve.classes
        tensor([0, 1, 2, 3, 4, 5])
    """

    observes = True

    @checks_arguments
    def __init__(
        self, labels: Any, epochs: int, seed: Seed = 0, *,
        warmup: Share = 0.2, classes: tuple[Kept, ...] = (0.3, 0.6, 1.0),
    ) -> None:  # fmt: skip
        super().__init__(labels, epochs, seed)
        if not classes or classes[-1] != 1 or list(classes) != sorted(classes):
            raise OptionError(
                f"classes of sieve 'curriculum' must be shares that rise to 1, such as "
                f"[0.3, 0.6, 1], not {list(classes)}"
            )
        self._warmup, self._shares = warmup, classes
        self._sizes = self.labels.bincount()
        self._area = torch.zeros(len(self._sizes), dtype=torch.float64)

    def _number(self, epoch: int) -> int:
        """Return how many classes an epoch, counted from 0, has."""
        first = max(1, math.ceil(self._warmup * self.epochs - 1e-9))
        if epoch < first or epoch >= self.epochs:
            return len(self._sizes)
        stage = (epoch - first) * len(self._shares) // (self.epochs - first)
        asked = math.ceil(self._shares[stage] * len(self._sizes) - 1e-9)
        return min(len(self._sizes), max(_LEAST_CLASSES, asked))

    def share(self, epoch: int) -> float:
        """Return the share of the classes that an epoch, counted from 0, has."""
        return self._number(epoch) / len(self._sizes)

    @property
    def fewest(self) -> int:
        """Number of items of the smallest classes, as many as the smallest stage has."""
        number = min(self._number(epoch) for epoch in range(self.epochs))
        return int(self._sizes.sort().values[:number].sum())

    def measure(self, probabilities: Tensor, labels: Tensor) -> Tensor:
        """Return 1 for each item that is right, else 0."""
        return (probabilities.argmax(dim=1) == labels).float()

    def learn(self, values: Tensor) -> None:
        """Add the accuracy of each class in an epoch that has all of them."""
        if self.classes is None and self._number(self.epoch) == len(self._sizes):
            seen = ~values.isnan()
            right = torch.zeros_like(self._area)
            right.index_add_(0, self.labels[seen], values[seen].double())
            number = self.labels[seen].bincount(minlength=len(self._sizes))
            self._area += right / number.clamp(min=1)

    def choose(self) -> None:
        """Keep the items of the classes of the stage."""
        number = self._number(self.epoch)
        self.classes = None
        self.kept = torch.arange(len(self.labels))
        if number < len(self._sizes):
            self.classes = self._area.argsort(descending=True, stable=True)[:number].sort().values
            self.kept = torch.isin(self.labels, self.classes).nonzero()[:, 0]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the sums of accuracies and the number of epochs."""
        return {"area": self._area, "epoch": torch.tensor(self.epoch)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._area, self.epoch = state["area"].cpu(), int(state["epoch"])
        self.choose()


class FollowingSieve(Sieve):
    """Keeps the items whose classes another sieve has.

    Args:
        labels: (N,) label of each item.
        leader: The sieve of another split.

    Raises:
        OptionError: A stage of the leader may have only classes that are not among the labels.

    Example:
        >>> leader = CurriculumSieve(torch.arange(100) % 10, epochs=4)
        >>> len(FollowingSieve(torch.arange(20) % 10, leader).kept)
        20
    """

    def __init__(self, labels: Tensor, leader: Sieve) -> None:
        super().__init__(labels)
        self._leader = leader
        classes = leader.labels.bincount().nonzero()[:, 0]
        missing = classes[~torch.isin(classes, self.labels)].tolist()
        fewest = round(min(map(leader.share, range(leader.epochs))) * len(classes))
        if len(missing) >= fewest:
            named = ", ".join(map(str, missing[:5])) + ", ..." * (len(missing) > 5)
            raise OptionError(
                f"a stage of sieve 'curriculum' has {fewest} of {len(classes)} classes, and "
                f"{len(missing)} have no validation images (labels {named}), so that a stage may "
                f"have none; give validation images of every class, or use another sieve"
            )
        self.choose()

    def choose(self) -> None:
        """Keep the items of the classes that the other sieve has now."""
        self.classes = self._leader.classes
        self.kept = torch.arange(len(self.labels))
        if self.classes is not None:
            self.kept = torch.isin(self.labels, self.classes).nonzero()[:, 0]

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Follow the other sieve, whose state is restored already."""
        self.choose()
