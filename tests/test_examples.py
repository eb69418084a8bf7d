"""The examples run, and their spaces keep the contract of every space."""

import ast
import importlib.util
import re
import runpy
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
def test_the_example_searches_and_generates_within_its_limits(module, rows, capsys, monkeypatch):
    search = ddpnas.search

    def short(*given, evaluator_options, **more):
        options = {**evaluator_options, "warmup_epochs": 40}  # training is not what is tested
        return search(*given, evaluator_options=options, **more)

    monkeypatch.setattr(ddpnas, "search", short)
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
    from ddpnas.spaces.user_space import space_from_file

    space = space_from_file(f"{EXAMPLES}/tabular_mlp.py:network", num_classes=5)
    assert space.output_shape == (5,) and space.input_shape == (16,)


def test_one_search_gives_networks_for_five_budgets_of_each_cost(stripes, small_space, tmp_path):
    pytest.importorskip("matplotlib")
    evaluator = {"batch_size": 32, "warmup_epochs": 2, "proxy_weight": 0}
    options = {"cycles_per_stage": 1, "draws": 20}
    ddpnas.search(small_space, stripes, strategy_options=options, evaluator_options=evaluator,
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


@pytest.mark.slow
def test_the_walk_from_a_folder_of_images_to_a_deployed_file(tmp_path, monkeypatch, capsys):
    reduced = (EXAMPLES / "own_images.py").read_text()
    for full, small in (
        ("EPOCHS = 40", "EPOCHS = 2"),
        ("channels=8", "channels=2"),
        ("4e6", "3e5"),
        ("50, LIMIT", "5, LIMIT"),
        ("load_data(PHOTOS)", "load_data(PHOTOS, limit_train_images=60)"),
        (
            "out=RUN",
            "out=RUN, strategy_options={'cycles_per_stage': 1}, "
            "evaluator_options={'warmup_epochs': 2, 'proxy_weight': 0}",
        ),
    ):
        assert reduced.count(full) == 1
        reduced = reduced.replace(full, small)
    (tmp_path / "walk.py").write_text(reduced)
    monkeypatch.chdir(tmp_path)
    runpy.run_path("walk.py")
    out = capsys.readouterr().out
    assert "10 classes, images of (3, 32, 32)" in out and "100 unseen" in out
    assert "same class for 100 of 100" in out and "NOT" not in out
    assert "int8 against float" in out and re.search(r"photos/test/0/.* %\)", out)
    assert len(list((tmp_path / "photos").rglob("*.png"))) == 400
    names = {p.name for p in (tmp_path / "runs" / "photos").iterdir()}
    assert {"net.onnx", "net-int8.onnx", "report.html", "trained"} <= names


def test_the_notebook_holds_the_steps_of_the_script_and_their_outputs():
    import nbformat

    builder = example("make_notebook")
    notebook = nbformat.read(EXAMPLES / "own_images.ipynb", as_version=4)
    nbformat.validate(notebook)
    cells = builder.cells_of((EXAMPLES / "own_images.py").read_text())
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == cells
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, start=1):
        ast.parse(cell.source)
        assert cell.execution_count == number
        assert bool(cell.outputs) == ("print(" in cell.source)


@pytest.mark.slow
def test_a_network_is_cut_from_a_local_file_of_weights(tmp_path, capsys):
    import timm

    torch.manual_seed(0)
    given = timm.create_model("tf_efficientnet_lite0")
    torch.save(given.state_dict(), tmp_path / "lite0.pth")
    quick = {"head_epochs": 1, "epochs": 1, "candidates": 1, "images": 10, "controls": ["uniform"]}
    quick |= {"fractions": [0.5, 1.0], "image_size": 32, "importance": "consumers"}
    shrunk = example("shrink_pretrained").main(
        tmp_path / "lite0.pth", tmp_path / "small", device="cpu", **quick
    )
    printed = capsys.readouterr().out
    assert "lite0.pth fits but for classifier" in printed and "uniform widths: " in printed
    assert shrunk.costs["macs"] <= shrunk.given_costs["macs"] / 2
    assert ddpnas.load(tmp_path / "small").classes == tuple("0123456789")
