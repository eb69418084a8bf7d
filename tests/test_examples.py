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


def test_one_search_gives_networks_for_five_budgets_of_each_cost(stripes, small_space, tmp_path):
    pytest.importorskip("matplotlib")
    supernet = ddpnas.SupernetConfig(batch_size=32)
    options = {"cycles_per_stage": 1}
    ddpnas.search(small_space, stripes, strategy_options=options, supernet=supernet,
                  out=tmp_path / "run")  # fmt: skip
    macs = ddpnas.count_costs(small_space)["macs"]
    terms = {pairs: cost / 1000 for pairs, cost in macs.terms.items()}
    table = ddpnas.CostTable("latency_ms", "ms", 0.5, terms)  # stands for a measured one
    table.save(tmp_path / "table.json")
    rows = example("five_budgets").main(
        tmp_path / "run", tmp_path / "table.json", tmp_path / "five"
    )
    assert [row["cost"] for row in rows] == ["macs"] * 5 + ["latency_ms"] * 5
    for same_cost in (rows[:5], rows[5:]):
        likelihoods = [row["log_prob"] for row in same_cost]
        assert likelihoods == sorted(likelihoods)
        for row in same_cost:
            assert row["costs"][row["cost"]] <= row["budget"]
            assert small_space.parse(row["architecture"])
    assert {file.name for file in (tmp_path / "five").iterdir()} == {
        "networks.json",
        "frontier.svg",
    }
