"""StandaloneEvaluator: train each architecture alone, from scratch, and score it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ddpnas.architecture import Architecture
from ddpnas.data import Data
from ddpnas.evaluators.base import Evaluation
from ddpnas.space import SearchSpace
from ddpnas.training import Recipe, train

__all__ = ["StandaloneEvaluator"]


class StandaloneEvaluator:
    """Scores an architecture by its validation accuracy after a training of its own.

    All begin from the same seed and see the same images in the same order, whatever was scored
    before, so that nothing has to be kept between two scores.

    Args:
        space: builds the networks.
        data: its training split trains, its validation split scores; test images are not used.
        epochs: of each training.
        recipe: see :func:`ddpnas.train`.
        seed: of initial weights, shuffling and augmentation.
        device: "auto", "cpu", "cuda", ...
    """

    def __init__(
        self,
        space: SearchSpace,
        data: Data,
        epochs: int,
        recipe: Recipe | str = "quick",
        *,
        seed: int = 0,
        device: str = "auto",
    ) -> None:
        self.space, self.epochs, self.recipe = space, epochs, recipe
        self.data = dataclasses.replace(data, test=None)  # train() then keeps the validation apart
        self.seed, self.device = seed, device

    def prepare(self, architectures: Sequence[Architecture]) -> Iterator[Mapping[str, float]]:
        """Yield nothing: no score depends on what came before."""
        return iter(())

    def evaluate(self, architectures: Sequence[Architecture]) -> Iterator[Evaluation]:
        """Yield the validation accuracy of each; details: ``loss`` of the last epoch.

        Raises:
            DivergedError: the loss became NaN or infinite.
        """
        for architecture in architectures:
            with torch.random.fork_rng():
                torch.manual_seed(self.seed)
                network = self.space.build(architecture)
            trained = train(
                network,
                self.data,
                self.recipe,
                epochs=self.epochs,
                seed=self.seed,
                device=self.device,
            )
            yield Evaluation(trained.accuracy, {"loss": trained.history[-1]["loss"]})

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return nothing: there is no state."""
        return {}, {}

    def load_state_dict(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
