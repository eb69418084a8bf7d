from importlib import resources

import numpy as np
import pytest

from ddpnas.benchmarks import list_tables, load_table
from ddpnas.benchmarks.experiment import Budget, compare_strategies
from ddpnas.errors import ArchitectureError, DataError, OptionError


@pytest.fixture
def two_datasets(tmp_path):
    """A table of 2 x 3 architectures, ragged, with two data sets."""
    arch = np.array([[1, 2], [0, 0], [0, 1], [0, 2], [1, 0], [1, 1]], dtype=np.uint8)
    values = np.arange(12, dtype=np.float32).reshape(2, 6)
    arrays = {"arch": arch, "ops": np.array(["a", "b", "c"]), "datasets": np.array(["one", "two"])}
    arrays |= {f"acc{e}_{s}": values + e for e in (12, 200) for s in ("valid", "test")}
    arrays |= {"train_seconds_200": (values + 1) * 200, "macs": values, "params": values}
    np.savez(tmp_path / "table.npz", **arrays)
    return tmp_path / "table.npz"


def test_nasbench201_has_the_published_optima():
    table = load_table("nasbench201", dataset="cifar10")
    assert table.space.size == len(table.rows) == 15625
    assert table.epochs == (12, 200)
    assert table.test[200].max() == pytest.approx(94.37, abs=0.01)
    assert table.valid[200].max() == pytest.approx(91.61, abs=0.01)
    assert table.params.max() == 1_531_546


def test_a_query_answers_for_the_architecture_that_was_asked():
    table = load_table("nasbench201")
    archive = np.load(resources.files("ddpnas.benchmarks") / "embedded/nasbench201.npz")
    for row in (0, 1, 777, 15624):
        architecture = table.space.decode(archive["arch"][row].tolist())
        assert table.row(architecture) == row
        record = table.query(architecture)
        assert record.valid == pytest.approx(archive["acc12_valid"][0, row] / 100)
        assert record.seconds == pytest.approx(archive["train_seconds_200"][0, row] * 12 / 200)
        assert record.macs == archive["macs"][0, row]
        assert table.query(architecture, 200).test == pytest.approx(
            archive["acc200_test"][0, row] / 100
        )


def test_macro_is_scored_by_the_first_run_and_judged_by_the_mean_of_three():
    table = load_table("nasbench-macro")
    assert table.space.size == 6561
    assert table.test[0].max() == pytest.approx(93.1267, abs=1e-3)
    assert table.query(table.space.decode([0] * 8)).seconds is None


def test_a_table_by_path_with_several_data_sets_and_ragged_decisions(two_datasets):
    first, second = (load_table("mine", dataset, two_datasets) for dataset in (None, "two"))
    assert [len(d.options) for d in first.space.decisions] == [2, 3]
    architecture = first.space.decode([1, 2])
    assert first.query(architecture, 12).valid == pytest.approx(0.12)
    assert second.query(architecture, 12).valid == pytest.approx(0.18)
    assert second.query(architecture, 12).seconds == pytest.approx(7 * 12)
    assert second.query(architecture, 200).seconds == pytest.approx(7 * 200)


def test_what_is_not_there_is_named_with_what_is(two_datasets, tmp_path):
    assert list_tables() == ["nasbench-macro", "nasbench201"]
    with pytest.raises(OptionError, match="did you mean 'nasbench201'"):
        load_table("nasbench202")
    with pytest.raises(OptionError, match="known: one, two"):
        load_table("mine", "three", two_datasets)
    with pytest.raises(OptionError, match="12, 200 epochs, not 13"):
        load_table("nasbench201").query(load_table("nasbench201").space.decode([0] * 6), 13)
    with pytest.raises(DataError, match="no benchmark table"):
        load_table("mine", path=tmp_path / "missing.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(DataError, match="not a benchmark table"):
        load_table("mine", path=tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    with pytest.raises(DataError, match="it has no 'arch'"):
        load_table("mine", path=tmp_path / "other.npz")
    arrays = dict(np.load(two_datasets))
    np.savez(
        tmp_path / "part.npz",
        **{
            k: v[:, :5] if k not in ("arch", "ops", "datasets") else v[:5] if k == "arch" else v
            for k, v in arrays.items()
        },
    )
    part = load_table("mine", path=tmp_path / "part.npz")
    with pytest.raises(ArchitectureError, match="no row"):
        part.query(part.space.decode([1, 1]))
    with pytest.raises(OptionError, match="has 5 of 6 architectures"):
        compare_strategies(("mine", None, tmp_path / "part.npz"), [], Budget(3, "evaluations"), 1)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"arch": lambda arch: arch - 1.0}, "indices from 0 to 2"),
        ({"arch": lambda arch: arch[[0, 0, 2, 3, 4, 5]]}, "an architecture in two rows"),
        (
            {"acc12_valid": lambda values: values[0]},
            r"'acc12_valid' is \(6,\), not data sets x rows",
        ),
        ({"acc200_test": lambda values: values * np.nan}, "'acc200_test' has values that are not"),
        ({"train_seconds_200": lambda values: values * 0}, "not all above 0"),
        ({"ops": lambda ops: ops[0]}, "'ops' must be a list of names"),
        ({"datasets": lambda names: names[0]}, "'datasets' must be a list of names"),
        ({"macs": lambda values: values.astype(str)}, "not a benchmark table: "),
        ({"edges": lambda _: np.array(3)}, "not a benchmark table: "),
        ({"datasets": None, "test_acc": lambda _: np.arange(6.0)}, "not a benchmark table: "),
    ],
)
def test_a_table_with_wrong_values_is_refused_when_it_is_read(two_datasets, change, says):
    arrays = dict(np.load(two_datasets))
    for name, of in change.items():
        old = arrays.pop(name, None)
        if of is not None:
            arrays[name] = of(old)
    np.savez(two_datasets, **arrays)
    with pytest.raises(DataError, match=says):
        load_table("mine", path=two_datasets)


def test_a_damaged_table_is_refused_in_a_sentence(two_datasets):
    np.savez_compressed(two_datasets, **np.load(two_datasets))
    content = two_datasets.read_bytes()
    name = b"acc12_valid.npy"
    start = content.index(name) + len(name)  # of the array, after what the archive notes on it
    two_datasets.write_bytes(content[: start + 20] + b"\xff" * 20 + content[start + 40 :])
    with pytest.raises(DataError, match="not a benchmark table: "):
        load_table("mine", path=two_datasets)


def test_a_table_that_was_changed_is_read_again(two_datasets):
    assert load_table("mine", path=two_datasets) is load_table("mine", path=two_datasets)
    before = load_table("mine", path=two_datasets)
    arrays = dict(np.load(two_datasets))
    np.savez(two_datasets, **arrays | {"macs": arrays["macs"] + 1})
    after = load_table("mine", path=two_datasets)
    assert (after.macs == before.macs + 1).all()
