"""Scores of several paths with the same weights: what they have in common is computed once."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ddpnas.architecture import Decision
from ddpnas.choice import Supernet
from ddpnas.distributed import Processes
from ddpnas.evaluators.replay import Replay

__all__ = ["accuracies_and_losses", "most_accurate"]

Paths = Sequence[Mapping[str, str]]
Batches = Iterable[tuple[Tensor, Tensor]]


def accuracies_and_losses(
    supernet: Supernet,
    decisions: Sequence[Decision],
    paths: Paths,
    batches: Batches,
    processes: Processes,
) -> list[tuple[float, float]]:
    """Return the fraction of inputs that are right, and the mean cross-entropy, of each path.

    They are those of separate passes over the batches, bit for bit: all paths take a batch one
    after another, those next to each other that begin alike, see :class:`Replay`.

    Args:
        supernet: in evaluation mode, on the device of the batches.
        decisions: in the order in which the network meets them, as far as it has one.
        paths: architectures.
        batches: (inputs, labels).
        processes: those that evaluate together, each on batches of its own.
    """
    order = _order(decisions, paths)
    right, losses = _zeros(len(paths), processes.device)
    count = 0
    with torch.inference_mode():
        for inputs, labels in batches:
            if count == 0:  # a process alone is not told where its evaluator works
                right, losses = _zeros(len(paths), labels.device)
            count += len(labels)
            for index, outputs in _outputs(supernet, paths, order, inputs):
                right[index] += (outputs.argmax(dim=1) == labels).sum()
                losses[index] += functional.cross_entropy(outputs, labels, reduction="sum")
    sums = torch.cat([right.double(), losses.double(), right.new_tensor([count]).double()])
    sums = processes.sum(sums)
    fractions, means = (sums[:-1] / sums[-1]).view(2, -1).tolist()
    return list(zip(fractions, means, strict=True))


def _zeros(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return n counts and n sums of losses to add to."""
    return torch.zeros(n, dtype=torch.long, device=device), torch.zeros(n, device=device)


def most_accurate(
    supernet: Supernet, decisions: Sequence[Decision], paths: Paths, batches: Batches, inputs: int
) -> tuple[int, float]:
    """Return which path gets the most inputs right, the first of equal ones, and the fraction.

    Exact, and with less work than all scores: after each batch, paths are left out that could
    not become the best if they were right on everything that is still to come.

    Args:
        supernet: in evaluation mode, on the device of the batches.
        decisions: as for :func:`accuracies_and_losses`.
        paths: architectures.
        batches: (inputs, labels).
        inputs: in all batches together.
    """
    order = _order(decisions, paths)
    right = torch.zeros(len(paths), dtype=torch.long)
    left = inputs
    with torch.inference_mode():
        for batch, labels in batches:
            found = [
                (index, (outputs.argmax(dim=1) == labels).sum())
                for index, outputs in _outputs(supernet, paths, order, batch)
            ]
            for index, count in found:
                right[index] += count.cpu()
            left -= len(labels)
            lead = int(right[order].max())
            order = [index for index in order if int(right[index]) + left >= lead]
    best = min(order, key=lambda index: (-int(right[index]), index))
    return best, int(right[best]) / inputs


def _order(decisions: Sequence[Decision], paths: Paths) -> list[int]:
    """Return the indices of the paths, those next to each other that begin alike."""
    return sorted(
        range(len(paths)), key=lambda i: [d.options.index(paths[i][d.name]) for d in decisions]
    )


def _outputs(
    supernet: Supernet, paths: Paths, order: Sequence[int], inputs: Tensor
) -> Iterator[tuple[int, Tensor]]:
    """Yield index and outputs of each path, in the order given."""
    with Replay(supernet, inputs) as replay:
        for index, following in itertools.zip_longest(order, order[1:]):
            yield index, replay.run(paths[index], None if following is None else paths[following])
