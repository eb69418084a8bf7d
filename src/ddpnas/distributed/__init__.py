"""One search on several processes, each with a part of every batch."""

from ddpnas.distributed.group import (
    ALONE,
    Processes,
    abandon,
    current,
    first_to_fail,
    join,
    launched,
    leave,
)
from ddpnas.distributed.norm import synchronise_norms

__all__ = [
    "ALONE",
    "Processes",
    "abandon",
    "current",
    "first_to_fail",
    "join",
    "launched",
    "leave",
    "synchronise_norms",
]
