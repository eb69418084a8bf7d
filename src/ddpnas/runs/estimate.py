"""What a search will take, before it begins, and how long its training is within given seconds."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ddpnas.data.data import Data
from ddpnas.data.sieves import SieveConfig
from ddpnas.errors import OptionError
from ddpnas.evaluators.config import SupernetConfig
from ddpnas.evaluators.supernet import SupernetEvaluator
from ddpnas.relaxed.estimate import MixtureEstimate
from ddpnas.relaxed.evaluator import MixtureEvaluator
from ddpnas.runs._search_evaluator import search_evaluator_config
from ddpnas.runs._search_strategy import make_strategy
from ddpnas.space.search_space import SearchSpace
from ddpnas.strategies.base import Strategy
from ddpnas.strategies.gradient import GradientStrategy
from ddpnas.strategies.user_strategy import NamedStrategy
from ddpnas.training.distributed import join

__all__ = ["estimate_search", "with_epochs", "with_warmup"]

_SCORED = 8  # architectures whose scores are timed


def estimate_search(
    space: SearchSpace,
    data: Data,
    strategy: str | Callable[..., Strategy],
    *,
    seed: int = 0,
    strategy_options: Mapping[str, Any] | None = None,
    evaluator_options: Mapping[str, Any] | None = None,
    sieve: SieveConfig | None = None,
    device: str = "auto",
) -> MixtureEstimate | None:
    """Return what a search takes whose strategy trains a mixture; None for other strategies.

    The option ``seconds`` of the strategy becomes a number of epochs.

    Args:
        space: See :func:`ddpnas.search`.
        data: The data.
        strategy: See :func:`ddpnas.search`.
        seed: Seed of the search.
        strategy_options: Options of the strategy.
        evaluator_options: Options of the evaluator.
        sieve: Which images train and score.
        device: "auto", "cpu", "cuda", ...

    Raises:
        OptionError: The time is too short, the batch does not fit in memory, or an option is wrong.

    Example:
        >>> import ddpnas
        >>> data = ddpnas.load_data("sign-digits-small", limit_train_images=50)
        >>> space = ddpnas.create_space("toy", num_classes=10, input_shape=data.input_shape)
        >>> found = estimate_search(space, data, "gdas", strategy_options={"seconds": 60})
        >>> found.seconds() <= 60
        True
    """
    kind = NamedStrategy.read(strategy).made() if isinstance(strategy, str) else strategy
    if isinstance(kind, type) and not issubclass(kind, GradientStrategy):
        return None
    given = dict(strategy_options or {})
    seconds = given.pop("seconds", None)
    if seconds is not None and "epochs" in given:
        raise OptionError("give seconds or epochs, not both: seconds are turned into epochs")

    def make(epochs: int | None = None) -> Strategy:
        options = given if epochs is None else {**given, "epochs": epochs}
        return make_strategy(strategy, space, seed, options)

    made = make()
    if not isinstance(made, GradientStrategy):  # a function may make any strategy
        return None
    processes = join(device)
    config = search_evaluator_config("supernet", made, evaluator_options or {})
    evaluator = MixtureEvaluator(
        space, data, made, config, seed=seed, device=device, processes=processes, sieve=sieve
    )
    found = processes.share(MixtureEstimate.of(evaluator, made))
    if seconds is None:
        return found

    def scaled(epochs: int) -> GradientStrategy:
        strategy = make(epochs)
        assert isinstance(strategy, GradientStrategy)
        return strategy

    return found.with_strategy(found.scaled(float(seconds), scaled))


def with_epochs(options: Mapping[str, Any], estimate: MixtureEstimate | None) -> dict[str, Any]:
    """Return options of a strategy with a number of epochs in place of seconds.

    Args:
        options: Options of the strategy.
        estimate: What :func:`estimate_search` returned for them.
    """
    if estimate is None or options.get("seconds") is None:
        return dict(options)
    rest = {name: value for name, value in options.items() if name != "seconds"}
    return {**rest, "epochs": estimate.strategy.epochs}


def with_warmup(
    config: SupernetConfig,
    space: SearchSpace,
    data: Data,
    strategy: Strategy,
    *,
    seed: int = 0,
    device: str = "auto",
) -> SupernetConfig:
    """Return options of shared weights with a number of warm-up passes in place of seconds.

    A pass and a few scores are timed, which counts. They take longest without a sieve, and with
    augmentation, unless that is switched off.

    Args:
        config: The options, with ``seconds``.
        space: The searched space.
        data: The data.
        strategy: Says how many architectures will be scored.
        seed: Seed of the search.
        device: "auto", "cpu", "cuda", ...

    Raises:
        OptionError: The time is too short for a single pass.

    Example:
        >>> import ddpnas
        >>> data = ddpnas.load_data("sign-digits-small", limit_train_images=50)
        >>> space = ddpnas.create_space("toy", num_classes=10, input_shape=data.input_shape)
        >>> random = ddpnas.create_strategy("random", space, evaluations=5)
        >>> found = with_warmup(SupernetConfig(seconds=30), space, data, random)
        >>> found.seconds is None and found.warmup_epochs > 1
        True
    """
    assert config.seconds is not None
    processes = join(device)
    begun = time.perf_counter()
    # A long warm-up changes images by default, which takes time; a single pass does not.
    once = dataclasses.replace(
        config, seconds=None, warmup_epochs=1, phases=(), augment=config.augment is not False
    )
    evaluator = SupernetEvaluator(
        space, data, strategy.evaluations, once, seed=seed, device=device, processes=processes
    )
    trained = time.perf_counter()
    for _ in evaluator.prepare([]):
        pass
    each = time.perf_counter() - trained
    rng = np.random.default_rng(seed)
    scaled = time.perf_counter()
    evaluator.rescore([space.sample(rng)])  # with proxies, that sets the scale, once
    scored = time.perf_counter()
    evaluator.rescore([space.sample(rng) for _ in range(_SCORED)])
    score = (time.perf_counter() - scored) / _SCORED
    scores = scored - scaled + strategy.evaluations * score
    left = config.seconds - scores - (time.perf_counter() - begun)
    passes = processes.share(int(left / each))
    if passes < 1:
        raise OptionError(
            f"{config.seconds:g} seconds are too short: {strategy.evaluations} scores take about "
            f"{scores:.1f} s, and a pass over the training images {each:.1f} s; give more "
            f"--evaluator-options.seconds, fewer training images or a smaller space"
        )
    return dataclasses.replace(config, seconds=None, warmup_epochs=passes)
