"""What paths are worth with the same weights: what they have in common is computed once."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ddpnas.evaluators._replay import Replay
from ddpnas.space.decisions import Decision
from ddpnas.space.supernet import Supernet
from ddpnas.training.distributed import Processes

__all__ = ["Verdict", "most_accurate", "verdicts"]

Paths = Sequence[Mapping[str, str]]
Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Verdict:
    """What a path is worth on a set of images.

    Attributes:
        accuracy: fraction of images that are right.
        loss: mean cross-entropy.
    """

    accuracy: float
    loss: float


def verdicts(
    supernet: Supernet,
    decisions: Sequence[Decision],
    paths: Paths,
    batches: Batches,
    processes: Processes,
) -> list[Verdict]:
    """Return what each path is worth.

    The same as of separate passes over the batches, bit for bit: all paths take a batch one
    after another, those next to each other that begin alike, see :class:`Replay`.

    Args:
        supernet: in evaluation mode, on the device of the batches.
        decisions: in the order in which the network meets them, as far as it has one.
        paths: architectures.
        batches: (inputs, labels).
        processes: those that evaluate together, each on batches of its own.
    """
    order = _order(decisions, paths)
    found: list[list[Tensor]] = [[] for _ in paths]
    with torch.inference_mode():
        for inputs, labels in batches:
            for index, outputs in _outputs(supernet, paths, order, inputs):
                found[index].append(_sums(outputs, labels))
    sums = torch.zeros(len(paths), 3, dtype=torch.float64)
    if any(found):  # of several processes, one may have no batch
        sums = torch.stack([torch.stack(of_path) for of_path in found]).cpu().double().sum(dim=1)
    if processes.size > 1:
        sums = processes.sum(sums.to(processes.device))
    return [Verdict(right / count, loss / count) for count, right, loss in sums.tolist()]


def _sums(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return how many there are, how many are right, and the summed loss."""
    loss = functional.cross_entropy(outputs.float(), labels, reduction="sum")
    right = (outputs.argmax(dim=1) == labels).sum()
    return torch.stack([loss.new_tensor(len(labels)), right.to(loss.dtype), loss])


def most_accurate(
    supernet: Supernet, decisions: Sequence[Decision], paths: Paths, batches: Batches, inputs: int
) -> tuple[int, float]:
    """Return which path gets the most inputs right, the first of equal ones, and the fraction.

    Exact, and with less work than all scores: after each batch, paths are left out that could
    not become the best if they were right on everything that is still to come.

    Args:
        supernet: in evaluation mode, on the device of the batches.
        decisions: as for :func:`verdicts`.
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
    if len(order) == 1:
        supernet.set_path(paths[order[0]])
        yield order[0], supernet(inputs)
        return
    with Replay(supernet, inputs) as replay:
        for index, following in itertools.zip_longest(order, order[1:]):
            yield index, replay.run(paths[index], None if following is None else paths[following])
