"""Say in one sentence that a network does not take the inputs of the data or know its classes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from ddpnas.data.data import Data
from ddpnas.errors import DdpnasError, OptionError
from ddpnas.space.outputs import main_output
from ddpnas.training.out_of_memory import is_out_of_memory

__all__ = ["check_model", "explained"]


def check_model(model: nn.Module) -> None:
    """Check that there is something to train.

    Raises:
        OptionError: No parameter is trained.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise OptionError(
            f"the network ({type(model).__name__}) has no parameters to train; was "
            f"requires_grad switched off?"
        )


@contextlib.contextmanager
def explained(model: nn.Module, data: Data) -> Iterator[None]:
    """Check the first call of a network inside: that it succeeds, and what it returns.

    Raises:
        OptionError: The network fails on its first batch, or does not give one logit for each
            class of the data.
    """
    calls: list[str] = []

    def before(*_: object) -> None:
        calls.append("begun")

    def after(_: object, inputs: object, outputs: object) -> None:
        calls.append("ended")
        hooks.close()
        _check_outputs(outputs, data)

    with contextlib.ExitStack() as hooks:
        for handle in (model.register_forward_pre_hook(before), model.register_forward_hook(after)):
            hooks.callback(handle.remove)
        try:
            yield
        except DdpnasError:
            raise
        except Exception as error:
            if calls != ["begun"] or is_out_of_memory(error):
                raise  # not by the network, or not by its first batch
            shape = "x".join(map(str, data.input_shape))
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise OptionError(
                f"the network fails on inputs of shape {shape}, those of {data.name}: "
                f"{reason[:300]}; build it for that shape, or give data of another"
            ) from error


def _check_outputs(outputs: Any, data: Data) -> None:
    logits = main_output(outputs)
    classes = len(data.classes)
    wanted = f"one for each of the {classes} classes of {data.name} is needed"
    if not isinstance(logits, Tensor):
        raise OptionError(
            f"the network returns a {type(logits).__name__}; a tensor of logits, {wanted}"
        )
    if logits.shape[1:] != (classes,):
        found = "x".join(map(str, logits.shape[1:])) or "no"
        raise OptionError(
            f"the network has {found} outputs; {wanted}: give its last layer {classes}"
        )
