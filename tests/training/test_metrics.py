"""A network that answers with NaN has no accuracy: counting says so instead of taking class 0."""

import pytest
import torch
from torch import nn

import ddpnas
from ddpnas import Architecture, TrainedModel
from ddpnas.errors import DivergedError
from ddpnas.evaluators.scoring import score_paths
from ddpnas.training.distributed import ALONE
from ddpnas.training.metrics import confusion

CLASSES = ("a", "b")
STRANGE = "answers 2 of 4 inputs with values that are not numbers"


class Odd(nn.Module):
    """Has no number for inputs below 0."""

    def forward(self, x):
        return torch.stack([x.sum(dim=1).sqrt(), torch.ones(len(x))], dim=1)


@pytest.fixture
def inputs():
    return torch.tensor([[-1.0], [4.0], [-2.0], [9.0]])


def test_nan_is_no_class(inputs):
    labels = torch.zeros(4, dtype=torch.long)
    assert confusion(Odd(), [(inputs.abs(), labels)], 2).tolist() == [[4, 0], [0, 0]]
    with pytest.raises(DivergedError, match=STRANGE):
        confusion(Odd(), [(inputs, labels)], 2)


def test_a_trained_network_that_answers_with_nan_is_not_believed(inputs):
    model = TrainedModel(Odd(), Architecture({}), "", (1,), CLASSES)
    assert model.predict(inputs.abs()).shape == (4, 2)
    with pytest.raises(DivergedError, match=STRANGE):
        model.predict(inputs)
    data = ddpnas.make_data((inputs, torch.arange(4) % 2), valid=(inputs, torch.arange(4) % 2))
    with pytest.raises(DivergedError, match=STRANGE):
        ddpnas.evaluate(model, data)


def test_a_path_that_answers_with_nan_is_not_right(inputs):
    def network(choose):
        return choose("layer", {"odd": Odd, "linear": lambda: nn.Linear(1, 2)})

    space = ddpnas.SearchSpace(network, (1,))
    batch = inputs, torch.zeros(4, dtype=torch.long)
    path = Architecture({"layer": "odd"})
    [found] = score_paths(space.supernet().eval(), space.decisions, [path], [batch], ALONE)
    assert found.accuracy == 0.5
