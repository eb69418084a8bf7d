"""GradientStrategy: methods that train a mixture of all options, and their schedule.

A gradient-based method gives each option a logit, runs all options weighted, and follows the
gradient of the validation loss. :mod:`ddpnas.relaxed` does the training. What is here needs no
torch: how long to train and with which settings, which options take part, and which network the
probabilities mean. Once an epoch the strategy asks for that network, whose accuracy as a single
path of the same weights is the score. It learns from the mixture, not from the score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from ddpnas.errors import InfeasibleError, OptionError, RunError
from ddpnas.generation.best import generate
from ddpnas.space.decisions import Architecture, DecisionSpace, Rule
from ddpnas.space.distribution import JointDistribution
from ddpnas.strategies.base import BaseStrategy, StateForm
from ddpnas.strategies.legal import Indices
from ddpnas.strategies.pruning import MovingPruning, left_by_share, prune_share
from ddpnas.strategies.prunode import Bracket
from ddpnas.utils.read import Whole
from ddpnas.utils.settings import (
    Count,
    Decay,
    Epochs,
    Momentum,
    Norm,
    Seed,
    checks_arguments,
)
from ddpnas.utils.shapes import Range

__all__ = ["GradientStrategy", "Rate"]

Row = npt.NDArray[np.float64]

_SHARES = 3  # stages of DA-NAS

Rate = Annotated[float, Range(above=0, most=1000)]
"""A learning rate; larger ones are never meant."""


class GradientStrategy(BaseStrategy):
    """Trains a mixture of all options; once an epoch asks for the network that it means.

    Args:
        space: Decisions to search over.
        seed: Seed for the network that is asked for before the first epoch.
        epochs: Passes over the training images. Rates and temperatures fall over all of them, so
            fewer epochs shorten the published schedule.
        seconds: Seconds of the whole search: :func:`ddpnas.search` measures an epoch and takes as
            many as fit, in place of ``epochs``.
        batch_size: Images in a step, for the weights and for the logits each. None is the
            published number, and less for sets so small that an epoch would have few steps.
        lr: First learning rate of the weights; it falls along a cosine, from epoch to epoch.
        lr_min: Last learning rate of the weights.
        momentum: Momentum of the weights.
        weight_decay: Weight decay of the weights.
        clip: Largest norm of the gradient of the weights; 0 does not clip.
        alpha_lr: Learning rate of the logits, by Adam with betas 0.5 and 0.999.
        alpha_decay: Weight decay of the logits.
        pruning: True prunes the least likely option of every decision after each of as many
            stages as the longest decision has options but one. "share" prunes 40 % of them after
            each of three stages, and "threshold" what falls below a rising bar, see
            :mod:`ddpnas.strategies.pruning`.
        layers: Remove layers that are likely skipped: decisions with the option "skip", and the
            last ones of decisions about a depth.
        widths: "mixed" runs all values of a width at once, "prunode" two of them, by which it
            halves its way to one, see :mod:`ddpnas.strategies.prunode`.

    Attributes:
        relaxation: How logits become weights: a name in :mod:`ddpnas.relaxed.relaxations`.
        order: 1 or 2, see :mod:`ddpnas.relaxed.unrolled`.
        joint: Whether logits and weights learn together, from training images alone.
        published_batch: The default of ``batch_size`` for large sets.
        drop_rate: See :class:`ddpnas.relaxed.Mixture`.
        parts: K of :meth:`channel_parts`, where it is the same in all epochs; 1 is all channels.
        nodes: Names of the decisions on the edges into a node whose edges have weights.
        warmup: Part of the epochs in which the logits do not learn, rounded up.
        cost: A counted cost that the loss of the logits has a part for; None for no such part.
        cost_form: See :class:`ddpnas.relaxed.CostPenalty`.
        cost_weight: See :class:`ddpnas.relaxed.CostPenalty`.
        cost_reference: See :class:`ddpnas.relaxed.CostPenalty`; None is that of uniform weights.

    Raises:
        OptionError: An option out of range, or fewer epochs than stages.
    """

    relaxation: ClassVar[str]
    order: Literal[1, 2] = 1
    joint: ClassVar[bool] = False
    published_batch: ClassVar[int] = 64
    drop_rate: float = 0.0
    parts: int = 1
    nodes: Sequence[Sequence[str]] = ()
    warmup: float = 0.0
    cost: str | None = None
    cost_form: Literal["penalty", "product", "hinge"] = "penalty"
    cost_weight: float = 0.0
    cost_reference: float | None = None

    @checks_arguments
    def __init__(
        self,
        space: DecisionSpace,
        seed: Seed = 0,
        *,
        epochs: Epochs = 50,
        seconds: Annotated[float, Range(above=0, most=1e9)] | None = None,
        batch_size: Count | None = None,
        lr: Rate = 0.025,
        lr_min: Annotated[float, Range(0, 1000)] = 0.001,
        momentum: Momentum = 0.9,
        weight_decay: Decay = 3e-4,
        clip: Norm = 5.0,
        alpha_lr: Rate = 3e-4,
        alpha_decay: Decay = 1e-3,
        pruning: Literal[False, True, "share", "threshold"] = False,
        layers: bool = False,
        widths: Literal["mixed", "prunode"] = "mixed",
    ) -> None:
        if seconds is not None:
            raise OptionError(
                "only ddpnas.search() measures an epoch and turns seconds into a number of epochs; "
                "give epochs here"
            )
        super().__init__(space, seed, epochs)
        self.epochs, self.batch_size = epochs, batch_size
        self.lr, self.lr_min, self.momentum = lr, lr_min, momentum
        self.weight_decay, self.clip = weight_decay, clip
        self.alpha_lr, self.alpha_decay = alpha_lr, alpha_decay
        self.pruning, self.layers, self.widths = pruning, layers, widths
        self._distribution = JointDistribution.uniform(space.decisions)
        self._stages = {"share": _SHARES, True: self._distribution.max_survivors - 1}.get(
            pruning, 0
        )
        self._rule = MovingPruning(space, threshold=pruning == "threshold", layers=layers)
        self._brackets = {
            i: Bracket(len(decision.options))
            for i, decision in enumerate(space.decisions)
            if widths == "prunode" and decision.values is not None
        }
        if epochs < self._stages:
            raise OptionError(
                f"pruning needs an epoch for each of {self._stages} stages, not {epochs} in all; "
                f"give epochs={self._stages} or more"
            )
        self._learned = 0  # epochs of the mixture that this has seen

    def temperature(self, epoch: int) -> float:
        """Return the temperature of the relaxation in an epoch, counted from 0."""
        return 1.0

    def begins(self, epoch: int) -> bool:
        """Return whether weights and logits start anew in an epoch, counted from 0."""
        return epoch == 0

    @property
    def stage_ends(self) -> list[int]:
        """Number of epochs after which each stage ends; none without stages."""
        if not self._stages:
            return []
        first = 0 if self.pruning is True else self.warmup_epochs
        lasting = self.epochs - first
        return [first - (-lasting * (s + 1) // self._stages) for s in range(self._stages)]

    def stage_of(self, epoch: int) -> int:
        """Return the number of stages that end before an epoch, counted from 0."""
        return sum(end <= epoch for end in self.stage_ends)

    def options_left(self, stage: int, options: int) -> int:
        """Return how many options of a decision take part in a stage, as planned.

        What a rising bar or a removed layer prunes is not planned, so it is not considered.

        Args:
            stage: Number of stages before it.
            options: Number of options at the start.
        """
        if self.pruning == "share":
            for _ in range(stage):
                options = left_by_share(options)
            return options
        return max(1, options - stage)

    def carries(self, epoch: int) -> bool:
        """Return whether a stage that begins in an epoch takes weights and logits over."""
        return False

    def channel_parts(self, epoch: int) -> int:
        """Return K in an epoch, of which one part of the channels runs through the options."""
        return self.parts

    def progress(self, epoch: int) -> float:
        """Return the part of the weights' schedule that is over before an epoch."""
        return epoch / self.epochs

    def space_options(self, epoch: int) -> dict[str, Any]:
        """Return options of the space in an epoch, for spaces that have them."""
        return {}

    def option_dropout(self, epoch: int) -> dict[str, float]:
        """Return the dropout on the outputs of options in an epoch, by the name of the option."""
        return {}

    @property
    def final_rules(self) -> list[Rule]:
        """Rules that the network found has to obey, besides those of the space."""
        return []

    def learns(self, epoch: int) -> bool:
        """Return whether the logits learn in an epoch, counted from 0."""
        return epoch >= self.warmup_epochs

    @property
    def warmup_epochs(self) -> int:
        """Number of epochs before the logits learn: part ``warmup``, rounded up; not all."""
        return min(self.epochs - 1, math.ceil(self.warmup * self.epochs - 1e-9))

    @property
    def distribution(self) -> JointDistribution:
        """The mean weights of the mixture, and the survivors."""
        return self._distribution

    @property
    def architecture(self) -> Architecture:
        """The network that the probabilities mean, which obeys all rules.

        Each decision takes its most likely option. Where rules of the space join decisions, it is
        the network with the largest sum of probabilities in which the option "none" counts 0. In
        the space of DARTS that is the published rule: of the edges into a node, the two whose best
        operation other than "none" is the most likely.
        """
        distribution, space = self._distribution, self.space
        rules = self.final_rules
        if not space.rules and not rules:
            return distribution.mode()
        joined = {decision for rule in space.rules for decision, _ in rule.weights}
        values = {
            (d.name, option): 0.0 if d.name in joined and option == "none" else float(p)
            for d, row in zip(space.decisions, distribution.rows, strict=True)
            for option, p in zip(d.options, row, strict=True)
        }
        try:
            found = generate(
                distribution, space, objective=values, rules=rules, survivors_only=True
            )
        except InfeasibleError:
            found = generate(distribution, space, objective=values, rules=rules)
        return found.architecture

    def propose(self) -> list[Indices]:
        """Return the network that the probabilities mean; before the first epoch a random one."""
        if not self.history:
            return [self.legal.uniform(self.rng)]
        return [self.space.encode(self.architecture)]

    @property
    def taking_part(self) -> list[npt.NDArray[np.bool_]]:
        """Whether each option takes part in the mixture, an array for each decision."""
        masks = list(self._distribution.alive)
        for i, bracket in self._brackets.items():
            masks[i] = np.isin(np.arange(bracket.size), bracket.pair)
        return masks

    def learn_mixture(self, rows: Sequence[Row]) -> None:
        """Learn the mean weights of the mixture after an epoch; what trains it calls this.

        Args:
            rows: Probabilities of what takes part of each decision, which sum to 1; 0 for others.
                A pruned option keeps the probability that it had.
        """
        if self.learns(self._learned):
            for i, bracket in self._brackets.items():
                bracket.learn(rows[i][bracket.pair[1]])
        learned = []
        for row, theta, alive in zip(
            rows, self._distribution.rows, self._distribution.alive, strict=True
        ):
            learned.append(np.where(alive, row * theta[alive].sum(), theta))
        self._distribution = self._bracketed(self._distribution.with_rows(learned))
        self._learned += 1

    def _bracketed(self, distribution: JointDistribution) -> JointDistribution:
        """Return the distribution with the widths as their brackets have them."""
        if not self._brackets:
            return distribution
        rows, alive = list(distribution.rows), list(distribution.alive)
        for i, bracket in self._brackets.items():
            rows[i], alive[i] = bracket.row, bracket.alive
        return JointDistribution(distribution.decisions, tuple(rows), tuple(alive))

    def learn(self, architectures: list[Indices], scores: list[float]) -> None:
        """Prune where a stage has ended; the score itself teaches nothing."""
        if self._learned < len(self.history):
            raise OptionError(
                f"{type(self).__name__} learns from a mixture of all options, which only the "
                f"evaluator supernet trains; use it in ddpnas.search() without another evaluator"
            )
        before, stage = self._distribution.survivors, self.stage
        if self._stages:
            for _ in range(self.stage_ends.count(len(self.history))):
                self._end_stage()
        if (done := len(self.history) - self.warmup_epochs) > 0:
            self._narrow(done, self.epochs - self.warmup_epochs)
        if self.stage == stage and self._distribution.survivors != before:
            self.stage += 1

    def _end_stage(self) -> None:
        """Prune what a stage prunes."""
        found = self._distribution
        protected = self.legal.protected_options(found)
        if self.pruning == "share":
            found = prune_share(found, self.rng, protected)
        else:
            found = found.prune(1, self.rng, protected=protected)
        self._distribution = self._bracketed(found)
        self.stage += 1

    def _narrow(self, done: int, of: int) -> None:
        """Prune by moving probabilities, and move the brackets of widths.

        Args:
            done: Number of epochs in which the logits have learned.
            of: Number of these epochs in all.
        """
        found = self._distribution
        if self.pruning == "threshold" or self.layers:
            found = self._rule(found, done / of, self.legal.protected_options(found))
        most = max((Bracket.moves(bracket.size) for bracket in self._brackets.values()), default=0)
        if most > 0 and done % max(1, of // most) == 0:
            for bracket in self._brackets.values():
                bracket.move()
        self._distribution = self._bracketed(found)

    def keep_likeliest(self, count: Callable[[int], int]) -> None:
        """Prune every decision to its likeliest options, at least one; a stage has ended.

        Args:
            count: Number of options of a decision -> how many survive.
        """
        self.stage += 1
        alive = []
        for row, mask in zip(self._distribution.rows, self._distribution.alive, strict=True):
            order = np.argsort(np.where(mask, -row, np.inf), kind="stable")
            kept = np.zeros_like(mask)
            kept[order[: max(1, count(len(row)))]] = True
            alive.append(kept & mask)
        found = self._distribution
        self._distribution = JointDistribution(found.decisions, found.rows, tuple(alive))

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain data for JSON."""
        return {
            **super().state_dict(),
            "distribution": self._distribution.to_dict(),
            "learned": self._learned,
            "means": self._rule.state_dict(),
            "brackets": [bracket.state_dict() for bracket in self._brackets.values()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned, exactly."""
        super().load_state_dict(state)
        self._distribution = self.restored_distribution(state["distribution"])
        self._learned = state["learned"]
        if len(state["brackets"]) != len(self._brackets):
            raise RunError("cannot use the state of the strategy: it is of other decisions")
        self._rule.load_state_dict(state["means"])
        for bracket, kept in zip(self._brackets.values(), state["brackets"], strict=True):
            bracket.load_state_dict(kept)


class _Form(StateForm):
    distribution: dict[str, Any]
    learned: Whole
    means: list[Any]
    brackets: list[dict[str, Any]]


GradientStrategy.state_form = _Form
