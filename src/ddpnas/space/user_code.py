"""A user's own file, named as ``my_file.py:object``: executed as it was read, with what it imports.

It is executed because the user names it, never because a file in a run folder does. What it
imports from its own folder is found there, so that the file may lie anywhere, whatever folder the
process runs in; and the code that is executed is the code whose fingerprint is kept, not what the
process or a ``.pyc`` file holds of a file that has changed since.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from ddpnas.errors import DdpnasError, RunError, nearest
from ddpnas.space.source import Source, read_source

__all__ = [
    "execute",
    "failing",
    "named_again",
    "names_file",
    "not_there",
    "read_file",
    "without_folders",
]


def names_file(name: str) -> bool:
    """Return whether the name has the form ``file.py:object``, or is a Python file's alone."""
    return name.endswith(".py") or name.rpartition(":")[0].endswith(".py")


def without_folders(name: str) -> str:
    """Return a name as others may read it: that of something in a file without where it lies."""
    return Path(name).name if names_file(name) else name


def named_again(
    what: str, holder: str | Path, name: str, given: str | None, copy: str | Path | None = None
) -> str:
    """Return the name that something in a folder is made by: of code in a file, the user's.

    Args:
        what: is named, "space" or "strategy", as in the option of the command line.
        holder: the folder or file that is of it, for messages.
        name: as the holder keeps it.
        given: the name once more by the user, who may have moved the file.
        copy: what the user could name instead, where there is a copy of the file.

    Raises:
        RunError: a file has to be named, or something else than the holder's is named.
    """
    if not names_file(name):
        if given not in (None, name):
            raise RunError(f"{holder} is of {what} {name}, not {given}; leave --{what} out")
        return name
    if given is None:
        raise RunError(
            f"the {what} of {holder} is code in a file; name it to have it executed: "
            f"--{what} {copy or name}"
        )
    asked, wanted = (each.rpartition(":")[2] for each in (given, name))
    if asked != wanted:
        raise RunError(
            f"{holder} is of {wanted!r} in its file, not of {asked!r}; name it as "
            f"--{what} FILE.py:{wanted}"
        )
    return given


def read_file(name: str, what: str, error: type[DdpnasError]) -> Source:
    """Return the file that is named, as it is now.

    Args:
        name: ``path/of/file.py:object``; the object may be left out.
        what: is to be in the file, for the message.
        error: raised where there is no such file, or it is no Python.
    """
    file, _, attribute = (name + ":" if name.endswith(".py") else name).rpartition(":")
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise error(f"there is no file {file!r} with a {what}")
    try:
        return read_source(path, attribute)
    except (SyntaxError, ValueError) as reason:
        raise error(f"{file} fails: {type(reason).__name__}: {reason}") from reason


def not_there(source: Source, kind: str, known: Iterable[str], example: str) -> str:
    """Return the sentence for a name that a file lacks, or that was left out.

    Args:
        source: the file, and the name.
        kind: of thing that is named.
        known: what the file has of that kind.
        example: one of these, or what it could be called.
    """
    if source.attribute:
        return f"in {source.path}: {nearest(kind, source.attribute, known)}"
    return (
        f"which {kind} of {source.path}? Name it as {source.path}:{example}; known: "
        f"{', '.join(known) or 'none'}"
    )


def execute(source: Source, error: type[DdpnasError]) -> ModuleType:
    """Return the module that a file makes, of what was read, never of a cache of it.

    Args:
        source: the file.
        error: raised where the file fails.
    """
    _find_beside(source)
    module = ModuleType(f"ddpnas_own_{source.path.stem}")
    module.__file__ = str(source.path)
    sys.modules[module.__name__] = module  # so that classes defined there can be found again
    try:
        code = compile(source.content, source.path, "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 - the user named the file
    except Exception as reason:
        raise error(_failure(source, reason)) from reason
    return module


@contextlib.contextmanager
def failing(source: Source, error: type[DdpnasError]) -> Iterator[None]:
    """Have what goes wrong in code of a file end in a sentence; what is one already passes.

    Args:
        source: the file.
        error: raised for the rest.
    """
    try:
        yield
    except DdpnasError:
        raise
    except Exception as reason:
        raise error(_failure(source, reason)) from reason


def _failure(source: Source, reason: Exception) -> str:
    calls = traceback.extract_tb(reason.__traceback__)
    lines = [call.lineno for call in calls if call.filename == str(source.path)]
    where = f" in line {lines[-1]}" if lines else ""
    return f"{source.path} fails{where}: {type(reason).__name__}: {reason}"


def _find_beside(source: Source) -> None:
    """Have the import statements of a file, now and later, find what was read in its folder."""
    sys.meta_path[:] = [
        finder
        for finder in sys.meta_path
        if not (isinstance(finder, _Beside) and finder.file == source.path)
    ]
    if not source.imported:
        return
    finder = _Beside(source)
    sys.meta_path.insert(0, finder)
    if any(map(finder.differs_from, finder.files)):
        for name in [*finder.files, *finder.folders]:
            sys.modules.pop(name, None)


class _Beside(MetaPathFinder):
    """Finds the modules that lie beside a file.

    Attributes:
        file: that imports them; of another in its folder they may have been read at another time.
        files: path and content of each module, by its name.
        folders: path of each package that has no file of its own, likewise.
    """

    def __init__(self, source: Source) -> None:
        self.file = source.path
        self.files: dict[str, tuple[Path, bytes]] = {}
        self.folders: dict[str, Path] = {}
        for name, content in source.imported.items():
            parts = name.removesuffix(".py").removesuffix("/__init__").split("/")
            folder = self.file.parent
            self.files[".".join(parts)] = (folder / name, content)
            for end in range(1, len(parts)):
                self.folders[".".join(parts[:end])] = folder.joinpath(*parts[:end])

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how the module is loaded; None for one that is not beside the file."""
        if fullname in self.files:
            return spec_from_loader(fullname, _AsRead(fullname, *self.files[fullname]))
        if fullname not in self.folders:
            return None
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = [str(self.folders[fullname])]
        return spec

    def differs_from(self, name: str) -> bool:
        """Return whether a module of that name is loaded that is not what this would load."""
        if name not in sys.modules:
            return False
        module, (path, content) = sys.modules[name], self.files[name]
        loader = module.__spec__ and module.__spec__.loader
        if isinstance(loader, _AsRead) and loader.content != content:
            return True
        return getattr(module, "__file__", None) != str(path)


class _AsRead(SourceFileLoader):
    """Loads a module from the content of its file as it was read before."""

    def __init__(self, fullname: str, path: Path, content: bytes) -> None:
        super().__init__(fullname, str(path))
        self.content = content

    def path_stats(self, path: str | bytes) -> NoReturn:
        """Raise OSError, so that no ``.pyc`` file is read or written."""
        raise OSError(f"{path!r} is loaded as it was read")

    def get_data(self, path: Any) -> bytes:
        """Return the content of the file, as it was read."""
        return self.content
