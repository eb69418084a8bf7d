"""What docstrings need before they become pages: links for Sphinx roles, blocks for examples.

A role such as :func:`ddpnas.generate` becomes a link. The heading ``Example:`` becomes the one
that mkdocstrings knows, so that the lines below it are shown as code.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, GriffeError, Object

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`([\w.]+)`")
EXAMPLE = re.compile(r"^( *)Example:$", re.MULTILINE)


class Docstrings(Extension):
    """Rewrites every docstring of the package.

    The name in a role becomes a link to where it is documented, if it is. A name that the package
    does not have is an error.
    """

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Replace roles and the headings of examples in an object's docstring."""
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(r"\1Examples:", obj.docstring.value)
            obj.docstring.value = ROLE.sub(lambda role: _link(obj, role[1]), obj.docstring.value)


def _link(obj: Object, name: str) -> str:
    try:
        path = name if name.startswith("ddpnas.") else _resolved(obj, name)
        target = obj.modules_collection[path]
    except (GriffeError, KeyError):
        raise NameError(f"{obj.path}: no {name!r}, which its docstring refers to") from None
    if target.is_module and target.name in target.members:
        # ddpnas.search is a module of the package, and the function in it.
        path = f"{target.canonical_path}.{target.name}"
    return f'<autoref identifier="{path}" optional><code>{name}</code></autoref>'


def _resolved(obj: Object, name: str) -> str:
    """Return the full path of a name as it is known where the object stands."""
    first, *rest = name.split(".")
    scope = obj if obj.is_class else obj.parent
    if scope is not None and scope.is_class and first in scope.all_members:
        return ".".join([scope.all_members[first].canonical_path, *rest])
    return ".".join([obj.resolve(first), *rest])
