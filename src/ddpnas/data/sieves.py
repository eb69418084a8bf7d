"""The sieves by name: ``all``, ``random``, ``entropy``, ``dynamics`` and ``curriculum``.

Notation.  p_i   probability that the network gives to the label of item i, in one epoch
           J     epochs that are remembered, 5

    random      ranks by lot
    entropy     draws by a histogram of the items' entropies, once
    dynamics    ranks by m_i (1 - m_i), m_i the mean of p_i over the last J epochs
    curriculum  keeps whole classes, first those that were learned early

``entropy`` is a published rule. ``dynamics`` and ``curriculum`` are ours, in the manner of papers
whose rules we could not read; each says what is known.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from ddpnas.data.sieve import RankedSieve, Sieve
from ddpnas.errors import OptionError, nearest
from ddpnas.utils.settings import Count, Seed, checked_options, checks_arguments
from ddpnas.utils.shapes import Range, Share, hints_of

__all__ = [
    "CurriculumSieve",
    "DynamicsSieve",
    "EntropySieve",
    "FollowingSieve",
    "RandomSieve",
    "SieveConfig",
    "list_sieves",
    "sieve_class",
    "sieve_options",
]

Kept = Annotated[float, Range(above=0, most=1)]

_WINDOW = 5  # J
_LEAST_CLASSES = 2


class RandomSieve(RankedSieve):
    """Keeps random items of each class; the control for all others.

    Args:
        labels: (N,) label of each item.
        epochs: Epochs of the training.
        seed: Seed of the lot.
        keep: Share of the training items that is left in the end.
        valid_keep: Share of the validation items that is left in the end.
        warmup: Part of the epochs that read all items.
        steps: Number of times that items are dropped.

    Example:
        >>> sieve = RandomSieve(torch.arange(100) % 2, epochs=1, keep=0.4, warmup=0, steps=1)
        >>> len(sieve.kept), sieve.labels[sieve.kept].bincount()
        (40, tensor([20, 20]))
    """

    @checks_arguments
    def __init__(
        self, labels: Any, epochs: int, seed: Seed = 0, *,
        keep: Kept = 0.4, valid_keep: Kept = 1.0, warmup: Share = 0.2, steps: Count = 4,
    ) -> None:  # fmt: skip
        super().__init__(labels, epochs, seed, keep=keep, warmup=warmup, steps=steps)

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

    @checks_arguments
    def __init__(
        self, labels: Any, epochs: int, seed: Seed = 0, *,
        keep: Kept = 0.4, valid_keep: Kept = 1.0, warmup: Share = 0.2,
        rule: Literal[1, 2, 3] = 1, bin_width: Annotated[float, Range(0.001, 10)] = 0.5,
    ) -> None:  # fmt: skip
        self._rule, self._bin = rule, bin_width
        self._entropies = torch.full((len(labels),), math.nan)
        super().__init__(labels, epochs, seed, keep=keep, warmup=warmup, steps=1)

    def measure(self, probabilities: Tensor, labels: Tensor) -> Tensor:
        """Return the entropy of each row, in nats."""
        entropies: Tensor = torch.special.entr(probabilities).sum(dim=1)
        return entropies

    def learn(self, values: Tensor) -> None:
        """Remember the last entropy of each item."""
        self._entropies = torch.where(values.isnan(), self._entropies, values)

    def ranks(self) -> Tensor:
        """Return keys whose largest are a draw by the probabilities without putting back.

        With u uniform, log(u) / w orders items as drawing one after another with weights w does
        (Efraimidis and Spirakis, 2006).
        """
        if bool(self._entropies.isnan().all()):
            return self.lot
        known = self._entropies.nan_to_num(nan=float(self._entropies.nanmedian()))
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

    def state_dict(self) -> dict[str, Tensor]:
        """Return the items kept, the entropies and the number of epochs."""
        return {**super().state_dict(), "entropies": _without_nan(self._entropies)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` returned."""
        super().load_state_dict(state)
        self._entropies = _with_nan(state["entropies"])


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

    Args:
        labels: (N,) label of each item.
        epochs: Epochs of the training.
        seed: Seed that breaks ties.
        keep: Share of the training items that is left in the end.
        valid_keep: Share of the validation items that is left in the end.
        warmup: Part of the epochs that read all items.
        steps: Number of times that items are dropped.

    Example:
        >>> sieve = DynamicsSieve(torch.zeros(100).long(), epochs=1, keep=0.4)
        >>> logits = torch.linspace(-5, 5, 100)  # of the right class against another
        >>> sieve.observe(sieve.kept, torch.stack([logits, 0 * logits], 1), sieve.labels)
        >>> sieve.end_epoch()
        >>> sieve.kept.tolist() == list(range(30, 70))
        True
    """

    observes = True

    @checks_arguments
    def __init__(
        self, labels: Any, epochs: int, seed: Seed = 0, *,
        keep: Kept = 0.4, valid_keep: Kept = 1.0, warmup: Share = 0.2, steps: Count = 4,
    ) -> None:  # fmt: skip
        self._window = torch.full((_WINDOW, len(labels)), math.nan)
        super().__init__(labels, epochs, seed, keep=keep, warmup=warmup, steps=steps)

    def measure(self, probabilities: Tensor, labels: Tensor) -> Tensor:
        """Return the probability of each label."""
        return probabilities.gather(1, labels[:, None])[:, 0]

    def learn(self, values: Tensor) -> None:
        """Remember the epoch, and forget the one of J epochs before."""
        self._window = torch.cat([self._window[1:], values[None]])

    def ranks(self) -> Tensor:
        """Return the variance of whether each item is answered right."""
        mean = self._window.double().nanmean(dim=0)
        variance = mean * (1 - mean)
        if self.scoring:
            chance = 1 / (int(self.labels.max()) + 1)
            return torch.where(mean < chance, mean - 1, variance)
        return variance

    def state_dict(self) -> dict[str, Tensor]:
        """Return the items kept, the epochs remembered and the number of epochs."""
        return {**super().state_dict(), "window": _without_nan(self._window)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` returned."""
        super().load_state_dict(state)
        self._window = _with_nan(state["window"])


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

    Example:
        >>> leader = CurriculumSieve(torch.arange(100) % 10, epochs=4)
        >>> len(FollowingSieve(torch.arange(20) % 10, leader).kept)
        20
    """

    def __init__(self, labels: Tensor, leader: Sieve) -> None:
        super().__init__(labels)
        self._leader = leader
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


_SIEVES: dict[str, type[Sieve]] = {
    "all": Sieve,
    "curriculum": CurriculumSieve,
    "dynamics": DynamicsSieve,
    "entropy": EntropySieve,
    "random": RandomSieve,
}


def list_sieves() -> list[str]:
    """Return the names of the sieves.

    Example:
        >>> list_sieves()
        ['all', 'curriculum', 'dynamics', 'entropy', 'random']
    """
    return sorted(_SIEVES)


def sieve_class(name: str) -> type[Sieve]:
    """Return the class of the sieve of that name.

    Raises:
        OptionError: Unknown name.
    """
    if name not in _SIEVES:
        raise OptionError(nearest("sieve", name, _SIEVES))
    return _SIEVES[name]


def sieve_options(name: str) -> dict[str, Any]:
    """Return the options of a sieve with their defaults.

    Raises:
        OptionError: Unknown name.

    Example:
        >>> sieve_options("random")
        {'keep': 0.4, 'valid_keep': 1.0, 'warmup': 0.2, 'steps': 4}
    """
    parameters = inspect.signature(sieve_class(name)).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


@dataclass(frozen=True)
class SieveConfig:
    """Which sieve, with which options.

    Args:
        name: One of :func:`list_sieves`.
        options: The options that are not to be the default.

    Raises:
        OptionError: Unknown name or option, or an option of another type or out of range.

    Example:
        >>> config = SieveConfig("random", {"keep": 0.5, "warmup": 0})
        >>> len(config.create(torch.arange(100) % 2, epochs=10).kept)
        84
    """

    name: str = "all"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kind = sieve_class(self.name)
        hints = hints_of(vars(kind)["__init__"])
        declared = {option: hints[option] for option in sieve_options(self.name)}
        given = checked_options(f"sieve {self.name!r}", declared, self.options)
        object.__setattr__(self, "options", given)
        self.create(torch.zeros(0, dtype=torch.long))  # options that contradict each other

    @property
    def sieves(self) -> bool:
        """Whether it may keep fewer than all items."""
        return self.name != "all"

    @property
    def observes(self) -> bool:
        """Whether it learns from outputs of the network."""
        return sieve_class(self.name).observes

    @property
    def valid_keep(self) -> float:
        """Share of the validation items that is left in the end."""
        return float({**sieve_options(self.name), **self.options}.get("valid_keep", 1.0))

    @property
    def mean_share(self) -> float:
        """Mean share of the images over the epochs of a long training."""
        sieve = self.create(torch.arange(1000), epochs=1000)  # as many classes as items
        return sum(map(sieve.share, range(1000))) / 1000

    @property
    def narrows(self) -> bool:
        """Whether there are epochs without some of the classes."""
        return self.name == "curriculum"

    def create(self, labels: Tensor, epochs: int = 1, seed: int = 0) -> Sieve:
        """Return the sieve of a training split.

        Args:
            labels: (N,) label of each item.
            epochs: Epochs of the training.
            seed: Seed for everything random.
        """
        return sieve_class(self.name)(labels, epochs, seed, **self.options)

    def of_rest(self, labels: Tensor, seed: int = 0) -> Sieve:
        """Return the sieve of a training split as it is after the last epoch of its schedule.

        Args:
            labels: (N,) label of each item.
            seed: Seed for everything random.
        """
        sieve = self.create(labels, seed=seed)
        sieve.end_epoch()
        return sieve

    def of_scores(
        self, labels: Tensor, epochs: int, seed: Seed = 0, *, once: bool = False
    ) -> Sieve:
        """Return the sieve of a validation split; it keeps all unless ``valid_keep`` is below 1.

        Args:
            labels: (N,) label of each item.
            epochs: Number of times that it observes.
            seed: Seed for everything random.
            once: Whether it drops items once, after it has observed, and no more.
        """
        if self.valid_keep == 1:
            return Sieve(labels)
        options: dict[str, Any] = {**self.options, "keep": self.valid_keep}
        if once:
            options["warmup"] = float(self.observes)
            if "steps" in sieve_options(self.name):
                options["steps"] = 1
        sieve = sieve_class(self.name)(labels, epochs, seed, **options)
        sieve.scoring = True
        return sieve

    def identity(self) -> dict[str, Any]:
        """Return what results depend on, as plain data for JSON; nothing for "all"."""
        if not self.sieves:
            return {}
        return {"sieve": self.name, "sieve_options": {**sieve_options(self.name), **self.options}}

    def without(self, reason: str) -> None:
        """Raise :class:`OptionError` if it keeps fewer than all items.

        Args:
            reason: Why that cannot be, as "the evaluator table trains nothing".
        """
        if self.sieves:
            raise OptionError(f"{reason}, so sieve {self.name!r} cannot run; use --sieve all")


def _without_nan(values: Tensor) -> Tensor:
    """Return values of which none is negative, with -1 for NaN, which a checkpoint refuses."""
    return values.nan_to_num(nan=-1.0)


def _with_nan(values: Tensor) -> Tensor:
    """Return what :func:`_without_nan` was given."""
    return values.cpu().masked_fill(values.cpu() < 0, math.nan)
