"""Table: a benchmark in which every architecture of a space was trained beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ddpnas.errors import ArchitectureError, OptionError
from ddpnas.space.decisions import DecisionSpace

__all__ = ["Record", "Table"]

Column = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Record:
    """What a table says about one architecture.

    Attributes:
        valid: Accuracy on the validation images, a fraction.
        test: Accuracy on the test images, a fraction.
        seconds: Seconds of training for the epochs asked; None if the table has no times.
        macs: Multiply-adds.
        params: Number of parameters.
    """

    valid: float
    test: float
    seconds: float | None
    macs: int
    params: int


@dataclass(frozen=True)
class Table:
    """The results of all architectures of a space on one data set.

    Attributes:
        name: Name of the table.
        dataset: Data set on which its networks were trained.
        space: The decisions.
        codes: Mixed-radix number of each row's architecture, ascending.
        rows: The row of each code.
        valid: By number of epochs, each row's accuracy on the validation images in percent.
        test: By number of epochs, each row's accuracy on the test images in percent.
        seconds: By number of epochs, each row's seconds of training; empty if there are no times.
        macs: Each row's multiply-adds.
        params: Each row's number of parameters.

    Example:
        >>> from ddpnas.benchmarks import load_table
        >>> table = load_table("nasbench201")
        >>> convolutions = {d.name: "nor_conv_3x3" for d in table.space.decisions}
        >>> round(table.query(convolutions, epochs=200).test, 3)
        0.938
    """

    name: str
    dataset: str
    space: DecisionSpace
    codes: npt.NDArray[np.int64] = field(repr=False)
    rows: npt.NDArray[np.int64] = field(repr=False)
    valid: Mapping[int, Column] = field(repr=False)
    test: Mapping[int, Column] = field(repr=False)
    seconds: Mapping[int, Column] = field(repr=False)
    macs: npt.NDArray[np.int64] = field(repr=False)
    params: npt.NDArray[np.int64] = field(repr=False)

    @property
    def epochs(self) -> tuple[int, ...]:
        """The lengths of training that the table knows, shortest first."""
        return tuple(sorted(self.valid))

    def row(self, architecture: Mapping[str, str]) -> int:
        """Return the row of the architecture; :class:`ArchitectureError` when it has none."""
        code = 0
        for decision, index in zip(
            self.space.decisions, self.space.encode(architecture), strict=True
        ):
            code = code * len(decision.options) + index
        at = int(np.searchsorted(self.codes, code))
        if at == len(self.codes) or self.codes[at] != code:
            raise ArchitectureError(
                f"table {self.name!r} has no row for {self.space.format(architecture)}"
            )
        return int(self.rows[at])

    def query(self, architecture: Mapping[str, str], epochs: int | None = None) -> Record:
        """Return what was measured after some epochs (default: the shortest training).

        Raises:
            OptionError: The table has no results after that many epochs.
        """
        epochs = self.check_epochs(self.epochs[0] if epochs is None else epochs)
        row = self.row(architecture)
        return Record(
            valid=float(self.valid[epochs][row]) / 100.0,
            test=float(self.test[epochs][row]) / 100.0,
            seconds=float(self.seconds[epochs][row]) if self.seconds else None,
            macs=int(self.macs[row]),
            params=int(self.params[row]),
        )

    def check_epochs(self, epochs: int) -> int:
        """Return ``epochs``; :class:`OptionError` where the table does not have them."""
        if epochs not in self.valid:
            known = ", ".join(map(str, self.epochs))
            raise OptionError(f"table {self.name!r} has results after {known} epochs, not {epochs}")
        return epochs
