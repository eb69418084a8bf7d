"""Sieves that rank the items of each class: ``random``, ``entropy`` and ``dynamics``.

Notation.  N      items of the split, N_c of class c
           E      epochs of the training
           s(e)   share of the items that epoch e reads
           n_c    items of class c that are kept
           p_i    probability that the network gives to the label of item i, in one epoch
           J      epochs that are remembered, 5

    s(e) = 1                                   for e < ceil(warmup E), at least one epoch
         = keep ^ (k / steps)                  then, in k = 1 .. steps equal parts of the rest
         = keep                                after the last one
    n_c  = s N_c, rounded so that they sum to round(s N), and at least min(N_c, 10)

    random      ranks by lot
    entropy     draws by a histogram of the items' entropies, once
    dynamics    ranks by m_i (1 - m_i), m_i the mean of p_i over the last J epochs

``entropy`` is a published rule. ``dynamics`` is ours, in the manner of a paper whose rule we could
not read; it says what is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from ddpnas.data.sieve import Sieve
from ddpnas.utils.seeds import derive_seed
from ddpnas.utils.settings import Count, Seed, checks_arguments
from ddpnas.utils.shapes import Range, Share

__all__ = ["LEAST", "DynamicsSieve", "EntropySieve", "Kept", "RandomSieve", "RankedSieve", "quotas"]

LEAST = 10
"""Items of a class that are kept, at least, if there are so many."""

Kept = Annotated[float, Range(above=0, most=1)]
"""A share of items that is left."""


class RankedSieve(Sieve):
    """Keeps the items of the highest rank in each class, fewer of them from step to step.

    Dropped items stay out. A subclass ranks the items.

    Args:
        labels: (N,) label of each item.
        epochs: E, epochs of the training.
        seed: Seed of the lot, which breaks ties.
        keep: Share of the training items that is left in the end.
        valid_keep: Share of the validation items that is left in the end; their sieve has it as
            its ``keep``.
        warmup: Part of the epochs that read all items.
        steps: Number of times that items are dropped, at equal distances.

    Attributes:
        window: Number of epochs whose measurements are remembered.
        remembered: (window, N) what was measured of each item, the last epoch last; NaN where it
            was not seen.
    """

    window: ClassVar[int] = 0

    @checks_arguments
    def __init__(
        self, labels: Any, epochs: int, seed: Seed = 0, *,
        keep: Kept = 0.4, valid_keep: Kept = 1.0, warmup: Share = 0.2, steps: Count = 4,
    ) -> None:  # fmt: skip
        super().__init__(labels, epochs, seed)
        self._keep, self._warmup, self._steps = keep, warmup, steps
        self.remembered = torch.full((self.window, len(labels)), math.nan)
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

    def learn(self, values: Tensor) -> None:
        """Remember the epoch, and forget the one that leaves the window."""
        self.remembered = torch.cat([self.remembered[1:], values[None]])

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
        """Return the items kept, the number of epochs, and what is remembered."""
        state = {"kept": self.kept, "epoch": torch.tensor(self.epoch)}
        if self.observes:  # a checkpoint refuses NaN, and nothing that is measured is negative
            state["remembered"] = self.remembered.nan_to_num(nan=-1.0)
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.kept, self.epoch = state["kept"].cpu(), int(state["epoch"])
        if self.observes:
            kept = state["remembered"].cpu()
            self.remembered = kept.masked_fill(kept < 0, math.nan)


class RandomSieve(RankedSieve):
    """Keeps random items of each class; the control for all others.

    Example:
        >>> sieve = RandomSieve(torch.arange(100) % 2, epochs=1, keep=0.4, warmup=0, steps=1)
        >>> len(sieve.kept), sieve.labels[sieve.kept].bincount()
        (40, tensor([20, 20]))
    """

    def ranks(self) -> Tensor:
        """Return the lot."""
        return self.lot


class EntropySieve(RankedSieve):
    """Draws items once by a histogram of the entropies of the network's probabilities.

    Na et al., "Accelerating Neural Architecture Search via Proxy Data", IJCAI 2021. Published: a
    histogram of log10 of the entropies; the probability of a bin of b items is max - b + 1 over the
    bins that hold any (rule 1), the same for all bins (2) or 1 / b (3), shared equally among its
    items. Ours: the entropies are those of the network that trains, after its warm-up, instead of
    another small network's, and each class keeps at least ten items.

    Args:
        labels: (N,) label of each item.
        epochs: Epochs of the training.
        seed: Seed of the draw.
        keep: Share of the training items that is left (published: 0.1).
        valid_keep: Share of the validation items that is left.
        warmup: Part of the epochs that read all items.
        rule: How probable a bin is.
        bin_width: Width of a bin, in powers of ten: 0.5 for CIFAR-10, 0.25 for CIFAR-100 and
            ImageNet, 0.2 for SVHN.

    Example:
        >>> sieve = EntropySieve(torch.arange(100) % 2, epochs=5, keep=0.4)
        >>> sieve.observe(torch.arange(100), torch.randn(100, 2), torch.arange(100) % 2)
        >>> sieve.end_epoch()
        >>> len(sieve.kept)
        40
    """

    observes = True
    window = 1

    @checks_arguments
    def __init__(
        self, labels: Any, epochs: int, seed: Seed = 0, *,
        keep: Kept = 0.4, valid_keep: Kept = 1.0, warmup: Share = 0.2,
        rule: Literal[1, 2, 3] = 1, bin_width: Annotated[float, Range(0.001, 10)] = 0.5,
    ) -> None:  # fmt: skip
        self._rule, self._bin = rule, bin_width
        super().__init__(labels, epochs, seed, keep=keep, warmup=warmup, steps=1)

    def measure(self, probabilities: Tensor, labels: Tensor) -> Tensor:
        """Return the entropy of each row, in nats."""
        entropies: Tensor = torch.special.entr(probabilities).sum(dim=1)
        return entropies

    def learn(self, values: Tensor) -> None:
        """Remember the last entropy of each item."""
        self.remembered = torch.where(values.isnan(), self.remembered, values)

    def ranks(self) -> Tensor:
        """Return keys whose largest are a draw by the probabilities without putting back.

        With u uniform, log(u) / w orders items as drawing one after another with weights w does
        (Efraimidis and Spirakis, 2006).
        """
        entropies = self.remembered[0]
        if bool(entropies.isnan().all()):
            return self.lot
        known = entropies.nan_to_num(nan=float(entropies.nanmedian()))
        bins = (known.clamp(min=1e-12).log10().double() / self._bin).floor().long()
        numbers = (bins - bins.min()).bincount().double()
        probability = {
            1: numbers.max() - numbers + 1,
            2: torch.ones_like(numbers),
            3: 1 / numbers,
        }[self._rule]
        weights = (probability / numbers)[bins - bins.min()]
        return self.lot.clamp(min=1e-300).log() / weights

    def wanted(self, share: float, ranks: Tensor) -> Tensor:
        """Return how many of each class are among the largest keys."""
        drawn = self.labels[ranks[: round(share * len(self.labels))]]
        return drawn.bincount(minlength=int(self.labels.max()) + 1).double()


class DynamicsSieve(RankedSieve):
    """Drops what the supernet always gets right, or always wrong, in the manner of BDP.

    Tu et al., "Bi-level Data Pruning", arXiv 2312.14200. Known from its abstract: items are pruned
    as the search goes on, for the weights and for the architecture, by the dynamics of the
    supernet's predictions, under a balance of classes. Its score, shares and schedule are not
    known. Ours: an item ranks by m (1 - m), where m is the mean probability of its label over the
    last five epochs. This is the variance of whether it is answered right: small for a duplicate,
    which is always right, and for a wrong label, which never is. (The standard deviation of the
    probability over epochs, as in Dyn-Unc, arXiv 2306.05175, found planted ones less often: every
    epoch has other paths.) Of the validation items, those with m below chance go first, since a
    wrong label weighs in every score. Quotas of classes are exact.

    Example:
        >>> sieve = DynamicsSieve(torch.zeros(100).long(), epochs=1, keep=0.4)
        >>> logits = torch.linspace(-5, 5, 100)  # of the right class against another
        >>> sieve.observe(sieve.kept, torch.stack([logits, 0 * logits], 1), sieve.labels)
        >>> sieve.end_epoch()
        >>> sieve.kept.tolist() == list(range(30, 70))
        True
    """

    observes = True
    window = 5

    def measure(self, probabilities: Tensor, labels: Tensor) -> Tensor:
        """Return the probability of each label."""
        return probabilities.gather(1, labels[:, None])[:, 0]

    def ranks(self) -> Tensor:
        """Return the variance of whether each item is answered right."""
        mean = self.remembered.double().nanmean(dim=0)
        variance = mean * (1 - mean)
        if self.scoring:
            chance = 1 / (int(self.labels.max()) + 1)
            return torch.where(mean < chance, mean - 1, variance)
        return variance


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
