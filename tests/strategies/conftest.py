"""The strategies are tested with the figures that searches use."""

import pytest

from ddpnas.strategies import _risk as risk

from ..conftest import DRAWS


@pytest.fixture(autouse=True)
def as_in_a_search(monkeypatch):
    monkeypatch.setattr(risk, "_DRAWS", DRAWS)
