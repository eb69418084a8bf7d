"""estimate_search(): what the training of a mixture will take, before a search begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ddpnas.data.data import Data
from ddpnas.data.sieves import SieveConfig
from ddpnas.errors import OptionError
from ddpnas.relaxed.estimate import MixtureEstimate
from ddpnas.relaxed.evaluator import MixtureEvaluator
from ddpnas.runs._search_evaluator import search_evaluator_config
from ddpnas.space.search_space import SearchSpace
from ddpnas.strategies.base import Strategy
from ddpnas.strategies.gradient import GradientStrategy
from ddpnas.strategies.user_strategy import NamedStrategy
from ddpnas.training.distributed import join

__all__ = ["estimate_search", "with_epochs"]


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
    given = dict(strategy_options or {})
    seconds = given.pop("seconds", None)
    if seconds is not None and "epochs" in given:
        raise OptionError("give seconds or epochs, not both: seconds are turned into epochs")

    def make(epochs: int | None = None) -> Strategy:
        options = given if epochs is None else {**given, "epochs": epochs}
        if isinstance(strategy, str):
            return NamedStrategy.read(strategy).create(space, seed, **options)
        return strategy(space, seed=seed, **options)

    made = make()
    if not isinstance(made, GradientStrategy):
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
