"""Forest: a random forest says which of many random architectures is worth a score.

Paper:       Zheng et al., "Neural Architecture Search with Representation Mutual Information",
             CVPR 2022 (RMI-NAS), whose sampler this is
Schedule:    100 random architectures; those as good as the best 5 % of them are good. Then the
             most promising of 1,000 random architectures, and all is fitted again.
Published:   94.28 +- 0.10 % on CIFAR-10 in NAS-Bench-201, with scores of the evaluator ``rmi``
Departures:  the search ends after a number of scores instead of 100 good architectures. An
             architecture that was scored is proposed again only if nothing else was drawn. The
             published answer, for each decision the option most frequent among the 50 best, is the
             mode of the distribution; the architecture found is the one that scored best.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from ddpnas.errors import OptionError
from ddpnas.space.decisions import DecisionSpace
from ddpnas.strategies.base import BaseStrategy
from ddpnas.strategies.legal import Choices, Indices
from ddpnas.utils.settings import Count, Seed, checks_arguments
from ddpnas.utils.shapes import Range

__all__ = ["Forest"]


class Forest(BaseStrategy):
    """Forest: a random forest tells good architectures from bad ones (needs scikit-learn).

    scikit-learn fits it to the options of all scored architectures, one-hot.

    Args:
        space: Decisions to search over.
        seed: Seed for draws and trees.
        evaluations: Number of scores to ask for.
        initial: Random architectures before the first forest.
        good: Part of these that counts as good. Later ones are good if they score as high.
        trees: Trees of the forest. RMI-NAS has 30 on NAS-Bench-201 and 98 on the space of DARTS.
        draws: Random architectures from which the most promising is taken.
        batch: Number of architectures to ask for together, so that they can be evaluated at the
            same time. RMI-NAS has one.

    Raises:
        OptionError: scikit-learn is not installed.

    Example:
        >>> from ddpnas.strategies import strategy_options
        >>> strategy_options("forest")["initial"]
        100
    """

    @checks_arguments
    def __init__(
        self,
        space: DecisionSpace,
        seed: Seed = 0,
        *,
        evaluations: Count = 200,
        initial: Count = 100,
        good: Annotated[float, Range(above=0, below=1)] = 0.05,
        trees: Annotated[int, Range(1, 10_000)] = 30,
        draws: Annotated[int, Range(1, 100_000)] = 1000,
        batch: Count = 1,
    ) -> None:
        super().__init__(space, seed, evaluations)
        try:
            from sklearn.ensemble import RandomForestClassifier
        except ImportError:
            raise OptionError(
                "strategy 'forest' needs the package scikit-learn: pip install 'ddpnas[forest]'"
            ) from None
        self.initial, self.good, self.trees = initial, good, trees
        self.draws, self.batch, self._seed = draws, batch, seed
        self._classifier: Any = RandomForestClassifier

    def propose(self) -> list[Indices]:
        """Return random architectures first, then those that the forest finds most promising."""
        missing = self.initial - len(self.history)
        if missing > 0:
            return [self.legal.uniform(self.rng) for _ in range(min(self.batch, missing))]
        drawn = list(dict.fromkeys(self.legal.uniform(self.rng) for _ in range(self.draws)))
        scored = set(self.history)
        fresh = [indices for indices in drawn if indices not in scored] or drawn
        order = np.argsort(-self._promise(np.array(fresh)), kind="stable")
        return [fresh[i] for i in order[: self.batch]]

    def _promise(self, choices: Choices) -> Any:
        """Return the probability that each architecture is good, by a forest fitted to all scores.

        Args:
            choices: (n, d) option indices.
        """
        scores = np.array(self.scores)
        good = scores >= np.quantile(scores[: self.initial], 1 - self.good)
        good[sorted(self.failed)] = False
        # A function of the seed and the scores alone, so a resumed search fits the same forest.
        forest = self._classifier(self.trees, random_state=self._seed)
        forest.fit(self._one_hot(np.array(self.history)), good)
        return forest.predict_proba(self._one_hot(choices))[:, -1]  # the class True, or the only

    def _one_hot(self, choices: Choices) -> Choices:
        starts = np.cumsum([0, *self._sizes[:-1]])
        rows = np.zeros((len(choices), sum(self._sizes)), dtype=np.int64)
        np.put_along_axis(rows, choices + starts, 1, axis=1)
        return rows
