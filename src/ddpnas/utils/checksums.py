"""Checksums of plain data in JSON files, by which a changed number is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ddpnas.errors import RunError

__all__ = ["CHECKSUM", "check_checksum", "with_checksum"]

CHECKSUM = "checksum"  # the key of the checksum of all others


def with_checksum(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain data with the checksum of it.

    Args:
        content: Data for JSON.

    Example:
        >>> sorted(with_checksum({"value": 0.5}))
        ['checksum', 'value']
    """
    return {**content, CHECKSUM: _checksum(content)}


def check_checksum(content: Mapping[str, Any], what: Any, instead: str) -> None:
    """Refuse plain data that is not what :func:`with_checksum` made.

    Args:
        content: The data, as JSON has it.
        what: The file it comes from, for the message.
        instead: What to do, the end of the sentence.

    Raises:
        RunError: Something in it has changed.

    Example:
        >>> check_checksum(with_checksum({"value": 0.5}), "scores.jsonl", "measure it again")
        >>> check_checksum({**with_checksum({"value": 0.5}), "value": 0.6}, "scores.jsonl", "...")
        Traceback (most recent call last):
        ddpnas.errors.RunError: scores.jsonl is not what was written (its content has another ...
    """
    if content.get(CHECKSUM) != _checksum(content):
        raise RunError(
            f"{what} is not what was written (its content has another checksum); {instead}"
        )


def _checksum(content: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in content.items() if key != CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:16]
