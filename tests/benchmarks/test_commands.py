"""Every benchmark that a record names can be started."""

import importlib
import pkgutil

import pytest

import benchmarks

PARTS = {  # of other benchmarks
    "authors_dp", "evolution", "modelopt_peer", "nni_worker", "record", "shrink_networks",
    "torch_pruning_peer", "worth_searches", "worth_start",
}  # fmt: skip
NAMES = [m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in PARTS]


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_says_what_it_measures(name, monkeypatch, capsys):
    module = importlib.import_module(f"benchmarks.{name}")
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"benchmarks.{name}.__main__")
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as end:
        module.main()
    assert end.value.code == 0
    assert module.__doc__.splitlines()[0][:40] in capsys.readouterr().out.replace("\n", " ")
