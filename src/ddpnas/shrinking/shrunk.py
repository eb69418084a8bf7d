"""Shrunk: a network that was cut to limits, next to what other widths reach."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from ddpnas.errors import OptionError
from ddpnas.generation.best import Generated
from ddpnas.generation.limits import Limit
from ddpnas.shrinking.candidates import Candidate
from ddpnas.shrinking.cutting import Order
from ddpnas.shrinking.groups import Group
from ddpnas.shrinking.width_scores import group_form
from ddpnas.space.decisions import Architecture
from ddpnas.training.networks import NamedNetwork
from ddpnas.training.results import Compared, TrainResult
from ddpnas.training.trained_folder import save_networks

__all__ = ["ShrinkComparison", "Shrunk"]


@dataclass(frozen=True)
class ShrinkComparison:
    """Widths within the limits, and the accuracies of their network.

    Attributes:
        name: "found", "uniform", "random" or "magnitude".
        architecture: The widths.
        costs: Its cost by every table.
        cut: Accuracy after cutting and recalibration.
        result: The network after fine-tuning, and its figures.
    """

    name: str
    architecture: Architecture
    costs: dict[str, float]
    cut: float
    result: TrainResult = field(repr=False)

    @property
    def fine_tuned(self) -> float:
        """Accuracy after fine-tuning."""
        return self.result.evaluation.accuracy

    @property
    def compared(self) -> Compared:
        """The network as the folder of a trained network keeps it."""
        text = ";".join(f"{group}={width}" for group, width in self.architecture.items())
        return Compared(self.name, text, self.architecture, self.costs, self.result)


@dataclass(frozen=True)
class Shrunk:
    """What :func:`shrink` returns.

    Attributes:
        model: The smaller network, fine-tuned, in evaluation mode: plain layers, no trace of the
            search.
        groups: The groups of channels, those that cannot be cut with what fixes them.
        order: Group -> for each of its parts, its classes of channels, the most important first.
        architecture: The widths of the groups that can be cut.
        given: Accuracy of the given network.
        given_costs: Its cost, by name.
        networks: The found widths, and those of the controls, within the same limits.
        costs: Cost of the smaller network, by name.
        limits: The limits; shares are those of the given network's costs.
        frontier: The best widths at every cost, before fine-tuning; empty if there are too many.
        candidates: The networks that were scored as a whole.
        seconds: What each phase took in this session.
        estimated: What each phase should have taken, by the estimate made first.
        folder: Where everything is kept; None if nothing is.

    All accuracies are of the test images, or of the validation images if there are no others.
    """

    model: nn.Module
    groups: tuple[Group, ...]
    order: Order = field(repr=False)
    architecture: Architecture
    given: float
    given_costs: dict[str, float]
    networks: tuple[ShrinkComparison, ...]
    costs: dict[str, float]
    limits: dict[str, Limit]
    frontier: list[Generated] = field(repr=False)
    candidates: list[Candidate] = field(repr=False)
    seconds: dict[str, float] = field(default_factory=dict, repr=False)
    estimated: dict[str, float] = field(default_factory=dict, repr=False)
    folder: Path | None = None

    @property
    def accuracies(self) -> dict[str, float]:
        """The three accuracies: as given, after cutting, after fine-tuning."""
        if not self.networks:
            return {"given": self.given}
        found = self.networks[0]
        return {"given": self.given, "cut": found.cut, "fine-tuned": found.fine_tuned}

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as plain data for JSON.

        "predicted" is what the loss rises by, before any fine-tuning, by the scores of widths.
        """
        return {
            "given": self.given,
            "given_costs": self.given_costs,
            "architecture": dict(self.architecture),
            "costs": self.costs,
            "limits": {name: limit.to_json() for name, limit in self.limits.items()},
            "networks": [
                {"name": one.name, "architecture": dict(one.architecture), "costs": one.costs,
                 "cut": one.cut, "fine_tuned": one.fine_tuned}
                for one in self.networks
            ],
            "groups": [group_form(group) for group in self.groups],
            "frontier": [
                {"architecture": dict(one.architecture), "costs": one.costs,
                 "predicted": abs(one.certificate.objective)}  # without the sign of -0.0
                for one in self.frontier
            ],
            "candidates": [
                {"architecture": dict(one.architecture), "costs": one.costs,
                 "predicted": abs(one.predicted),
                 "loss": one.loss if math.isfinite(one.loss) else None}
                for one in self.candidates
            ],
            "seconds": self.seconds,
            "estimated_seconds": self.estimated,
            "folder": None if self.folder is None else str(self.folder),
        }  # fmt: skip

    def save(self, folder: str | Path, *, named: NamedNetwork | None = None) -> None:
        """Write the smaller network for :func:`ddpnas.load`, with the figures of all networks.

        Weights and widths are stored, no code. When it is loaded, the given network is built anew
        and its layers are made as large as the stored weights: by its name, or by the function that
        you give, ``ddpnas.load(folder, model=...)``.

        Args:
            folder: Made if it is not there; its files of a trained network are replaced.
            named: ``named`` of what :func:`ddpnas.open_network` returned, if the given network
                comes from it.

        Raises:
            OptionError: Nothing was cut, as the limits were met already.
            RunError: The folder is in use or cannot be written.
        """
        if not self.networks:
            raise OptionError("nothing was cut, so that there is no smaller network to save")
        compared = [one.compared for one in self.networks]
        save_networks(folder, None, compared, limits=self.limits, named=named)
