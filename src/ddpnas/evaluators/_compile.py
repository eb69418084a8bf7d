"""compile_options: the modules that a supernet repeats, compiled one by one."""

from __future__ import annotations

import torch

from ddpnas.errors import OptionError, nearest
from ddpnas.space.supernet import Supernet, walk

__all__ = ["compile_options"]

_FORMS = 4  # of one option: training or scoring, a whole batch or the last


def compile_options(supernet: Supernet, backend: str) -> None:
    """Compile every option of every choice that has no choice inside, in place.

    Options are the blocks that a supernet repeats; each is compiled when it first runs, equal
    ones once. Which of them runs stays outside, so that a new path compiles nothing anew. Names of
    parameters stay the same. Torch's limits of recompilation, of the process, are raised where
    need be: options of one class count as one function to them, and those beyond its 8 would
    run uncompiled.

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
        modules[0]
        for condition, modules, choices in walk(supernet.network)
        if condition and not choices
    ]
    dynamo = torch._dynamo.config  # imported here by torch, a second's work
    forms = _FORMS * len(options)
    dynamo.recompile_limit = max(dynamo.recompile_limit, forms)
    dynamo.accumulated_recompile_limit = max(dynamo.accumulated_recompile_limit, forms)
    for option in options:
        option.compile(backend=backend, dynamic=False)
