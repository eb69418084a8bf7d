"""A user's own space from a Python file: ``my_file.py:network`` or ``my_file.py:space``."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

from ddpnas.errors import SpaceError
from ddpnas.space.network_options import as_plain, declared_options, network_options
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.user_code import UserCode

__all__ = ["space_from_file"]


def space_from_file(name: str, /, **options: Any) -> SearchSpace:
    """Return the space in a file, or made of a function or module class there.

    Args:
        name: ``path/of/file.py:network``; instead of a function, the file may hold a
            :class:`SearchSpace` with rules, a text form or another input type.
        options: ``input_shape`` and the network's own. ``num_classes`` is passed on only to a
            network that takes it.

    Raises:
        SpaceError: There is no such file or name in it, no name is given, or the file fails.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> file = Path(tempfile.mkdtemp(), "mine.py")
        >>> _ = file.write_text("from ddpnas.spaces.toy import network")
        >>> space_from_file(f"{file}:network", width=8).options["width"]
        8
    """
    source = UserCode.read(name, "search space", SpaceError)
    module = source.execute(SpaceError)
    file, attribute = source.path, source.attribute
    network = getattr(module, attribute, None)
    given = isinstance(network, SearchSpace)
    if network is None or not (given or callable(network)):
        there = _candidates(module)
        example = "network" if "network" in there else next(iter(there), "network")
        raise SpaceError(source.not_there("network function", there, example))
    function = network.network if given else network
    if "num_classes" not in inspect.signature(function).parameters:
        options.pop("num_classes", None)
    # A run keeps all options as plain data. What stands for a default, such as the name of a class
    # or a list in place of a tuple, is that default: the code has not changed since.
    defaults = network.options if given else declared_options(function)
    options = {
        key: value
        for key, value in options.items()
        if key not in defaults or as_plain(defaults[key]) != value
    }
    options = network_options(function, f"{file}:{attribute}", options)
    if given:
        space: SearchSpace = network.with_options(**options)
        space.name = f"{file}:{attribute}"
    else:
        space = SearchSpace(network, name=f"{file}:{attribute}", **options)
    space.source = source
    return space


def _candidates(module: ModuleType) -> list[str]:
    """Return the names of the spaces of a file, and of what is defined there and could make one."""
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (
            isinstance(value, SearchSpace)
            or (callable(value) and getattr(value, "__module__", None) == module.__name__)
        )
    )
