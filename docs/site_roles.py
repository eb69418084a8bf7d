"""Sphinx roles in docstrings, such as :func:`ddpnas.generate`, as links of this site."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, GriffeError, Object

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`([\w.]+)`")


class Roles(Extension):
    """Links the name in a role to where it is documented, if it is.

    A name that the package does not have is an error.
    """

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Replace the roles in an object's docstring."""
        if obj.docstring:
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
