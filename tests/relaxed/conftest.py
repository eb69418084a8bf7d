"""Random inputs are the same in every run of a test."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded():
    """Seed torch's global generator."""
    torch.manual_seed(0)
