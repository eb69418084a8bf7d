"""Captured steps, with a graph that records on the CPU; and with CUDA's where there is one."""

import logging

import pytest
import torch
from torch import nn

from ddpnas.training.captured import EAGER_STEPS, Captures
from ddpnas.training.epoch import train_epoch


class Recorder:
    """A graph of the CPU: a capture runs nothing, a replay fills the result it promised."""

    def __init__(self):
        self.captures = self.replays = self.eagers = 0

    def eager(self, call):
        self.eagers += 1
        return call()

    def capture(self, call):
        self.captures += 1
        self._call, self._result = call, torch.full((), float("nan"))
        return self._result

    def replay(self):
        self.replays += 1
        self._result.copy_(self._call())


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
    losses = [
        train_epoch(
            model, batches(sizes, device), optimizer, parameters, clip=1.0, captures=captures
        )
        for _ in range(epochs)
    ]
    return losses, [p.detach().cpu() for p in parameters]


def assert_equal(first, second):
    assert first[0] == second[0]
    assert all(torch.equal(a, b) for a, b in zip(first[1], second[1], strict=True))


def test_replayed_steps_train_as_plain_ones_do():
    graph = Recorder()
    assert_equal(trained(Captures(graph), [4] * 12), trained(None, [4] * 12))
    assert (graph.eagers, graph.captures, graph.replays) == (EAGER_STEPS, 1, 12 - EAGER_STEPS)


def test_every_epoch_is_captured_once():
    graph = Recorder()
    assert_equal(trained(Captures(graph), [4] * 6, epochs=3), trained(None, [4] * 6, epochs=3))
    assert graph.captures == 3


def test_batches_of_another_shape_run_as_they_are():
    graph = Recorder()
    sizes = [4, 4, 4, 4, 2, 4, 3]
    assert_equal(trained(Captures(graph), sizes), trained(None, sizes))
    assert (graph.captures, graph.replays) == (1, 2)


def test_an_epoch_too_short_for_a_capture_is_not_captured():
    graph = Recorder()
    assert_equal(trained(Captures(graph), [4] * EAGER_STEPS), trained(None, [4] * EAGER_STEPS))
    assert graph.captures == 0


def test_where_the_device_refuses_all_steps_run_plainly_and_a_warning_says_so_once(caplog):
    graph = Refusing()
    with caplog.at_level(logging.WARNING):
        assert_equal(trained(Captures(graph), [4] * 6, epochs=2), trained(None, [4] * 6, epochs=2))
    assert graph.captures == 1
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
