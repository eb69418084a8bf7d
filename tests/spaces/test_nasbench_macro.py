"""The NAS-Bench-Macro space against rows of its table."""

import itertools
from importlib import resources

import numpy as np
import pytest

from ddpnas.errors import ArchitectureError

from ..conftest import published_costs, published_space

SPACE = published_space("nasbench-macro")
ROWS = [  # digits, parameters, multiply-adds
    ("00011000", 594_986, 20_738_560),
    ("00100221", 1_938_666, 40_837_632),
    ("00200021", 1_699_754, 36_839_936),
    ("01120120", 1_616_554, 50_010_624),
    ("02102110", 1_221_994, 51_522_048),
    ("12201112", 1_991_818, 67_058_176),
    ("21022120", 1_826_474, 69_659_136),
    ("22012210", 1_481_066, 68_841_984),
]
TABLE = resources.files("ddpnas.benchmarks") / "embedded" / "nasbench_macro.npz"


@pytest.mark.parametrize(("digits", "params", "macs"), ROWS)
def test_parameters_and_multiply_adds_are_those_of_the_benchmark(digits, params, macs):
    costs, architecture = published_costs("nasbench-macro"), SPACE.parse(digits)
    assert costs["params"].cost(architecture) == params
    assert costs["macs"].cost(architecture) == macs
    assert sum(p.numel() for p in SPACE.build(architecture).parameters()) == params


def test_all_6561_rows_of_the_table_are_reproduced_and_equivalents_share_a_result():
    table, costs = np.load(TABLE), published_costs("nasbench-macro")
    results = {}
    for row, params, macs, accuracy in zip(
        table["arch"], table["params"], table["flops"], table["test_acc"], strict=True
    ):
        architecture = SPACE.parse("".join(map(str, row)))
        assert costs["params"].cost(architecture) == params
        assert costs["macs"].cost(architecture) == macs
        canonical = SPACE.canonical(architecture)
        assert results.setdefault(canonical, tuple(accuracy)) == tuple(accuracy)
    assert len(results) == len(set(results.values())) == 3969


def test_the_text_is_eight_digits():
    for digits in itertools.islice(itertools.product("012", repeat=8), 0, None, 371):
        assert SPACE.format(SPACE.parse("".join(digits))) == "".join(digits)
    for text in ("0001100", "000110003", "0001100x"):
        with pytest.raises(ArchitectureError, match="8 digits from 0 to 2"):
            SPACE.parse(text)


def test_identities_move_within_a_stage_but_for_its_first_layer():
    assert SPACE.format(SPACE.canonical(SPACE.parse("01102001"))) == "01120010"
