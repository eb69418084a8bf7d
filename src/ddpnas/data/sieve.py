"""Sieve: which items of a split each epoch reads, and what is observed of them meanwhile.

A :class:`ddpnas.data.Loader` has a sieve, reads only what the sieve keeps, and hands it the outputs
of the network on the items of every batch. After an epoch the sieve may keep fewer items. This one
keeps all of them. Others derive from it; :mod:`ddpnas.data.sieves` has them by name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Sieve"]

Total = Callable[[Tensor], Tensor]


class Sieve:
    """Keeps all items in every epoch.

    Args:
        labels: (N,) label of each item of the split.
        epochs: E, epochs of the training.
        seed: Seed for everything random.

    Attributes:
        observes: Whether the sieve learns from outputs of the network.
        kept: (n,) numbers of the items that the present epoch reads, in order.
        classes: Labels that are present, in order, if the network answers for these alone; None
            for all.
        epoch: Number of epochs so far.
        scoring: Whether the items score architectures instead of training them.

    Example:
        >>> sieve = Sieve(torch.tensor([0, 1, 1]), epochs=5)
        >>> sieve.end_epoch()
        >>> sieve.kept
        tensor([0, 1, 2])
    """

    observes = False
    scoring = False
    classes: Tensor | None = None

    def __init__(self, labels: Tensor, epochs: int = 1, seed: int = 0) -> None:
        self.labels, self.epochs, self.seed = labels.cpu(), epochs, seed
        self.kept = torch.arange(len(labels))
        self.epoch = 0
        # Sum and number of what was observed of each item in this epoch.
        self._seen = torch.zeros(2, len(labels))

    def share(self, epoch: int) -> float:
        """Return the planned share of the items that an epoch, counted from 0, reads."""
        return 1.0

    @property
    def fewest(self) -> int:
        """Number of items that the smallest epoch reads, as planned."""
        return round(self.share(self.epochs) * len(self.labels))

    def observe(self, items: Tensor, outputs: Tensor, labels: Tensor) -> None:
        """Take in what the network said of some items in this epoch.

        Args:
            items: (n,) numbers of the items.
            outputs: (n, classes) outputs of the network before the softmax; no gradient is taken.
            labels: (n,) labels, among ``classes`` if that is not None.
        """
        if not self.observes:
            return
        with torch.no_grad():
            values = self.measure(outputs.detach().float().softmax(dim=1), labels)
            self._seen = self._seen.to(values.device)
            both = torch.stack([values, torch.ones_like(values)])
            self._seen.index_add_(1, items.to(values.device), both)

    def end_epoch(self, total: Total = lambda numbers: numbers) -> None:
        """End an epoch: learn from what was observed, and choose the items of the next.

        Args:
            total: Sums numbers over the processes that train together; each observed other items.
        """
        if self.observes:
            value, count = total(self._seen).cpu()
            self._seen = torch.zeros(2, len(self.labels))
            self.learn(value / count)  # NaN for items that were not seen
        self.epoch += 1
        self.choose()

    def measure(self, probabilities: Tensor, labels: Tensor) -> Tensor:
        """Return what counts of each item, (n,).

        Args:
            probabilities: (n, classes).
            labels: (n,).
        """
        raise NotImplementedError("a sieve that observes says what it measures")

    def learn(self, values: Tensor) -> None:
        """Learn what was measured in an epoch: the mean of each item, (N,), NaN where unseen."""

    def choose(self) -> None:
        """Set ``kept`` and ``classes`` for the epoch that follows."""

    @contextlib.contextmanager
    def narrowing(self, network: nn.Module) -> Iterator[None]:
        """Return the context in which a network answers for the classes that are present."""
        if self.classes is None:
            yield
            return
        classes = self.classes

        def narrow(module: nn.Module, args: Any, outputs: Any) -> Any:
            if isinstance(outputs, tuple):  # auxiliary heads
                return tuple(narrow(module, args, one) for one in outputs)
            return outputs[:, classes.to(outputs.device)]

        handle = network.register_forward_hook(narrow)
        try:
            yield
        finally:
            handle.remove()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state between two epochs."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` returned."""
