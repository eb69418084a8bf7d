"""Whether a file computes what the network does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ddpnas.errors import ExportError
from ddpnas.export._deployed import Input

__all__ = ["Agreement", "compare"]

TOLERANCE = 1e-3  # of the largest output: float32 sums in another order stay far below it


@dataclass(frozen=True)
class Agreement:
    """How a file's outputs compare to the network's.

    Attributes:
        inputs: compared.
        largest_difference: between two logits, in absolute value.
        largest_output: logit in absolute value, what the difference is to be seen against.
        equal_top1: inputs for which both name the same class.
    """

    inputs: int
    largest_difference: float
    largest_output: float
    equal_top1: int

    def explain(self) -> str:
        """Return the comparison as a sentence."""
        return (
            f"largest difference {self.largest_difference:.1e} of outputs up to "
            f"{self.largest_output:.3g}, same class for {self.equal_top1:,} of {self.inputs:,}"
        )


def compare(network: nn.Module, given: Tensor, takes: Input, raw: Tensor) -> Agreement:
    """Return how a file's outputs compare to those of the deployed network.

    Args:
        network: as deployed, in evaluation mode on the CPU.
        given: the file's logits.
        takes: what goes into both.
        raw: the inputs.

    Raises:
        ExportError: they differ by more than ``TOLERANCE`` of the largest output, or name another
            class for an input whose first two outputs are further apart than that.
    """
    with torch.inference_mode():
        expected = torch.cat([network(batch) for batch in takes.batches(raw)]).float()
    difference = float((given - expected).abs().max())
    largest = float(expected.abs().max())
    same = given.argmax(dim=1) == expected.argmax(dim=1)
    found = Agreement(len(raw), difference, largest, int(same.sum()))
    allowed = TOLERANCE * max(largest, 1e-6)
    chosen = expected.gather(1, given.argmax(dim=1, keepdim=True))[:, 0]
    too_far = expected.amax(dim=1) - chosen > allowed
    if not difference <= allowed or too_far.any():
        raise ExportError(f"the file does not compute what the network does: {found.explain()}")
    return found
