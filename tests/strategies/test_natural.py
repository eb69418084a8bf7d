import math

import numpy as np
import pytest

from ddpnas import create_strategy
from ddpnas.space import Decision
from ddpnas.space.decisions import DecisionSpace

SPACE = DecisionSpace([Decision("a", tuple("uvwxy")), Decision("b", tuple("pqr"))])
FREE = 4 + 2  # probabilities that can be chosen freely
BINARY = DecisionSpace([Decision("a", ("p", "q"))])


def rows(strategy):
    return [row.copy() for row in strategy.distribution.rows]


def gradient_by_hand(theta, architectures, utilities):
    """Return the natural gradient of the expected utility and its Fisher norm."""
    gradient = [np.zeros(len(row)) for row in theta]
    for indices, utility in zip(architectures, utilities):
        for i, row in enumerate(theta):
            for option in range(len(row)):
                chosen = 1.0 if indices[i] == option else 0.0
                gradient[i][option] += utility * (chosen - row[option]) / len(architectures)
    norm = math.sqrt(sum(g * g / p for a, b in zip(gradient, theta) for g, p in zip(a, b)))
    return gradient, norm


def tell_ranks(strategy, rng):
    """Tell distinct scores; return the architectures and their ranks, 0 for the worst."""
    batch = strategy.ask()
    ranks = rng.permutation(len(batch))
    strategy.tell(batch, (0.5 + 0.01 * ranks).tolist())
    return [SPACE.encode(a) for a in batch], ranks.tolist()


def fisher_length(before, after):
    return math.sqrt(sum(((b - a) ** 2 / a).sum() for a, b in zip(before, after)))


def test_sng_steps_along_the_gradient_of_best_against_worst_with_the_length_delta():
    strategy = create_strategy("sng", SPACE, batch=4, delta=0.1)
    rng = np.random.default_rng(0)
    for _ in range(4):
        theta = rows(strategy)
        architectures, ranks = tell_ranks(strategy, rng)
        gradient, norm = gradient_by_hand(
            theta, architectures, [{0: -1.0, 3: 1.0}.get(rank, 0.0) for rank in ranks]
        )
        for row, g, moved in zip(theta, gradient, rows(strategy)):
            assert moved == pytest.approx(row + 0.1 / math.sqrt(FREE) * g / norm)
        assert fisher_length(theta, rows(strategy)) == pytest.approx(0.1 / math.sqrt(FREE))


@pytest.mark.parametrize("name", ["asng", "migo", "sng"])
def test_equal_scores_move_nothing(name):
    strategy = create_strategy(name, SPACE, batch=4)
    before = rows(strategy)
    strategy.tell(strategy.ask(), [0.5] * 4)
    assert all((a == b).all() for a, b in zip(before, rows(strategy)))


def test_asng_adapts_its_step_by_the_formulae():
    strategy = create_strategy("asng", SPACE, batch=4, delta=0.3, alpha=1.5)
    rng = np.random.default_rng(0)
    path, gamma, divisor = [np.zeros(5), np.zeros(3)], 0.0, 1.0
    divisors = []
    for _ in range(4):
        theta = rows(strategy)
        architectures, ranks = tell_ranks(strategy, rng)
        gradient, norm = gradient_by_hand(
            theta, architectures, [{0: -1.0, 3: 1.0}.get(rank, 0.0) for rank in ranks]
        )
        beta = 0.3 / divisor / math.sqrt(FREE)
        for row, g, moved in zip(theta, gradient, rows(strategy)):
            assert moved == pytest.approx(row + beta * g / norm)
        for i, (row, g) in enumerate(zip(theta, gradient)):
            own = np.array([x / math.sqrt(p) / norm for x, p in zip(g, row)])
            path[i] = (1 - beta) * path[i] + math.sqrt(beta * (2 - beta)) * own
        gamma = (1 - beta) ** 2 * gamma + beta * (2 - beta)
        signal = sum(float(s @ s) for s in path)
        divisor *= math.exp(beta * (gamma - signal / 1.5))
        divisors.append(divisor)
    assert max(abs(math.log(d)) for d in divisors) > 0.01


def step_lengths(better, updates, **options):
    """Return the lengths of ASNG's steps where an update prefers the option it is given."""
    strategy = create_strategy("asng", BINARY, evaluations=10_000, **options)
    lengths = []
    while len(lengths) < updates:
        before, batch = rows(strategy), strategy.ask()
        preferred = better(len(lengths))
        strategy.tell(batch, [float(a["a"] == preferred) for a in batch])
        if len({a["a"] for a in batch}) == 2:
            lengths.append(fisher_length(before, rows(strategy)))
    return lengths


def test_asng_lengthens_its_steps_while_gradients_agree_and_shortens_them_where_they_do_not():
    agreeing = step_lengths(lambda at: "q", 9, delta=0.05)
    contradicting = step_lengths(lambda at: "pq"[at % 2], 9, delta=0.05)
    assert agreeing[0] == contradicting[0] == pytest.approx(0.05)
    assert agreeing[-1] > 1.1 * agreeing[0]
    assert contradicting == sorted(set(contradicting), reverse=True)


def test_asng_divides_its_step_by_no_more_than_delta_max():
    lengths = step_lengths(lambda at: "pq"[at % 2], 60, delta=0.1, delta_max=2.0)
    assert min(lengths) == pytest.approx(0.05)
    assert lengths[-1] < 0.06


def test_migo_adds_up_steps_of_logarithmic_utilities_with_momentum():
    strategy = create_strategy("migo", SPACE, batch=4, delta=0.2, momentum=0.7)
    rng = np.random.default_rng(0)
    velocity = [np.zeros(5), np.zeros(3)]
    shares = [1.5 * (rank - 1.5) / 4 for rank in range(4)]
    utility = [0.4 * math.log((1 + x) / (1 - x)) for x in shares]  # all within -1 and 1
    for _ in range(4):
        theta = rows(strategy)
        architectures, ranks = tell_ranks(strategy, rng)
        gradient, norm = gradient_by_hand(theta, architectures, [utility[r] for r in ranks])
        for i, (row, g, moved) in enumerate(zip(theta, gradient, rows(strategy))):
            velocity[i] = 0.7 * velocity[i] + 0.3 * 0.2 / math.sqrt(FREE) * g / norm
            assert moved == pytest.approx(row + velocity[i])


def test_asng_lives_with_steps_that_only_grow():
    strategy = create_strategy("asng", SPACE, evaluations=60, alpha=0.01)
    while not strategy.done:
        strategy.tell(strategy.ask(), [0.4, 0.5])
    assert all(np.isfinite(row).all() for row in rows(strategy))
