"""Captured steps, with a graph that records on the CPU; and with CUDA's where there is one."""

import logging

import pytest
import torch
from torch import nn

from ddpnas.training.cuda_graphs import EAGER_STEPS, Captures
from ddpnas.training.steps import TrainStep, train_epoch
from tests.recorder import Recorder


class Refusing(Recorder):
    def capture(self, call):
        self.captures += 1
        raise RuntimeError("operation not permitted when stream is capturing\nmore")


def batches(sizes, device="cpu"):
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(size, 5, generator=generator).to(device),
            torch.randint(3, (size,), generator=generator).to(device),
        )
        for size in sizes
    ]


def trained(captures, sizes, device="cpu", epochs=1):
    """Return losses and weights after epochs of a small network with momentum."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).to(device)
    parameters = list(model.parameters())
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01)
    losses = []
    for _ in range(epochs):
        step = (captures or Captures(None)).step(TrainStep(model, optimizer, parameters, clip=1.0))
        losses.append(train_epoch(step, batches(sizes, device)))
    return losses, [p.detach().cpu() for p in parameters]


def assert_equal(first, second):
    assert first[0] == second[0]
    assert all(torch.equal(a, b) for a, b in zip(first[1], second[1], strict=True))


def counts(made):
    return [(graph.eagers, graph.captures, graph.replays) for graph in made]


def test_replayed_steps_train_as_plain_ones_do():
    captures, made = Recorder.captures()
    assert_equal(trained(captures, [4] * 12), trained(None, [4] * 12))
    assert counts(made) == [(EAGER_STEPS, 1, 12 - EAGER_STEPS)]


def test_every_epoch_is_captured_once():
    captures, made = Recorder.captures()
    assert_equal(trained(captures, [4] * 6, epochs=3), trained(None, [4] * 6, epochs=3))
    assert counts(made) == [(EAGER_STEPS, 1, 6 - EAGER_STEPS)] * 3


def test_batches_of_another_shape_run_as_they_are():
    captures, made = Recorder.captures()
    sizes = [4] * EAGER_STEPS + [4, 2, 4, 3]
    assert_equal(trained(captures, sizes), trained(None, sizes))
    assert counts(made) == [(EAGER_STEPS + 2, 1, 2)]


def test_an_epoch_too_short_for_a_capture_is_not_captured():
    captures, made = Recorder.captures()
    assert_equal(trained(captures, [4] * EAGER_STEPS), trained(None, [4] * EAGER_STEPS))
    assert counts(made) == [(EAGER_STEPS, 0, 0)]


def test_steps_that_take_turns_are_captured_one_by_one():
    captures, made = Recorder.captures()
    steps = [captures.step(lambda x, y, k=k: k * x.sum() + y.sum()) for k in (1, 2)]
    for turn in range(4):
        for k, step in enumerate(steps, 1):
            x, y = torch.full((3,), 1.0 + turn), torch.tensor([turn])
            assert step(x, y) == k * x.sum() + y.sum()
    assert counts(made) == [(EAGER_STEPS, 1, 4 - EAGER_STEPS)] * 2


def test_where_the_device_refuses_all_steps_run_plainly_and_a_warning_says_so_once(caplog):
    captures, made = Refusing.captures()
    with caplog.at_level(logging.WARNING):
        assert_equal(trained(captures, [4] * 6, epochs=2), trained(None, [4] * 6, epochs=2))
    assert [graph.captures for graph in made] == [1]
    (record,) = caplog.records
    assert "not permitted when stream is capturing" in record.message
    assert "more" not in record.message


def test_on_the_cpu_nothing_is_captured():
    captures = Captures.on(torch.device("cpu"))
    assert captures.step(max) is max


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_graphs_train_as_plain_steps_do():
    device = torch.device("cuda")
    ours = trained(Captures.on(device), [8] * 12, device, epochs=2)
    plain = trained(None, [8] * 12, device, epochs=2)
    assert ours[0] == pytest.approx(plain[0], rel=1e-4)
    for a, b in zip(ours[1], plain[1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
