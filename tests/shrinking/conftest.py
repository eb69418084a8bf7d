"""What tests of shrinking share."""

import pytest
import torch


@pytest.fixture
def no_double_precision(monkeypatch):
    """Let the CPU stand for a device without double precision: only ``.cpu().double()`` works."""
    double, cpu = torch.Tensor.double, torch.Tensor.cpu

    def moved(tensor, *args, **options):
        found = cpu(tensor, *args, **options).view_as(tensor)
        found.is_on_the_cpu = True
        return found

    def refused(tensor):
        if tensor.dtype != torch.float64 and not getattr(tensor, "is_on_the_cpu", False):
            raise TypeError("this device has no double precision")
        return double(tensor)

    monkeypatch.setattr(torch.Tensor, "cpu", moved)
    monkeypatch.setattr(torch.Tensor, "double", refused)
