"""The published search spaces, one file each: paper, licence, source and text form.

A published space is a function ``network(choose, ...)`` like a user's own, registered under its
name. Its defaults are those of the search network; ``space.final_options`` are the paper's for
the final one: ``space.with_options(**space.final_options)``.
"""

from ddpnas.spaces.registry import (
    about_space,
    create_space,
    list_spaces,
    named_space,
)

__all__ = ["about_space", "create_space", "list_spaces", "named_space"]
