"""What all published spaces keep beside the contract of spaces."""

import pickle

import numpy as np
import pytest

from ddpnas import create_space, list_spaces
from ddpnas.errors import ArchitectureError
from ddpnas.space import search_space

SMALL = {"width": 0.25, "input_shape": (3, 32, 32)}
OPTIONS = {
    "darts": {"channels": 4, "cells": 4, "input_shape": (3, 16, 16)},
    "edge": {"depths": (1,), "input_shape": (3, 32, 32)},
    "nasbench-macro": {"width": 0.125, "input_shape": (3, 16, 16)},
    "nasbench201": {"channels": 4, "cells_per_stage": 1, "input_shape": (3, 16, 16)},
    "toy": {},
}


@pytest.fixture(scope="module", params=list_spaces())
def space(request):
    return create_space(request.param, **OPTIONS.get(request.param, SMALL))


def test_a_space_can_be_sent_to_worker_processes(space):
    there = pickle.loads(pickle.dumps(space))
    rng = np.random.default_rng(0)
    for _ in range(5):
        architecture = space.sample(rng)
        assert there.format(architecture) == space.format(architecture)
        assert there.parse(space.format(architecture)) == architecture
        assert there.canonical(architecture) == space.canonical(architecture)


def test_what_is_no_text_of_an_architecture_is_refused(space):
    text = space.format(space.sample(np.random.default_rng(0)))
    items = ["1.5", "1.0", "'a'", "None", "[]", "[1.5, 3, 1, 1]", "['a', 3, 1, 1]", "(3,)", "{}"]
    lists = [f"[{', '.join([item] * n)}]" for item in items for n in (7, 8, 20, 21)]
    for other in ["", "7", "x", "[", text.replace("3", "3.5"), *lists]:
        if other == text:
            continue
        with pytest.raises(ArchitectureError):
            space.parse(other)


def test_equal_published_spaces_are_checked_once(monkeypatch):
    first = create_space("toy", width=12)

    def check_again(*args):
        raise AssertionError("checked twice")

    monkeypatch.setattr(search_space, "check_network", check_again)
    again = create_space("toy", width=12)
    assert again.decisions == first.decisions and again.output_shape == first.output_shape
    with pytest.raises(AssertionError, match="checked twice"):
        create_space("toy", width=16)
