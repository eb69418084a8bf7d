"""Read files that others wrote or edited, and check their content against a declared shape.

Shapes are annotations, see :mod:`ddpnas.utils.shapes`.
"""

from __future__ import annotations

import contextlib
import json
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml

from ddpnas.errors import DdpnasError, RunError
from ddpnas.utils.shapes import DEEPEST, TOO_DEEP, Range, fitted, shown

__all__ = [
    "DAMAGED_ARRAYS",
    "Measured",
    "Size",
    "Whole",
    "blaming",
    "checked_content",
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

# What NumPy raises for a damaged, encrypted or pickled array of a .npz file.
DAMAGED_ARRAYS = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    MemoryError,  # of a header that claims more than any memory holds
    zipfile.BadZipFile,
    zlib.error,
)

# Larger files are refused before they are parsed, which takes many times their size in memory.
_MOST_JSON = 256 * 1024**2
_MOST_RECORDS = 1024**3
_MOST_YAML = 256 * 1024  # a configuration; the parser takes seconds for a megabyte

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode), "a device"),
)


Whole = Annotated[int, Range(0)]
"""How many of something there are, which may be none."""

Size = Annotated[int, Range(1, 2**31 - 1)]
"""How many of something there are, at least one."""

Measured = Annotated[float, Range(finite=False)]
"""A measurement that may have gone wrong: infinity and NaN are read, too."""


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
        shape: What it must hold, see :func:`ddpnas.utils.shapes.fitted`.
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
        y must be a finite number, not 'two'
    """
    return checked_content(
        parse_json(read_file(path, error=error), path, error), shape, path, error
    )


def read_records(path: str | Path, shape: Any = Any) -> list[Any]:
    """Return the records of a .jsonl file, one for each complete line; none if there is no file.

    Args:
        path: The file.
        shape: What each line must hold, see :func:`ddpnas.utils.shapes.fitted`.

    Raises:
        RunError: A line does not hold that; says which.
    """
    records = []
    for number, line in enumerate(whole_lines(path), 1):
        where = f"line {number} of {path}"
        records.append(checked_content(parse_json(line, where), shape, where))
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
    return checked_content(parse_yaml(_text(content, path, error), path, error), shape, path, error)


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
        raise error(f"cannot use {what}: {TOO_DEEP}") from None
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
        text: The text. It is split into events, which takes no memory.
    """
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"the alias *{event.anchor} is not allowed; write the value again")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise yaml.YAMLError(TOO_DEEP)


def checked_content(value: Any, shape: Any, what: Any, error: type[DdpnasError] = RunError) -> Any:
    """Return a value that has a shape; a dataclass is made of its fields.

    Args:
        value: Plain data, as from JSON or YAML.
        shape: What it must be, see :func:`ddpnas.utils.shapes.fitted`.
        what: The file it comes from, for messages.
        error: Raised if it has another shape; names the key, what it holds, and what it should.

    Example:
        >>> checked_content([1, 2], list[Size], "sizes.json")
        [1, 2]
    """
    with blaming(what, error):
        return fitted(value, shape, plain=True)


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


def _said(reason: Exception) -> str:
    """Return the message of a parser, on one line."""
    return " ".join(str(reason).split())[:300]


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
        raise ValueError(f"{shown(double)} stands twice in one object")
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
