"""Mixture: the logits of all decisions, from which the weights of a run are drawn."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ddpnas.relaxed.mixed import Draw
from ddpnas.relaxed.relaxations import Relaxation
from ddpnas.space.decisions import Decision
from ddpnas.utils.seeds import derive_seed

__all__ = ["Mixture", "entropy"]

_SCALE = 1e-3  # standard deviation of the first logits


class Mixture:
    """A vector of logits for each decision, and which options survive.

    All random numbers are drawn in the order of names. So a space whose decisions or options stand
    in another order gives the same weights.

    Args:
        decisions: The decisions.
        relaxation: How logits become weights.
        seed: Seed for the first logits.
        device: Device of the logits.
        drop_rate: r of DropNAS: each option is left out of a run with probability r ** (1 / size of
            its group), as if a whole group were left out with r; but a group never is. Options with
            "conv" in their names are one group of a decision, the others another.
        nodes: Names of the decisions on the edges into a node, for each node whose edges have
            weights: a softmax of further logits over these edges, which multiplies the
            probabilities of all options but "none", which has to survive.

    Attributes:
        logits: Name of a decision -> its logits, (K,).
        alive: Name of a decision -> indices of the options that survive.

    Example:
        >>> from ddpnas.relaxed.relaxations import RELAXATIONS
        >>> mixture = Mixture([Decision("op", ("conv", "skip"))], RELAXATIONS["gumbel-hard"])
        >>> draw = mixture.draw(temperature=1.0, seed=0)["op"]
        >>> len(draw.runs), len(draw.adds)
        (1, 1)
    """

    def __init__(
        self,
        decisions: Sequence[Decision],
        relaxation: Relaxation,
        seed: int = 0,
        device: torch.device | None = None,
        drop_rate: float = 0.0,
        nodes: Sequence[Sequence[str]] = (),
    ) -> None:
        self._drop_rate = drop_rate
        self._groups: dict[str, Tensor] = {}  # of each option, 1 for convolutions
        self._drop_rates: dict[str, Tensor] = {}  # of each option
        self.decisions, self.relaxation = tuple(decisions), relaxation
        self.logits: dict[str, nn.Parameter] = {}
        self.alive: dict[str, tuple[int, ...]] = {}
        self._at: dict[str, Tensor] = {}  # the survivors in the order of their names
        self._device = device or torch.device("cpu")
        for decision in self.decisions:
            first = torch.zeros(len(decision.options))
            for k, option in enumerate(decision.options):
                parts = (zlib.crc32(name.encode()) for name in (decision.name, option))
                rng = np.random.default_rng(derive_seed(seed, *parts))
                first[k] = _SCALE * rng.standard_normal()
            self.logits[decision.name] = nn.Parameter(first.to(self._device))
        # The edges into a node, and their logits, which start equal.
        self._nodes = [(tuple(n), nn.Parameter(torch.zeros(len(n), device=device))) for n in nodes]
        self.keep([np.ones(len(d.options), dtype=np.bool_) for d in self.decisions])

    def keep(self, alive: Sequence[npt.NDArray[np.bool_]]) -> list[nn.Parameter]:
        """Let only some options take part from now on.

        Args:
            alive: Whether each option survives, an array for each decision.

        Returns:
            Logits that start anew, all equal, because an option has entered.
        """
        anew = []
        for decision, mask in zip(self.decisions, alive, strict=True):
            found = np.flatnonzero(mask).tolist()
            if set(found) - set(self.alive.get(decision.name, found)):  # what enters starts level
                anew.append(self.logits[decision.name])
                with torch.no_grad():
                    anew[-1].zero_()
            self.alive[decision.name] = tuple(found)
            by_name = sorted(found, key=decision.options.__getitem__)
            self._at[decision.name] = torch.tensor(by_name)
            groups = torch.tensor([int("conv" in option) for option in decision.options])
            sizes = groups[found].bincount(minlength=2)
            self._groups[decision.name] = groups
            self._drop_rates[decision.name] = self._drop_rate ** (1 / sizes[groups].clamp(min=1))
        return anew

    def parameters(self) -> list[nn.Parameter]:
        """Return the logits, in the order of the decisions, then those of edges."""
        return [*self.logits.values(), *(logits for _, logits in self._nodes)]

    def edges(self) -> dict[str, Tensor]:
        """Return the weight of each edge that has one, by the name of its decision."""
        return {
            name: weight
            for names, logits in self._nodes
            for name, weight in zip(names, logits.softmax(0), strict=True)
        }

    def draw(self, temperature: float, seed: int, *, path: bool = False) -> dict[str, Draw]:
        """Return weights for one run of the network; gradients reach the logits.

        Args:
            temperature: Temperature of the relaxation.
            seed: Seed of the draw.
            path: Whether the run is for a step of the network's weights.
        """
        drawing = self.relaxation.draw
        if path and self.relaxation.path is not None:
            drawing = self.relaxation.path
        found, edges = {}, self.edges()
        # On the CPU, whose generator is seeded in no time, and gives the same draws for any device.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            for name in sorted(self.logits):
                at = self._taking_part(name)
                logits = self.logits[name].cpu()
                weights, places = drawing(logits[at], temperature)
                runs = sorted(at[places].tolist())
                adds = sorted(set(at.tolist()) - set(runs)) if self.relaxation.adds else []
                whole = weights.new_zeros(len(logits)).index_copy(0, at, weights)
                found[name] = Draw(
                    whole.to(self._device), tuple(runs), tuple(adds), edges.get(name)
                )
        return found

    def _taking_part(self, name: str) -> Tensor:
        """Return the options of a decision that take part in a run, in the order of their names."""
        at = self._at[name]
        while self._drop_rate > 0:
            kept = torch.rand(len(at)) >= self._drop_rates[name][at]
            groups = self._groups[name][at]
            if set(groups[kept].tolist()) == set(groups.tolist()):  # no group is lost
                return at[kept]
        return at

    def restore(self, before: Sequence[Tensor], draws: Mapping[str, Draw]) -> None:
        """Put logits back that took no part in a step, and keep their probabilities.

        The others of the decision are shifted together, so that theirs have the same sum, too.

        Args:
            before: The logits before the step, in the order of the decisions.
            draws: The draw of the step.
        """
        with torch.no_grad():
            for old, name in zip(before, self.logits, strict=False):  # edges always take part
                logits, draw = self.logits[name], draws[name]
                took_part = torch.zeros_like(old, dtype=torch.bool)
                took_part[list(draw.runs + draw.adds)] = True
                moved = torch.where(took_part, logits, old)
                if int(took_part.sum()) < len(self.alive[name]):
                    shift = old[took_part].logsumexp(0) - moved[took_part].logsumexp(0)
                    moved[took_part] += shift
                logits.copy_(moved)

    def mean(self) -> dict[str, Tensor]:
        """Return the mean weights of each decision; gradients reach the logits."""
        found = {}
        for name, logits in self.logits.items():
            at = self._at[name].to(self._device)
            mean = self.relaxation.mean(logits[at])
            found[name] = mean.new_zeros(len(logits)).index_copy(0, at, mean)
        return found

    @torch.no_grad()
    def probabilities(self) -> list[npt.NDArray[np.float64]]:
        """Return the mean weights of each decision, 0 for what does not survive.

        The weight of an edge multiplies what is not "none", which gets the rest.
        """
        rows, edges = [], {name: float(weight) for name, weight in self.edges().items()}
        for decision in self.decisions:
            at, row = self._at[decision.name], np.zeros(len(decision.options))
            mean = self.relaxation.mean(self.logits[decision.name].cpu()[at].double())
            row[at.numpy()] = mean.numpy()
            row /= row.sum()
            if decision.name in edges:
                row *= edges[decision.name]
                row[decision.index("none")] += 1 - row.sum()
            rows.append(row)
        return rows

    def state_dict(self) -> dict[str, Tensor]:
        """Return the logits by the place of their decision."""
        return {str(i): logits.detach() for i, logits in enumerate(self.parameters())}

    @torch.no_grad()
    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` returned."""
        for i, logits in enumerate(self.parameters()):
            logits.copy_(tensors[str(i)])


def entropy(rows: Sequence[npt.NDArray[np.float64]]) -> float:
    """Return the mean entropy of probabilities, in nats.

    Args:
        rows: Probabilities of each decision.

    Example:
        >>> round(entropy([np.array([0.5, 0.5]), np.array([1.0, 0.0])]), 4)
        0.3466
    """
    return float(np.mean([-(row[row > 0] * np.log(row[row > 0])).sum() for row in rows]))
