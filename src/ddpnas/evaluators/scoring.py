"""score_paths(): accuracy and loss of many paths with the same weights, sharing their work."""

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

__all__ = ["PathScore", "score_paths"]

Paths = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class PathScore:
    """How well a path does on a set of images.

    Attributes:
        accuracy: Fraction of images that are right.
        loss: Mean cross-entropy.
    """

    accuracy: float
    loss: float


def score_paths(
    supernet: Supernet,
    decisions: Sequence[Decision],
    paths: Paths,
    batches: Iterable[tuple[Tensor, Tensor]],
    processes: Processes,
) -> list[PathScore]:
    """Return accuracy and loss of each path.

    The values are those of separate passes over the batches, bit for bit. All paths take a batch
    one after another, sorted so that paths with the same beginning are neighbours;
    :class:`Replay` computes such a beginning once.

    Args:
        supernet: In evaluation mode, on the device of the batches.
        decisions: In the order in which the network meets them, as far as it has one.
        paths: Architectures.
        batches: (inputs, labels).
        processes: The processes that evaluate together, each on its own batches.

    Example:
        >>> import ddpnas
        >>> from ddpnas.training.distributed import ALONE
        >>> space = ddpnas.create_space("toy", num_classes=4)
        >>> images, labels = torch.zeros(4, *space.input_shape), torch.arange(4)
        >>> path = space.decode([0] * len(space.decisions))
        >>> supernet = space.supernet().eval()
        >>> [found] = score_paths(supernet, space.decisions, [path], [(images, labels)], ALONE)
        >>> found.accuracy  # equal images get equal answers
        0.25
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
    return [PathScore(right / count, loss / count) for count, right, loss in sums.tolist()]


def _sums(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return (images, images that are right, summed loss) of a batch."""
    loss = functional.cross_entropy(outputs.float(), labels, reduction="sum")
    right = (outputs.argmax(dim=1) == labels).sum()
    return torch.stack([loss.new_tensor(len(labels)), right.to(loss.dtype), loss])


def _order(decisions: Sequence[Decision], paths: Paths) -> list[int]:
    """Return the indices of the paths, those with the same beginning next to each other."""
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
