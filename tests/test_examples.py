"""The examples run, and their spaces keep the contract of every space."""

import importlib.util
from pathlib import Path

import pytest
import torch

import ddpnas
from ddpnas.testing import SpaceContract

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABULAR, TEXT = example("tabular_mlp"), example("text_transformer")


class TestTabular(SpaceContract):
    def make_space(self):
        return ddpnas.SearchSpace(TABULAR.network, (16,))


class TestText(SpaceContract):
    def make_space(self):
        return ddpnas.SearchSpace(TEXT.network, (20,), input_dtype=torch.int64)


@pytest.mark.parametrize(("module", "rows"), [(TABULAR, 150), (TEXT, 150)])
def test_the_example_searches_and_generates_within_its_limits(module, rows, capsys):
    space, result = module.main(rows)
    assert space.check(result.architecture)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all("at most" in line for line in lines)


def test_the_tables_choice_in_a_choice_matters_where_it_is_asked_only():
    space = ddpnas.SearchSpace(TABULAR.network, (16,))
    plain = {**{f"block{i}": "plain" for i in (1, 2, 3)}, "bottleneck": "8"}
    assert space.canonical(plain)["bottleneck"] == "4"
    asked = {**plain, "block2": "bottleneck"}
    assert space.canonical(asked)["bottleneck"] == "8"


def test_an_example_is_a_space_of_the_command_line(tmp_path):
    from ddpnas.spaces.own import space_from_file

    space = space_from_file(f"{EXAMPLES}/tabular_mlp.py:network", num_classes=5)
    assert space.output_shape == (5,) and space.input_shape == (16,)
