"""Versions and machine: what results were made with. Loads none of the packages."""

from __future__ import annotations

import platform
import sys
from importlib import metadata

from ddpnas._version import __version__

__all__ = ["environment", "versions"]


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of ddpnas and of these packages, by name.

    A package that is loaded tells its build too, such as "2.9.1+cu128".

    Args:
        packages: Names of installed packages.

    Example:
        >>> list(versions("numpy"))
        ['ddpnas', 'numpy']
    """
    found = {"ddpnas": __version__}
    for package in packages:
        loaded = getattr(sys.modules.get(package), "__version__", None)
        found[package] = str(loaded or metadata.version(package))
    return found


def environment(*packages: str) -> dict[str, str]:
    """Return :func:`versions`, the version of Python and the platform, by name.

    Args:
        packages: Names of installed packages.

    Example:
        >>> list(environment("numpy"))
        ['ddpnas', 'numpy', 'python', 'platform']
    """
    return {
        **versions(*packages),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
