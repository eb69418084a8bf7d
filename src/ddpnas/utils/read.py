"""Read files that others wrote or edited, and check their content against a declared shape.

A shape is a type, spelled as in annotations: ``int``, ``list[str]``, ``dict[str, float]``,
``Literal["a", "b"]``, ``X | None``, a ``TypedDict``, or a dataclass, which is made of the content.
``Annotated[float, Bounds(0, 1)]`` adds a range. ``float`` takes finite numbers only, ``Any`` takes
whatever JSON can say, and a ``TypedDict`` may have further keys.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import re
import stat
import sys
import types
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NoReturn,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import yaml

from ddpnas.errors import DdpnasError, RunError

__all__ = [
    "Bounds",
    "Count",
    "Number",
    "Share",
    "Size",
    "blaming",
    "checked",
    "parse_json",
    "parse_yaml",
    "read_file",
    "read_json",
    "read_records",
    "read_yaml",
    "require_plain_yaml",
    "require_regular",
    "whole_lines",
]

# Larger files are refused before they are parsed, which takes many times their size in memory.
_MOST_JSON = 256 * 1024**2
_MOST_RECORDS = 1024**3
_MOST_YAML = 256 * 1024  # a configuration; the parser takes seconds for a megabyte
_DEEPEST = 40  # objects and lists within each other
_MOST_SHOWN = 60  # characters of a value in a message
_MOST_INTEGER = 2**63 - 1  # what tensors and arrays can hold

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode), "a device"),
)
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")  # JSON can spell it, no file or terminal takes it


@dataclass(frozen=True)
class Bounds:
    """The range of a number in a shape, both ends included.

    Attributes:
        lower: Least number.
        upper: Largest number.
        finite: Whether infinity and NaN are refused.

    Example:
        >>> checked(0.5, Annotated[float, Bounds(0, 1)], "x.json")
        0.5
    """

    lower: float = -math.inf
    upper: float = math.inf
    finite: bool = True

    def holds(self, value: float) -> bool:
        """Return whether a number is in the range."""
        if isinstance(value, float) and not math.isfinite(value):
            return not self.finite
        return self.lower <= value <= self.upper

    def __str__(self) -> str:
        """Return the range as the end of "a number ..."."""
        if self.lower == -math.inf:
            return "" if self.upper == math.inf else f"of at most {self.upper:,}"
        if self.upper == math.inf:
            return f"of at least {self.lower:,}"
        return f"from {self.lower:,} to {self.upper:,}"


Number = Annotated[float, Bounds(finite=False)]  # a measurement that may have gone wrong
Share = Annotated[float, Bounds(0, 1)]
Count = Annotated[int, Bounds(0)]
Size = Annotated[int, Bounds(1, 2**31 - 1)]


def read_file(
    path: str | Path, most: int = _MOST_JSON, error: type[DdpnasError] = RunError
) -> bytes:
    """Return the content of a regular file.

    Args:
        path: The file.
        most: Largest number of bytes; a larger file is refused.
        error: Raised if the file cannot be read.

    Raises:
        RunError: It is no regular file, is too large, or cannot be read.
    """
    size = require_regular(path, error)
    try:
        with open(path, "rb") as stream:
            content = stream.read(most + 1)  # a file in /proc says that it is empty
    except OSError as reason:
        raise error(f"{path} cannot be read: {reason.strerror}") from None
    if len(content) > most:
        raise error(f"{path} has {max(size, len(content)):,} bytes; the most is {most:,}")
    return content


def require_regular(path: str | Path, error: type[DdpnasError] = RunError) -> int:
    """Return the size of a regular file in bytes.

    Opening anything else, such as a pipe, might wait forever.

    Args:
        path: The file; a link to one will do.
        error: Raised if there is none.

    Raises:
        RunError: There is no such file, or it is a folder, a pipe or a device.
    """
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        raise error(f"there is no file {path}") from None
    except (OSError, ValueError) as reason:  # a ValueError for a NUL character in the name
        raise error(f"{str(path)!r} cannot be read: {reason}") from None
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for is_one, name in _KINDS if is_one(found.st_mode)), "something else")
        raise error(f"{path} is {kind}, not a file")
    return found.st_size


def read_json(path: str | Path, shape: Any = Any, error: type[DdpnasError] = RunError) -> Any:
    """Return the content of a JSON file, checked against a shape.

    Args:
        path: The file.
        shape: What it must hold, see :mod:`ddpnas.utils.read`.
        error: Raised for anything that is wrong with the file.

    Raises:
        RunError: There is no such file, or it does not hold that.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "point.json")
        >>> _ = path.write_text('{"x": 1, "y": "two"}')
        >>> try:
        ...     read_json(path, dict[str, float])
        ... except RunError as error:
        ...     print(str(error).partition(": ")[2])
        y is "two", not a number
    """
    return checked(parse_json(read_file(path, error=error), path, error), shape, path, error)


def read_records(
    path: str | Path, shape: Any = Any, error: type[DdpnasError] = RunError
) -> list[Any]:
    """Return the records of a .jsonl file, one for each complete line; none if there is no file.

    Args:
        path: The file.
        shape: What each line must hold, see :mod:`ddpnas.utils.read`.
        error: Raised for anything that is wrong with the file.

    Raises:
        RunError: A line does not hold that; says which.
    """
    records = []
    for number, line in enumerate(whole_lines(path), 1):
        where = f"line {number} of {path}"
        records.append(checked(parse_json(line, where, error), shape, where, error))
    return records


def whole_lines(path: str | Path) -> list[bytes]:
    """Return the complete lines of a file that grows by lines; none if there is no file yet.

    The last line may be incomplete: it is still being written, or a kill interrupted that. It is
    left out.

    Args:
        path: The file.

    Raises:
        RunError: It is no regular file, or is too large.
    """
    if not Path(path).exists():
        return []
    # A text may hold other line ends; only "\n" ends a record.
    return [line + b"\n" for line in read_file(path, _MOST_RECORDS).split(b"\n")[:-1]]


def read_yaml(path: str | Path, shape: Any = Any, error: type[DdpnasError] = RunError) -> Any:
    """Return the content of a YAML file, checked against a shape; see :func:`read_json`."""
    content = read_file(path, _MOST_YAML, error)
    return checked(parse_yaml(_text(content, path, error), path, error), shape, path, error)


def parse_json(content: str | bytes, what: Any, error: type[DdpnasError] = RunError) -> Any:
    """Return what a JSON text says. NaN and infinity are read; a shape refuses them.

    Args:
        content: The text, as UTF-8 if it is bytes.
        what: The file it comes from, for messages.
        error: Raised if the text is not JSON, or names a key twice.

    Example:
        >>> parse_json('{"a": [1, 2.5, null]}', "x.json")
        {'a': [1, 2.5, None]}
    """
    text = content if isinstance(content, str) else _text(content, what, error)
    try:
        return json.loads(text, object_pairs_hook=_without_doubles)
    except RecursionError:
        raise error(f"cannot use {what}: {_too_deep()}") from None
    except ValueError as reason:
        raise error(f"cannot use {what}: it is not JSON: {_said(reason)}") from None


def parse_yaml(text: str, what: Any, error: type[DdpnasError] = RunError) -> Any:
    """Return what a YAML text says.

    Aliases are refused: a few lines of them can stand for more than any memory holds.

    Args:
        text: The text.
        what: The file it comes from, for messages.
        error: Raised if the text is not YAML, uses aliases, or names a key twice.

    Example:
        >>> parse_yaml("seed: 3", "x.yaml")
        {'seed': 3}
    """
    try:
        require_plain_yaml(text)
        return yaml.load(text, _PlainLoader)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError) as reason:
        # The last three from values that only look like numbers, dates or sets.
        raise error(f"cannot use {what}: it is not YAML for ddpnas: {_said(reason)}") from None


def require_plain_yaml(text: str) -> None:
    """Raise yaml.YAMLError if a YAML text uses aliases, or nests too deeply to be a setting.

    Args:
        text: The text. It is split into events, which takes no memory of its own.
    """
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"the alias *{event.anchor} is not allowed; write the value again")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise yaml.YAMLError(_too_deep())


def checked(value: Any, shape: Any, what: Any, error: type[DdpnasError] = RunError) -> Any:
    """Return a value that has a shape; a dataclass is made of its fields.

    Args:
        value: Plain data, as from JSON or YAML.
        shape: What it must be, see :mod:`ddpnas.utils.read`.
        what: The file it comes from, for messages.
        error: Raised if it has another shape; names the key, what it holds, and what it should.

    Example:
        >>> checked([1, 2], list[Annotated[int, Bounds(1)]], "sizes.json")
        [1, 2]
    """
    with blaming(what, error):
        return _checked(value, shape, "")


@contextlib.contextmanager
def blaming(what: Any, error: type[DdpnasError] = RunError) -> Iterator[None]:
    """Let errors inside say which file is wrong.

    Args:
        what: The file.
        error: Raised in place of any other error of a user.

    Example:
        >>> with blaming("theta.json"):
        ...     raise DdpnasError("a row does not sum to 1")
        Traceback (most recent call last):
        ...
        ddpnas.errors.RunError: cannot use theta.json: a row does not sum to 1
    """
    try:
        yield
    except DdpnasError as reason:
        raise error(f"cannot use {what}: {reason}") from None


class _MisfitError(DdpnasError):
    """A value has another shape than it should; the message says which and where."""


def _refuse(value: Any, at: str, expected: str) -> NoReturn:
    raise _MisfitError(f"{at or 'its content'} is {_shown(value)}, not {expected}")


def _checked(value: Any, shape: Any, at: str) -> Any:
    """Return a value that has a shape; ``at`` is where it stands, such as "terms[2].cost"."""
    origin = get_origin(shape)
    if shape is Any:
        return _plain(value, at, 0)
    if origin is Annotated:
        kind, *ranges = get_args(shape)
        bounds = next((r for r in ranges if isinstance(r, Bounds)), Bounds())
        return _number(value, kind, bounds, at) if kind in _NUMBERS else _checked(value, kind, at)
    if shape in _NUMBERS:
        return _number(value, shape, Bounds(), at)
    if shape in (str, bool, None, types.NoneType):
        if type(value) is not (types.NoneType if shape is None else shape):
            _refuse(value, at, _name(shape))
        if shape is str and _HALF_CHARACTER.search(str(value)):
            _refuse(value, at, "a text that UTF-8 can hold")
        return value
    if origin is Literal:
        if not any(value == one and type(value) is type(one) for one in get_args(shape)):
            _refuse(value, at, _name(shape))
        return value
    if origin in (Union, types.UnionType):
        return _one_of(value, get_args(shape), at)
    if origin in (list, tuple, Sequence, Mapping, dict):
        return _gathered(value, origin, get_args(shape), at)
    return _made(value, shape, at)


def _number(value: Any, kind: Any, bounds: Bounds, at: str) -> Any:
    """Return a number in a range, as it is: a whole number stays one, so that sums are exact."""
    right = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
    unbounded = math.isinf(bounds.lower) or math.isinf(bounds.upper)
    most = _MOST_INTEGER if kind is int else sys.float_info.max
    large = isinstance(value, int) and abs(value) > most and unbounded
    if not right or large or not bounds.holds(value):
        _refuse(value, at, " ".join(filter(None, (_name(kind), str(bounds)))))
    return value


def _one_of(value: Any, shapes: Sequence[Any], at: str) -> Any:
    others = [shape for shape in shapes if shape is not types.NoneType]
    if value is None and len(others) < len(shapes):
        return None
    if len(others) == 1:
        return _checked(value, others[0], at)  # its message says more
    for shape in others:
        try:
            return _checked(value, shape, at)
        except _MisfitError:
            pass  # another may fit
    return _refuse(value, at, " or ".join(map(_name, shapes)))


def _gathered(value: Any, origin: Any, arguments: tuple[Any, ...], at: str) -> Any:
    """Return a list, tuple or mapping whose items have a shape."""
    if origin in (Mapping, dict):
        inner = arguments[1]
        return {
            key: _checked(item, inner, f"{at}.{key}" if at else key)
            for key, item in _items(value, at)
        }
    if not isinstance(value, (list, tuple)):
        _refuse(value, at, "a list")
    shapes: Iterable[Any] = [arguments[0]] * len(value)
    if origin is tuple and Ellipsis not in arguments:
        if len(value) != len(arguments):
            _refuse(value, at, f"a list of {len(arguments)}")
        shapes = arguments
    items = [
        _checked(item, inner, f"{at}[{i}]")
        for i, (item, inner) in enumerate(zip(value, shapes, strict=True))
    ]
    return tuple(items) if origin is tuple else items


def _made(value: Any, shape: Any, at: str) -> Any:
    """Return a mapping with the keys of a TypedDict, or a dataclass made of one."""
    given = dict(_items(value, at))
    shapes, required = _keys(shape)
    start = f"{at}." if at else ""
    for key in required:
        if key not in given:
            raise _MisfitError(f"{start}{key} is missing; needed is {_name(shapes[key])}")
    found = {
        key: _checked(item, shapes.get(key, Any), f"{start}{key}") for key, item in given.items()
    }
    if is_typeddict(shape):
        return found
    if strange := sorted(set(given) - set(shapes)):
        raise _MisfitError(
            f"{start}{strange[0]} is not known to this version of ddpnas; known are "
            f"{', '.join(shapes)}"
        )
    return shape(**found)


@functools.cache
def _keys(shape: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the shapes of a TypedDict's keys or a dataclass's fields, and those that it needs."""
    hints = get_type_hints(shape, include_extras=True)
    if is_typeddict(shape):
        # Not __required_keys__, which cannot see into annotations that are texts.
        optional = {name for name, hint in hints.items() if get_origin(hint) is NotRequired}
        shapes = {n: get_args(h)[0] if n in optional else h for n, h in hints.items()}
        return shapes, tuple(name for name in hints if name not in optional)
    fields, missing = dataclasses.fields(shape), dataclasses.MISSING
    needed = (f.name for f in fields if f.default is missing and f.default_factory is missing)
    return {f.name: hints[f.name] for f in fields}, tuple(needed)


def _items(value: Any, at: str) -> Iterable[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        _refuse(value, at, "an object (names with values)")
    for key in value:
        _checked(key, str, f"a name in {at}" if at else "a name")
    return value.items()


def _plain(value: Any, at: str, depth: int) -> Any:
    """Return any plain data that JSON can hold."""
    if depth > _DEEPEST:
        raise _MisfitError(_too_deep())
    if isinstance(value, Mapping):
        return {
            key: _plain(item, f"{at}.{key}" if at else key, depth + 1)
            for key, item in _items(value, at)
        }
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{at}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, float) or value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return _number(value, int, _STATE, at)
    return _checked(value, str, at)


_STATE = Bounds(-(2**128), 2**128)  # of random number generators
_NUMBERS: Mapping[Any, str] = {int: "a whole number", float: "a number"}
_NAMES: Mapping[Any, str] = {
    **_NUMBERS,
    str: "a text",
    bool: "true or false",
    None: "null",
    types.NoneType: "null",
    list: "a list",
    tuple: "a list",
    Sequence: "a list",
}


def _name(shape: Any) -> str:
    """Return a shape in words."""
    origin = get_origin(shape)
    if origin is Annotated:
        return _name(get_args(shape)[0])
    if origin is Literal:
        return " or ".join(json.dumps(one) for one in get_args(shape))
    if origin in (Union, types.UnionType):
        return " or ".join(map(_name, get_args(shape)))
    return _NAMES.get(origin or shape, "an object (names with values)")


def _shown(value: Any) -> str:
    """Return a value for a message: its beginning, on one line."""
    if isinstance(value, (Mapping, list, tuple)):
        return f"{'an object' if isinstance(value, Mapping) else 'a list'} of {len(value)}"
    if isinstance(value, int) and abs(value) > _MOST_INTEGER:
        return f"a whole number of {value.bit_length():,} bits"
    try:
        text = json.dumps(value)
    except TypeError:
        text = f"{value} (a {type(value).__name__})"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _said(reason: Exception) -> str:
    """Return the message of a parser, on one line."""
    return " ".join(str(reason).split())[:300]


def _too_deep() -> str:
    return f"lists and objects are nested more than {_DEEPEST} deep"


def _text(content: bytes, what: Any, error: type[DdpnasError]) -> str:
    """Return UTF-8 as text, without the mark that Windows editors put before it."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        raise error(
            f"{what} is not UTF-8 (byte {content[reason.start]:#04x} at {reason.start:,}); save it "
            f"as UTF-8"
        ) from None


def _without_doubles(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        double = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"{_shown(double)} stands twice in one object")
    return found


class _PlainLoader(yaml.SafeLoader):
    """Reads YAML that names no key twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Return a mapping, see yaml.SafeLoader."""
        found = super().construct_mapping(node, deep)
        if isinstance(node, yaml.MappingNode) and len(found) < len(node.value):
            counts = Counter(str(key.value) for key, _ in node.value)
            double = counts.most_common(1)[0][0]
            raise yaml.MarkedYAMLError(
                problem=f"{double!r} stands twice", problem_mark=node.start_mark
            )
        return found
