"""The published search spaces, one file each: paper, licence, source and text form.

A published space is a function ``network(choose, ...)`` like a user's own, registered under its
name. Its defaults are those of the benchmark or paper.
"""

from __future__ import annotations

from typing import Any

from ddpnas.errors import OptionError, nearest
from ddpnas.space import SearchSpace
from ddpnas.spaces import nasbench201

__all__ = ["create_space", "list_spaces"]

# name -> (network function, text form as (format, parse))
_SPACES = {
    "nasbench201": (nasbench201.network, (nasbench201.format_cell, nasbench201.parse_cell)),
}


def list_spaces() -> list[str]:
    """Return the names that :func:`create_space` takes."""
    return sorted(_SPACES)


def create_space(name: str, **options: Any) -> SearchSpace:
    """Return the published space of that name.

    Args:
        name: one of :func:`list_spaces`.
        options: ``num_classes``, ``input_shape`` and the space's own, such as ``channels``.

    Raises:
        OptionError: unknown name or option.
    """
    if name not in _SPACES:
        raise OptionError(nearest("space", name, _SPACES))
    network, text = _SPACES[name]
    return SearchSpace(network, name=name, text=text, **options)
