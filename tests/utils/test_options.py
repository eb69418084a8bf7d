"""Values given one by one are what their options are annotated with, or refused."""

import numpy as np
import pytest

import ddpnas
from ddpnas.errors import OptionError
from ddpnas.utils.options import check_seed, typed


@pytest.mark.parametrize(
    ("annotation", "value", "taken"),
    [
        ("int", 3, 3),
        ("int", np.int64(3), 3),
        ("int | None", None, None),
        ("float", 1, 1.0),
        ("float", "3e-4", 3e-4),
        ("bool", False, False),
        ("str", "a", "a"),
        ('Literal["a", "b"] | None', "c", "c"),  # which texts there are, the option knows
        ("Mapping[str, Any]", {"a": 1}, {"a": 1}),
    ],
)
def test_what_fits_is_taken(annotation, value, taken):
    found = typed("x", annotation, value)
    assert found == taken and type(found) is type(taken)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        *[("int", v) for v in ("3", 2.0, True, None, [1], float("nan"))],
        *[("float", v) for v in ("a", True, None, float("inf"), float("nan"), 10**400)],
        *[("bool", v) for v in (1, "yes", None)],
        *[("str", v) for v in (1, True)],
        ('Literal["a"]', 3),
        ("Mapping[str, Any]", "a"),
    ],
)
def test_what_does_not_fit_is_refused(annotation, value):
    with pytest.raises(OptionError, match="^x must be of type"):
        typed("x", annotation, value)


@pytest.mark.parametrize("seed", [-1, 2**32, 10**30])
def test_seeds_are_those_that_every_library_takes(small_space, stripes, seed):
    check_seed(0)
    check_seed(2**32 - 1)
    architecture = small_space.sample(np.random.default_rng(0))
    for call in (
        lambda: ddpnas.search(small_space, stripes, seed=seed),
        lambda: ddpnas.compare(small_space, architecture, stripes, seed=seed),
        lambda: ddpnas.train(small_space.build(architecture), stripes, seed=seed),
        lambda: ddpnas.costs.LatencyConfig(seed=seed),
    ):
        with pytest.raises(OptionError, match="a seed must be from 0 to 4,294,967,295, not"):
            call()
