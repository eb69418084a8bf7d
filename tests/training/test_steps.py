import math

import pytest
import torch
from torch import nn

from ddpnas.errors import DivergedError, OptionError
from ddpnas.training import TrainStep, pick_device, train_epoch
from ddpnas.training.device import place


def test_an_epoch_steps_once_a_batch_and_returns_the_mean_loss():
    model = nn.Linear(2, 2)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    steps = []
    optimizer.register_step_post_hook(lambda *_: steps.append(1))
    batches = [(torch.randn(4, 2), torch.tensor([0, 1, 0, 1]))] * 3
    loss = train_epoch(TrainStep(model, optimizer, list(model.parameters()), clip=1.0), batches)
    assert loss == pytest.approx(math.log(2), abs=1e-5) and len(steps) == 3


def test_the_gradient_is_clipped_to_its_norm():
    model = nn.Linear(2, 2, bias=False)
    before = model.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    batch = [(1000 * torch.ones(1, 2), torch.tensor([int(model(torch.ones(1, 2)).argmin())]))]
    train_epoch(TrainStep(model, optimizer, list(model.parameters()), clip=0.5), batch)
    assert (model.weight.detach() - before).norm() == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_training(bad):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(DivergedError, match="became nan"):
        step = TrainStep(model, optimizer, list(model.parameters()))
        train_epoch(step, [(torch.full((1, 2), bad), torch.tensor([0]))])


def test_devices_are_found_by_name_and_refused_when_absent():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in ("cpu", "cuda", "mps", "xpu")
    for name in ("nonsense", "cuda:99"):
        with pytest.raises(OptionError, match="try cpu"):
            pick_device(name)


def test_a_model_is_placed_with_its_images_weights_channels_last():
    model = nn.ModuleList([nn.Conv2d(4, 4, 3), nn.Conv3d(4, 4, 3), nn.Linear(3, 3)])
    place(model, torch.device("cpu"))
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert model[1].weight.is_contiguous() and model[2].weight.is_contiguous()


def test_further_outputs_count_with_their_weight():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(2, 2)

        def forward(self, x):
            fixed = torch.tensor([[0.0, 1.0]]).expand(len(x), 2)
            return 0 * self.head(x), fixed

    batch = [(torch.zeros(1, 2), torch.tensor([0]))]
    model = Two()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = TrainStep(model, optimizer, list(model.parameters()), auxiliary_weight=0.5)
    loss = train_epoch(step, batch)
    assert loss == pytest.approx(math.log(2) + 0.5 * math.log(1 + math.e), rel=1e-5)
