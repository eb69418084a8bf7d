"""ScoreFit: the two fits of a search, kept up to date with its scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple
from typing import Annotated, Any, TypedDict

import numpy as np
import numpy.typing as npt

from ddpnas.errors import RunError
from ddpnas.space.decisions import DecisionSpace
from ddpnas.strategies._kernel import ChoiceKernel, PriorVariances
from ddpnas.strategies._posterior import (
    Observations,
    Posterior,
    fit_best_prior,
    fit_prior,
    normal_scores,
)
from ddpnas.strategies._risk import variants
from ddpnas.strategies._rows import row_codes
from ddpnas.strategies.base import restored_array
from ddpnas.strategies.legal import Choices
from ddpnas.utils.read import checked_content
from ddpnas.utils.shapes import Range

__all__ = ["ScoreFit", "best_contexts", "option_means"]

Matrix = npt.NDArray[np.float64]

_CONTEXTS = 8  # architectures ranked best, over which the effects that make theta are averaged
_TEMPERATURE = 0.1  # of theta, in normal scores: a tenth of a standard deviation is a factor e


class ScoreFit:
    """Fits all scores of a search, first with the plain kernel, then with one that knows effects.

    The first fit takes only equal options for alike. Its effects of options make the kernel of the
    second, see :mod:`ddpnas.strategies._posterior`. Both choose their prior by evidence in
    :meth:`refit`; between refits new scores are fitted under the prior and kernel found last.

    Args:
        space: Decisions to search over.

    Attributes:
        plain: The kernel of the first fit.
    """

    def __init__(self, space: DecisionSpace) -> None:
        self.plain = ChoiceKernel.plain(space.decisions)
        self._sizes = [len(d.options) for d in space.decisions]
        self._kernel = self.plain
        self._effects: list[Matrix] = []  # of options by the first fit; they make the kernel
        self._prior: PriorVariances | None = None
        self._drifting = False  # whether the scores had a learning curve at the last refit
        self._raw: Observations | None = None
        self._observations: Observations | None = None  # the raw ones without their curve
        self._posterior: Posterior | None = None

    def observe(self, choices: Choices, scores: Matrix) -> None:
        """Take all scores so far.

        Args:
            choices: (n, d) option indices in the order of scoring.
            scores: (n,) scores, higher is better.
        """
        self._raw = self._observations = Observations(self.plain, choices, normal_scores(scores))
        if self._drifting:
            self._observations, _ = self._raw.without_curve()
        self._posterior = None

    def refit(self) -> None:
        """Choose learning curve, kernel and prior anew."""
        assert self._raw is not None, "no scores were observed"
        # Of what is left without its curve, this would say that there is no curve.
        plain, self._drifting = self._raw.without_curve()
        first = fit_best_prior(plain, self._prior)
        self._effects = option_means(first, plain.choices, self._sizes)
        self._kernel = self.plain.by_effects(self._effects)
        self._observations = plain
        self._posterior = fit_best_prior(plain.under(self._kernel), self._prior)
        self._prior = self._posterior.prior

    @property
    def observations(self) -> Observations:
        """The scores for the plain kernel, without their learning curve."""
        assert self._observations is not None, "no scores were observed"
        return self._observations

    @property
    def posterior(self) -> Posterior:
        """The second fit."""
        if self._posterior is None:
            observations = self.observations.under(self._kernel)
            if self._prior is None:
                self._posterior = fit_best_prior(observations)
            else:
                self._posterior = fit_prior(observations, self._prior)
        return self._posterior

    def theta(self) -> list[Matrix]:
        """Return theta of each decision, not normalized, by the second fit around its optimum."""
        posterior = self.posterior
        contexts = best_contexts(posterior, posterior.choices)
        means = option_means(posterior, contexts, self._sizes)
        return [np.exp((row - max(row)) / _TEMPERATURE) for row in means]

    def state_dict(self) -> dict[str, Any]:
        """Return what the next refit depends on, as plain data for JSON."""
        return {
            "prior": None if self._prior is None else list(astuple(self._prior)),
            "drifting": self._drifting,
            "effects": [row.tolist() for row in self._effects],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned; the scores are observed again after it."""
        form = checked_content(state, FitForm, "the fit in the state of the strategy")
        prior = form["prior"]
        self._prior = None if prior is None else PriorVariances(*prior)
        self._drifting = form["drifting"]
        like = [np.zeros(size) for size in (self._sizes if form["effects"] else ())]
        if len(like) != len(form["effects"]):
            raise RunError("cannot use the state of the strategy: effects are of other decisions")
        self._effects = [
            restored_array(row, zeros, "a row of effects")
            for row, zeros in zip(form["effects"], like, strict=True)
        ]
        self._kernel = self.plain.by_effects(self._effects) if self._effects else self.plain


_Variance = Annotated[float, Range(0)]


class FitForm(TypedDict):
    """What a checkpoint holds of a fit."""

    prior: tuple[_Variance, _Variance, _Variance, _Variance, _Variance] | None
    drifting: bool
    effects: list[list[float]]


def option_means(posterior: Posterior, contexts: Choices, sizes: list[int]) -> list[Matrix]:
    """Return for each decision the fitted scores of its options, averaged over contexts."""
    everything = [np.ones(k, dtype=np.bool_) for k in sizes]
    means = posterior.mean(variants(contexts, everything)).reshape(-1, len(contexts))
    return np.split(means.mean(axis=1), np.cumsum(sizes)[:-1])


def best_contexts(posterior: Posterior, choices: Choices) -> Choices:
    """Return the architectures that the fit ranks best, each once, best first."""
    sizes = [len(s) for s in posterior.kernel.similar]
    _, first = np.unique(row_codes(choices, sizes), return_index=True)
    distinct = choices[np.sort(first)]
    order = np.argsort(-posterior.mean(distinct), kind="stable")
    return np.asarray(distinct[order[:_CONTEXTS]])
