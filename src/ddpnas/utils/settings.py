"""Settings: each declares its type and range where it is defined, and one check reads that.

A setting is a field of a dataclass, a key of a ``TypedDict`` or a parameter of a function. Its
annotation is the declaration, such as ``Annotated[float, Range(0, below=1)]``. The command line,
files and Python calls all go through :func:`checked`, so they accept the same values and refuse the
others with the same sentence.
"""

from __future__ import annotations

import functools
import inspect
import os
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Unpack, cast

from ddpnas.errors import OptionError, nearest
from ddpnas.utils.shapes import MisfitError, Range, fits, fitted, hints_of, misfit, shown

__all__ = [
    "Channels",
    "Count",
    "Decay",
    "Epochs",
    "Extra",
    "Fraction",
    "Interpolation",
    "LearningRate",
    "Momentum",
    "MostImages",
    "Norm",
    "Pixels",
    "Seed",
    "WidthFactor",
    "Workers",
    "check_path",
    "checked",
    "checked_fields",
    "checked_options",
    "checks_arguments",
]

_LONGEST_NAME = 255  # bytes of the name of a file or folder, on common file systems

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

Count = Annotated[int, Range(1, 1_000_000)]
"""How many of something there are, at least one."""

Seed = Annotated[int, Range(0, 2**32 - 1)]
"""Seeds of parts are sums and products of a seed; all libraries take these."""

Momentum = Annotated[float, Range(0, below=1)]
"""The share of an old value in a running average."""

LearningRate = Annotated[float, Range(above=0, most=1e30)]
"""A step size. Too large ones diverge, which is told; larger than this, they overflow."""

Decay = Annotated[float, Range(0, 100)]
"""Weight decay."""

Norm = Annotated[float, Range(0, 1_000_000)]
"""The largest norm of a gradient; 0 does not clip."""

Fraction = Annotated[float, Range(0, below=1)]
"""A part that is split off, which may be nothing but not all."""

MostImages = Annotated[int, Range(1, 10**9)]
"""The largest number of images that are used."""

Pixels = Annotated[int, Range(1, 4096)]
"""The side of an image; larger ones do not fit in memory."""

Interpolation = Literal["bilinear", "bicubic"]
"""How images are resized, by Pillow's and torchvision's names."""

Channels = Annotated[int, Range(1, 4096)]
"""Channels of a layer."""

WidthFactor = Annotated[float, Range(0.01, 100)]
"""The factor of all channels of a network."""

Extra = Annotated[int, Range(0, 10_000)]
"""How many more of something, which may be none."""

Workers = Annotated[int, Range(1, 1024)]
"""Processes, or threads of one."""

Epochs = Annotated[int, Range(1, 100_000)]
"""Passes over the training images; each has its own seed."""


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
        return fitted(value, hint)
    except MisfitError:
        raise OptionError(misfit(what, hint, value)) from None


def checked_fields(settings: Any, kind: str) -> None:
    """Check all fields of a frozen dataclass, and give each the type that it declares.

    Args:
        settings: The dataclass, inside its ``__post_init__``.
        kind: What it is, for the message: "a recipe".

    Raises:
        OptionError: A field has another type or is out of range.

    Example:
        >>> import dataclasses
        >>> @dataclasses.dataclass(frozen=True)
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


def check_path(what: str, path: Any) -> None:
    """Refuse the name of a file or folder that no file system takes; other values pass.

    Args:
        what: Name of the setting, which begins the message.
        path: Value that was given.

    Raises:
        OptionError: It contains a null character, or a part of it is too long.

    Example:
        >>> check_path("out", "runs/a")
        >>> check_path("out", "a" * 300)
        Traceback (most recent call last):
        ddpnas.errors.OptionError: out must be a path whose parts have at most 255 bytes, not ...
    """
    if not isinstance(path, (str, Path)):
        return
    if "\0" in str(path):
        raise OptionError(f"{what} must be a path without null characters, not {shown(str(path))}")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise OptionError(
            f"{what} must be a path of whole characters, not {shown(str(path))}"
        ) from None
    if max(len(os.fsencode(part)) for part in str(path).split("/")) > _LONGEST_NAME:
        raise OptionError(
            f"{what} must be a path whose parts have at most {_LONGEST_NAME} bytes, not "
            f"{shown(str(path))}"
        )


def _argument(called: str, name: str, hints: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """Return an argument as its annotation has it; an error says if two seem swapped."""
    hint = hints.get(name, Any)
    try:
        if Path in (hint, *typing.get_args(hint)):
            check_path(f"{name} of {called}", given[name])
        return checked(f"{name} of {called}", hint, given[name])
    except OptionError as error:
        for other, value in given.items():
            swapped = other != name and hints.get(other, Any) is not Any
            if swapped and fits(hints[other], given[name]) and fits(hints[name], value):
                raise OptionError(f"{error}; swap {name} and {other}") from None
        raise
