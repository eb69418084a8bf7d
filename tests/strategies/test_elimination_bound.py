import math

import numpy as np
import pytest

from ddpnas.errors import OptionError
from ddpnas.space.decisions import Decision, DecisionSpace
from ddpnas.strategies import create_strategy, elimination_bound
from ddpnas.strategies.elimination_bound import fair_cycle_scales


def losses(gaps, scale, cycles, runs, rng, noise):
    """Return how often elimination by stage means loses option 0, the best."""
    alive = np.ones((runs, len(gaps)), dtype=bool)
    for _ in range(len(gaps) - 1):
        scores = noise(rng, (runs, cycles, len(gaps))) * scale - np.array(gaps)
        means = np.where(alive, scores.mean(axis=1), np.inf)
        alive[np.arange(runs), means.argmin(axis=1)] = False
    return 1.0 - alive[:, 0].mean()


@pytest.mark.parametrize(
    "noise",
    [
        lambda rng, shape: rng.normal(size=shape),
        lambda rng, shape: rng.choice([-1.0, 1.0], size=shape),  # scale 1 as well
    ],
    ids=["normal", "signs"],
)
def test_simulated_losses_stay_below_the_bound_which_is_not_vacuous(noise):
    rng = np.random.default_rng(0)
    runs = 4000
    for gaps in ([0.0, 0.5, 1.0, 1.5], [0.0, 0.8, 0.8, 0.8, 0.8], [0.0, 0.6]):
        for cycles in (3, 10, 30):
            bound = elimination_bound([gaps], [1.0], cycles)
            lost = losses(gaps, 1.0, cycles, runs, rng, noise)
            assert lost <= bound + 3 * math.sqrt(bound * (1 - bound) / runs) + 1e-12
        assert bound < 0.2


def test_fair_cycles_over_a_sum_of_effects_stay_below_the_bound():
    effects = [[0.0, 0.06, 0.12], [0.1, 0.0, 0.04], [0.0, 0.03, 0.08]]
    gaps = [[max(row) - e for e in row] for row in effects]
    space = DecisionSpace([Decision(f"d{i}", tuple("abc")) for i in range(3)])
    cycles, runs = 24, 60
    bound = elimination_bound(gaps, fair_cycle_scales(effects, 0.01), cycles)
    assert 0.1 < bound < 0.6
    rng = np.random.default_rng(0)
    lost = 0
    for seed in range(runs):
        strategy = create_strategy(
            "ddpnas-paper",
            space,
            seed=seed,
            rule="decay",
            decay=0.0,
            temperature=1000.0,
            cycles_per_stage=cycles,
        )
        while not strategy.done:
            batch = strategy.ask()
            strategy.tell(
                batch,
                [
                    0.5
                    + sum(row[i] for row, i in zip(effects, space.encode(a), strict=True))
                    + 0.01 * rng.normal()
                    for a in batch
                ],
            )
        lost += space.encode(strategy.architecture) != (2, 0, 2)
    assert lost / runs <= bound


def test_the_scale_is_that_of_the_difference_of_two_scores():
    assert fair_cycle_scales([[0.0, 2.0], [1.0, 1.0], [0.0, 4.0]], noise=3.0) == pytest.approx(
        [math.sqrt(9 + 8), math.sqrt(9 + 10), math.sqrt(9 + 2)]
    )


def test_more_cycles_and_larger_gaps_lower_the_bound_and_ties_are_hopeless():
    few, many = (elimination_bound([[0.0, 1.0]], [1.0], t) for t in (3, 30))
    assert few == pytest.approx(math.exp(-0.75)) and many == pytest.approx(math.exp(-7.5))
    assert elimination_bound([[0.0, 2.0]], [1.0], 3) < few
    assert elimination_bound([[0.0, 0.0]], [1.0], 3) == 1.0
    assert elimination_bound([[0.0, 1.0], [0.0]], [0.0, 0.0], 1) == 0.0


def test_wrong_arguments_are_refused():
    with pytest.raises(OptionError, match="gap of a best option is 0"):
        elimination_bound([[0.1, 0.2]], [1.0], 3)
    with pytest.raises(OptionError, match="one scale"):
        elimination_bound([[0.0, 0.2]], [1.0, 1.0], 3)
