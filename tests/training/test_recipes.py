"""Recipes: named, printed, changed, and what cannot be one."""

import pytest

import ddpnas
from ddpnas import Recipe
from ddpnas.errors import OptionError
from ddpnas.training import RECIPES, create_recipe, inference_space


@pytest.mark.parametrize("name", RECIPES)
def test_a_printed_recipe_is_read_back(tmp_path, name):
    (tmp_path / "mine.yaml").write_text(RECIPES[name].to_yaml())
    assert create_recipe(tmp_path / "mine.yaml") == RECIPES[name]
    assert create_recipe(name) == RECIPES[name] and RECIPES[name].source


def test_the_published_recipes_are_as_published():
    cifar = RECIPES["cifar"]
    assert (cifar.optimizer, cifar.lr, cifar.epochs, cifar.batch_size) == (
        "momentum",
        0.025,
        600,
        96,
    )
    assert (cifar.cutout, cifar.clip, cifar.auxiliary_weight) == (16, 5.0, 0.4)
    size = {"channels": 36, "cells": 20, "auxiliary": True, "drop_path": 0.2}
    assert cifar.network == {"darts": size}
    large = RECIPES["cifar-large"]
    assert (large.epochs, large.policy, large.network["darts"]["channels"]) == (1800, "cifar10", 44)
    mobile = RECIPES["imagenet-mobile"]
    assert mobile.image_size == 224 and mobile.ema > 0 and mobile.warmup > 0
    assert mobile.label_smoothing == 0.1


def test_only_settings_that_are_given_change_and_files_may_name_few(tmp_path):
    assert create_recipe("cifar", lr=1, epochs=3) == create_recipe("cifar", lr=1.0, epochs=3)
    assert create_recipe("cifar", epochs=3).cutout == 16
    (tmp_path / "few.yaml").write_text("name: cifar\nweight_decay: 1e-3\n")  # a text for YAML 1.1
    few = create_recipe(tmp_path / "few.yaml", epochs=2)
    assert (few.weight_decay, few.epochs, few.lr) == (1e-3, 2, 0.025)
    (tmp_path / "own.yml").write_text("name: own\nlr: 0.5\n")
    assert create_recipe(tmp_path / "own.yml") == Recipe(
        name="own", lr=0.5, source=RECIPES["quick"].source
    )


def test_the_final_network_has_the_size_of_recipe_and_options_the_latter_first(small_space):
    darts = ddpnas.create_space("darts", channels=2, cells=3, input_shape=(1, 28, 28))
    final = ddpnas.training.final_space(darts, "cifar", channels=4, cells=3)
    options = {
        name: final.options[name] for name in ("channels", "cells", "auxiliary", "drop_path")
    }
    assert options == {"channels": 4, "cells": 3, "auxiliary": True, "drop_path": 0.2}
    assert inference_space(final).options == darts.options | {"channels": 4}
    assert ddpnas.training.final_space(small_space, "cifar") is small_space
    assert ddpnas.training.final_space(darts, "quick") is darts is inference_space(darts)


def test_patience_keeps_the_best():
    assert create_recipe("quick", patience=3).keep_best and not Recipe().keep_best


@pytest.mark.parametrize(
    "options, says",
    [
        ({"learning_rate": 1}, "unknown option of a recipe 'learning_rate'"),
        ({"lr": "fast"}, "lr of a recipe must be a number above 0"),
        ({"lr": 0}, "above 0"),
        ({"lr": float("inf")}, "lr of a recipe must be a number above 0"),
        ({"epochs": 2.5}, "epochs of a recipe must be a whole number from 1"),
        ({"epochs": True}, "epochs of a recipe must be a whole number from 1"),
        ({"epochs": 0}, "from 1 to 100,000, not 0"),
        ({"batch_size": 0}, "from 1 to 1,000,000, not 0"),
        ({"warmup": 2}, "from 0 to 1"),
        ({"optimizer": "rmsprop"}, "did you mean 'rmsproptf'"),
        ({"policy": "cifar"}, "did you mean 'cifar10'"),
        ({"schedule": "cos"}, "did you mean 'cosine'"),
        ({"crop": "resize"}, "did you mean 'resized'"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, says):
    with pytest.raises(OptionError, match=says):
        create_recipe("quick", **options)


def test_files_that_are_no_recipe_are_refused(tmp_path):
    for content, says in [
        ("- 1\n", "its content must be a mapping of names to values, not"),
        ("{", "is not YAML"),
        ("a: 1", "unknown option of a recipe 'a'"),
    ]:
        (tmp_path / "r.yaml").write_text(content)
        with pytest.raises(OptionError, match=says):
            create_recipe(tmp_path / "r.yaml")
    with pytest.raises(OptionError, match="there is no file no/such.yaml"):
        create_recipe("no/such.yaml")
