"""What every registered strategy keeps, whatever the space and the scores."""

import importlib.util
import json
import math

import numpy as np
import pytest

from ddpnas.errors import OptionError
from ddpnas.space.decisions import Decision, DecisionSpace, Rule
from ddpnas.strategies import create_strategy, list_strategies, strategy_options

PRUNED = ["asng", "mdenas", "migo", "reinforce", "sng"]
CASES = [
    *((name, {}) for name in list_strategies()),
    *((name, {"pruning": True}) for name in PRUNED),
    ("ddpnas", {"max_risk": 0.1}),
    ("ddpnas-paper", {"rule": "decay"}),
]


def _id(case):
    return "-".join([case[0], *map(str, case[1].values())])


@pytest.fixture(params=CASES, ids=_id)
def make(request):
    name, options = request.param
    if name == "optuna" and importlib.util.find_spec("optuna") is None:
        pytest.skip("optuna is not installed")

    def create(space, seed=0, evaluations=None):
        given = dict(options)
        if evaluations and "evaluations" in strategy_options(name):
            given["evaluations"] = evaluations
        return create_strategy(name, space, seed=seed, **given)

    return create


RAGGED = DecisionSpace(
    [
        Decision("a", tuple("xyz")),
        Decision("b", tuple("uvwq")),
        Decision("c", ("k",)),
        Decision("d", ("m", "n")),
    ]
)
RULED = DecisionSpace(
    RAGGED.decisions,
    [
        Rule({("a", "x"): 1, ("b", "u"): 1}, "not x with u", upper=1),
        Rule({("a", "y"): 1, ("d", "m"): 1}, "finally y and m", lower=2, final=True),
    ],
)
LIMITED = DecisionSpace(
    [Decision(f"d{i}", ("skip", "a", "b", "c")) for i in range(8)],
    [Rule({(f"d{i}", o): 1 for i in range(8) for o in "abc"}, "at most four blocks", upper=4)],
)
SIX = DecisionSpace([Decision(f"d{i}", tuple("abcde")) for i in range(6)])


def quality(space, architecture):
    """In [0, 1]: the last option of every decision is the best."""
    best = [len(d.options) - 1 for d in space.decisions]
    return sum(space.encode(architecture)) / sum(best)


def score(space, architecture, noise=0.0, rng=None):
    return 0.5 + 0.4 * quality(space, architecture) + (noise * rng.normal() if rng else 0.0)


def run(strategy, space, seed=0, noise=0.0, sign=1.0):
    rng = np.random.default_rng(seed)
    asked = []
    while not strategy.done:
        batch = strategy.ask()
        asked += batch
        strategy.tell(batch, [sign * score(space, a, noise, rng) for a in batch])
    return asked


def test_asks_for_as_many_as_it_says_and_the_same_until_told(make):
    strategy = make(RAGGED, evaluations=20)
    total = strategy.evaluations
    assert strategy.ask() == strategy.ask()
    assert len(run(strategy, RAGGED)) == total == strategy.evaluations
    with pytest.raises(RuntimeError):
        strategy.ask()


def test_where_nothing_is_to_be_decided_there_is_a_score_nevertheless(make):
    strategy = make(DecisionSpace([Decision("a", ("x",)), Decision("b", ("y",))]))
    total, asked = strategy.evaluations, 0
    while not strategy.done:
        asked += len(batch := strategy.ask())
        strategy.tell(batch, [0.5] * len(batch))
    assert asked == total == strategy.evaluations >= 1


@pytest.mark.parametrize("name", ["ddpnas", "ddpnas-paper"])
def test_where_all_is_kept_there_is_one_score(name):
    strategy = create_strategy(name, RAGGED, keep=4)
    assert strategy.evaluations == len(strategy.ask()) == 1
    strategy.tell(strategy.ask(), [0.5])
    assert strategy.done and strategy.evaluations == 1


def test_same_seed_same_search_and_another_seed_another(make):
    first, again, other = (run(make(SIX, seed, 20), SIX, noise=0.01) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_resumes_exactly_from_every_step(make):
    unbroken = run(make(RAGGED, evaluations=20), RAGGED)
    strategy, asked, broken = make(RAGGED, evaluations=20), [], 0
    while not strategy.done:
        for told in (False, True):  # interrupted before and after the batch is told
            fresh = (
                make(RAGGED, seed=5, evaluations=20) if broken % 2 else make(RAGGED, evaluations=20)
            )
            if isinstance(getattr(strategy, "seed", None), int):
                fresh = make(RAGGED, evaluations=20)  # a seed that is an option, not state
            fresh.load_state_dict(json.loads(json.dumps(strategy.state_dict())))
            strategy, broken = fresh, broken + 1
            batch = strategy.ask() if not strategy.done else []
            if not told:
                asked += batch
                strategy.tell(batch, [score(RAGGED, a) for a in batch])
    assert asked == unbroken


def test_nan_is_the_worst_and_counted(make):
    strategy = make(SIX, evaluations=30)
    rng = np.random.default_rng(0)
    missing = 0
    while not strategy.done:
        batch = strategy.ask()
        scores = [math.nan if rng.random() < 0.3 else score(SIX, a) for a in batch]
        missing += sum(map(math.isnan, scores))
        strategy.tell(batch, scores)
    assert strategy.nan_scores == missing > 0
    assert all(np.isfinite(row).all() for row in strategy.distribution.rows)
    json.dumps(strategy.state_dict(), allow_nan=False)


def test_all_scores_nan_or_equal_still_recommends(make):
    for value in (math.nan, 0.5):
        strategy = make(RAGGED, evaluations=12)
        while not strategy.done:
            batch = strategy.ask()
            strategy.tell(batch, [value] * len(batch))
        RAGGED.check(strategy.architecture)
        for row in strategy.distribution.rows:
            assert row.sum() == pytest.approx(1.0)


def test_rules_bind_what_is_sampled_and_final_rules_what_is_recommended(make):
    strategy = make(RULED, evaluations=20)
    asked = run(strategy, RULED)
    assert all(RULED.rules[0].holds(a) for a in asked)
    assert not all(RULED.rules[1].holds(a) for a in asked)
    RULED.check(strategy.architecture)


@pytest.mark.parametrize(
    ("name", "options"),
    [("ddpnas", {"cycles_per_stage": 4}), ("ddpnas-paper", {})]
    + [(name, {"pruning": True}) for name in PRUNED],
)
def test_pruning_goes_to_the_end_and_leaves_what_the_rules_allow(name, options):
    for seed in range(3):
        strategy = create_strategy(name, LIMITED, seed=seed, **options)
        run(strategy, LIMITED, seed, noise=0.01)  # the better, the more blocks
        assert strategy.stage == 3
        assert all(len(alive) == 1 for alive in strategy.distribution.survivors.values())
        assert LIMITED.check(strategy.distribution.mode()) == strategy.architecture


def test_tell_takes_only_what_was_asked(make):
    strategy = make(RAGGED, evaluations=12)
    batch = strategy.ask()
    with pytest.raises(ValueError, match="asked"):
        strategy.tell(batch, [0.1] * (len(batch) + 1))


def test_finds_good_architectures_and_with_inverted_scores_bad_ones(make):
    good = [make(SIX, seed, 80) for seed in range(4)]
    bad = [make(SIX, seed, 80) for seed in range(4)]
    for seed, (one, other) in enumerate(zip(good, bad, strict=True)):
        run(one, SIX, seed, noise=0.005)
        run(other, SIX, seed, noise=0.005, sign=-1.0)
    assert np.mean([quality(SIX, s.architecture) for s in good]) > 0.65  # uniform: 0.5 +- 0.07
    assert np.mean([quality(SIX, s.architecture) for s in bad]) < 0.35


def test_unknown_options_name_the_nearest():
    with pytest.raises(OptionError, match="evaluations"):
        create_strategy("random", SIX, evaluation=3)


@pytest.mark.parametrize("name", list_strategies())
def test_options_of_another_type_are_refused(name):
    space = DecisionSpace([Decision("a", ("x", "y"))])
    for option in strategy_options(name):
        for value in ("abc", [1]):
            with pytest.raises(OptionError, match=option):
                create_strategy(name, space, **{option: value})
    with pytest.raises(OptionError, match="a seed is from 0 to"):
        create_strategy(name, space, seed=-1)


def test_options_out_of_range_are_refused():
    for name in list_strategies():
        if "evaluations" in strategy_options(name):
            with pytest.raises(OptionError, match="at least 1"):
                create_strategy(name, SIX, evaluations=0)
