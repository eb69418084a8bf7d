"""Few images get many epochs, and a training that learns nothing starts again, once."""

import pytest
import torch
from torch import nn

import ddpnas
from ddpnas import Recipe
from ddpnas.errors import DivergedError
from ddpnas.training import create_recipe
from ddpnas.training.protections import first_steps, planned_epochs, still_falls

# Without normalization and too fast: it learns nothing, and learns with a quarter of that.
FAST = Recipe(epochs=14, batch_size=8, lr=1.0, warmup=0.4, ema=0)
FIRST = 7  # epochs in which that shows


class KilledError(Exception):
    pass


def trained(data, recipe=FAST, kill_after=None, seen=None, **options):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 3),
    )  # fmt: skip
    calls = [] if seen is None else seen

    def on_epoch(record):
        calls.append(record["epoch"])
        if len(calls) == kill_after:
            raise KilledError

    return ddpnas.train(network, data, recipe, device="cpu", on_epoch=on_epoch, **options)


@pytest.fixture(scope="module")
def unbroken(stripes):
    return trained(stripes)


def test_a_training_that_learns_nothing_starts_again_with_a_quarter(unbroken, stripes, caplog):
    assert unbroken.recipe.lr == 0.25 and unbroken.evaluation.accuracy > 0.6
    assert len(unbroken.history) == 14 and unbroken.history[0]["failed_lr"] == 1.0
    assert "failed_lr" not in unbroken.history[1]
    alone = trained(stripes, ddpnas.training.create_recipe(FAST, lr=0.25))
    for name, value in alone.model.state_dict().items():
        assert torch.equal(unbroken.model.state_dict()[name], value), name
    assert unbroken.seconds > sum(record["seconds"] for record in unbroken.history)


@pytest.mark.parametrize("kill_after", [FIRST, FIRST + 2])
def test_killed_around_its_second_start_it_ends_with_the_same_weights(
    unbroken, stripes, tmp_path, kill_after
):
    with pytest.raises(KilledError):
        trained(stripes, kill_after=kill_after, folder=tmp_path)
    resumed = trained(stripes, folder=tmp_path, resume=True)
    assert [r["loss"] for r in resumed.history] == [r["loss"] for r in unbroken.history]
    for name, value in unbroken.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name
    again = trained(stripes, folder=tmp_path, resume=True)  # was finished
    assert again.recipe.lr == 0.25


def test_with_time_enough_the_second_attempt_is_the_same(unbroken, stripes):
    timed = trained(stripes, seconds=1e6)
    assert [r["loss"] for r in timed.history] == [r["loss"] for r in unbroken.history]


def test_whether_anything_was_learned_shows_by_the_epochs_that_fit(stripes):
    epochs = []
    recipe = create_recipe(FAST, epochs=28)  # twice as many as the clock leaves
    with pytest.raises(KilledError):
        trained(stripes, recipe, kill_after=FIRST + 1, shortened={1: 14}, seen=epochs)
    assert epochs == [*range(1, FIRST + 1), 1]


def test_a_history_repeats_a_training_that_started_again(stripes):
    recipe = create_recipe(FAST, epochs=28)
    whole = trained(stripes, recipe, shortened={1: 14})
    assert whole.history[0]["failed_lr"] == 1.0
    epochs = []
    again = trained(stripes, recipe, shortened={0: 28, 1: 14}, seen=epochs)
    assert epochs == [*range(1, 15)]  # the failed attempt is not repeated
    for name, value in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value), name


def test_a_training_that_diverges_at_once_gets_the_second_attempt_only(stripes, caplog):
    with pytest.raises(DivergedError, match=r"lower learning rate than 2\.5e\+19"):
        trained(stripes, create_recipe(FAST, lr=1e20))
    assert caplog.text.count("starts again") == 1


def test_few_images_get_many_epochs_and_many_get_few(stripes):
    assert planned_epochs(Recipe(steps=700), stripes) == 100  # 120 images, 16 a step
    assert planned_epochs(Recipe(steps=700, keep_best=True), stripes) == 117  # 96 images
    assert planned_epochs(Recipe(steps=1), stripes) == 10
    assert planned_epochs(Recipe(epochs=3), stripes) == 3
    result = trained(stripes, Recipe(steps=11, batch_size=120, lr=0.01))
    assert len(result.history) == result.recipe.epochs == 11


def test_the_first_steps_end_with_the_warm_up():
    assert first_steps(Recipe(warmup=0.25), 4000) == 1000
    assert first_steps(Recipe(warmup=0), 4000) == 100


def test_a_loss_that_still_falls_is_told_from_one_that_only_ends_its_schedule():
    assert still_falls([2.4, 2.3, 2.1, 2.1, 1.9, 1.9, 1.8, 1.8])
    assert not still_falls([2.4, 1.0, 0.7, 0.64, 0.6, 0.58, 0.57, 0.57])
    assert not still_falls([2.0]) and still_falls([2.0, 1.0])


def test_a_training_that_ends_too_early_says_so(stripes, caplog):
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with caplog.at_level("INFO", "ddpnas.training"):
        ddpnas.train(linear, stripes, Recipe(epochs=4), device="cpu")
    assert "still falling" in caplog.text and "more epochs than 4" in caplog.text
    caplog.clear()
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with caplog.at_level("INFO", "ddpnas.training"):
        ddpnas.train(linear, stripes, Recipe(epochs=4), device="cpu", seconds=600.0)
    assert "still falling" in caplog.text and "more time may do better" in caplog.text
