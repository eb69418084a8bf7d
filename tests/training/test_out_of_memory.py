"""A training that runs out of memory starts again with half the batch, and ends as if asked to."""

import pytest
import torch
from torch import nn

import ddpnas
from ddpnas import Recipe
from ddpnas.errors import RunError

RECIPE = Recipe(epochs=3, batch_size=48)


class Hungry(nn.Module):
    """Takes so many images at once; while it trains, that is."""

    def __init__(self, most, error):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
        self.most, self.error = most, error

    def forward(self, x):
        if self.training and len(x) > self.most:
            raise self.error
        return self.layers(x)


NO_MEMORY = RuntimeError(
    "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA"), NO_MEMORY])
def test_half_the_batch_is_tried(stripes, caplog, error):
    result = ddpnas.train(Hungry(12, error), stripes, RECIPE, device="cpu")
    assert caplog.text.count("starts again with") == 2 and result.recipe.batch_size == 12
    small = ddpnas.training.create_recipe(RECIPE, batch_size=12)
    asked = ddpnas.train(Hungry(12, error), stripes, small, device="cpu")
    for name, value in asked.model.state_dict().items():
        assert torch.equal(result.model.state_dict()[name], value), name


def test_it_is_resumed_with_the_batch_that_it_had(stripes, tmp_path):
    def interrupt(record):
        if record["epoch"] == 2:
            raise KeyboardInterrupt

    options = {"device": "cpu", "folder": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        ddpnas.train(Hungry(12, MemoryError()), stripes, RECIPE, on_epoch=interrupt, **options)
    roomy = Hungry(1000, None)
    resumed = ddpnas.train(roomy, stripes, RECIPE, resume=True, **options)
    unbroken = ddpnas.train(Hungry(12, MemoryError()), stripes, RECIPE, device="cpu")
    assert resumed.recipe.batch_size == 12
    for name, value in unbroken.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name
    again = ddpnas.train(roomy, stripes, RECIPE, resume=True, **options)  # was finished
    assert again.to_dict() == resumed.to_dict()


def test_without_memory_for_one_image_a_sentence_says_so(stripes):
    with pytest.raises(RunError, match="for a batch of one image"):
        ddpnas.train(Hungry(0, MemoryError()), stripes, RECIPE, device="cpu")


def test_later_in_a_training_a_sentence_says_how_to_go_on(stripes, tmp_path):
    network = Hungry(1000, MemoryError())

    def fill(record):
        network.most = 0

    with pytest.raises(RunError, match="memory ran out after .*go on with --resume"):
        ddpnas.train(network, stripes, RECIPE, device="cpu", on_epoch=fill, folder=tmp_path)


def test_images_that_do_not_fit_on_the_device_end_in_a_sentence(stripes, monkeypatch):
    def full(*given, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("ddpnas.training.session.Loader", full)
    with pytest.raises(RunError, match="not enough memory for the images and the network"):
        ddpnas.train(Hungry(100, NO_MEMORY), stripes, RECIPE, device="cpu")
