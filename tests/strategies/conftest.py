"""The strategies are tested with the figures that searches use."""

import pytest

from ddpnas.strategies import risk

DRAWS = risk._DRAWS  # read before the session begins, and what all tests share


@pytest.fixture(autouse=True)
def as_in_a_search(monkeypatch):
    monkeypatch.setattr(risk, "_DRAWS", DRAWS)
