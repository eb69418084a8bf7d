"""WidthScores: what widths cost, in loss and otherwise, to generate for other limits later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

from ddpnas.costs.table import CostTable, CostTableForm
from ddpnas.errors import InfeasibleError, RunError
from ddpnas.generation.best import Generated, top_k
from ddpnas.generation.frontier import frontier
from ddpnas.generation.limits import Limit, Limits, checked_limits, parse_limits
from ddpnas.shrinking.folder import COSTS, ShrinkFolder
from ddpnas.shrinking.groups import Group
from ddpnas.shrinking.sensitivity import Sensitivity
from ddpnas.space.decisions import Architecture, DecisionSpace, SpaceForm
from ddpnas.space.distribution import JointDistribution
from ddpnas.utils.checksums import check_checksum
from ddpnas.utils.read import read_json
from ddpnas.utils.text import resume_command

__all__ = ["GroupForm", "WidthScores", "describe_fixed", "group_form", "predicted_rise"]


class GroupForm(TypedDict):
    """What files keep of a group of channels."""

    name: str
    channels: int
    widths: list[int]
    share: float
    kind: Literal["free", "impossible", "unknown", "kept"]
    fixed: str


def group_form(group: Group) -> GroupForm:
    """Return what files keep of a group."""
    return GroupForm(
        name=group.name, channels=group.channels, widths=list(group.widths),
        share=group.share, kind=group.kind, fixed=group.fixed,
    )  # fmt: skip


class _CostsForm(TypedDict):
    space: SpaceForm
    tables: list[CostTableForm]
    groups: list[GroupForm]


@dataclass(frozen=True)
class WidthScores:
    """The groups of a network, and what each of their widths costs.

    Attributes:
        space: A decision for each group that can be cut.
        costs: Cost name -> table.
        groups: All groups.
        sensitivity: What each width costs in loss.

    Example:
        >>> scores = WidthScores.read("runs/small")  # doctest: +SKIP
        >>> scores.generate({"macs": "30%"})[0].architecture  # doctest: +SKIP
        Architecture({'conv1': '24', ...})
    """

    space: DecisionSpace
    costs: dict[str, CostTable]
    groups: Sequence[GroupForm]
    sensitivity: Sensitivity

    @classmethod
    def read(cls, folder: str | Path) -> WidthScores:
        """Return what the folder of a shrink holds.

        Args:
            folder: Its ``out``.

        Raises:
            RunError: It is no such folder, or not all widths are measured yet.
        """
        with ShrinkFolder.opened(folder) as (opened, _):
            measured = opened.widths()
        kept = _read_costs(Path(folder) / COSTS)
        space = DecisionSpace.from_dict(kept["space"])
        wanted = {(d.name, option) for d in space.decisions for option in d.options[:-1]}
        first = space.decisions[0]
        whole = measured.get((first.name, first.options[-1]))
        if whole is None or wanted - measured.keys():
            raise RunError(
                f"not all widths in {folder} are measured; go on with `{resume_command(folder)}`"
            )
        costs = {table.name: table for table in cls.tables(folder)}
        sensitivity = Sensitivity.of_losses(space, whole, measured)
        return cls(space, costs, kept["groups"], sensitivity)

    @staticmethod
    def tables(folder: str | Path) -> list[CostTable]:
        """Return the cost tables in the folder of a shrink."""
        kept = _read_costs(Path(folder) / COSTS)
        return [CostTable.from_dict(table) for table in kept["tables"]]

    @staticmethod
    def to_dict(
        space: DecisionSpace, costs: Mapping[str, CostTable], groups: Iterable[Group]
    ) -> dict[str, Any]:
        """Return plain data for JSON: all but the losses."""
        decisions = DecisionSpace(space.decisions, space.rules)
        return {
            "space": decisions.to_dict(),
            "tables": [table.to_dict() for table in costs.values()],
            "groups": [group_form(group) for group in groups],
        }

    @property
    def whole(self) -> dict[str, float]:
        """Costs of the given network."""
        widest = Architecture({d.name: d.options[-1] for d in self.space.decisions})
        return {name: table.cost(widest) for name, table in self.costs.items()}

    def limits(self, limits: Limits | Iterable[str]) -> dict[str, Limit]:
        """Return limits; shares are those of the given network's costs."""
        return checked_limits(parse_limits(limits, of=self.whole), self.costs)

    def generate(self, limits: Limits | Iterable[str], top: int = 1) -> list[Generated]:
        """Return the networks within limits whose losses rise least, best first.

        Args:
            limits: See :func:`ddpnas.shrink`.
            top: Number of networks.

        Raises:
            InfeasibleError: The limits cannot be met; the message names what cannot be cut.
        """
        uniform = JointDistribution.uniform(self.space.decisions)
        objective, asked = self.sensitivity.objective, self.limits(limits)
        try:
            return top_k(uniform, self.space, top, asked, self.costs, objective=objective)
        except InfeasibleError as error:
            fixed = describe_fixed(self.groups)
            raise InfeasibleError(f"{error}; {fixed}", error.unmet) from None

    def frontier(
        self, costs: str | Sequence[str] = "macs", limits: Limits | Iterable[str] = ()
    ) -> list[Generated]:
        """Return the best network, before fine-tuning, for every value of a cost or of several.

        Args:
            costs: Names of costs.
            limits: See :func:`ddpnas.shrink`.
        """
        uniform = JointDistribution.uniform(self.space.decisions)
        objective, asked = self.sensitivity.objective, self.limits(limits)
        return frontier(uniform, self.space, costs, asked, self.costs, objective=objective)


def predicted_rise(one: Generated) -> float:
    """Return by how much the loss rises in a network of :class:`WidthScores`, as a sum."""
    return abs(one.certificate.objective)  # without the sign of -0.0


def _read_costs(path: Path) -> _CostsForm:
    found: _CostsForm = read_json(path, _CostsForm)
    check_checksum(found, path, "remove it, and `ddpnas resume` counts the costs again")
    return found


def describe_fixed(groups: Iterable[GroupForm]) -> str:
    """Return in words what cannot be cut, the largest first."""
    fixed = sorted((g for g in groups if g["kind"] != "free"), key=lambda g: -g["share"])[:3]
    listed = "; ".join(
        f"{g['name']} ({100 * g['share']:.0f} % of the MACs): {g['fixed']}" for g in fixed
    )
    return f"channels that cannot be cut: {listed or 'none'}"
