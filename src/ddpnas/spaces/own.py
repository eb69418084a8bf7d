"""A user's own space from a Python file: ``my_file.py:network`` or ``my_file.py:space``.

The file is executed, so it is only ever read when the user names it, never because a file that
lies in a run folder does.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

from ddpnas.errors import SpaceError, nearest
from ddpnas.space import SearchSpace

__all__ = ["is_file_space", "space_from_file"]


def is_file_space(name: str) -> bool:
    """Return whether the name has the form ``file.py:object``."""
    return name.rpartition(":")[0].endswith(".py")


def space_from_file(name: str, **options: Any) -> SearchSpace:
    """Return the space in a file, or made of a function or module class there.

    Args:
        name: ``path/of/file.py:network``, or of a :class:`SearchSpace`, which may have rules, a
            text form or another input type.
        options: ``input_shape``, and those of the network; ``num_classes`` is passed on only
            to a network that takes it.

    Raises:
        SpaceError: no such file or name in it, or the file fails.
    """
    file, _, attribute = name.rpartition(":")
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise SpaceError(f"there is no file {file!r} with a search space")
    module_name = f"ddpnas_own_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise SpaceError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # so that classes defined there can be found again
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise SpaceError(f"{file} fails: {type(error).__name__}: {error}") from error
    network = getattr(module, attribute, None)
    given = isinstance(network, SearchSpace)
    if network is None or not (given or callable(network)):
        functions = [
            n
            for n, v in vars(module).items()
            if (callable(v) or isinstance(v, SearchSpace)) and not n.startswith("_")
        ]
        raise SpaceError(f"in {file}: " + nearest("network function", attribute, functions))
    function = network.network if given else network
    if "num_classes" not in inspect.signature(function).parameters:
        options.pop("num_classes", None)
    if given:
        space: SearchSpace = network.with_options(**options)
        space.name = f"{path}:{attribute}"
        return space
    return SearchSpace(network, name=f"{path}:{attribute}", **options)
