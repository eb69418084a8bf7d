"""Exported: an exported file with the check of its outputs against the network's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ddpnas.errors import ExportError
from ddpnas.export._file_costs import Counts
from ddpnas.export.deployable import Input
from ddpnas.utils.files import write_atomic

__all__ = ["Agreement", "Exported"]

TOLERANCE = 1e-3  # of the largest output: float32 sums in another order stay far below it


@dataclass(frozen=True)
class Agreement:
    """How the outputs of a file differ from those of the network it was made from.

    Example:
        >>> Agreement(500, 2e-6, 9.0, 500).explain()
        'largest difference 2.0e-06 of outputs up to 9, same class for 500 of 500'

    Attributes:
        inputs: Number of inputs compared.
        largest_difference: Largest absolute difference between two logits.
        largest_output: Largest absolute logit of the network, to judge the difference by.
        equal_top1: Number of inputs for which both predict the same class.
    """

    inputs: int
    largest_difference: float
    largest_output: float
    equal_top1: int

    @classmethod
    def of(cls, outputs: Tensor, expected: Tensor) -> Agreement:
        """Return how logits (N, classes) differ from the expected ones."""
        same = outputs.argmax(dim=1) == expected.argmax(dim=1)
        return cls(
            len(expected),
            float((outputs - expected).abs().max()),
            float(expected.abs().max()),
            int(same.sum()),
        )

    def explain(self) -> str:
        """Return the comparison as one sentence."""
        return (
            f"largest difference {self.largest_difference:.1e} of outputs up to "
            f"{self.largest_output:.3g}, same class for {self.equal_top1:,} of {self.inputs:,}"
        )


@dataclass(frozen=True)
class Exported:
    """A file that an exporter wrote, and what is known about it.

    Attributes:
        path: Path of the file.
        bytes: Size of the file.
        takes: Inputs that the file accepts.
        agreement: Its outputs compared with the network's. For an int8 file: compared with the
            float file's, on the images that calibrated it.
        counts: Parameters and multiply-adds of the file and of the network, for
            :func:`ddpnas.export_onnx`. None for other files, and for a network that cannot run
            without values.
    """

    path: Path
    bytes: int
    takes: Input
    agreement: Agreement
    counts: Counts | None = None


def check_outputs(network: nn.Module, outputs: Tensor, takes: Input, raw: Tensor) -> Agreement:
    """Return how a file's logits differ from those of the deployed network.

    Args:
        network: The network as it is deployed, in evaluation mode on the CPU.
        outputs: Logits of the file, (N, classes).
        takes: Inputs of both.
        raw: The N raw inputs.

    Raises:
        ExportError: If outputs differ by more than ``TOLERANCE`` of the largest output, or if the
            file predicts another class for an input whose two best classes are further apart
            than that.
    """
    with torch.inference_mode():
        expected = torch.cat([network(batch) for batch in takes.batches(raw)]).float()
    agreement = Agreement.of(outputs, expected)
    allowed = TOLERANCE * max(agreement.largest_output, 1e-6)
    # Two classes may be as good as equally likely. Then either prediction is right.
    chosen = expected.gather(1, outputs.argmax(dim=1, keepdim=True))[:, 0]
    too_far = expected.amax(dim=1) - chosen > allowed
    # Written so that NaN, which is never below a bound, is a disagreement too.
    if not agreement.largest_difference <= allowed or too_far.any():
        raise ExportError(
            f"the file does not compute what the network computes: {agreement.explain()}"
        )
    return agreement


def write_checked(
    content: bytes,
    path: str | Path,
    takes: Input,
    agreement: Agreement,
    counts: Counts | None = None,
) -> Exported:
    """Write a checked file, whole or not at all, into a folder that is created if missing."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)
    return Exported(path, len(content), takes, agreement, counts)
