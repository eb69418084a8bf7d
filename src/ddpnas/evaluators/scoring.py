"""score_paths(): accuracy and loss of many paths with the same weights, sharing their work.

A score is a property of the weights, the path and the images. It depends neither on the paths that
are scored before or together with it, nor on the order of the batches. In one process that holds
bit for bit. :func:`in_own_order` makes it so for the order of the images, too: batches are
normalized by their own statistics, so it matters which images are in a batch together.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ddpnas.data.splits import Split, TensorSplit
from ddpnas.evaluators._replay import Replay
from ddpnas.space.decisions import Decision
from ddpnas.space.supernet import Supernet
from ddpnas.training.distributed import Processes
from ddpnas.utils.seeds import seeded

__all__ = ["LEAST_IMAGES", "PathScore", "batch_size", "in_own_order", "score_paths"]

LEAST_IMAGES = 256
"""Images in a batch at least, if there are that many: statistics of fewer are too rough."""

_SEED = 0  # of what a path draws at random while it is scored, the same for every batch

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
    observe: Callable[[Tensor], object] | None = None,
) -> list[PathScore]:
    """Return accuracy and loss of each path.

    The values are those of separate passes over the batches in any order, bit for bit. All paths
    take a batch one after another, sorted so that paths with the same beginning are neighbours;
    :class:`Replay` computes such a beginning once. If a path draws random numbers in evaluation
    mode, it draws the same ones for every batch.

    Args:
        supernet: In evaluation mode, on the device of the batches.
        decisions: In the order in which the network meets them, as far as it has one.
        paths: Architectures.
        batches: (inputs, labels).
        processes: The processes that evaluate together, each on its own batches.
        observe: Called with the outputs of each path for each batch.

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
    with torch.inference_mode(), seeded(_SEED):
        for inputs, labels in batches:
            for index, outputs in _outputs(supernet, paths, order, inputs):
                if observe is not None:
                    observe(outputs)
                found[index].append(_sums(outputs, labels))
    sums = torch.zeros(len(paths), 3, dtype=torch.float64)
    if any(found):  # of several processes, one may have no batch
        values = torch.stack([torch.stack(of_path) for of_path in found]).mT.tolist()
        # fsum is exact before it rounds, so the order of the batches changes no bit.
        sums = torch.tensor(
            [[math.fsum(of_batches) for of_batches in of_path] for of_path in values],
            dtype=torch.float64,
        )
    sums = processes.sum(sums)
    return [PathScore(right / count, loss / count) for count, right, loss in sums.tolist()]


def _sums(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return (images, images that are right, summed loss) of a batch."""
    loss = functional.cross_entropy(outputs.float(), labels, reduction="sum")
    right = ((outputs.argmax(dim=1) == labels) & ~outputs.isnan().any(dim=1)).sum()
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
        torch.manual_seed(_SEED)
        yield order[0], supernet(inputs.clone())  # the network may change them in place
        return
    with Replay(supernet, inputs) as replay:
        for index, following in itertools.zip_longest(order, order[1:]):
            torch.manual_seed(_SEED)
            yield index, replay.run(paths[index], None if following is None else paths[following])


def in_own_order(split: Split) -> Split:
    """Return a split in an order that depends on its items alone, and mixes classes.

    Args:
        split: Items in any order, such as class by class. Items in memory are told apart by
            content, items that are read one by one by name or, without names, by index.

    Example:
        >>> split = TensorSplit(torch.arange(6.0)[:, None], torch.zeros(6, dtype=torch.long))
        >>> other = split.subset([5, 3, 1, 0, 2, 4])
        >>> torch.equal(in_own_order(split).inputs, in_own_order(other).inputs)
        True
    """
    items: Iterable[bytes]
    if isinstance(split, TensorSplit):
        items = (item.contiguous().view(-1).view(torch.uint8).numpy() for item in split.inputs)
    else:
        items = (
            str(name).encode(errors="surrogateescape")
            for name in split.names or split.indices.tolist()
        )
    keys = [
        hashlib.blake2b(item, digest_size=16, key=str(label).encode()).digest()
        for item, label in zip(items, split.labels.tolist(), strict=True)
    ]
    return split.subset(sorted(range(len(keys)), key=keys.__getitem__))


def batch_size(images: int, most: int) -> int:
    """Return the size of the largest batch, if all are of nearly equal size and none is small.

    Args:
        images: Number of all images.
        most: Number of images in a batch, at most; but no batch has fewer than
            :data:`LEAST_IMAGES` because of it.

    Example:
        >>> batch_size(1_001, 500), batch_size(501, 500), batch_size(40, 500)
        (334, 501, 40)
    """
    count = max(1, min(math.ceil(images / most), images // LEAST_IMAGES))
    return math.ceil(images / count)
