"""What a setting may be stands next to it, and every way to give it is checked against that."""

from __future__ import annotations

import functools
import importlib
import inspect
import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pytest

import ddpnas
from ddpnas.errors import OptionError
from ddpnas.evaluators.registry import evaluator_config, list_evaluators
from ddpnas.strategies.registry import constructor_options, strategy_class
from ddpnas.training.recipes import Recipe, create_recipe
from ddpnas.utils.settings import Count, LearningRate, checked, checks_arguments
from ddpnas.utils.shapes import Range, hints_of, shown

ABSURD = (-1, 0, 1e300, -1e300, math.nan, math.inf, 2**63, 10**400, "abc", [1], {"a": 1}, True)


@pytest.mark.parametrize(
    ("hint", "value", "taken"),
    [
        (int, 3, 3),
        (int, np.int64(3), 3),
        (int | None, None, None),
        (float, 1, 1.0),
        (float, "3e-4", 3e-4),
        (bool, False, False),
        (str, "a", "a"),
        (Literal["a", "b"] | None, "b", "b"),
        (Literal["no", "bf16"], False, "no"),
        (Mapping[str, Any], {"a": 1}, {"a": 1}),
        (Sequence[float], [1, "2"], [1.0, 2.0]),
        (tuple[int, float], (1, 2), (1, 2.0)),
        (str | float, "20", "20"),
        (Annotated[float, Range(0, finite=False)], math.inf, math.inf),
        (tuple[int, ...], [1, 2], (1, 2)),
    ],
)
def test_what_fits_is_taken(hint, value, taken):
    found = checked("x", hint, value)
    assert found == taken and type(found) is type(taken)


@pytest.mark.parametrize(
    ("hint", "value", "says"),
    [
        *[(int, v, "a whole number") for v in ("3", 2.0, True, None, [1], math.nan)],
        *[(float, v, "a finite number") for v in ("a", True, None, math.inf, math.nan, 10**400)],
        *[(bool, v, "true or false") for v in (1, "yes", None)],
        *[(str, v, "text") for v in (1, True)],
        (Literal["a"], 3, "one of a"),
        (Mapping[str, Any], "a", "a mapping of names to values"),
        (Sequence[int], "abc", "a list of whole numbers"),
        (tuple[int, int], (1, 2, 3), "a list of 2 whole numbers"),
        (Count | None, 0, "a whole number from 1 to 1,000,000"),
        (LearningRate, 1e300, "a number above 0 and at most 1e+30"),
        (Annotated[float, Range(0, below=1)], math.nan, "a number of at least 0 and below 1"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_does(hint, value, says):
    with pytest.raises(OptionError, match=f"^x must be {re.escape(says)}, not "):
        checked("x", hint, value)


def test_long_values_are_shown_in_part():
    assert shown("a" * 1000).endswith("...") and len(shown("a" * 1000)) == 80
    assert shown(10**5000) == "a number of 16,610 bits"
    assert shown(np.zeros(3)) == "a numpy.ndarray"


def numeric(hint):
    return any(word in str(hint) for word in ("int", "float"))


@pytest.mark.parametrize("name", list_evaluators())
def test_every_option_of_an_evaluator_is_taken_or_refused_by_name(name):
    for option in hints_of(type(evaluator_config(name, {}))):
        for value in ABSURD:
            try:
                evaluator_config(name, {option: value})
            except OptionError as error:
                assert option in str(error) and len(str(error)) < 400


def test_every_setting_of_a_recipe_is_taken_or_refused_by_name():
    for option, hint in hints_of(Recipe).items():
        for value in ABSURD:
            for make in (Recipe, functools.partial(create_recipe, "quick")):
                try:
                    make(**{option: value})
                except OptionError as error:
                    assert option in str(error)
                else:
                    assert not numeric(hint) or value in (-1, 0, 1e300, 2**63) or value is True
    for option in ("weight_decay", "clip", "mixup", "cutmix", "lr", "ema", "auxiliary_weight"):
        for value in (-1, 1e300, math.nan, math.inf):
            with pytest.raises(OptionError, match=f"^{option} of a recipe must be a number "):
                create_recipe("quick", **{option: value})


@pytest.mark.parametrize("name", ddpnas.strategies.list_strategies())
def test_every_number_of_a_strategy_has_a_range(name):
    space = ddpnas.create_space("toy")
    for option, parameter in constructor_options(strategy_class(name)).items():
        for value in (-1, 1e300, 2**63, math.nan, math.inf):
            if numeric(parameter.annotation):
                says = f"^{option} of strategy '{name}' must be a .*, not "
                with pytest.raises(OptionError, match=says):
                    ddpnas.create_strategy(name, space, **{option: value})
                with pytest.raises(OptionError, match=rf"^{option} of \w+\(\) must be a .*, not "):
                    strategy_class(name)(space, **{option: value})
    for taken in ("seed", "space", "name", "self"):
        with pytest.raises(OptionError, match=taken):
            ddpnas.strategies.registry.checked_strategy_options(
                name, strategy_class(name), {taken: 5}
            )


@pytest.mark.parametrize("name", ddpnas.list_spaces())
def test_every_number_of_a_space_has_a_range(name):
    module = importlib.import_module(f"ddpnas.spaces.{name.replace('-', '_')}")
    for option, parameter in inspect.signature(module.network).parameters.items():
        value = parameter.default
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            for absurd in (-1, 1e300, 2**63, math.nan, math.inf, "abc"):
                says = f"^{option} of space '{name}' must be a .*, not "
                with pytest.raises(OptionError, match=says):
                    ddpnas.create_space(name, **{option: absurd})
    for taken in ("name", "rules", "text", "network", "self", "canonical"):
        with pytest.raises(OptionError, match=f"unknown option of space '{name}' '{taken}'"):
            ddpnas.create_space(name, **{taken: 5})


def test_arguments_of_the_wrong_type_say_what_belongs_there():
    @checks_arguments
    def call(space: ddpnas.SearchSpace, names: Sequence[str] = (), *, many: Count = 1) -> int:
        return many

    space = ddpnas.create_space("toy")
    assert call(space, ["a"], many=np.int64(3)) == 3
    for arguments, more, says in (
        (("toy",), {}, r"space of .*call\(\) must be a ddpnas.space.SearchSpace, not 'toy'"),
        ((["a"], space), {}, "swap space and names"),
        ((space, "a"), {}, "must be a list of texts, not 'a'"),
        ((space,), {"many": 0}, "from 1 to 1,000,000, not 0"),
        ((space,), {"mny": 2}, "did you mean 'many'"),
        ((), {}, "missing a required argument: 'space'"),
    ):
        with pytest.raises(OptionError, match=says):
            call(*arguments, **more)


@pytest.mark.parametrize("seed", [-1, 2**32, 10**30, "0", 1.5])
def test_seeds_are_those_that_every_library_takes(small_space, stripes, seed):
    architecture = small_space.sample(np.random.default_rng(0))
    for call in (
        lambda: ddpnas.search(small_space, stripes, seed=seed),
        lambda: ddpnas.compare(small_space, architecture, stripes, seed=seed),
        lambda: ddpnas.train(small_space.build(architecture), stripes, seed=seed),
        lambda: ddpnas.create_strategy("random", small_space, seed=seed),
        lambda: ddpnas.costs.LatencyConfig(seed=seed),
    ):
        with pytest.raises(OptionError, match="seed.* a whole number from 0 to 4,294,967,295, not"):
            call()


def test_fields_are_checked_where_a_dataclass_is_made():
    assert Recipe(lr="1e-3").lr == 1e-3
    with pytest.raises(OptionError, match="^momentum of a recipe must be above 0 with the optim"):
        Recipe(momentum=0)
