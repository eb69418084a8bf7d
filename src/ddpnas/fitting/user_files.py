"""Networks of a fit that are code in a user's file, which runs only if the user names it.

A plan keeps the name and the fingerprint of each. Whoever follows it names the files again, and
they must still hold the code that the plan was made with.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ddpnas.errors import OptionError, RunError
from ddpnas.space.user_code import CodeForm, UserCode, confirmed_name, names_file

__all__ = ["code_of", "confirmed_networks", "in_files"]


def in_files(names: Iterable[str | None]) -> list[str]:
    """Return the names of networks that are code in a file, each once.

    Example:
        >>> in_files(["mine.py:network", None, "timm:resnet18", "mine.py:network"])
        ['mine.py:network']
    """
    return list(dict.fromkeys(name for name in names if name is not None and names_file(name)))


def code_of(names: Iterable[str | None]) -> dict[str, CodeForm]:
    """Return the fingerprint of the code of each network that is in a file; nothing is executed.

    Raises:
        OptionError: There is no such file, or it is not Python.
    """
    return {
        name: UserCode.read(name, "network", OptionError).fingerprint() for name in in_files(names)
    }


def confirmed_networks(
    holder: Path, code: Mapping[str, CodeForm], names: Iterable[str | None], given: Sequence[str]
) -> dict[str, str]:
    """Return name in a plan -> name that the user gives, for each network that is in a file.

    Args:
        holder: Folder of the fit, for messages.
        code: Fingerprints that its plan keeps, by name.
        names: Networks of the plan.
        given: What the user names again. A file may have moved; its code tells which one it is.

    Raises:
        RunError: The user has to name a file, or names another one; or its code has changed.
    """
    wanted = in_files(names)
    if len(wanted) == len(given) == 1:  # then it is clear which is meant, whatever is wrong with it
        chosen = {wanted[0]: given[0]}
    else:
        chosen = {
            name: one
            for name in wanted
            if (one := _same_network(name, code.get(name), given)) is not None
        }
    if len(chosen) < len(wanted):
        words = " ".join(f"--network {shlex.quote(name)}" for name in wanted)
        raise RunError(
            f"the fit in {holder} uses code in a file; name it to have it executed: {words}"
        )
    if unused := [one for one in given if one not in chosen.values()]:
        raise RunError(f"the fit in {holder} does not use --network {unused[0]}; leave it out")
    return {
        name: confirmed_name("network", holder, name, one, known=(), kept=code.get(name))
        for name, one in chosen.items()
    }


def _same_network(name: str, kept: CodeForm | None, given: Sequence[str]) -> str | None:
    """Return what the user gives for a network; None if nothing.

    Args:
        name: Its name in the plan.
        kept: Its fingerprint in the plan.
        given: All that the user names.
    """
    if name in given:
        return name
    wanted = name.rpartition(":")[2]
    for one in given:
        same = one.rpartition(":")[2] == wanted
        if same and not UserCode.read(one, "network", RunError).changed(kept):
            return one
    return None
