"""Contender: a strategy that takes part in a comparison, of the package or from a user's file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from ddpnas.errors import OptionError
from ddpnas.space.user_code import names_file
from ddpnas.strategies.user_strategy import NamedStrategy

__all__ = ["Contender"]


@dataclass(frozen=True)
class Contender:
    """A strategy with its options, as it is named in results.

    Attributes:
        label: as it was named, options included.
        strategy: what searches.
        options: of the strategy.
    """

    label: str
    strategy: NamedStrategy
    options: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str) -> Contender:
        """Return the strategy in ``sng:pruning=true:delta=0.5``, or ``mine.py:MyStrategy:beta=2``.

        Raises:
            OptionError: what follows a name is no option, or there is no such file.
        """
        name, *pairs = text.strip().split(":")
        if names_file(name) and pairs and "=" not in pairs[0]:
            name = f"{name}:{pairs.pop(0)}"
        options = {}
        for pair in pairs:
            option, equals, value = pair.partition("=")
            if not equals:
                raise OptionError(f"{pair!r} is no option; write {name}:option=value")
            options[option.replace("-", "_")] = yaml.safe_load(value)
        return cls(text.strip(), NamedStrategy.read(name), options)
