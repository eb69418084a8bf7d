"""How the distribution over architectures learns: one file a family of strategies.

A strategy decides which architectures are scored and what follows from the scores:

    while not strategy.done:
        batch = strategy.ask()
        strategy.tell(batch, scores_of(batch))
    strategy.architecture

``ask`` returns the same batch until ``tell`` has answered it, so that a search which was
interrupted between the two continues where it stopped. ``state_dict`` is plain data for JSON and
restores exactly, the random generator included. Nothing here needs torch.
"""

from ddpnas.strategies.base import BaseStrategy, Strategy
from ddpnas.strategies.choice_effects import ChoiceEffect, choice_effects
from ddpnas.strategies.ddpnas import DDPNAS
from ddpnas.strategies.ddpnas_paper import DDPNASPaper
from ddpnas.strategies.elimination_bound import elimination_bound
from ddpnas.strategies.gradient import GradientStrategy
from ddpnas.strategies.registry import (
    create_strategy,
    list_strategies,
    strategy_class,
    strategy_options,
)

__all__ = [
    "DDPNAS",
    "BaseStrategy",
    "ChoiceEffect",
    "DDPNASPaper",
    "GradientStrategy",
    "Strategy",
    "choice_effects",
    "create_strategy",
    "elimination_bound",
    "list_strategies",
    "strategy_class",
    "strategy_options",
]
