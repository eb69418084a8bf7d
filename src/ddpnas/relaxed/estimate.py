"""MixtureEstimate: the seconds that the training of a mixture will take, from a few steps."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass

from ddpnas.errors import OptionError
from ddpnas.relaxed.evaluator import MixtureEvaluator
from ddpnas.strategies.gradient import GradientStrategy
from ddpnas.utils.duration import duration

__all__ = ["MixtureEstimate"]


@dataclass(frozen=True)
class MixtureEstimate:
    """What a search by a mixture takes, measured on a few steps of each kind.

    Attributes:
        strategy: The strategy that it was measured for.
        batch_size: Images in a step, of each of its batches.
        steps: Steps in an epoch that reads all images.
        step_seconds: (stage, whether the logits learn) -> seconds of a step.
        score_seconds: Seconds of a score.
        memory_bytes: Memory of a step in the stage that needs the most, at least.
        share: Mean share of the images that an epoch reads through a sieve.

    Example:
        >>> import ddpnas
        >>> data = ddpnas.load_data("sign-digits-small", limit_train_images=50)
        >>> space = ddpnas.create_space("toy", num_classes=10, input_shape=data.input_shape)
        >>> strategy = ddpnas.create_strategy("gdas", space, epochs=10, batch_size=20)
        >>> estimate = MixtureEstimate.of(MixtureEvaluator(space, data, strategy), strategy)
        >>> estimate.steps, estimate.seconds() > 10 * estimate.score_seconds
        (2, True)
    """

    strategy: GradientStrategy
    batch_size: int
    steps: int
    step_seconds: dict[tuple[int, bool], float]
    score_seconds: float
    memory_bytes: int
    share: float = 1.0

    @classmethod
    def of(cls, evaluator: MixtureEvaluator, strategy: GradientStrategy) -> MixtureEstimate:
        """Measure a few steps in each stage. Neither of the two can be used for a search then.

        Args:
            evaluator: A fresh evaluator of the strategy.
            strategy: A fresh strategy.
        """
        [architecture] = strategy.ask()
        step_seconds: dict[tuple[int, bool], float] = {}
        for epoch, kind in enumerate(_kinds(strategy)):
            if strategy.begins(epoch) or kind not in step_seconds:
                step_seconds[kind] = evaluator.time_step(epoch)
        started = time.perf_counter()
        evaluator.rescore([architecture])
        return cls(
            strategy,
            evaluator.batch_size,
            evaluator.steps,
            step_seconds,
            time.perf_counter() - started,
            evaluator.memory.of(evaluator.batch_size),
            evaluator.mean_share,
        )

    def seconds(self, strategy: GradientStrategy | None = None) -> float:
        """Return the seconds of a search.

        Args:
            strategy: The same strategy with another number of epochs; None is :attr:`strategy`.
        """
        kinds = _kinds(strategy or self.strategy)
        # A schedule of few epochs may have a kind that the measured one did not.
        most = max(self.step_seconds.values())
        steps = self.share * self.steps
        return sum(steps * self.step_seconds.get(kind, most) + self.score_seconds for kind in kinds)

    def with_strategy(self, strategy: GradientStrategy) -> MixtureEstimate:
        """Return the same measurements for the strategy with another number of epochs."""
        return dataclasses.replace(self, strategy=strategy)

    def scaled(self, seconds: float, make: Callable[[int], GradientStrategy]) -> GradientStrategy:
        """Return the strategy with as many epochs as take at most some seconds.

        Args:
            seconds: Seconds of the whole search.
            make: Makes the strategy with some number of epochs.

        Raises:
            OptionError: Not even the shortest schedule takes so little.
        """
        epochs, why = max(1, int(seconds / self.seconds() * self.strategy.epochs)), ""
        while epochs > 0:
            try:
                strategy = make(epochs)
            except OptionError as error:  # it needs more epochs, for instance one for each stage
                why = f" ({error})"
                break
            if self.seconds(strategy) <= seconds:
                return strategy
            epochs -= max(1, epochs // 50)
        epoch = duration(self.seconds() / self.strategy.epochs)
        raise OptionError(
            f"an epoch takes about {epoch}, so {seconds:g} seconds are too few{why}; give more "
            f"--strategy-options.seconds, fewer training images or a smaller space"
        )


def _kinds(strategy: GradientStrategy) -> list[tuple[int, bool]]:
    """Return, for each epoch, its stage and whether the logits learn."""
    return [(strategy.stage_of(e), strategy.learns(e)) for e in range(strategy.epochs)]
