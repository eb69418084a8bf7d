"""Files that are whole or not there, and the errors of reading and writing them as sentences."""

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
    """Write the file whole or not at all: to a temporary name, flushed to disk, then renamed."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


@contextlib.contextmanager
def writable(path: Path, instead: str = "give another --out") -> Iterator[None]:
    """Turn an error of the file system inside into the sentence that the folder is no use."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"the folder {path} cannot be written ({error.strerror}); {instead}"
        ) from None


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; :class:`RunError` when it is not there or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path.parent} holds no {path.name}; is it a run folder?") from None
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}") from None


def whole_lines(path: Path) -> list[bytes]:
    """Return the lines of a file that grows by lines; none where there is no file yet.

    A last line that is being written, or that a kill left incomplete, is left out.
    """
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    return [line for line in lines if line.endswith(b"\n")]


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return the records of a .jsonl file; :class:`RunError` when it is broken."""
    try:
        return [json.loads(line) for line in whole_lines(path)]
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}") from None
