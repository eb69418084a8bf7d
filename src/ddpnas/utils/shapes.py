"""Shapes: annotations that say what a value may be, and the one check of values against them.

A shape is a type, spelled as in annotations: ``int``, ``list[str]``, ``dict[str, float]``,
``Literal["a", "b"]``, ``X | None``, a class, a ``TypedDict`` or a dataclass.
``Annotated[float, Range(0, below=1)]`` adds a range. :mod:`ddpnas.utils.settings` checks what a
user sets, :mod:`ddpnas.utils.read` what a file holds.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import inspect
import math
import re
import sys
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from ddpnas.errors import DdpnasError, nearest

__all__ = [
    "DEEPEST",
    "TOO_DEEP",
    "MisfitError",
    "Range",
    "Share",
    "fits",
    "fitted",
    "hints_of",
    "misfit",
    "shown",
]

DEEPEST = 40  # lists and mappings within each other, in plain data
TOO_DEEP = f"lists and mappings are nested more than {DEEPEST} deep"

_LONGEST = 80  # characters of a value in a message
_LONGEST_INTEGER = 128  # bits of one that is shown in full
_MOST_INTEGER = 2**63 - 1  # what tensors and arrays can hold
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")  # JSON can spell it, no file or terminal takes it
_UNIONS = (Union, types.UnionType)
_OF_ANY_KIND = (collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)


@dataclass(frozen=True)
class Range:
    """The numbers that a value may be, as metadata of ``Annotated``.

    Attributes:
        least: Smallest value.
        most: Largest value.
        above: All values are larger than this one.
        below: All values are smaller than this one.
        finite: Whether infinity and NaN are refused.

    Example:
        >>> Range(0, below=1).holds(1.0), str(Range(above=0, most=1000))
        (False, 'above 0 and at most 1,000')
    """

    least: float = -math.inf
    most: float = math.inf
    above: float | None = None
    below: float | None = None
    finite: bool = True

    def holds(self, value: float) -> bool:
        """Return whether the number is in the range."""
        if isinstance(value, float) and not math.isfinite(value):
            return not self.finite
        return (
            self.least <= value <= self.most
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """Return the range for a sentence, after "must be a number"."""
        closed = self.above is None and self.below is None
        if closed and self.least > -math.inf and self.most < math.inf:
            return f"from {_number(self.least)} to {_number(self.most)}"
        ends = [
            ("above", self.above),
            ("of at least", self.least if self.least > -math.inf else None),
            ("below", self.below),
            ("at most", self.most if self.most < math.inf else None),
        ]
        said = " and ".join(f"{word} {_number(end)}" for word, end in ends if end is not None)
        return f"of {said}" if said.startswith("at most") else said


Share = Annotated[float, Range(0, 1)]
"""A fraction or a probability."""


class MisfitError(DdpnasError):
    """A value has another shape than it should; the message says which, and where it stands."""


def misfit(what: str, shape: Any, value: Any) -> str:
    """Return the sentence about a value that does not fit.

    Args:
        what: Name of the value, which begins the sentence.
        shape: What the value must be.
        value: Value that was given.

    Example:
        >>> misfit("lr", Annotated[float, Range(above=0)], -1)
        'lr must be a number above 0, not -1'
    """
    names = _names(shape)
    if names and isinstance(value, str):
        return nearest(what, value, names)
    return f"{what} must be {_described(shape)}, not {shown(value)}"


def fits(shape: Any, value: Any) -> bool:
    """Return whether a setting has a shape."""
    try:
        fitted(value, shape)
    except MisfitError:
        return False
    return True


def fitted(value: Any, shape: Any, at: str = "", *, plain: bool = False) -> Any:
    """Return a value as its shape has it.

    A setting may be a number of another type, such as NumPy's, or its text, such as "3e-4", which
    YAML does not read as a number. It becomes the type that the shape names. Annotations that say
    nothing about values, such as ``Any`` or a protocol, take all.

    In plain data a number is no text. A whole number stays one where a float may stand, so that
    sums are exact. A dataclass is made of its fields, a ``TypedDict`` may have further keys, and
    ``Any`` takes what JSON can say.

    Args:
        value: The value.
        shape: What it must be.
        at: Where it stands, such as "terms[2].cost".
        plain: Whether the value is plain data, as from JSON or YAML.

    Raises:
        MisfitError: It does not fit.

    Example:
        >>> fitted("3e-4", float), fitted([3, 2.5], list[float], plain=True)
        (0.0003, [3, 2.5])
    """
    origin, inner = get_origin(shape), get_args(shape)
    if origin is Annotated:
        ranges = [one for one in inner[1:] if isinstance(one, Range)]
        if not ranges or inner[0] not in (int, float):
            return fitted(value, inner[0], at, plain=plain)
        return _fitted_number(value, inner[0], ranges[0], (shape, at), plain)
    if shape is int or shape is float:
        return _fitted_number(value, shape, Range(), (shape, at), plain)
    if origin in _UNIONS:
        return _fitted_to_one(value, shape, at, plain)
    if origin is Literal:
        if value is False and "no" in inner:
            return "no"  # YAML, and so a command line, reads it as false
        if not any(type(value) is type(one) and value == one for one in inner):
            raise _misfit(at, shape, value)
        return value
    kind = types.NoneType if shape is None else origin or shape
    if kind is Any:
        return _plain(value, at, 0) if plain else value
    if is_typeddict(kind) or (plain and dataclasses.is_dataclass(kind)):
        return _made(value, kind, at)
    if not isinstance(kind, type) or getattr(kind, "_is_protocol", False) or kind is object:
        return value  # says nothing about values
    return _fitted_to_class(value, kind, shape, at, plain)


@functools.lru_cache(maxsize=256)
def hints_of(declared: Any) -> Mapping[str, Any]:
    """Return the annotations of a class, a ``TypedDict`` or a function, ranges included.

    Args:
        declared: Where the values are declared. Annotations that cannot be resolved are left out,
            so that they take every value.
    """
    try:
        found = get_type_hints(declared, include_extras=True)
    except (NameError, TypeError, AttributeError):  # names that only type checkers import
        return {}
    found.pop("return", None)
    return types.MappingProxyType(found)


def shown(value: Any) -> str:
    """Return a value for a message: in full if it is short, else its beginning or its type.

    Example:
        >>> shown(-1.5), shown({"a": 1}), shown(Range())
        ('-1.5', "{'a': 1}", 'a ddpnas.utils.Range')
    """
    if not isinstance(value, (type(None), bool, int, float, str, list, tuple, dict, set)):
        is_class = isinstance(value, type)
        return f"the class {value.__name__}" if is_class else _article(_named(type(value)))
    if isinstance(value, int) and value.bit_length() > _LONGEST_INTEGER:
        return f"a number of {value.bit_length():,} bits"
    try:
        text = " ".join(repr(value).splitlines())  # a tensor is printed on several
    except (ValueError, RecursionError):  # holds a number of thousands of digits, or nests deeply
        return _article(type(value).__name__)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."


def _misfit(at: str, shape: Any, value: Any) -> MisfitError:
    return MisfitError(misfit(at or "its content", shape, value))


def _fitted_number(
    value: Any, kind: type, within: Range, where: tuple[Any, str], plain: bool
) -> Any:
    """Return a number in a range; ``where`` is its shape and where it stands."""
    shape, at = where
    takes = Integral if kind is int else (int, float) if plain else object
    found = value
    try:
        if isinstance(value, bool) or not isinstance(value, takes):
            raise _misfit(at, shape, value)
        if kind is int or not plain:
            found = kind(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise _misfit(at, shape, value) from None
    open_ended = math.isinf(within.least) or math.isinf(within.most)
    most = _MOST_INTEGER if kind is int else sys.float_info.max
    if (isinstance(found, int) and abs(found) > most and open_ended) or not within.holds(found):
        raise _misfit(at, shape, value)
    return found


def _fitted_to_one(value: Any, shape: Any, at: str, plain: bool) -> Any:
    """Return a value as the first shape of a union that it fits."""
    others = [one for one in get_args(shape) if one is not types.NoneType]
    if value is None and len(others) < len(get_args(shape)):
        return None
    if len(others) == 1:
        return fitted(value, others[0], at, plain=plain)  # its message says more
    for one in others:
        try:
            return fitted(value, one, at, plain=plain)
        except MisfitError:
            pass  # another may fit
    raise _misfit(at, shape, value)


def _fitted_to_class(value: Any, kind: Any, shape: Any, at: str, plain: bool) -> Any:
    """Return an instance of a class, with its items as their shapes have them."""
    if issubclass(kind, Mapping) and not inspect.isabstract(kind) and isinstance(value, Mapping):
        value = value if isinstance(value, kind) else kind(value)
    if not isinstance(value, (list, tuple) if kind in (list, tuple) else kind):
        raise _misfit(at, shape, value)
    if kind in _OF_ANY_KIND and isinstance(value, (str, bytes)):
        raise _misfit(at, shape, value)
    if plain and isinstance(value, str) and _HALF_CHARACTER.search(value):
        raise MisfitError(f"{at or 'its content'} is {shown(value)}, which UTF-8 cannot hold")
    inner = get_args(shape)
    if inner and isinstance(value, range):
        for one in value[:1]:
            fitted(one, inner[0], f"{at}[0]", plain=plain)
    if not inner or type(value) not in (list, tuple, dict):
        return value
    if isinstance(value, dict):
        # Settings of several types, such as limits, have a reader of their own, which is exact.
        item = Any if get_origin(inner[-1]) in _UNIONS and not plain else inner[-1]
        return {
            fitted(key, inner[0], f"a name in {at or 'its content'}", plain=plain): fitted(
                one, item, f"{at}.{key}" if at else str(key), plain=plain
            )
            for key, one in value.items()
        }
    shapes: Iterable[Any] = [inner[0]] * len(value)
    if kind is tuple and Ellipsis not in inner:
        if len(value) != len(inner):
            raise _misfit(at, shape, value)
        shapes = inner
    items = [
        fitted(one, inner, f"{at}[{i}]", plain=plain)
        for i, (one, inner) in enumerate(zip(value, shapes, strict=True))
    ]
    return tuple(items) if kind is tuple or (kind is not list and type(value) is tuple) else items


def _made(value: Any, shape: Any, at: str) -> Any:
    """Return a mapping with the keys of a TypedDict, or a dataclass made of one."""
    if not isinstance(value, Mapping):
        raise _misfit(at, dict, value)
    given = {fitted(key, str, f"a name in {at}", plain=True): one for key, one in value.items()}
    shapes, required = _keys(shape)
    start = f"{at}." if at else ""
    for key in required:
        if key not in given:
            needed = _described(shapes[key])
            raise MisfitError(f"{start}{key} is missing; it must be {needed}")
    strange = sorted(set(given) - set(shapes))
    if strange and not is_typeddict(shape):
        raise MisfitError(
            f"{start}{strange[0]} is not known to this version of ddpnas; known are "
            f"{', '.join(shapes)}"
        )
    found = {
        key: fitted(one, shapes.get(key, Any), f"{start}{key}", plain=True)
        for key, one in given.items()
    }
    return found if is_typeddict(shape) else shape(**found)


@functools.cache
def _keys(shape: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the shapes of a TypedDict's keys or a dataclass's fields, and those that it needs."""
    hints = hints_of(shape)
    if is_typeddict(shape):
        # Not __required_keys__, which cannot see into annotations that are texts.
        optional = {name for name, hint in hints.items() if get_origin(hint) is NotRequired}
        shapes = {n: get_args(h)[0] if n in optional else h for n, h in hints.items()}
        return shapes, tuple(name for name in hints if name not in optional)
    fields, missing = dataclasses.fields(shape), dataclasses.MISSING
    needed = (f.name for f in fields if f.default is missing and f.default_factory is missing)
    return {f.name: hints[f.name] for f in fields}, tuple(needed)


def _plain(value: Any, at: str, depth: int) -> Any:
    """Return any plain data that JSON can hold."""
    if depth > DEEPEST:
        raise MisfitError(TOO_DEEP)
    if isinstance(value, Mapping):
        return {
            fitted(key, str, f"a name in {at or 'its content'}", plain=True): _plain(
                one, f"{at}.{key}" if at else str(key), depth + 1
            )
            for key, one in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_plain(one, f"{at}[{i}]", depth + 1) for i, one in enumerate(value)]
    if value is None or isinstance(value, (bool, float)):
        return value
    return fitted(value, _State if isinstance(value, int) else str, at, plain=True)


_State = Annotated[int, Range(-(2**128), 2**128)]  # integers of random number generators


def _names(shape: Any) -> tuple[str, ...]:
    """Return the names that a ``Literal`` lists, None aside; empty for other shapes."""
    inner = get_args(shape)
    if get_origin(shape) in _UNIONS:
        rest = [one for one in inner if one is not types.NoneType]
        return _names(rest[0]) if len(rest) == 1 else ()
    if get_origin(shape) is Literal:
        return tuple(one for one in inner if isinstance(one, str))
    return ()


_WORDS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    str: "text",
    dict: "a mapping of names to values",
    Mapping: "a mapping of names to values",
    list: "a list",
    tuple: "a list",
    Sequence: "a list",
    Iterable: "a list",
    collections.abc.Callable: "a function or class",
}


def _described(shape: Any) -> str:
    """Return what a shape takes, for a sentence."""
    origin, inner = get_origin(shape), get_args(shape)
    if origin is NotRequired:
        return _described(inner[0])
    if origin is Annotated:
        ranges = [str(one) for one in inner[1:] if isinstance(one, Range)]
        if inner[0] not in (int, float) or not ranges:
            return _described(inner[0])
        return " ".join(
            filter(None, ["a whole number" if inner[0] is int else "a number", *ranges])
        )
    if origin in _UNIONS:
        parts = [_described(one) for one in inner if one is not types.NoneType]
        return " or ".join(dict.fromkeys(parts))
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    kind = origin or shape
    if is_typeddict(kind):
        return _WORDS[dict]
    if _WORDS.get(kind) == _WORDS[list] and inner:
        many = f"{len(inner)} " if kind is tuple and Ellipsis not in inner else ""
        alike = len(set(inner) - {Ellipsis}) == 1
        return f"a list of {many}{_plural(_described(inner[0])) if alike else 'items'}"
    if kind in _WORDS:
        return _WORDS[kind]
    return _article(_named(kind)) if isinstance(kind, type) else str(shape)


def _plural(words: str) -> str:
    """Return "a whole number from 1 to 5" as "whole numbers from 1 to 5", and "text" as "texts".

    Example:
        >>> _plural("text or a list of whole numbers")
        'texts or lists of whole numbers'
    """
    if " or " in words:
        return " or ".join(map(_plural, words.split(" or ")))
    first, _, rest = words.partition(" ")
    if first not in ("a", "an"):
        return f"{words}s" if words == "text" else words
    nouns = [noun for noun in ("number", "mapping", "list") if noun in rest]
    noun = min(nouns, key=rest.index, default=rest)
    return rest.replace(noun, f"{noun}s", 1)


def _named(kind: type) -> str:
    """Return the name of a class with its public module, such as ``torch.nn.Module``."""
    if kind.__module__ == "builtins":
        return kind.__name__
    modules = [part for part in kind.__module__.split(".")[:2] if not part.startswith("_")]
    return ".".join([*modules, kind.__name__])


def _article(name: str) -> str:
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _number(value: float) -> str:
    return f"{value:,}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:g}"
