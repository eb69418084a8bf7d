import csv
import json

import numpy as np
import pytest

from ddpnas.benchmarks import load_table
from ddpnas.benchmarks.experiment import Budget, Contender, compare_strategies, run_trial, summarize
from ddpnas.benchmarks.results import regrets, write_results
from ddpnas.cli import main
from ddpnas.errors import OptionError
from ddpnas.utils.files import LOCK, lock

NASBENCH201 = ("nasbench201", "cifar10", None)
RANDOM = Contender.parse("random")


def test_budgets_are_seconds_or_evaluations():
    assert Budget.parse("12000s") == Budget(12000.0, "seconds")
    assert Budget.parse("60") == Budget(60.0, "evaluations")
    for wrong in ("", "s", "12h", "-3", "0", "2.5", "nan"):
        with pytest.raises(OptionError, match="12000s"):
            Budget.parse(wrong)


def test_contenders_carry_typed_options():
    contender = Contender.parse("sng:pruning=true:cycles-per-stage=2:delta=0.5")
    assert contender.strategy.name == "sng"
    assert contender.options == {"pruning": True, "cycles_per_stage": 2, "delta": 0.5}
    with pytest.raises(OptionError, match="option=value"):
        Contender.parse("sng:pruning")


OWN = """
from ddpnas.strategies.base import BaseStrategy
from tools import first

class Mine(BaseStrategy):
    def __init__(self, space, seed=0, *, evaluations=100, batch=1):
        super().__init__(space, seed, evaluations)
        self.batch = batch

    def propose(self):
        return [self.space.encode(self.space.sample(self.rng)) for _ in range(first(self.batch))]
"""


def test_a_strategy_of_a_users_file_takes_part(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "tools.py").write_text("def first(n): return n")
    named = f"{tmp_path / 'mine.py'}:Mine"
    budget = Budget(9.0, "evaluations")
    contenders = [Contender.parse(f"{named}:batch=4"), Contender.parse("random")]
    (tmp_path / "tools.py").write_text("changed after it was read")
    table = ("nasbench-macro", None, None)
    mine, random = compare_strategies(table, contenders, budget, 1, workers=1)
    assert mine.strategy == f"{named}:batch=4"
    assert mine.evaluations == random.evaluations == 9
    (tmp_path / "tools.py").write_text("def first(n): return n")
    for wrong, says in {
        f"{named}:batsh=4": "did you mean 'batch'",
        f"{named}e": "did you mean 'Mine'",
        f"{tmp_path / 'mine.py'}": "known: Mine",
        f"{tmp_path / 'yours.py'}:Mine": "there is no file",
        f"{tmp_path / 'tools.py'}:first": "known: none",
    }.items():
        with pytest.raises(OptionError, match=says):
            compare_strategies(table, [Contender.parse(wrong)], budget, 1, workers=1)


def test_a_search_in_seconds_spends_no_more_than_its_budget():
    trial = run_trial(load_table(*NASBENCH201), RANDOM, 0, Budget(2000.0, "seconds"))
    assert 2000 - 208 < trial.seconds <= 2000
    assert 10 <= trial.evaluations <= 61
    assert trial.curve[-1] == trial.test


def test_a_search_in_evaluations_uses_them_all():
    trial = run_trial(load_table("nasbench-macro"), RANDOM, 0, Budget(30.0, "evaluations"))
    assert trial.evaluations == 30


def test_processes_change_nothing():
    contenders = [RANDOM, Contender.parse("regularized-evolution")]
    one, two = (
        compare_strategies(NASBENCH201, contenders, Budget(1500.0, "seconds"), 30, workers=w)
        for w in (1, 2)
    )
    assert [t.test for t in one] == [t.test for t in two]
    assert [(t.strategy, t.seed) for t in one] == [(t.strategy, t.seed) for t in two]


def test_random_search_agrees_with_the_published_value():
    trials = compare_strategies(NASBENCH201, [RANDOM], Budget(12000.0, "seconds"), 200, workers=1)
    (summary,) = summarize(trials, resamples=500)
    assert summary.mean == pytest.approx(93.70, abs=0.1)  # Dong and Yang 2020: 93.70 +- 0.36
    assert summary.std == pytest.approx(0.36, abs=0.1)
    assert summary.low < summary.mean < summary.high


def test_what_does_not_fit_is_refused_before_anything_runs():
    with pytest.raises(OptionError, match="no training times"):
        compare_strategies(("nasbench-macro", None, None), [RANDOM], Budget(10.0, "seconds"), 1)
    with pytest.raises(OptionError, match="pays no evaluation"):
        compare_strategies(NASBENCH201, [RANDOM], Budget(1.0, "seconds"), 1, workers=1)
    with pytest.raises(OptionError, match="did you mean 'random'"):
        compare_strategies(NASBENCH201, [Contender.parse("rondom")], Budget(1000.0, "seconds"), 1)


def test_results_are_csv_and_json(tmp_path):
    table, budget = load_table(*NASBENCH201), Budget(2000.0, "seconds")
    trials = compare_strategies(NASBENCH201, [RANDOM], budget, 3, workers=1)
    write_results(tmp_path, table, budget, trials, summarize(trials, 100), {"seeds": 3})
    rows = list(csv.DictReader((tmp_path / "trials.csv").open()))
    assert [float(row["test"]) for row in rows] == [trial.test for trial in trials]
    assert json.loads((tmp_path / "experiment.json").read_text())["seeds"] == 3
    (curve,) = regrets(table, trials).values()
    assert np.all(np.array(curve)[-10:] >= 0)
    assert not list(tmp_path.glob("*.tmp"))


def test_the_command_prints_writes_and_draws(tmp_path, capsys):
    words = ["benchmark", "nasbench201", "--strategies", "random,sng:pruning=true", "--seeds", "2"]
    assert main([*words, "--budget", "1500s", "--workers", "1", "--out", str(tmp_path)]) == 0
    assert "sng:pruning=true" in capsys.readouterr().out
    assert {p.name for p in tmp_path.iterdir()} >= {"trials.csv", "summary.csv", "regret.csv"}
    assert main(["benchmark", "nasbench201", "--budget", "soon"]) == 2
    assert "12000s" in capsys.readouterr().err


def test_json_is_all_that_the_command_prints(tmp_path, capsys):
    words = ["benchmark", "nasbench-macro", "--strategies", "random,local-search", "--seeds", "1"]
    assert main([*words, "--budget", "2", "--workers", "1", "--out", str(tmp_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [summary["strategy"] for summary in printed] == ["random", "local-search"]
    assert all(summary["evaluations"] == 2 and summary["mean"] > 0.5 for summary in printed)


def test_results_are_replaced_only_when_asked(tmp_path, capsys):
    words = ["benchmark", "nasbench-macro", "--strategies", "random", "--seeds=1"]
    words += ["--budget", "2", "--workers", "1", "--out", str(tmp_path)]
    assert main(words) == 0
    before = (tmp_path / "experiment.json").read_text()
    others = ["--seeds=2" if word == "--seeds=1" else word for word in words]
    assert main(others) == 2
    assert "holds a benchmark; give another --out, or --overwrite" in capsys.readouterr().err
    assert (tmp_path / "experiment.json").read_text() == before
    with lock(tmp_path, tmp_path / LOCK, ""):
        assert main([*words, "--overwrite"]) == 2
    assert "in use by another process; give another --out" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0
