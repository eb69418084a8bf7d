"""PublishedSpace: what makes a published search space, registered under its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ddpnas.space.decisions import Rule
from ddpnas.space.search_space import SearchSpace, Text

__all__ = ["PublishedSpace"]


def _no_rules(options: Mapping[str, Any]) -> Sequence[Rule]:
    return ()


@dataclass(frozen=True)
class PublishedSpace:
    """A network function, and what is known about its architectures.

    Attributes:
        network: ``network(choose, **options)``; its defaults are those of the search.
        text: (format, parse) of the published text form, or options -> these; None for the plain
            one. Like all functions here they stand at the top of a module, so that a space can be
            sent to worker processes.
        rules: options -> the rules of the space.
        canonical: see :meth:`SearchSpace.canonical`.
        final_options: what the paper's final network has otherwise than the search network.
    """

    network: Callable[..., nn.Module]
    text: Text | Callable[[Mapping[str, Any]], Text] | None = None
    rules: Callable[[Mapping[str, Any]], Sequence[Rule]] = _no_rules
    canonical: Callable[[Mapping[str, str]], Mapping[str, str]] | None = None
    final_options: Mapping[str, Any] = field(default_factory=dict)

    def create(self, name: str, **options: Any) -> SearchSpace:
        """Return the search space with these options of its network."""
        return SearchSpace(
            self.network,
            name=name,
            rules=self.rules,
            text=self.text,
            canonical=self.canonical,
            final_options=self.final_options,
            **options,
        )
