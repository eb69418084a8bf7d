"""Source: the file that a user's own space or strategy is from, as it was when it was executed.

With it those that it imports from its own folder or below: they are part of it as well.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from ddpnas.errors import RunError

__all__ = ["Source", "changed_files", "read_source", "refuse_other_code"]


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
