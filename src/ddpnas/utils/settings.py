"""Settings: each declares its type and range where it is defined, and one check reads that.

A setting is a field of a dataclass, a key of a ``TypedDict`` or a parameter of a function. Its
annotation is the declaration, such as ``Annotated[float, Range(0, below=1)]``. The command line,
files and Python calls all go through :func:`checked`, so they accept the same values and refuse the
others with the same sentence.
"""

from __future__ import annotations

import collections.abc
import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, Unpack, cast

from ddpnas.errors import OptionError, nearest

__all__ = [
    "Channels",
    "Count",
    "Decay",
    "Epochs",
    "Extra",
    "LearningRate",
    "Momentum",
    "Norm",
    "Pixels",
    "Range",
    "Seed",
    "Share",
    "WidthFactor",
    "Workers",
    "checked",
    "checked_fields",
    "checked_options",
    "checks_arguments",
    "hints_of",
    "shown",
]

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

_LONGEST = 80  # characters of a value in a message
_STRINGS = (collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)


@dataclass(frozen=True)
class Range:
    """The numbers that a setting may be, as metadata of ``Annotated``.

    Attributes:
        least: Smallest value.
        most: Largest value.
        above: All values are larger than this one.
        below: All values are smaller than this one.

    Example:
        >>> Range(0, below=1).holds(1.0), str(Range(above=0, most=1000))
        (False, 'above 0 and at most 1,000')
    """

    least: float = -math.inf
    most: float = math.inf
    above: float | None = None
    below: float | None = None

    def holds(self, value: float) -> bool:
        """Return whether the number is in the range; NaN never is."""
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
            ("at least", self.least if self.least > -math.inf else None),
            ("below", self.below),
            ("at most", self.most if self.most < math.inf else None),
        ]
        return " and ".join(f"{word} {_number(end)}" for word, end in ends if end is not None)


Count = Annotated[int, Range(1, 1_000_000)]
"""How many of something there are, at least one."""

Seed = Annotated[int, Range(0, 2**32 - 1)]
"""Seeds of parts are sums and products of a seed; all libraries take these."""

Share = Annotated[float, Range(0, 1)]
"""A fraction or a probability."""

Momentum = Annotated[float, Range(0, below=1)]
"""The share of an old value in a running average."""

LearningRate = Annotated[float, Range(above=0, most=1e30)]
"""A step size. Too large ones diverge, which is told; larger than this, they overflow."""

Decay = Annotated[float, Range(0, 100)]
"""Weight decay."""

Norm = Annotated[float, Range(0, 1_000_000)]
"""The largest norm of a gradient; 0 does not clip."""

Pixels = Annotated[int, Range(1, 4096)]
"""The side of an image; larger ones do not fit in memory."""

Channels = Annotated[int, Range(1, 4096)]
"""Channels of a layer."""

WidthFactor = Annotated[float, Range(0.01, 100)]
"""The factor of all channels of a network."""

Extra = Annotated[int, Range(0, 10_000)]
"""How many more of something, which may be none."""

Workers = Annotated[int, Range(1, 1024)]
"""Processes, or threads of one."""

Epochs = Annotated[int, Range(1, 100_000)]
"""Passes over the training images; each has a seed of its own."""


class _MisfitError(Exception):
    """A value is not what an annotation asks for."""


def checked(what: str, hint: Any, value: Any) -> Any:
    """Return a value as the type that its annotation names.

    A number may be given as another type of equal value, and as the text "3e-4", which YAML does
    not read as a number. Annotations that say nothing about values, such as ``Any``, take all.

    Args:
        what: Name of the setting, which begins the message.
        hint: Annotation: a type, a union, ``Literal``, or ``Annotated`` with a :class:`Range`.
        value: Value that was given.

    Raises:
        OptionError: The value has another type, or is out of range.

    Example:
        >>> checked("lr", Annotated[float, Range(above=0)], "3e-4"), checked("clip", int | None, 2)
        (0.0003, 2)
        >>> checked("lr", LearningRate, -1)
        Traceback (most recent call last):
        ddpnas.errors.OptionError: lr must be a number above 0 and at most 1e+30, not -1
    """
    try:
        return _fitted(hint, value)
    except _MisfitError:
        names = _names(hint)
        if names and isinstance(value, str):
            raise OptionError(nearest(what, value, names)) from None
        raise OptionError(f"{what} must be {_described(hint)}, not {shown(value)}") from None


def checked_fields(settings: Any, kind: str) -> None:
    """Check all fields of a frozen dataclass, and give each the type that it declares.

    Args:
        settings: The dataclass, inside its ``__post_init__``.
        kind: What it is, for the message: "a recipe".

    Raises:
        OptionError: A field has another type or is out of range.

    Example:
        >>> @dataclass(frozen=True)
        ... class Size:
        ...     width: Count = 8
        ...     def __post_init__(self):
        ...         checked_fields(self, "the size")
        >>> Size(width=0)
        Traceback (most recent call last):
        ddpnas.errors.OptionError: width of the size must be a whole number from 1 to 1,000,000, ...
    """
    for name, hint in hints_of(cast(Any, type(settings))).items():
        value = checked(f"{name} of {kind}", hint, getattr(settings, name))
        object.__setattr__(settings, name, value)


def checked_options(
    kind: str, declared: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return options with the types that their annotations name.

    Args:
        kind: What they are options of, for the message: "strategy 'random'".
        declared: Annotation of each option.
        given: Options by name.

    Raises:
        OptionError: There is no such option, or a value has another type or is out of range.

    Example:
        >>> checked_options("a search", {"seed": Seed}, {"seeds": 3})
        Traceback (most recent call last):
        ddpnas.errors.OptionError: unknown option of a search 'seeds': did you mean 'seed'? ...
    """
    for name in given:
        if name not in declared:
            raise OptionError(nearest(f"option of {kind}", str(name), declared))
    return {n: checked(f"{n} of {kind}", declared[n], value) for n, value in given.items()}


def checks_arguments(
    function: Callable[_Parameters, _Result],
) -> Callable[_Parameters, _Result]:
    """Decorate a function so that each argument is checked against its annotation first.

    An argument of the wrong type, or with a name that the function does not know, raises an
    :class:`OptionError` that says what belongs there.

    Example:
        >>> @checks_arguments
        ... def double(number: int) -> int:
        ...     return 2 * number
        >>> double("2")
        Traceback (most recent call last):
        ddpnas.errors.OptionError: number of double() must be a whole number, not '2'
    """
    signature = inspect.signature(function)
    parameters = signature.parameters
    called = function.__qualname__.removesuffix(".__init__") + "()"
    known = {p.name for p in parameters.values() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())

    @functools.wraps(function)
    def call(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        if not takes_any:
            for name in kwargs:
                if name not in known:
                    raise OptionError(nearest(f"argument of {called}", name, known - {"self"}))
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise OptionError(f"{called}: {error}") from None
        hints = hints_of(function)
        for name, value in bound.arguments.items():
            hint, kind = hints.get(name, Any), parameters[name].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                if typing.get_origin(hint) is Unpack:
                    declared = hints_of(typing.get_args(hint)[0])
                    bound.arguments[name] = checked_options(called, declared, value)
            elif kind is not inspect.Parameter.VAR_POSITIONAL:
                bound.arguments[name] = _argument(called, name, hints, bound.arguments)
        return function(*bound.args, **bound.kwargs)

    return call


def _argument(called: str, name: str, hints: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """Return an argument as its annotation has it; an error says if two seem swapped."""
    try:
        return checked(f"{name} of {called}", hints.get(name, Any), given[name])
    except OptionError as error:
        for other, value in given.items():
            swapped = other != name and hints.get(other, Any) is not Any
            if swapped and _fits(hints[other], given[name]) and _fits(hints[name], value):
                raise OptionError(f"{error}; swap {name} and {other}") from None
        raise


@functools.lru_cache(maxsize=256)
def hints_of(declared: Any) -> Mapping[str, Any]:
    """Return the annotations of a class, a ``TypedDict`` or a function, ranges included.

    Args:
        declared: Where the settings are declared. Annotations that cannot be resolved are left
            out, so that they take every value.
    """
    try:
        found = typing.get_type_hints(declared, include_extras=True)
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
        return value.__name__ if isinstance(value, type) else _article(_named(type(value)))
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        return "a number of thousands of digits"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."


def _fits(hint: Any, value: Any) -> bool:
    try:
        _fitted(hint, value)
    except _MisfitError:
        return False
    return True


def _fitted(hint: Any, value: Any) -> Any:
    """Return the value as the annotation has it, or raise :class:`_MisfitError`."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        ranges = [one for one in inner[1:] if isinstance(one, Range)]
        found = _as_number(value) if ranges and inner[0] is float else _fitted(inner[0], value)
        if not all(one.holds(found) for one in ranges):
            raise _MisfitError
        return found
    if origin in (Union, types.UnionType):
        for one in inner:
            if _fits(one, value):
                return _fitted(one, value)
        raise _MisfitError
    if origin is Literal:
        if value is False and "no" in inner:
            return "no"  # YAML, and so a command line, reads it as false
        if not any(type(value) is type(one) and value == one for one in inner):
            raise _MisfitError
        return value
    if hint is float:
        if not math.isfinite(number := _as_number(value)):
            raise _MisfitError
        return number
    kind = type(None) if hint is None else origin or hint
    if (
        hint is Any
        or not isinstance(kind, type)
        or getattr(kind, "_is_protocol", False)
        or kind is object
    ):
        return value  # says nothing about values
    if kind is int:
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise _MisfitError
        return int(value)
    mapping = issubclass(kind, collections.abc.Mapping) and not inspect.isabstract(kind)
    if mapping and isinstance(value, collections.abc.Mapping) and not isinstance(value, kind):
        value = kind(value)
    if not isinstance(value, kind) or (kind in _STRINGS and isinstance(value, (str, bytes))):
        raise _MisfitError
    return _fitted_items(inner, value)


def _fitted_items(inner: tuple[Any, ...], value: Any) -> Any:
    """Return a list, tuple or mapping with its items as their annotations have them."""
    if not inner or type(value) not in (list, tuple, dict):
        return value
    if isinstance(value, dict):
        # Values of several types, such as limits, have a reader of their own, which is exact.
        several = typing.get_origin(inner[-1]) in (Union, types.UnionType)
        of_values = Any if several else inner[-1]
        return {_fitted(inner[0], k): _fitted(of_values, item) for k, item in value.items()}
    if isinstance(value, tuple) and len(inner) > 1 and inner[-1] is not Ellipsis:
        if len(value) != len(inner):
            raise _MisfitError
        return tuple(_fitted(one, item) for one, item in zip(inner, value, strict=True))
    return type(value)(_fitted(inner[0], item) for item in value)


def _as_number(value: Any) -> float:
    if isinstance(value, bool):
        raise _MisfitError
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise _MisfitError from None


def _names(hint: Any) -> tuple[str, ...]:
    """Return the names that a ``Literal`` lists, None aside; empty for other annotations."""
    inner = typing.get_args(hint)
    if typing.get_origin(hint) in (Union, types.UnionType):
        rest = [one for one in inner if one is not type(None)]
        return _names(rest[0]) if len(rest) == 1 else ()
    if typing.get_origin(hint) is Literal:
        return tuple(one for one in inner if isinstance(one, str))
    return ()


_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    str: "text",
    dict: "a mapping of names to values",
    collections.abc.Mapping: "a mapping of names to values",
    list: "a list",
    tuple: "a tuple",
    collections.abc.Sequence: "a list",
    collections.abc.Iterable: "a list",
    collections.abc.Callable: "a function or class",
}


def _described(hint: Any) -> str:
    """Return what an annotation takes, for a sentence."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        ranges = [str(one) for one in inner[1:] if isinstance(one, Range)]
        if inner[0] not in (int, float) or not ranges:
            return _described(inner[0])
        noun = "a whole number" if inner[0] is int else "a number"
        return " ".join([noun, " and ".join(ranges)])
    if origin in (Union, types.UnionType):
        parts = [_described(one) for one in inner if one is not type(None)]
        return " or ".join(dict.fromkeys(parts))
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    kind = origin or hint
    if kind in _WORDS:
        items = [one for one in inner if one is not Ellipsis]
        if kind in (tuple, list, collections.abc.Sequence) and items:
            return f"{_WORDS[kind]} of {_plural(_described(items[0]))}"
        return _WORDS[kind]
    return _article(_named(kind)) if isinstance(kind, type) else str(hint)


def _plural(words: str) -> str:
    """Return "a whole number from 1 to 5" as "whole numbers from 1 to 5", and "text" as "texts"."""
    article, _, rest = words.partition(" ")
    if article not in ("a", "an"):
        return f"{words}s" if words == "text" else words
    return rest.replace("number", "numbers", 1) if "number" in rest else f"{rest}s"


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
