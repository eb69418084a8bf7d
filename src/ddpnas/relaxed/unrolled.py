"""second_order(): the gradient by the logits through one step of the weights.

Notation.  a        logits of all decisions            L_t, L_v  losses on a training and on a
           w        weights of the network                       validation batch
           xi       learning rate of the weights       v         gradient of L_v(w', a) by w'
           m        momentum buffer of SGD             e         0.01 / |v|

    w' = w - xi (momentum m + grad_w L_t(w, a) + decay w)
    grad_a L_v(w', a) - xi (grad_a L_t(w + e v, a) - grad_a L_t(w - e v, a)) / (2 e)

The quotient is a finite difference in place of the product of a mixed second derivative with v (Liu
et al., "DARTS", ICLR 2019, arXiv 1806.09055).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

__all__ = ["Gradients", "second_order"]

Gradients = list[Tensor | None]
"""The gradient by each of some parameters; None where a loss does not depend on one."""

# Parameters -> gradients of a loss by them at their present values, and the loss.
Slopes = Callable[[Sequence[nn.Parameter]], tuple[Gradients, Tensor]]

_DIFFERENCE = 0.01  # length of the step of the finite difference


def second_order(
    train: Slopes,
    valid: Slopes,
    logits: Sequence[nn.Parameter],
    weights: Sequence[nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> tuple[Gradients, Tensor]:
    """Return the gradient by the logits, and the validation loss; weights end where they were.

    Args:
        train: Returns gradients of the loss on a training batch.
        valid: Returns gradients of the loss on a validation batch.
        logits: The logits.
        weights: The weights of the network, all in one group of the optimizer.
        optimizer: SGD of the weights; gives learning rate, momentum and weight decay.

    Example:
        >>> a, w = (nn.Parameter(torch.ones(1, dtype=torch.float64)) for _ in range(2))
        >>> def slopes(loss):
        ...     return lambda ps: (list(torch.autograd.grad(loss(), ps, allow_unused=True)), loss())
        >>> sgd = torch.optim.SGD([w], lr=0.1)
        >>> train, valid = slopes(lambda: a * w**2), slopes(lambda: w**2 / 2)
        >>> found, _ = second_order(train, valid, [a], [w], sgd)  # w' = 0.8, -xi 2 w w'
        >>> found[0].round(decimals=4), w.item()
        (tensor([-0.1600], dtype=torch.float64), 1.0)
    """
    group = optimizer.param_groups[0]
    xi = float(group["lr"])
    before = [parameter.detach().clone() for parameter in weights]
    slopes, _ = train(weights)
    with torch.no_grad():
        for parameter, slope in zip(weights, slopes, strict=True):
            if slope is None:
                continue
            step = slope + group["weight_decay"] * parameter
            momentum = optimizer.state[parameter].get("momentum_buffer")
            if momentum is not None:
                step += group["momentum"] * momentum
            parameter.sub_(step, alpha=xi)
    both, loss = valid([*logits, *weights])
    direct, direction = both[: len(logits)], both[len(logits) :]
    lengths = [torch.linalg.vector_norm(part) for part in direction if part is not None]
    e = _DIFFERENCE / max(float(torch.linalg.vector_norm(torch.stack(lengths))), 1e-12)
    _move(weights, before, direction, e)
    above, _ = train(logits)
    _move(weights, before, direction, -e)
    below, _ = train(logits)
    _move(weights, before, direction, 0.0)
    found: Gradients = []
    for whole, upper, lower in zip(direct, above, below, strict=True):
        if upper is not None and lower is not None:
            implicit = (upper - lower) * (xi / (2 * e))
            whole = -implicit if whole is None else whole - implicit
        found.append(whole)
    return found, loss


@torch.no_grad()
def _move(
    weights: Sequence[nn.Parameter], base: Sequence[Tensor], along: Gradients, by: float
) -> None:
    """Set the weights to ``base + by * along``."""
    for parameter, start, direction in zip(weights, base, along, strict=True):
        parameter.copy_(start)
        if direction is not None and by:
            parameter.add_(direction, alpha=by)
