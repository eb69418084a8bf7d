"""TrainResult: a trained network and how it got there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ddpnas.training.recipes import Recipe

__all__ = ["TrainResult"]


@dataclass(frozen=True)
class TrainResult:
    """A trained network and how it got there.

    Attributes:
        model: on the device it was trained on, in evaluation mode.
        accuracy: fraction right on the split named by ``split``; test images are read once, at the
            end.
        split: "test", or "valid" where the data has no test images.
        history: one record an epoch: epoch, loss, lr, seconds, and valid_accuracy where the
            recipe keeps the best epoch.
        recipe: as used.
        seconds: of training and evaluation, over all sessions.
        confusion: images of that split by (class, class they were taken for).
        last: the weights after the last epoch, where ``model`` is of an earlier, better one.
    """

    model: nn.Module
    accuracy: float
    split: str
    history: list[dict[str, float]]
    recipe: Recipe
    seconds: float
    confusion: list[list[int]]
    last: dict[str, Tensor] | None = field(default=None, repr=False)

    @property
    def per_class(self) -> list[float | None]:
        """Fraction right of each class; None for a class without images in the split."""
        return [row[i] / sum(row) if sum(row) else None for i, row in enumerate(self.confusion)]

    def figures(self) -> dict[str, Any]:
        """Return all but the networks and the recipe, as plain data."""
        return {
            "accuracy": self.accuracy,
            "split": self.split,
            "seconds": self.seconds,
            "per_class": self.per_class,
            "confusion": self.confusion,
            "history": self.history,
        }
