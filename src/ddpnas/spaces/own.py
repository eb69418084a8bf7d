"""A user's own space from a Python file: ``my_file.py:network`` or ``my_file.py:space``.

The file is executed, so it is only ever read when the user names it, never because a file that
lies in a run folder does. What it imports is found in its own folder first.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from ddpnas.errors import SpaceError, nearest
from ddpnas.source import Source, read_source
from ddpnas.space import SearchSpace
from ddpnas.spaces.beside import find_beside

__all__ = ["is_file_space", "space_from_file"]


def is_file_space(name: str) -> bool:
    """Return whether the name has the form ``file.py:object``, or is a Python file's alone."""
    return name.endswith(".py") or name.rpartition(":")[0].endswith(".py")


def space_from_file(name: str, **options: Any) -> SearchSpace:
    """Return the space in a file, or made of a function or module class there.

    Args:
        name: ``path/of/file.py:network``, or of a :class:`SearchSpace`, which may have rules, a
            text form or another input type.
        options: ``input_shape``, and those of the network; ``num_classes`` is passed on only
            to a network that takes it.

    Raises:
        SpaceError: no such file or name in it, or no name given, or the file fails.
    """
    file, _, attribute = (name + ":" if name.endswith(".py") else name).rpartition(":")
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise SpaceError(f"there is no file {file!r} with a search space")
    try:
        source = read_source(path, attribute)
        module = _executed(source)
    except Exception as error:
        raise SpaceError(f"{file} fails: {type(error).__name__}: {error}") from error
    network = getattr(module, attribute, None)
    given = isinstance(network, SearchSpace)
    if network is None or not (given or callable(network)):
        there = _candidates(module)
        if attribute:
            raise SpaceError(f"in {file}: " + nearest("network function", attribute, there))
        example = "network" if "network" in there else next(iter(there), "network")
        raise SpaceError(
            f"which network of {file}? Name it as {file}:{example}; known: "
            f"{', '.join(there) or 'none'}"
        )
    function = network.network if given else network
    if "num_classes" not in inspect.signature(function).parameters:
        options.pop("num_classes", None)
    if given:
        space: SearchSpace = network.with_options(**options)
        space.name = f"{path}:{attribute}"
    else:
        space = SearchSpace(network, name=f"{path}:{attribute}", **options)
    space.source = source
    return space


def _executed(source: Source) -> ModuleType:
    """Return the module that the file makes; of what was read, never of a cache of it."""
    find_beside(source)
    module = ModuleType(f"ddpnas_own_{source.path.stem}")
    module.__file__ = str(source.path)
    sys.modules[module.__name__] = module  # so that classes defined there can be found again
    code = compile(source.content, source.path, "exec", dont_inherit=True)
    exec(code, module.__dict__)  # noqa: S102 - the user named the file
    return module


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
