"""A user's own file, named as ``my_file.py:object``: executed as it was read, with what it imports.

It is executed because the user names it, never because a file in a run folder does. What it
imports from its own folder is found there, so that the file may lie anywhere, whatever folder the
process runs in; and the code that is executed is the code whose fingerprint is kept, not what the
process or a ``.pyc`` file holds of a file that has changed since.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_loader
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any, NoReturn

from ddpnas.errors import DdpnasError, RunError, nearest

__all__ = [
    "Source",
    "as_user_error",
    "changed_files",
    "execute",
    "named_again",
    "names_file",
    "not_there",
    "read_file",
    "read_source",
    "refuse_other_code",
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
def as_user_error(source: Source, error: type[DdpnasError]) -> Iterator[None]:
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


@dataclass(frozen=True)
class Source:
    """A Python file, and the function, class or space in it that was taken.

    Attributes:
        path: of the file.
        attribute: name in it.
        content: of the file.
        imported: content of the files in its folder that it imports, and that these import, by
            their path from there, such as "blocks.py" or "layers/conv.py".
    """

    path: Path
    attribute: str
    content: bytes
    imported: Mapping[str, bytes] = field(default_factory=dict)

    def fingerprint(self) -> dict[str, Any]:
        """Return hashes of the code: comments, layout and docstrings do not count."""
        imports = {name: _hash(content) for name, content in self.imported.items()}
        return {"file": _hash(self.content), "imports": imports}


def read_source(path: Path, attribute: str) -> Source:
    """Return a file as it is now, with what its import statements name in its folder.

    Raises:
        SyntaxError, ValueError: one of the files is no Python.
    """
    content = path.read_bytes()
    imported: dict[str, bytes] = {}
    waiting = [(PurePath(path.name), content)]
    while waiting:
        file, code = waiting.pop()
        for module in _imports(ast.parse(code), file.parent.parts):
            for found in ("/".join((*module, "__init__.py")), "/".join(module) + ".py"):
                beside = path.parent / found
                if found not in imported and beside != path and beside.is_file():
                    imported[found] = beside.read_bytes()
                    waiting.append((PurePath(found), imported[found]))
    return Source(path, attribute, content, dict(sorted(imported.items())))


def changed_files(source: Source | None, code: Mapping[str, Any] | str | None) -> list[Path]:
    """Return which files of a source are no longer those whose fingerprint was kept.

    Args:
        source: the file; of None, for what was made in Python, nothing is compared.
        code: its fingerprint, as it was kept. An older version's folder has none, or a text, that
            of the file alone; what is not there is not compared.
    """
    if source is None or code is None:
        return []
    kept = {"file": code} if isinstance(code, str) else code
    now = source.fingerprint()
    before = kept.get("imports", now["imports"])
    changed = [source.path] if now["file"] != kept["file"] else []
    for name in {**before, **now["imports"]}:
        if now["imports"].get(name) != before.get(name):
            changed.append(source.path.parent / name)
    return changed


def refuse_other_code(
    source: Source | None,
    code: Mapping[str, Any] | str | None,
    holder: str | Path,
    copy: str | Path | None = None,
    *,
    whose: str = "weights and scores belong to another network",
) -> None:
    """Raise :class:`RunError` when a file is no longer the one whose fingerprint was kept.

    Args:
        source: see :func:`changed_files`.
        code: likewise.
        holder: the folder that kept it.
        copy: where a copy of the file is, to be named as it is.
        whose: what of the folder is of the code that was kept, for the message.
    """
    changed = changed_files(source, code)
    if not changed:
        return
    instead = f"name its copy: --space {copy}" if copy else "search again with another --out"
    raise RunError(
        f"the code in {' and '.join(map(str, changed))} is no longer that of {holder}, whose "
        f"{whose}; restore the file, or {instead}"
    )


def _imports(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the parts of the names of all that code in a package could import, packages first."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            names = [(*base, alias.name) for alias in node.names]
        else:
            continue
        for name in names:
            yield from (name[: end + 1] for end in range(len(name)))


def _hash(content: bytes) -> str:
    tree = _WithoutDocstrings().visit(ast.parse(content))
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:16]


class _WithoutDocstrings(ast.NodeTransformer):
    """Drops statements that are a constant alone, which do nothing."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) else node
