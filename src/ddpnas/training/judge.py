"""Judge: what the network of a training reaches, and whether it has learned anything."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import nn

from ddpnas.data.data import Data
from ddpnas.data.loader import Loader
from ddpnas.training.distributed import Processes
from ddpnas.training.metrics import confusion, is_at_chance
from ddpnas.training.protections import still_falls
from ddpnas.training.recipes import Recipe
from ddpnas.training.results import EvaluationResult

__all__ = ["Judge"]

logger = logging.getLogger(__name__)


class Judge:
    """Evaluates networks of one training; all processes take part.

    Args:
        data: The data.
        recipe: How the network is trained.
        processes: Processes that train together, this one with its device.
    """

    def __init__(self, data: Data, recipe: Recipe, processes: Processes) -> None:
        self._data, self._recipe, self._processes = data, recipe, processes
        self._loaders: dict[str, Loader] = {}

    def evaluate(self, model: nn.Module, split: str) -> EvaluationResult:
        """Return what a network, in evaluation mode, reaches on a split."""
        if split not in self._loaders:  # once: what is on a device or read ahead stays there
            found = self._data.splits[split]
            self._loaders[split] = Loader(
                self._data, [found], self._processes.device, shard=self._processes.shard
            )
        batches = self._loaders[split].eval_batches(500)
        counts = confusion(model, batches, len(self._data.classes))
        counts = self._processes.sum(counts).cpu()
        return EvaluationResult(self._data.name, split, int(counts.sum()), counts.tolist())

    def has_learned_nothing(self, model: nn.Module, loss: float) -> bool:
        """Return whether a network only knows how frequent the classes are.

        Args:
            model: The network; if the loss leaves doubt, it is put into evaluation mode.
            loss: Mean loss of its last epoch.
        """
        labels = self._data.train.labels
        sizes = torch.bincount(labels, minlength=len(self._data.classes)).tolist()
        guessing = [[n, *[0] * (len(sizes) - 1)] for n in sizes]  # so that the loss alone decides
        if not self._is_at_chance(guessing, loss):
            return False
        self._processes.copy_first(list(model.buffers()))
        return self._is_at_chance(self.evaluate(model.eval(), "train").confusion, loss)

    def tell(
        self, evaluation: EvaluationResult, losses: Sequence[float], lr: float, more: str
    ) -> None:
        """Say if the network learned nothing, or would have learned more.

        Args:
            evaluation: What it reached in the end.
            losses: Mean loss of each epoch.
            lr: Its learning rate.
            more: What more training is: "more time", for example.
        """
        if self._is_at_chance(evaluation.confusion, losses[-1]):
            logger.warning(
                "warning: the network is no better than chance: its loss ends at %.3f, as if it "
                "only knew how frequent each class is, and its accuracy is %.2f %%; try another "
                "learning rate than %g, or %s, and check the labels",
                losses[-1], 100 * evaluation.accuracy, lr, more,
            )  # fmt: skip
        elif still_falls(losses):
            logger.info(
                "the loss was still falling when the training ended (%.3f); %s may do better",
                losses[-1], more,
            )  # fmt: skip

    def _is_at_chance(self, counts: list[list[int]], loss: float) -> bool:
        balanced = self._recipe.class_weights == "balanced"
        return is_at_chance(counts, loss, self._recipe.label_smoothing, balanced=balanced)
