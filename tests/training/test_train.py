import pytest
import torch

from ddpnas import Recipe, make_data, train
from ddpnas.errors import DivergedError, OptionError

from ..conftest import striped_images

RESNET = {
    "1<-0": "nor_conv_3x3",
    "2<-0": "none",
    "2<-1": "nor_conv_3x3",
    "3<-0": "skip_connect",
    "3<-1": "none",
    "3<-2": "skip_connect",
}


def network(small_space):
    torch.manual_seed(0)
    return small_space.build(RESNET)


def test_a_network_learns_and_is_tested_on_unseen_images(small_space, stripes):
    recipe = Recipe(epochs=15, batch_size=16, lr=0.3)
    result = train(network(small_space), stripes, recipe, device="cpu")
    assert result.evaluation.split == "test" and result.evaluation.accuracy > 0.8
    assert [r["epoch"] for r in result.history] == list(range(1, 16))
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert not result.model.training


def test_without_test_images_the_validation_images_are_kept_out(small_space):
    images, labels = striped_images(60)
    data = make_data((images, labels), valid_fraction=0.5)
    seen = []
    model = network(small_space)
    model.register_forward_pre_hook(lambda m, inputs: seen.append((m.training, len(inputs[0]))))
    result = train(model, data, Recipe(epochs=1, batch_size=10, ema=0), device="cpu")
    assert result.evaluation.split == "valid"
    assert seen == [(True, 10)] * 3 + [(False, 30)]


def test_same_seed_same_network(small_space, stripes):
    def weights(seed):
        result = train(network(small_space), stripes, epochs=1, seed=seed, device="cpu")
        return torch.cat([p.detach().flatten() for p in result.model.parameters()])

    torch.testing.assert_close(weights(0), weights(0), rtol=0, atol=0)
    assert not torch.equal(weights(0), weights(1))


@pytest.mark.parametrize("epochs", [0, -3])
def test_epochs_below_one_are_refused(small_space, stripes, epochs):
    with pytest.raises(OptionError, match="from 1 to 100,000, not"):
        train(network(small_space), stripes, epochs=epochs)


def test_unknown_recipes_are_refused(small_space, stripes):
    with pytest.raises(OptionError, match="did you mean 'quick'"):
        train(network(small_space), stripes, "quik")


def test_divergence_says_the_epoch_and_what_to_try(small_space, stripes):
    recipe = Recipe(epochs=2, batch_size=16, lr=1e30, clip=0)
    with pytest.raises(DivergedError, match=r"in epoch \d of 2; try a lower learning rate"):
        train(network(small_space), stripes, recipe, device="cpu")
