"""The published spaces by name, and the spaces that users name."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Mapping
from typing import Any

from ddpnas.errors import OptionError, SpaceError, nearest
from ddpnas.space.network_options import network_options
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import UserCode, names_file
from ddpnas.spaces import (
    darts,
    edge,
    elastic_mobilenet_v3,
    mnasnet,
    mobilenet_v2,
    mobilenet_v3,
    nasbench201,
    nasbench_macro,
    shufflenet,
    toy,
)
from ddpnas.spaces.user_space import space_from_file
from ddpnas.utils.settings import checked, checks_arguments

__all__ = [
    "about_space",
    "check_space",
    "create_space",
    "list_spaces",
    "named_space",
    "space_options",
    "takes_limits",
]

_SPACES: dict[str, functools.partial[Any]] = {
    "darts": darts.SPACE,
    "edge": edge.SPACE,
    "elastic-mobilenet-v3": elastic_mobilenet_v3.SPACE,
    "mnasnet": mnasnet.SPACE,
    "mobilenet-v2": mobilenet_v2.SPACE,
    "mobilenet-v3": mobilenet_v3.SPACE,
    "nasbench-macro": nasbench_macro.SPACE,
    "nasbench201": nasbench201.SPACE,
    "shufflenet": shufflenet.SPACE,
    "toy": toy.SPACE,
}


def list_spaces() -> list[str]:
    """Return the names that :func:`create_space` takes.

    Example:
        >>> list_spaces()[:3]
        ['darts', 'edge', 'elastic-mobilenet-v3']
    """
    return sorted(_SPACES)


def about_space(name: str) -> str:
    """Return one line on a published space: the first of its file.

    Example:
        >>> about_space("toy")
        'A tiny space with a known best architecture, for tests, examples and documentation.'
    """
    module = sys.modules[_SPACES[name].args[0].__module__]
    return (module.__doc__ or "").splitlines()[0]


def check_space(name: str, options: Mapping[str, Any]) -> None:
    """Refuse a space before there are images: its name, and options of a published one.

    Args:
        name: One of :func:`list_spaces`, or ``my_file.py:network``, which is not executed.
        options: Options of the space.

    Raises:
        SpaceError: There is no such file.
        OptionError: An unknown name or option, or a value of another type or out of range.

    Example:
        >>> check_space("toy", {"width": 8})
    """
    if names_file(name):
        UserCode.read(name, "search space", SpaceError)
    elif name not in _SPACES:
        raise OptionError(nearest("space", name, _SPACES))
    else:
        network_options(_SPACES[name].args[0], name, _network_options(name, options))
        kind: Any = _SPACES[name].func
        kind.check_own_options(options)


def takes_limits(name: str) -> bool:
    """Return whether the sizes of a space may follow from limits.

    Example:
        >>> takes_limits("edge"), takes_limits("darts"), takes_limits("my_file.py:network")
        (True, False, False)
    """
    return name in _SPACES and "limits" in _own_options(name)


def space_options(name: str) -> list[str]:
    """Return the names of the options of a published space.

    Raises:
        OptionError: Unknown name.

    Example:
        >>> space_options("toy")
        ['width', 'num_classes', 'input_shape']
    """
    if name not in _SPACES:
        raise OptionError(nearest("space", name, _SPACES))
    return list(inspect.signature(_SPACES[name].args[0]).parameters)[1:]


@checks_arguments
def create_space(name: str, /, **options: Any) -> SearchSpace:
    """Return the published space of that name.

    Args:
        name: One of :func:`list_spaces`.
        options: ``num_classes``, ``input_shape`` and the space's own, such as ``channels``. The
            sizes of "edge" follow from ``limits``, cost name -> limit, or from the images alone.

    Raises:
        OptionError: An unknown name or option, or a value of another type or out of range.

    Example:
        >>> space = create_space("toy", num_classes=3)
        >>> space.size, space.output_shape
        (81, (3,))
    """
    checked("name of create_space()", str, name)
    if name not in _SPACES:
        raise OptionError(nearest("space", name, _SPACES))
    make = _SPACES[name]
    given = network_options(make.args[0], name, _network_options(name, options))
    own = {option: options[option] for option in _own_options(name) & options.keys()}
    space: SearchSpace = make(name=name, **given, **own)
    return space


def _own_options(name: str) -> frozenset[str]:
    """Return the options that a published space takes itself, besides those of its network."""
    kind: Any = _SPACES[name].func
    found: frozenset[str] = kind.own_options
    return found


def _network_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    own = _own_options(name)
    return {option: value for option, value in options.items() if option not in own}


def named_space(name: str, options: Mapping[str, Any]) -> SearchSpace:
    """Return the space that a user names: a published one, or one in a file, which is executed.

    Args:
        name: One of :func:`list_spaces`, or ``my_file.py:network``.
        options: Options of the space.

    Raises:
        SpaceError: See :func:`ddpnas.spaces.user_space.space_from_file`.
        OptionError: Unknown name or option.

    Example:
        >>> named_space("toy", {"width": 8}).options["width"]
        8
    """
    make = space_from_file if names_file(name) else create_space
    return make(name, **options)
