"""Torch-Pruning (https://github.com/VainF/Torch-Pruning, MIT) as the peer of benchmarks.shrink.

It takes a share of channels and has no limit on MACs, so the share is bisected here.

    pip install torch-pruning==1.6.1
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

import ddpnas

__all__ = ["CRITERIA", "pruned", "pruned_to"]

CRITERIA = ("magnitude, uniform", "magnitude, global", "taylor, uniform")
_HALVINGS = 12


def pruned_to(
    model: nn.Module,
    data: ddpnas.Data,
    criterion: str,
    macs: float,
    batches: Sequence[tuple[Tensor, Tensor]],
    divisor: int,
) -> nn.Module:
    """Return the largest network within the MACs that one share of channels gives.

    Args:
        model: The network, with a Linear layer at its end; it is not changed.
        data: Its data.
        criterion: One of :data:`CRITERIA`.
        macs: The target.
        batches: For gradients.
        divisor: Numbers of channels are multiples of it.
    """
    gradients = _gradients(model, criterion, batches)
    least, most, best = 0.0, 0.99, None
    for _ in range(_HALVINGS):
        ratio = (least + most) / 2
        network = _pruned(model, data, criterion, ratio, gradients, divisor)
        if ddpnas.count_network(network, data.input_shape)["macs"] <= macs:
            most, best = ratio, network
        else:
            least = ratio
    if best is None:
        raise SystemExit(f"Torch-Pruning does not reach {macs:,.0f} MACs by {criterion}")
    return best


def pruned(
    model: nn.Module,
    data: ddpnas.Data,
    criterion: str,
    ratio: float,
    batches: Sequence[tuple[Tensor, Tensor]],
    divisor: int,
) -> nn.Module:
    """Return a network without a share of its channels; see :func:`pruned_to`."""
    gradients = _gradients(model, criterion, batches)
    return _pruned(model, data, criterion, ratio, gradients, divisor)


def _gradients(
    model: nn.Module, criterion: str, batches: Sequence[tuple[Tensor, Tensor]]
) -> dict[str, Tensor]:
    """Return the gradients that a criterion needs, by the names of the parameters."""
    if not criterion.startswith("taylor"):
        return {}
    network = copy.deepcopy(model).eval().requires_grad_(True)
    for inputs, labels in batches:
        functional.cross_entropy(network(inputs), labels).backward()  # type: ignore[no-untyped-call]
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def _pruned(
    model: nn.Module,
    data: ddpnas.Data,
    criterion: str,
    ratio: float,
    gradients: Mapping[str, Tensor],
    divisor: int,
) -> nn.Module:
    import torch_pruning as tp

    network = copy.deepcopy(model).eval().requires_grad_(True)
    for name, parameter in network.named_parameters():
        parameter.grad = gradients[name].clone() if name in gradients else None
    head = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    kind, scope = criterion.split(", ")
    importance = (
        tp.importance.GroupMagnitudeImportance(p=2)
        if kind == "magnitude"
        else tp.importance.GroupTaylorImportance()
    )
    pruner = tp.pruner.BasePruner(
        network,
        torch.zeros(1, *data.input_shape),
        importance=importance,
        global_pruning=scope == "global",
        pruning_ratio=ratio,
        max_pruning_ratio=0.95,
        ignored_layers=[head],
        round_to=divisor,
    )
    pruner.step()
    network.zero_grad()
    return network.eval()
