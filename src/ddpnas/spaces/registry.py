"""The published spaces by name, and the spaces that users name."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddpnas.errors import OptionError, RunError, nearest
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import named_again, names_file, refuse_other_code
from ddpnas.spaces import (
    darts,
    mnasnet,
    mobilenet_v2,
    mobilenet_v3,
    nasbench201,
    nasbench_macro,
    shufflenet,
    toy,
)
from ddpnas.spaces.published import PublishedSpace
from ddpnas.spaces.user_space import space_from_file

__all__ = ["about_space", "create_space", "list_spaces", "named_space", "space_again"]

_SPACES: dict[str, PublishedSpace] = {
    "darts": darts.SPACE,
    "mnasnet": mnasnet.SPACE,
    "mobilenet-v2": mobilenet_v2.SPACE,
    "mobilenet-v3": mobilenet_v3.SPACE,
    "nasbench-macro": nasbench_macro.SPACE,
    "nasbench201": nasbench201.SPACE,
    "shufflenet": shufflenet.SPACE,
    "toy": toy.SPACE,
}


def list_spaces() -> list[str]:
    """Return the names that :func:`create_space` takes."""
    return sorted(_SPACES)


def about_space(name: str) -> str:
    """Return what a published space is, in a line: the first of its file."""
    module = sys.modules[_SPACES[name].network.__module__]
    return (module.__doc__ or "").splitlines()[0]


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
    return _SPACES[name].create(name, **options)


def named_space(name: str, options: Mapping[str, Any]) -> SearchSpace:
    """Return the space that a user names, published or in a file, which is executed.

    Args:
        name: one of :func:`list_spaces`, or ``my_file.py:network``.
        options: of the space.

    Raises:
        SpaceError, OptionError: see :func:`create_space` and :func:`space_from_file`.
    """
    make = space_from_file if names_file(name) else create_space
    return make(name, **options)


def space_again(
    holder: str | Path,
    name: str,
    options: Mapping[str, Any],
    given: str | None,
    *,
    code: Mapping[str, Any] | str | None = None,
    copy: str | Path | None = None,
) -> SearchSpace:
    """Return the space that a folder or file is of.

    Args:
        holder: the folder or file, for messages.
        name: of the space, as the holder keeps it.
        options: of the space.
        given: the name once more by the user: code in a file is executed only because the user
            names it, never because a folder does.
        code: fingerprint of such a file, where it was kept, see
            :class:`ddpnas.space.user_code.Source`.
        copy: what the user could name instead of ``name``, where there is a copy of the file.

    Raises:
        RunError: a file has to be named, or its code has changed, or another space than the
            holder's is named, or the space is no published one and in no file.
        SpaceError, OptionError: see :func:`named_space`.
    """
    again = named_again("space", holder, name, given, copy)
    if names_file(name):
        space = space_from_file(again, **options)
        refuse_other_code(space.source, code, holder, copy)
        return space
    if name not in list_spaces():
        raise RunError(
            f"the space of {holder}, {name!r}, is a function of a Python program; go on from "
            f"there, with the space itself as space=..."
        )
    return create_space(name, **options)
