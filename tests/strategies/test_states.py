"""A state that does not fit is refused in one sentence, whatever strategy it belongs to."""

import copy
import json

import numpy as np
import pytest

from ddpnas.errors import DdpnasError
from ddpnas.space import Decision, DecisionSpace
from ddpnas.strategies import create_strategy, list_strategies

SPACE = DecisionSpace([Decision(f"block{i}", ("conv", "pool", "skip")) for i in range(3)])
WRONG = (None, [], {}, "x", -1, 1e300, [[1]], [None], {"a": 1}, True, [float("nan")])


def told(name):
    """Return a strategy that knows some scores, and has asked for more."""
    strategy = create_strategy(name, SPACE, seed=0)
    for _ in range(4):
        if not strategy.done:
            strategy.tell(batch := strategy.ask(), [float(a["block0"] == "conv") for a in batch])
    if not strategy.done:
        strategy.ask()
    return strategy


def changed(state, rng):
    """Return the state with one value somewhere in it replaced, left out or doubled."""
    state = copy.deepcopy(state)
    at = state
    while True:
        keys = list(at) if isinstance(at, dict) else range(len(at))
        key = keys[rng.integers(len(keys))]
        inner = at[key]
        if not isinstance(inner, (dict, list)) or not inner or rng.random() < 0.4:
            break
        at = inner
    kind = rng.integers(4)
    if kind == 0:
        del at[key]
    elif kind == 1 and isinstance(inner, list):
        at[key] = inner + inner
    else:
        at[key] = WRONG[rng.integers(len(WRONG))]
    return state


@pytest.mark.parametrize("name", [n for n in list_strategies() if n != "optuna"])
def test_a_changed_state_is_refused_or_used(name):
    try:
        strategy = told(name)
    except DdpnasError:
        pytest.skip("only searches of networks")
    state = json.loads(json.dumps(strategy.state_dict()))
    create_strategy(name, SPACE, seed=0).load_state_dict(state)
    for key in state:
        less = {other: value for other, value in state.items() if other != key}
        with pytest.raises(DdpnasError, match="state"):
            create_strategy(name, SPACE, seed=0).load_state_dict(less)
    rng, refused = np.random.default_rng(0), 0
    for _ in range(40):
        damaged = changed(state, rng)
        try:
            (fresh := create_strategy(name, SPACE, seed=0)).load_state_dict(damaged)
        except DdpnasError as error:
            assert "state" in str(error) and "\n" not in str(error)
            refused += 1
            continue
        if not fresh.done:
            fresh.ask()
    assert refused > 20
