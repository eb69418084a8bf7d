"""Every recipe trains a small network on real images to a floor in seconds."""

import pytest
import torch

import ddpnas
from ddpnas.training import create_recipe

CELL = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"


@pytest.fixture(scope="module")
def fashion():
    return ddpnas.load_data("fashion-mnist-12k", limit_train_images=1000, image_size=14)


# Of ten classes; measured were 0.69, 0.66, 0.60 and 0.44.
@pytest.mark.parametrize(
    "name, floor, changes",
    [
        ("quick", 0.62, {}),
        pytest.param("cifar", 0.6, {"cutout": 4, "batch_size": 25}, marks=pytest.mark.slow),
        pytest.param("cifar-large", 0.5, {"cutout": 4, "batch_size": 25}, marks=pytest.mark.slow),
        pytest.param(
            "imagenet-mobile",
            0.35,
            {"batch_size": 25, "lr": 0.01, "decay_epochs": 1.0},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_recipe_reaches_its_floor(fashion, name, floor, changes):
    space = ddpnas.create_space(
        "nasbench201", channels=8, cells_per_stage=1, num_classes=10, input_shape=(1, 14, 14)
    )
    torch.manual_seed(0)
    network = space.build(space.parse(CELL))
    recipe = create_recipe(name, epochs=4, **changes)
    result = ddpnas.train(network, fashion, recipe, device="cpu")
    assert result.evaluation.accuracy > floor
