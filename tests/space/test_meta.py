"""on_meta(): what is remembered is what the meta kernels say, and nobody can tell."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from ddpnas.space.meta import on_meta


def _statistics(x):
    return [torch.empty(x.shape[1], device="meta", dtype=x.dtype) for _ in range(2)]


CALLS = {
    "relu": lambda x: functional.relu(x),
    "relu6": lambda x: functional.relu6(x),
    "hardswish": lambda x: functional.hardswish(x),
    "conv": lambda x: functional.conv2d(x, torch.empty(4, x.shape[1], 3, 3, device="meta")),
    "strided": lambda x: functional.conv2d(x, torch.empty(4, x.shape[1], 3, 3), stride=2),
    "mean": lambda x: x.mean((2, 3), keepdim=True) * x,
    "kept": lambda x: x.mean((2, 3)),
    "pool": lambda x: functional.max_pool2d(x, 3, 1, 1, return_indices=True)[1],
    "cat": lambda x: torch.cat([x, x], dim=1),
    "split": lambda x: torch.split(x, 1, dim=1)[0],
    "half": lambda x: x.to(torch.float16) + 1,
    "whole": lambda x: x > 0,
    "ones": lambda x: x + 1,
    "true": lambda x: x + True,
    "norm": lambda x: functional.batch_norm(x, *_statistics(x), training=True),
    "norm as in evaluation": lambda x: functional.batch_norm(x, *_statistics(x)),
    "means of a norm": lambda x: torch.native_batch_norm(
        x, None, None, *_statistics(x), True, 0.1, 1e-5
    )[1],
    "deviations of a norm": lambda x: torch.native_batch_norm(
        x, None, None, *_statistics(x), False, 0.1, 1e-5
    )[2],
    "sorted": lambda x: x.sort(dim=1).values,
}
SHAPES = [(2, 3, 8, 8), (2, 3, 9, 7), (1, 5, 8, 8)]


def form(tensor):
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device.type


def inputs():
    for shape in SHAPES:
        for dtype in (torch.float32, torch.float64):
            x = torch.empty(shape, device="meta", dtype=dtype)
            yield x
            if dtype == torch.float32:
                yield x.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", CALLS)
def test_results_have_the_form_that_the_meta_kernels_give(name):
    call = CALLS[name]
    for x in inputs():
        if name in ("conv", "strided") and x.dtype == torch.float64:
            continue
        with torch.device("meta"), torch.no_grad():
            expected = form(call(x))
        for _ in range(3):
            with on_meta():
                assert form(call(x)) == expected


def test_what_changes_or_shares_its_input_still_does():
    with on_meta():
        for _ in range(2):
            x = torch.empty(2, 3)
            assert x.add_(1) is x
            assert x.view(3, 2).untyped_storage()._cdata == x.untyped_storage()._cdata
            assert functional.relu(x, inplace=True) is x
            assert functional.relu(x) is not functional.relu(x)


def test_tensors_on_another_device_are_computed():
    values = torch.tensor([1.0, -1.0])
    with on_meta():
        for factor in (1.0, 3.0):
            assert functional.relu(values * factor).tolist() == [factor, 0.0]


def test_what_fails_fails_every_time():
    x = torch.empty(1, 3, 4, 4, device="meta")
    for _ in range(2):
        with on_meta(), pytest.raises(RuntimeError, match="channel"):
            functional.conv2d(x, torch.empty(4, 5, 3, 3))


class Watch(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(func)
        return func(*args, **(kwargs or {}))


def test_who_watches_sees_every_operation_however_often_it_was_done():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Hardswish(), nn.AdaptiveAvgPool2d(1)).to("meta")
    x = torch.empty(1, 3, 8, 8, device="meta")
    seen = []
    for _ in range(3):
        watch = Watch()
        with on_meta(), watch, on_meta():  # the inner one changes nothing
            network(x)
        seen.append(watch.seen)
    assert len(seen[0]) >= 3
    assert seen[0] == seen[1] == seen[2]
