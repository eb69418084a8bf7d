"""Files that are written whole or not at all, and clear errors for reading and writing."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ddpnas.errors import RunError

__all__ = ["read_json", "read_records", "whole_lines", "writable", "write_atomic"]


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, even if the process is killed or the power fails.

    Args:
        path: File; an older one is replaced.
        content: What it shall hold.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "result.json")
        >>> write_atomic(path, b"{}")
        >>> read_json(path)
        {}
    """
    # A rename is atomic, so no reader sees half a file. Flushed first, it survives a power cut.
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


@contextlib.contextmanager
def writable(path: Path, instead: str = "give another --out") -> Iterator[None]:
    """Turn an error of the file system inside into a sentence: the folder cannot be written.

    Args:
        path: The folder, for the message.
        instead: What to do, the end of the sentence.

    Raises:
        RunError: In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"the folder {path} cannot be written ({error.strerror}); {instead}"
        ) from None


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Args:
        path: The file.

    Raises:
        RunError: There is no such file, or it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path.parent} holds no {path.name}; is it a run folder?") from None
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}") from None


def whole_lines(path: Path) -> list[bytes]:
    """Return the complete lines of a file that grows by lines; none if there is no file yet.

    The last line may be incomplete: it is still being written, or a kill interrupted that. It is
    left out.

    Args:
        path: The file.
    """
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    return [line for line in lines if line.endswith(b"\n")]


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return the records of a .jsonl file, one for each complete line.

    Args:
        path: The file; if there is none, there are no records.

    Raises:
        RunError: The file is damaged.
    """
    try:
        return [json.loads(line) for line in whole_lines(path)]
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}") from None
