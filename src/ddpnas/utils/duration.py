"""Put a number of seconds into words, the same in the terminal and in the report."""

from __future__ import annotations

__all__ = ["duration"]


def duration(seconds: float) -> str:
    """Return seconds as text with at most two units.

    Example:
        >>> duration(0.34), duration(41.3), duration(7500)
        ('340 ms', '41.3 s', '2 h 5 min')
    """
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
