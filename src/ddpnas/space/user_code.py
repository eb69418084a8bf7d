"""Code of a user, named as ``my_file.py:object``: read once, fingerprinted, executed as read.

A file is executed because the user names it, never because a file in a run folder does. It may
lie anywhere, and what it imports from its own folder is found there. Its code is fingerprinted
before it is executed, so that code which changed since a run began is refused, not run.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import sys
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_loader
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any, NoReturn, TypedDict

from ddpnas.errors import DdpnasError, RunError, nearest
from ddpnas.utils.files import expanded
from ddpnas.utils.read import checked_content

__all__ = [
    "CodeForm",
    "UserCode",
    "as_user_error",
    "confirmed_name",
    "names_file",
    "without_folders",
]


class CodeForm(TypedDict):
    """What files keep of code, see :meth:`UserCode.fingerprint`."""

    file: str
    imports: dict[str, str]


@dataclass(frozen=True)
class UserCode:
    """A Python file as it was when it was read, and the name of an object in it.

    Attributes:
        path: Absolute path of the file.
        attribute: Name of the object; empty if the user left it out.
        content: Content of the file.
        imported: Content of the files in its folder that it imports, and that these import, by
            their path from there, such as "blocks.py" or "layers/conv.py".

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "mine.py")
        >>> _ = file.write_text("answer = 42  # a comment")
        >>> code = UserCode.read(f"{file}:answer", "number", RunError)
        >>> code.attribute, code.execute(RunError).answer
        ('answer', 42)
        >>> kept = code.fingerprint()
        >>> _ = file.write_text("answer = 42")
        >>> UserCode.read(f"{file}:answer", "number", RunError).changed(kept)
        []
    """

    path: Path
    attribute: str
    content: bytes
    imported: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def read(cls, name: str, what: str, error: type[DdpnasError]) -> UserCode:
        """Return the code that a user names, as it is now; nothing is executed.

        Args:
            name: ``path/of/file.py:object``; the object may be left out.
            what: Thing that the file should hold, for the message.
            error: Raised if there is no such file, or it is not Python.
        """
        file, _, attribute = (name + ":" if name.endswith(".py") else name).rpartition(":")
        path = expanded(file).resolve()
        if not path.is_file():
            raise error(f"there is no file {file!r} with a {what}")
        try:
            content = path.read_bytes()
            return cls(path, attribute, content, _imported(path, content))
        except (SyntaxError, ValueError) as reason:
            raise error(f"{file} fails: {type(reason).__name__}: {reason}") from reason

    def execute(self, error: type[DdpnasError]) -> ModuleType:
        """Return the module that the file makes, executed as it was read.

        So is what it imports from its folder. A worker process that is sent this object therefore
        runs the same code, even if the files have changed since.

        Args:
            error: Raised if the file fails.
        """
        self._import_from_folder()
        module = ModuleType(f"ddpnas_own_{self.path.stem}")
        module.__file__ = str(self.path)
        sys.modules[module.__name__] = module  # so that classes defined there can be found again
        try:
            code = compile(self.content, self.path, "exec", dont_inherit=True)
            exec(code, module.__dict__)  # noqa: S102 - the user named the file
        except Exception as reason:
            raise error(_failure(self, reason)) from reason
        return module

    def fingerprint(self) -> CodeForm:
        """Return hashes of the code; comments, layout and docstrings do not count."""
        imports = {name: _hash(content) for name, content in self.imported.items()}
        return {"file": _hash(self.content), "imports": imports}

    def changed(self, kept: Mapping[str, Any] | None) -> list[Path]:
        """Return the files whose code is no longer that of a fingerprint that was kept.

        Args:
            kept: As :meth:`fingerprint` returned it. None if none was kept; nothing is compared.
        """
        if kept is None:
            return []
        form = checked_content(kept, CodeForm, "the fingerprint of the code")
        now, before = self.fingerprint(), form["imports"]
        changed = [self.path] if now["file"] != form["file"] else []
        for name in {**before, **now["imports"]}:
            if now["imports"].get(name) != before.get(name):
                changed.append(self.path.parent / name)
        return changed

    def require(
        self, kept: Mapping[str, Any] | None, holder: str | Path, copy: str | Path | None = None
    ) -> None:
        """Raise :class:`RunError` if the code is no longer that of a fingerprint that was kept.

        Args:
            kept: See :meth:`changed`.
            holder: Folder that kept it, for the message.
            copy: Name of a copy that the user could name instead.
        """
        if changed := self.changed(kept):
            instead = (
                f"name its copy: --space {copy}" if copy else "search again with another --out"
            )
            raise RunError(
                f"the code in {' and '.join(map(str, changed))} is no longer that of {holder}; "
                f"restore the file, or {instead}"
            )

    def not_there(self, kind: str, known: Iterable[str], example: str) -> str:
        """Return the sentence for a name that the file lacks, or that was left out.

        Args:
            kind: Kind of thing that is named, such as "strategy".
            known: Names of that kind in the file.
            example: One of these, or what it could be called.
        """
        if self.attribute:
            return f"in {self.path}: {nearest(kind, self.attribute, known)}"
        return (
            f"which {kind} of {self.path}? Name it as {self.path}:{example}; known: "
            f"{', '.join(known) or 'none'}"
        )

    def _import_from_folder(self) -> None:
        """Let import statements of the file, now and later, find what was read in its folder."""
        sys.meta_path[:] = [
            finder
            for finder in sys.meta_path
            if not (isinstance(finder, _FolderFinder) and finder.file == self.path)
        ]
        if not self.imported:
            return
        finder = _FolderFinder(self)
        sys.meta_path.insert(0, finder)
        # The process may hold modules of these names from another folder, or from before an edit.
        if any(_is_another(name, *finder.files[name]) for name in finder.files):
            for name in [*finder.files, *finder.folders]:
                sys.modules.pop(name, None)


def _is_another(name: str, path: Path, content: bytes) -> bool:
    """Return whether the process holds a module of this name that is not this file as read."""
    module = sys.modules.get(name)
    if module is None:
        return False
    loader = getattr(module.__spec__, "loader", None)
    edited = isinstance(loader, _AsRead) and loader.content != content
    return edited or getattr(module, "__file__", None) != str(path)


class _FolderFinder(MetaPathFinder):
    """Finds modules in the folder of a user's file, those that it imports, as they were read.

    The folder on ``sys.path`` would not do. A worker process that starts later has to run the code
    that was fingerprinted, whatever the files hold by then; and any file in the folder would stand
    in for a package of its name, such as an ``onnx.py`` for ONNX.

    Attributes:
        file: The user's file.
        files: Path and content of each module by its name.
        folders: Path of each package without an ``__init__.py``, by its name.
    """

    def __init__(self, code: UserCode) -> None:
        self.file = code.path
        self.files: dict[str, tuple[Path, bytes]] = {}
        self.folders: dict[str, Path] = {}
        for name, content in code.imported.items():
            path = code.path.parent / name
            parts = name.removesuffix(".py").removesuffix("/__init__").split("/")
            self.files[".".join(parts)] = (path, content)
            for end in range(1, len(parts)):
                self.folders[".".join(parts[:end])] = code.path.parent.joinpath(*parts[:end])

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how the module is loaded; None for one that the file does not import."""
        if fullname in self.files:
            return spec_from_loader(fullname, _AsRead(fullname, *self.files[fullname]))
        if fullname not in self.folders:
            return None
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = [str(self.folders[fullname])]
        return spec


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


def names_file(name: str) -> bool:
    """Return whether a name has the form ``file.py:object``, or is that of a Python file.

    Example:
        >>> names_file("spaces/mine.py:network"), names_file("darts")
        (True, False)
    """
    return name.endswith(".py") or name.rpartition(":")[0].endswith(".py")


def without_folders(name: str) -> str:
    """Return a name as shared files give it: for code in a file, without the path to it.

    Example:
        >>> without_folders("/home/me/mine.py:network")
        'mine.py:network'
    """
    return Path(name).name if names_file(name) else name


def confirmed_name(
    what: str,
    holder: str | Path,
    name: str,
    given: str | None,
    *,
    known: Collection[str],
    kept: Mapping[str, Any] | None = None,
    copy: str | Path | None = None,
) -> str:
    """Return the name of the space or strategy of a folder, confirmed by the user if it is code.

    Code in a file is executed only because the user names it once more, never because a folder
    does. It must still be the code that the folder was written with.

    Args:
        what: "space" or "strategy", as in the option of the command line.
        holder: Folder or file that is reopened, for messages.
        name: Name that the holder keeps.
        given: Name that the user gives; a file may have moved.
        known: Names that the package has.
        kept: Fingerprint of the file that the holder keeps.
        copy: Name of a copy of the file that the user could give.

    Returns:
        ``given`` for code in a file, else ``name``.

    Raises:
        RunError: The user has to name a file, names something else, or its code has changed; or
            what the holder names is neither in the package nor in a file.
    """
    if not names_file(name):
        if given not in (None, name):
            raise RunError(f"{holder} uses {what} {name}, not {given}; leave --{what} out")
        if name not in known:
            raise RunError(
                f"the {what} of {holder}, {name!r}, was made in a Python program; continue from "
                f"that program, with the {what} itself as {what}=..."
            )
        return name
    if given is None:
        raise RunError(
            f"the {what} of {holder} is code in a file; name it to have it executed: "
            f"--{what} {copy or name}"
        )
    asked, wanted = (each.rpartition(":")[2] for each in (given, name))
    if asked != wanted:
        raise RunError(
            f"{holder} uses {wanted!r} of its file, not {asked!r}; name it as "
            f"--{what} FILE.py:{wanted}"
        )
    UserCode.read(given, what, RunError).require(kept, holder, copy)
    return given


@contextlib.contextmanager
def as_user_error(code: UserCode, error: type[DdpnasError]) -> Iterator[None]:
    """Re-raise any exception from user code as ``error``, naming file and line.

    A :class:`DdpnasError` passes unchanged.

    Args:
        code: The user's file.
        error: Raised for all other exceptions.
    """
    try:
        yield
    except DdpnasError:
        raise
    except Exception as reason:
        raise error(_failure(code, reason)) from reason


def _failure(code: UserCode, reason: Exception) -> str:
    calls = traceback.extract_tb(reason.__traceback__)
    lines = [call.lineno for call in calls if call.filename == str(code.path)]
    where = f" in line {lines[-1]}" if lines else ""
    return f"{code.path} fails{where}: {type(reason).__name__}: {reason}"


def _imported(path: Path, content: bytes) -> dict[str, bytes]:
    """Return the content of all files in the folder that a file's import statements name.

    They are found without executing anything, since the fingerprint is needed before that, and
    imports inside functions count before the functions are called.
    """
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
    return dict(sorted(imported.items()))


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
