"""compile_options: the modules that a supernet repeats, compiled one by one."""

from __future__ import annotations

import torch

from ddpnas.choice import Choice, Supernet
from ddpnas.errors import OptionError, nearest

__all__ = ["compile_options"]


def compile_options(supernet: Supernet, backend: str) -> None:
    """Compile every option of every choice that has no choice inside, in place.

    Options are the blocks that a supernet repeats; each is compiled when it first runs, equal
    ones once. Which of them runs stays outside, so that a new path compiles nothing anew. Names of
    parameters stay the same.

    Args:
        supernet: changed in place.
        backend: of ``torch.compile``, such as "inductor".

    Raises:
        OptionError: there is no such backend.
    """
    known = torch.compiler.list_backends(exclude_tags=())
    if backend not in known:
        raise OptionError(nearest("backend of torch.compile", backend, known))
    options = [
        option
        for choice in supernet.modules()
        if isinstance(choice, Choice)
        for option in choice.options
        if not any(isinstance(inner, Choice) for inner in option.modules())
    ]
    for option in options:
        option.compile(backend=backend, dynamic=False)
