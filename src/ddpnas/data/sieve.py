"""Sieve: which items of a split each epoch reads, and what is observed of them meanwhile.

A :class:`ddpnas.data.Loader` has a sieve, reads only what the sieve keeps, and hands it the outputs
of the network on the items of every batch. After an epoch the sieve may keep fewer items. The
sieves themselves are in :mod:`ddpnas.data.sieves`.

Notation.  N      items of the split, N_c of class c
           E      epochs of the training
           s(e)   share of the items that epoch e reads
           n_c    items of class c that are kept

    s(e) = 1                                   for e < ceil(warmup E), at least one epoch
         = keep ^ (k / steps)                  then, in k = 1 .. steps equal parts of the rest
         = keep                                after the last one
    n_c  = s N_c, rounded so that they sum to round(s N), and at least min(N_c, 10)
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ddpnas.utils.seeds import derive_seed

__all__ = ["LEAST", "RankedSieve", "Sieve", "quotas"]

LEAST = 10
"""Items of a class that are kept, at least, if there are so many."""

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


class RankedSieve(Sieve):
    """Keeps the items of the highest rank in each class, fewer of them from step to step.

    Dropped items stay out. A subclass ranks the items.

    Args:
        labels: (N,) label of each item.
        epochs: E, epochs of the training.
        seed: Seed that breaks ties.
        keep: Share of the items that is left in the end.
        warmup: Part of the epochs that read all items.
        steps: Number of times that items are dropped, at equal distances.
    """

    def __init__(
        self, labels: Tensor, epochs: int, seed: int, *, keep: float, warmup: float, steps: int
    ) -> None:
        super().__init__(labels, epochs, seed)
        self._keep, self._warmup, self._steps = keep, warmup, steps
        generator = torch.Generator().manual_seed(derive_seed(seed, len(labels)))
        self.lot = torch.rand(len(labels), generator=generator, dtype=torch.float64)
        self.choose()

    def share(self, epoch: int) -> float:
        """Return s(e), see the head of this file."""
        first = max(int(self.observes), math.ceil(self._warmup * self.epochs - 1e-9))
        if epoch >= self.epochs:
            return self._keep
        if epoch < first:
            return 1.0
        done = 1 + (epoch - first) * self._steps // max(1, self.epochs - first)
        return float(self._keep ** (min(done, self._steps) / self._steps))

    def ranks(self) -> Tensor:
        """Return how much each item is worth keeping, (N,); NaN where that is unknown."""
        raise NotImplementedError

    def wanted(self, share: float, ranks: Tensor) -> Tensor:
        """Return how many items of each class to keep, before rounding, (classes,)."""
        return share * self.labels.bincount().double()

    def choose(self) -> None:
        """Keep the highest ranks of each class."""
        share = self.share(self.epoch)
        wanted = round(share * len(self.labels))
        if wanted >= len(self.kept):
            return
        # Unknown ranks count as the best; equal ranks are in random order.
        ranks = self.ranks().double().nan_to_num(nan=math.inf, posinf=math.inf)[self.kept]
        order = torch.argsort(self.lot[self.kept], descending=True, stable=True)
        order = order[torch.argsort(ranks[order], descending=True, stable=True)]
        ordered = self.kept[order]
        labels = self.labels[ordered]
        sizes = self.labels.bincount()
        left = labels.bincount(minlength=len(sizes))
        numbers = quotas(self.wanted(share, ordered), left, wanted, sizes.clamp(max=LEAST))
        # Position of each item within its class, by rank.
        places = torch.empty_like(labels)
        for label in range(len(sizes)):
            of_class = labels == label
            places[of_class] = torch.arange(int(of_class.sum()))
        self.kept = ordered[places < numbers[labels]].sort().values

    def state_dict(self) -> dict[str, Tensor]:
        """Return the items kept and the number of epochs."""
        return {"kept": self.kept, "epoch": torch.tensor(self.epoch)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.kept, self.epoch = state["kept"].cpu(), int(state["epoch"])


def quotas(wanted: Tensor, sizes: Tensor, total: int, floors: Tensor) -> Tensor:
    """Return whole numbers near what is wanted of each class, which sum to the total.

    Fractions are rounded by largest remainder.

    Args:
        wanted: (classes,) numbers of items, which sum to about ``total``.
        sizes: (classes,) items that there are.
        total: The sum; where the floors alone exceed it, they count.
        floors: (classes,) items at least, as far as there are so many.

    Example:
        >>> quotas(torch.tensor([6.4, 2.6, 1.0]), torch.tensor([64, 26, 10]), 10, torch.zeros(3))
        tensor([6, 3, 1])
    """
    floors = torch.minimum(floors.long(), sizes)
    total = min(max(total, int(floors.sum())), int(sizes.sum()))
    found = torch.maximum(wanted.floor().long(), floors).minimum(sizes)
    while (missing := total - int(found.sum())) != 0:
        if missing > 0:
            found[(wanted - found).masked_fill(found >= sizes, -math.inf).argmax()] += 1
        else:
            found[(found - wanted).masked_fill(found <= floors, -math.inf).argmax()] -= 1
    return found
