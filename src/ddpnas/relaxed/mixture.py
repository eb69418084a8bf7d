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

    Attributes:
        logits: Name of a decision -> its logits, (K,).
        alive: Name of a decision -> indices of the options that survive.
        masks: Whether each option survives, a tensor (K,) for each decision.

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
    ) -> None:
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
        self.keep([np.ones(len(d.options), dtype=np.bool_) for d in self.decisions])

    def keep(self, alive: Sequence[npt.NDArray[np.bool_]]) -> None:
        """Let only some options take part from now on.

        Args:
            alive: Whether each option survives, an array for each decision.
        """
        self.masks = [torch.from_numpy(mask).to(self._device) for mask in alive]
        for decision, mask in zip(self.decisions, alive, strict=True):
            found = np.flatnonzero(mask).tolist()
            self.alive[decision.name] = tuple(found)
            by_name = sorted(found, key=decision.options.__getitem__)
            self._at[decision.name] = torch.tensor(by_name)

    def parameters(self) -> list[nn.Parameter]:
        """Return the logits, in the order of the decisions."""
        return list(self.logits.values())

    def draw(self, temperature: float, seed: int) -> dict[str, Draw]:
        """Return weights for one run of the network; gradients reach the logits.

        Args:
            temperature: Temperature of the relaxation.
            seed: Seed of the draw.
        """
        # On the CPU, whose generator is seeded in no time, and gives the same draws for any device.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            drawn = {
                name: self.relaxation.draw(self.logits[name].cpu()[self._at[name]], temperature)
                for name in sorted(self.logits)
            }
        return {name: self._draw(name, weights) for name, weights in drawn.items()}

    def _draw(self, name: str, drawn: Tensor) -> Draw:
        """Return the weights of one decision, given those of the survivors by name."""
        at, runs = self._at[name], self.alive[name]
        weights = drawn.new_zeros(len(self.logits[name])).index_copy(0, at, drawn)
        weights = weights.to(self._device)
        if not self.relaxation.hard:
            return Draw(weights, runs)
        chosen = int(at[drawn.argmax()])
        return Draw(weights, (chosen,), tuple(k for k in runs if k != chosen))

    @torch.no_grad()
    def probabilities(self) -> list[npt.NDArray[np.float64]]:
        """Return the mean weights of each decision, 0 for what does not survive."""
        rows = []
        for decision in self.decisions:
            at, row = self._at[decision.name], np.zeros(len(decision.options))
            mean = self.relaxation.mean(self.logits[decision.name].cpu()[at].double())
            row[at.numpy()] = mean.numpy()
            rows.append(row / row.sum())
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
