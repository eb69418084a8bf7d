"""The sieves by name: ``all``, ``random``, ``entropy``, ``dynamics`` and ``curriculum``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

import torch
from torch import Tensor

from ddpnas.data.curriculum import CurriculumSieve
from ddpnas.data.ranked_sieves import DynamicsSieve, EntropySieve, RandomSieve
from ddpnas.data.sieve import Sieve
from ddpnas.errors import OptionError, nearest
from ddpnas.utils.settings import Seed, checked_options
from ddpnas.utils.shapes import hints_of

__all__ = ["SieveConfig", "SieveForm", "list_sieves", "sieve_class", "sieve_options"]

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


class SieveForm(TypedDict):
    """What records keep of a sieve."""

    name: str
    options: dict[str, Any]


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
        made: Any = sieve_class(self.name)
        hints = hints_of(made.__init__)
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

    def to_dict(self) -> SieveForm | None:
        """Return its name and the options that were given, for records; None for "all"."""
        if not self.sieves:
            return None
        return {"name": self.name, "options": dict(self.options)}

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
