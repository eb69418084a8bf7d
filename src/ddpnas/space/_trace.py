"""Run an open network on the meta device: every option of every choice."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from ddpnas.errors import DdpnasError, SpaceError, reason_of
from ddpnas.space.supernet import Choice, Condition

__all__ = ["Visit", "as_space_error", "check_network", "forget_visit", "visit_options"]

_REGISTER = "keep it in an attribute of a module, an nn.ModuleList or an nn.ModuleDict"


@dataclass
class Visit:
    """What a run of every option found.

    Attributes:
        output: The network's output.
        ran: The decisions of the choices that ran.
        absent: Decisions with an option that returned None -> the first such option.
    """

    output: Any = None
    ran: set[str] = field(default_factory=set)
    absent: dict[str, str] = field(default_factory=dict)


def visit_options(
    network: nn.Module,
    example: Tensor,
    around: Callable[[Condition], contextlib.AbstractContextManager[Any]],
    *,
    without: Collection[str] = (),
    visit: Visit | None = None,
) -> Visit:
    """Run an open network once, every option of every choice.

    It changes the network's choices and BatchNorm, which :func:`forget_visit` restores.

    Args:
        network: Network made with every decision open.
        example: Input of the network, (N, ...).
        around: Returns a context in which an option runs, given the (decision, option) pairs
            under which it stands, its own last.
        without: Decisions whose choices return None where one of their options does.
        visit: Filled and returned, so that it also tells what ran before an error.

    Raises:
        SpaceError: Options of one decision have outputs of different shapes, or one fails.
    """
    visit = visit or Visit()
    stack: list[tuple[str, str]] = []

    def run_all(choice: Choice, *args: Any, **kwargs: Any) -> Any:
        visit.ran.add(choice.decision)
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
        if len(there) < len(outputs):
            first = next(name for name in outputs if name not in there)
            visit.absent.setdefault(choice.decision, first)
            if choice.decision in without:
                return None
        return next(iter(there.values()), None)

    for module in network.modules():
        if isinstance(module, Choice):
            module.forward = functools.partial(run_all, module)  # type: ignore[method-assign]
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.forward = functools.partial(_pass, module)  # type: ignore[method-assign]
    with torch.no_grad():
        visit.output = network(example)
    return visit


def forget_visit(network: nn.Module) -> nn.Module:
    """Return the network with the choices and BatchNorm that it had before the visit."""
    for module in network.modules():
        if isinstance(module, (Choice, nn.modules.batchnorm._BatchNorm)):
            module.__dict__.pop("forward", None)
    return network


def check_network(network: nn.Module, example: Tensor, what: str, choices: Sequence[Choice]) -> Any:
    """Run an open network in training and in evaluation mode; return the output of the first.

    Args:
        network: Network made with every decision open, on the meta device.
        example: Input of the network, (N, ...).
        what: The network and its input, the beginning of messages.
        choices: All choices that were made for it.

    Raises:
        SpaceError: It fails in one of the modes or where an option returns None, it never runs a
            decision, or it keeps modules where torch does not see them.
    """
    registered = set(network.modules())
    for choice in reversed(choices):  # one comes after those inside it
        if choice not in registered and not any(
            other in registered for other in choices if other.decision == choice.decision
        ):
            raise SpaceError(
                f"decision {choice.decision!r} is asked, but what choose returned is not part of "
                f"the network{_kept_by(network, choice)}; {_REGISTER}"
            )
    for module in registered:
        if not isinstance(module, nn.TransformerEncoderLayer):
            continue
        # On the meta device torch never takes the fast path of this layer.
        if isinstance(module.activation, Choice) and module.activation_relu_or_gelu:
            raise SpaceError(
                f"decision {module.activation.decision!r} is the activation of an "
                f"nn.TransformerEncoderLayer, which in evaluation runs the one that it was made "
                f"with; set activation_relu_or_gelu = 0 on that layer"
            )
    trained = _check_mode(network.train(), example, what, choices)
    evaluated = _check_mode(network.eval(), example, f"{what} in evaluation mode", choices)
    _check_absent(network.train(), example, {**trained.absent, **evaluated.absent})
    return trained.output


def _check_mode(network: nn.Module, example: Tensor, what: str, choices: Sequence[Choice]) -> Visit:
    visit = Visit()

    def left() -> str:
        names = dict.fromkeys(c.decision for c in choices if c.decision not in visit.ran)
        return ", ".join(map(repr, names))

    try:
        with as_space_error(what), _all_registered(network):
            visit_options(network, example, _no_context, visit=visit)
    except SpaceError as error:
        if _reads_values(error.__cause__):
            raise SpaceError(
                f"{error}: forward reads the values of a tensor, as in `if x.mean() > 0`, so what "
                f"runs, and what it costs, depends on the data; compute both with torch.where, or "
                f"read a constant in the constructor"
                + (f" (not run up to there: decision {left()})" if left() else "")
            ) from error
        raise
    if left():
        mode = "training" if network.training else "evaluation"
        raise SpaceError(
            f"{what} never runs decision {left()} in {mode} mode, so a search could not tell its "
            f"options apart; call it in forward in both modes, or do not ask for it"
        )
    return visit


def _check_absent(network: nn.Module, example: Tensor, absent: dict[str, str]) -> None:
    """Check that the network goes on wherever an option returns None."""

    def failure(decisions: Collection[str]) -> str | None:
        try:
            with as_space_error("the network"):
                output = visit_options(network, example, _no_context, without=decisions).output
        except SpaceError as error:
            return str(error)
        return "the network returns None" if output is None else None

    # One run with all of them absent is the common case. Only if that fails, which may take
    # several together, each is tried alone.
    if not absent or failure(absent) is None:
        return
    for decision, option in absent.items():
        if (reason := failure([decision])) is not None:
            raise SpaceError(
                f"option {option!r} of decision {decision!r} returns None (no connection), and the "
                f"network cannot go on with that ({reason}); nn.Sequential hands it to the next "
                f"module: sum such outputs with ddpnas.space.layers.add, or use a module that "
                f"returns a tensor, such as nn.Identity"
            )


@contextlib.contextmanager
def _all_registered(network: nn.Module) -> Iterator[None]:
    """Refuse modules with weights that run inside, but are not in ``network.modules()``."""
    registered, thread = set(network.modules()), threading.get_ident()

    def check(module: nn.Module, args: Any) -> None:
        if module in registered or threading.get_ident() != thread:
            return
        if any(parameter.requires_grad for parameter in module.parameters()):
            raise SpaceError(
                f"the network runs a {type(module).__name__} that is not part of it"
                f"{_kept_by(network, module)}, so nothing would train or count its weights; "
                f"{_REGISTER}"
            )

    hook = register_module_forward_pre_hook(check)
    try:
        yield
    finally:
        hook.remove()


def _kept_by(network: nn.Module, kept: nn.Module) -> str:
    """Return which attribute keeps a module in a plain list, tuple or dict, if one does."""
    for module in network.modules():
        for name, value in vars(module).items():
            if not isinstance(value, (list, tuple, dict)) or name.startswith("_"):
                continue
            items = value.values() if isinstance(value, dict) else value
            if any(item is kept for item in items):
                kind = type(value).__name__
                return f" ({type(module).__name__}.{name} keeps it in a plain {kind})"
    return ""


def _no_context(pairs: Condition) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


def _reads_values(error: BaseException | None) -> bool:
    """Return whether an error comes from reading values of a tensor on the meta device."""
    return error is not None and any(
        part in str(error)
        for part in (
            "on meta tensors",
            "out of meta tensor",
            "convert meta device",
            "'meta'",
            "Meta",
        )
    )


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
def as_space_error(what: str) -> Iterator[None]:
    """Re-raise any exception from inside as a SpaceError. DdpnasErrors pass unchanged.

    Args:
        what: What fails, the beginning of the sentence.
    """
    try:
        yield
    except DdpnasError:
        raise
    except Exception as error:
        raise SpaceError(f"{what} fails: {reason_of(error)}") from error
