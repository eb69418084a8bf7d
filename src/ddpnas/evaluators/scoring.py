"""What paths are worth with the same weights: what they have in common is computed once.

A cross-entropy punishes a path for being surer than it has reason to be, which tells more of how
the shared weights were trained than of the architecture. One number, the temperature that its
outputs are divided by, takes that out (Guo et al., "On Calibration of Modern Neural Networks",
ICML 2017, arXiv 1706.04599): the calibrated loss is the cross-entropy at the temperature that suits
the path best, on the same images.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ddpnas.architecture import Decision
from ddpnas.choice import Supernet
from ddpnas.distributed import Processes
from ddpnas.evaluators.replay import Replay

__all__ = ["Verdict", "most_accurate", "verdicts"]

Paths = Sequence[Mapping[str, str]]
Batches = Iterable[tuple[Tensor, Tensor]]

_TEMPERATURES = tuple(2.0 ** (k / 4) for k in range(-8, 13))  # 0.25 to 8
_AS_IT_IS = _TEMPERATURES.index(1.0)


@dataclass(frozen=True)
class Verdict:
    """What a path is worth on a set of images.

    Attributes:
        accuracy: fraction of images that are right.
        loss: mean cross-entropy.
        calibrated_loss: mean cross-entropy of the outputs divided by ``temperature``.
        temperature: of 0.25 to 8 in steps of a fourth root of 2, the one with the least loss.
    """

    accuracy: float
    loss: float
    calibrated_loss: float
    temperature: float

    @classmethod
    def of_sums(cls, count: float, right: float, losses: Sequence[float]) -> Verdict:
        """Return the verdict of so many images, of those right, of summed losses."""
        best = min(range(len(losses)), key=losses.__getitem__)
        return cls(
            accuracy=right / count,
            loss=losses[_AS_IT_IS] / count,
            calibrated_loss=losses[best] / count,
            temperature=_TEMPERATURES[best],
        )


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
    sums = torch.zeros(len(paths), 2 + len(_TEMPERATURES), dtype=torch.float64)
    if any(found):  # of several processes, one may have no batch
        sums = torch.stack([torch.stack(of_path) for of_path in found]).cpu().double().sum(dim=1)
    if processes.size > 1:
        sums = processes.sum(sums.to(processes.device))
    return [Verdict.of_sums(count, right, losses) for count, right, *losses in sums.tolist()]


def _sums(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return how many there are, how many are right, and the summed loss at each temperature."""
    outputs = outputs.float()
    temperatures = outputs.new_tensor(_TEMPERATURES)
    scaled = (outputs / temperatures.view(-1, 1, 1)).flatten(0, 1)
    losses = functional.cross_entropy(scaled, labels.repeat(len(temperatures)), reduction="none")
    right = (outputs.argmax(dim=1) == labels).sum()
    counts = outputs.new_tensor([len(labels)])
    return torch.cat([counts, right[None].float(), losses.view(len(temperatures), -1).sum(dim=1)])


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
