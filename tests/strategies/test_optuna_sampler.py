import json
import sys

import pytest

from ddpnas.errors import OptionError
from ddpnas.space.decisions import Decision, DecisionSpace
from ddpnas.strategies import create_strategy

SPACE = DecisionSpace([Decision("a", ("x", "y")), Decision("b", ("u", "v", "w"))])


def test_without_optuna_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(OptionError, match=r"pip install 'ddpnas\[optuna\]'"):
        create_strategy("optuna", SPACE)


def test_any_sampler_that_takes_a_seed_runs():
    pytest.importorskip("optuna")
    for sampler in ("TPESampler", "RandomSampler"):
        strategy = create_strategy("optuna", SPACE, evaluations=4, sampler=sampler)
        while not strategy.done:
            strategy.tell(strategy.ask(), [0.5])
        assert len(strategy.history) == 4
    for unknown in ("TPSampler", "GridSampler"):  # the latter needs more than a seed
        with pytest.raises(OptionError, match=r"did you mean '\w+Sampler'"):
            create_strategy("optuna", SPACE, sampler=unknown)


@pytest.mark.filterwarnings("ignore:BruteForceSampler is experimental")
def test_where_a_sampler_has_suggested_everything_the_search_goes_on():
    pytest.importorskip("optuna")

    def new():
        return create_strategy("optuna", SPACE, evaluations=10, sampler="BruteForceSampler")

    strategy, restored = new(), new()
    while not strategy.done:
        for one in (strategy, restored):
            one.tell(one.ask(), [float(len(one.history))])
        state, restored = restored.state_dict(), new()
        restored.load_state_dict(json.loads(json.dumps(state)))
    assert len({*strategy.history[:6]}) == 6 and len(strategy.history) == 10
    assert restored.history == strategy.history
