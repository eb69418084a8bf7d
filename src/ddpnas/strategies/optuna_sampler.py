"""Any sampler of Optuna as a strategy (extra ``optuna``): TPE, CMA-ES, Gaussian processes, ...

Akiba et al., "Optuna", KDD 2019, arXiv 1907.10902.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ddpnas.errors import OptionError, nearest
from ddpnas.space.decisions import DecisionSpace
from ddpnas.strategies.base import BaseStrategy
from ddpnas.strategies.legal import Indices
from ddpnas.utils.settings import Count, Seed, checks_arguments

__all__ = ["OptunaStrategy"]

_TRIES = 200  # suggestions that break rules before a uniformly drawn architecture is taken


class OptunaStrategy(BaseStrategy):
    """Optuna: any of its samplers; each decision is a categorical parameter.

    A suggestion that breaks a rule is told as failed and the next one is asked. A score that is
    not finite is told as failed, too. Where a sampler has suggested everything, architectures are
    drawn uniformly. Optuna's
    samplers cannot be saved, so a restored strategy replays its history, which gives the same
    state because the sampler is seeded.

    Args:
        space: Decisions to search over.
        seed: Seed for the sampler.
        evaluations: Number of scores to ask for.
        sampler: Class in ``optuna.samplers`` that takes a seed and needs nothing else.

    Raises:
        OptionError: Optuna is not installed, or has no such sampler.

    Example:
        >>> from ddpnas.strategies import strategy_options
        >>> strategy_options("optuna")
        {'evaluations': 100, 'sampler': 'TPESampler'}
    """

    @checks_arguments
    def __init__(
        self,
        space: DecisionSpace,
        seed: Seed = 0,
        *,
        evaluations: Count = 100,
        sampler: str = "TPESampler",
    ) -> None:
        super().__init__(space, seed, evaluations)
        try:
            import optuna
        except ImportError:
            raise OptionError(
                "strategy 'optuna' needs the package optuna: pip install 'ddpnas[optuna]'"
            ) from None
        known = [name for name in optuna.samplers.__all__ if _seed_is_enough(optuna.samplers, name)]
        if sampler not in known:
            raise OptionError(nearest("sampler of Optuna", sampler, known))
        self.seed, self.sampler = seed, sampler
        self._optuna: Any = optuna
        self._start()

    def _start(self) -> None:
        optuna = self._optuna
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = getattr(optuna.samplers, self.sampler)(seed=self.seed)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        # What a sampler calls that has nothing left to suggest; Optuna raises here.
        self._exhausted = False
        self._study.stop = self._note_exhausted
        self._trial: Any = None
        self._parameters = {
            d.name: optuna.distributions.CategoricalDistribution(list(range(len(d.options))))
            for d in self.space.decisions
        }

    def propose(self) -> list[Indices]:
        """Return the next suggestion that obeys the rules."""
        for _ in range(_TRIES):
            if self._exhausted:
                break
            self._trial = self._study.ask(self._parameters)
            indices = tuple(self._trial.params[d.name] for d in self.space.decisions)
            if self.legal.allows(indices):
                return [indices]
            self._study.tell(self._trial, state=self._optuna.trial.TrialState.FAIL)
        self._trial = None
        return [self.legal.uniform(self.rng)]

    def learn(self, architectures: list[Indices], scores: list[float]) -> None:
        """Tell the study the score."""
        self._tell(architectures[0], len(self.history) - 1)

    def _tell(self, indices: Indices, at: int) -> None:
        """Tell the study the score of a position in the history, or that it failed."""
        states = self._optuna.trial.TrialState
        state = states.FAIL if at in self.failed else states.COMPLETE
        value = None if at in self.failed else self.scores[at]
        if self._trial is not None:
            self._study.tell(self._trial, value, state=state)
        else:
            params = {d.name: i for d, i in zip(self.space.decisions, indices, strict=True)}
            self._study.add_trial(
                self._optuna.trial.create_trial(
                    params=params, distributions=self._parameters, value=value, state=state
                )
            )
        self._trial = None

    def _note_exhausted(self) -> None:
        self._exhausted = True

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned, by replaying the history."""
        super().load_state_dict(state)  # refuses what is no state
        self._start()
        self.rng = type(self.rng)(type(self.rng.bit_generator)(self.seed))
        for at, indices in enumerate(self.history):
            self.propose()
            self._tell(indices, at)
        if state["asked"] is not None:
            self.propose()
        super().load_state_dict(state)


def _seed_is_enough(samplers: Any, name: str) -> bool:
    if not name.endswith("Sampler"):
        return False
    parameters = inspect.signature(getattr(samplers, name)).parameters
    needed = {p.name for p in parameters.values() if p.default is p.empty}
    return "seed" in parameters and needed <= {"seed"}
