"""What every registered strategy keeps: the shipped contract, and what is ours beyond it."""

import importlib.util
import json
import math

import numpy as np
import pytest

from ddpnas.errors import OptionError
from ddpnas.space.decisions import Decision, DecisionSpace, Rule
from ddpnas.strategies import (
    GradientStrategy,
    create_strategy,
    list_strategies,
    strategy_class,
    strategy_options,
)
from ddpnas.testing import StrategyContract

PRUNED = ["asng", "mdenas", "migo", "reinforce", "sng"]
# Those that learn from scores; tests/strategies/test_gradient.py has the others.
SCORED = [n for n in list_strategies() if not issubclass(strategy_class(n), GradientStrategy)]
EXTRAS = {"forest": "sklearn", "optuna": "optuna"}
QUICK = {"cycles_per_stage": 4, "draws": 100}
CASES = [
    *((name, {}) for name in SCORED if name not in ("ddpnas", "forest", "genetic", "optuna")),
    *((name, {"pruning": True}) for name in PRUNED),
    ("ddpnas", QUICK),
    ("ddpnas", {"max_risk": 0.1, **QUICK}),
    ("ddpnas", {"evaluations": 30}),
    ("ddpnas-paper", {"rule": "decay"}),
    ("forest", {"evaluations": 36, "initial": 24, "trees": 5, "draws": 40, "batch": 6}),
    ("genetic", {"evaluations": 60, "population": 12}),
    ("optuna", {"evaluations": 30}),  # restoring it takes long, because all is told anew
]


def case_name(case):
    name, options = case
    return "_".join([name.replace("-", "_"), *options])


def contract(name, options):
    class Test(StrategyContract):
        def make_strategy(self, space, seed):
            return create_strategy(name, space, seed=seed, **options)

        if options.get("max_risk"):  # a pruning that waits makes the announced number the most

            def test_it_ends_after_the_evaluations_that_it_announced(self):
                for space in self.spaces():
                    strategy = self.make_strategy(space, 0)
                    most = strategy.evaluations
                    while not strategy.done:
                        strategy.tell(batch := strategy.ask(), [0.5] * len(batch))
                    assert len(strategy.history) == strategy.evaluations <= most

    extra = EXTRAS.get(name)
    skip = extra is not None and importlib.util.find_spec(extra) is None
    return pytest.mark.skipif(skip, reason=f"{extra} is not installed")(Test)


for _case in CASES:
    globals()[f"Test_{case_name(_case)}"] = contract(*_case)


@pytest.fixture(params=CASES, ids=case_name)
def make(request):
    name, options = request.param
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name])
    return lambda space, seed=0: create_strategy(name, space, seed=seed, **options)


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


def score(space, architecture):
    """Return a score that is the higher the later the options: 0.5 to 0.9."""
    best = [len(d.options) - 1 for d in space.decisions]
    return 0.5 + 0.4 * sum(space.encode(architecture)) / sum(best)


def run(strategy, space, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    asked = []
    while not strategy.done:
        batch = strategy.ask()
        asked += batch
        strategy.tell(batch, [score(space, a) + noise * rng.normal() for a in batch])
    return asked


def test_a_finished_search_asks_nothing(make):
    run(strategy := make(RAGGED), RAGGED)
    with pytest.raises(RuntimeError, match="nothing to ask"):
        strategy.ask()


def test_another_seed_is_another_search(make):
    assert make(SIX, 1).ask() == make(SIX, 1).ask()
    assert [run(make(SIX, seed), SIX)[:10] for seed in (1, 2)].count(
        run(make(SIX, 1), SIX)[:10]
    ) == 1


def test_scores_that_are_nan_are_counted(make):
    strategy = make(RAGGED)
    batch = strategy.ask()
    strategy.tell(batch, [math.nan] * len(batch))
    assert len(strategy.failed) == len(batch)


def test_tell_takes_only_the_batch_that_was_asked_with_a_score_for_each(make):
    strategy = make(RAGGED)
    batch = strategy.ask()
    other = [
        *batch[:-1],
        RAGGED.decode([(i + 1) % k for i, k in zip(RAGGED.encode(batch[-1]), (3, 4, 1, 2))]),
    ]
    for wrong, scores in ((batch, [0.1] * (len(batch) + 1)), (other, [0.1] * len(batch))):
        with pytest.raises(ValueError, match="the batch that was asked, with one score each"):
            strategy.tell(wrong, scores)


def test_final_rules_bind_only_what_is_recommended(make):
    strategy = make(RULED)
    asked = run(strategy, RULED)
    assert all(RULED.rules[0].holds(a) for a in asked)
    assert not all(RULED.rules[1].holds(a) for a in asked)
    RULED.check(strategy.architecture)


@pytest.mark.parametrize("name", ["ddpnas", "ddpnas-paper"])
def test_where_all_is_kept_there_is_one_score(name):
    strategy = create_strategy(name, RAGGED, keep=4)
    assert strategy.evaluations == len(strategy.ask()) == 1
    strategy.tell(strategy.ask(), [0.5])
    assert strategy.done and strategy.evaluations == 1


@pytest.mark.parametrize(
    ("name", "options"),
    [("ddpnas", QUICK), ("ddpnas-paper", {})] + [(name, {"pruning": True}) for name in PRUNED],
)
def test_pruning_goes_to_the_end_and_leaves_what_the_rules_allow(name, options):
    for seed in range(2):
        strategy = create_strategy(name, LIMITED, seed=seed, **options)
        run(strategy, LIMITED, noise=0.01, seed=seed)  # the better, the more blocks
        assert strategy.stage == 3
        assert all(len(alive) == 1 for alive in strategy.distribution.survivors.values())
        assert LIMITED.check(strategy.distribution.mode()) == strategy.architecture


def test_unknown_names_and_options_come_with_the_nearest_spelling():
    with pytest.raises(OptionError, match="did you mean 'ddpnas'"):
        create_strategy("ddpnass", SIX)
    with pytest.raises(OptionError, match="of your own is named in a search"):
        create_strategy("mine.py:Mine", SIX)
    with pytest.raises(OptionError, match="did you mean 'temperature'"):
        create_strategy("ddpnas-paper", SIX, temprature=1)
    with pytest.raises(OptionError, match="evaluations"):
        create_strategy("random", SIX, evaluation=3)


@pytest.mark.parametrize("name", list_strategies())
def test_options_of_another_type_are_refused(name):
    space = DecisionSpace([Decision("a", ("x", "y"))])
    for option in strategy_options(name):
        for value in ("abc", [1]):
            with pytest.raises(OptionError, match=option):
                create_strategy(name, space, **{option: value})
    with pytest.raises(OptionError, match="seed.* must be a whole number from 0 to"):
        create_strategy(name, space, seed=-1)


def test_options_out_of_range_are_refused():
    for name in list_strategies():
        if "evaluations" in strategy_options(name):
            with pytest.raises(OptionError, match="from 1 to 1,000,000, not 0"):
                create_strategy(name, SIX, evaluations=0)


@pytest.mark.parametrize("name", [n for n in SCORED if n not in EXTRAS or n == "optuna"])
def test_what_failed_first_is_not_recommended_where_all_scores_are_negative(name):
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name])
    space = DecisionSpace([Decision("a", tuple("vwxyz")), Decision("b", tuple("pqrst"))])
    failing = space.encode(create_strategy(name, space).ask()[0])

    def told(a):
        at = space.encode(a)
        return math.nan if at == failing else -1.0 - 0.1 * sum(at)

    strategy = create_strategy(name, space)
    while not strategy.done and len(strategy.history) < 60:
        batch = strategy.ask()
        strategy.tell(batch, [told(a) for a in batch])
        finite = [s for at, s in enumerate(strategy.scores) if at not in strategy.failed]
        if finite:
            assert {strategy.scores[at] for at in strategy.failed} <= {min(finite)}
    assert 0 in strategy.failed
    assert space.encode(strategy.architecture) != failing


@pytest.mark.parametrize("name", ["random", "local-search", "regularized-evolution", "genetic"])
def test_one_that_failed_is_never_ahead_of_one_with_a_score(name):
    strategy = create_strategy(
        name, SIX, evaluations=5, **({"population": 1, "parents": 1} if name == "genetic" else {})
    )
    tellable = iter([math.nan, -1.0, math.nan, -2.0, -3.0])
    while not strategy.done:
        strategy.tell(strategy.ask(), [next(tellable)])
    assert strategy.scores == [-3.0, -1.0, -3.0, -2.0, -3.0]
    assert strategy.ranked(range(5)) == [1, 3, 4, 0, 2]
    assert SIX.encode(strategy.architecture) == strategy.history[1]
    restored = create_strategy(name, SIX, evaluations=5)
    restored.load_state_dict(json.loads(json.dumps(strategy.state_dict())))
    assert restored.failed == {0, 2} and restored.architecture == strategy.architecture
