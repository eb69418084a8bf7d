"""Source: the file that a user's own space was made from, as it was when it was executed."""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass
from pathlib import Path

from ddpnas.errors import RunError

__all__ = ["Source", "refuse_other_code"]


@dataclass(frozen=True)
class Source:
    """A Python file, and the function or space in it that was taken.

    Attributes:
        path: of the file.
        attribute: name in it.
        content: of the file.
    """

    path: Path
    attribute: str
    content: bytes

    def fingerprint(self) -> str:
        """Return a hash of the code: comments, layout and docstrings do not count.

        What the file imports is not part of it.
        """
        tree = _WithoutDocstrings().visit(ast.parse(self.content))
        return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:16]


def refuse_other_code(
    source: Source | None, code: str | None, holder: str | Path, copy: str | Path | None = None
) -> None:
    """Raise :class:`RunError` when a file is no longer the one whose fingerprint was kept.

    Args:
        source: the file; None, of a space that was made in Python, is not compared.
        code: its fingerprint, as it was kept; None, of an older version's folder, is not compared.
        holder: the folder that kept it.
        copy: where a copy of the file is, to be named as it is.
    """
    if source is None or code is None or source.fingerprint() == code:
        return
    instead = f"name its copy: --space {copy}" if copy else "search again with another --out"
    raise RunError(
        f"the code in {source.path} is no longer that of {holder}, whose weights and scores belong "
        f"to another network; restore the file, or {instead}"
    )


class _WithoutDocstrings(ast.NodeTransformer):
    """Drops statements that are a constant alone, which do nothing."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) else node
