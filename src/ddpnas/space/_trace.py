"""Run an open network once on the meta device: every option of every choice."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ddpnas.errors import DdpnasError, SpaceError
from ddpnas.space.supernet import Choice, Condition

__all__ = ["as_space_error", "visit_options"]


def visit_options(
    network: nn.Module,
    example: Tensor,
    around: Callable[[Condition], contextlib.AbstractContextManager[Any]],
) -> Any:
    """Run an open network once, every option of every choice; return its output.

    Meant for the meta device: it changes the network's choices, which cannot be used again.

    Args:
        network: Network made with every decision open.
        example: Input of the network, (N, ...).
        around: Returns a context in which an option runs, given the (decision, option) pairs
            under which it stands, its own last.

    Raises:
        SpaceError: Options of one decision have outputs of different shapes, or one fails.
    """
    stack: list[tuple[str, str]] = []

    def run_all(choice: Choice, *args: Any, **kwargs: Any) -> Any:
        outputs: dict[str, Any] = {}
        for name, option in zip(choice.names, choice.options, strict=True):
            stack.append((choice.decision, name))
            with (
                around(tuple(stack)),
                as_space_error(f"option {name!r} of decision {choice.decision!r}"),
            ):
                outputs[name] = option(*args, **kwargs)
            stack.pop()
        there = {name: output for name, output in outputs.items() if output is not None}
        if len({_shape(output) for output in there.values()}) > 1:
            shapes = ", ".join(f"{name} -> {_shape(output)}" for name, output in there.items())
            raise SpaceError(
                f"the options of decision {choice.decision!r} have outputs of different shapes "
                f"(batch of {len(example)}): {shapes}"
            )
        return next(iter(there.values()), None)

    for module in network.modules():
        if isinstance(module, Choice):
            module.forward = functools.partial(run_all, module)  # type: ignore[method-assign]
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.forward = functools.partial(_pass, module)  # type: ignore[method-assign]
    with torch.no_grad():
        return network(example)


def _pass(norm: nn.modules.batchnorm._BatchNorm, x: Tensor) -> Tensor:
    """Return x in the place of BatchNorm, which takes most of the time on the meta device."""
    norm._check_input_dim(x)  # type: ignore[no-untyped-call]
    if x.shape[1] != norm.num_features:
        raise ValueError(f"BatchNorm of {norm.num_features} channels on an input of {_shape(x)}")
    return x


def _shape(output: Any) -> str:
    if isinstance(output, Tensor):
        return "x".join(str(n) for n in output.shape)
    if isinstance(output, (tuple, list)):
        return "(" + ", ".join(_shape(item) for item in output) + ")"
    return type(output).__name__


@contextlib.contextmanager
def as_space_error(what: str, hint: str = "") -> Iterator[None]:
    """Re-raise any exception from inside as a SpaceError. DdpnasErrors pass unchanged.

    Args:
        what: What fails, the beginning of the sentence.
        hint: Its end.
    """
    try:
        yield
    except DdpnasError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise SpaceError(f"{what} fails: {reason}{hint}") from error
