import pytest

from ddpnas import create_strategy
from ddpnas.space import Decision
from ddpnas.space.decisions import DecisionSpace

SPACE = DecisionSpace([Decision(f"d{i}", tuple("abcd")) for i in range(3)])
EFFECTS = ([0.0, 0.1, 0.1, 0.3], [0.7, 0.0, 0.2, 0.2], [0.0, 0.0, 0.5, 0.4])  # with ties
BEST = (3, 0, 2)


def score(indices):
    return sum(row[i] for row, i in zip(EFFECTS, indices))


def neighbours(indices):
    return {
        (*indices[:i], option, *indices[i + 1 :])
        for i in range(3)
        for option in range(4)
        if option != indices[i]
    }


class Search:
    """Asks and tells one at a time, and remembers what was scored."""

    def __init__(self, seed, **options):
        self.strategy = create_strategy("local-search", SPACE, seed=seed, **options)
        self.scored = set()

    def step(self):
        (architecture,) = self.strategy.ask()
        indices = SPACE.encode(architecture)
        self.strategy.tell([architecture], [score(indices)])
        self.scored.add(indices)
        return indices


def climb(search, starts):
    """Follow one climb; return what it started from and where it ended."""
    first = best = max([search.step() for _ in range(starts)], key=score)
    while untried := neighbours(best) - search.scored:
        asked = search.step()
        assert asked in untried
        if score(asked) > score(best):
            best = asked
    return first, best


@pytest.mark.parametrize("starts", [1, 4])
def test_it_moves_only_to_the_better_and_tries_every_neighbour_before_it_gives_up(starts):
    for seed in range(5):
        search = Search(seed, starts=starts)
        _, optimum = climb(search, starts)
        assert optimum == BEST  # the only local optimum
        assert neighbours(BEST) < search.scored


def test_at_a_local_optimum_it_starts_elsewhere_from_the_best_of_new_random_architectures():
    firsts = []
    for seed in range(5):
        search = Search(seed, starts=3)
        firsts += [climb(search, 3)[0] for _ in range(3)]
    assert len(set(firsts)) > 5
    assert any(score(first) < score(BEST) - 0.3 for first in firsts)


def test_ordered_options_are_reached_step_by_step():
    """Neighbors of a width are the next smaller and larger one; a climb tries no other."""
    widths = DecisionSpace(
        [
            Decision("w", tuple("123456789"), values=tuple(range(1, 10))),
            Decision("block", tuple("abc")),
        ]
    )

    def worth(at):
        return 0.5 * at[1] - abs(at[0] - 6)

    for seed in range(5):
        strategy = create_strategy("local-search", widths, seed=seed, starts=1, evaluations=40)
        best = None
        while best != (6, 2):
            (architecture,) = strategy.ask()
            at = widths.encode(architecture)
            assert best is None or abs(at[0] - best[0]) + (at[1] != best[1]) == 1
            strategy.tell([architecture], [worth(at)])
            best = at if best is None else max(best, at, key=worth)


def test_a_climb_does_not_start_from_what_failed():
    strategy = create_strategy("local-search", SPACE, starts=2)
    for told in (float("nan"), -1.0):
        strategy.tell(strategy.ask(), [told])
    second = strategy.history[1]
    (asked,) = strategy.ask()
    assert SPACE.encode(asked) in neighbours(second)
