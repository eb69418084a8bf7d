"""Estimate how wide a text is in a drawing, and cut it to its place."""

from __future__ import annotations

import itertools
import unicodedata

__all__ = ["fitted", "text_width"]


def text_width(text: str) -> float:
    """Return about how many pixels a text takes at 12 to 13 pixels, rather too many than too few.

    Example:
        >>> text_width("ill") < text_width("abc") < text_width("WWW")
        True
    """
    return sum(map(_character_width, text))


def _character_width(character: str) -> float:
    if unicodedata.combining(character):
        return 0.0
    if unicodedata.east_asian_width(character) in "WF" or character in "mwMW@%":
        return 14.0
    if character in "ijlt.,:;'|!()[] ":
        return 5.4
    return 8.4 if character.isascii() and (character.islower() or character.isdigit()) else 10.8


def fitted(text: str, pixels: float) -> str:
    """Return the text, cut with an ellipsis where it is wider than that.

    Example:
        >>> fitted("mobilenet", 60)
        'mobil…'
    """
    if text_width(text) <= pixels:
        return text
    left = pixels - text_width("\u2026")
    widths = itertools.accumulate(map(_character_width, text))
    return text[: sum(width <= left for width in widths)] + "\u2026"
