"""``ddpnas generate`` and ``ddpnas frontier`` as a user types them."""

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest

from ddpnas import CostTable, SearchResult, create_space
from ddpnas.cli import main
from ddpnas.costs import LatencyCheck
from ddpnas.errors import OptionError
from ddpnas.evaluators import Evaluation
from ddpnas.runs import Run
from ddpnas.space.decisions import Architecture

SMALL = [
    *("--space", "nasbench201"),
    *("--space-options.channels", "2", "--space-options.cells-per-stage", "1"),
]
SPACE = create_space("nasbench201", channels=2, cells_per_stage=1, input_shape=(1, 28, 28))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("solve") / "run"
    quick = ["--strategy-options.draws", "20", "--strategy-options.cycles-per-stage", "1"]
    quick += ["--limit-train-images", "100", "--evaluator", "table"]
    assert main(["search", *SMALL, *quick, "--device", "cpu", "--out", str(out), "--quiet"]) == 0
    return str(out)


@pytest.fixture
def latency(tmp_path):
    """Return the file of a table of latencies, none of which is a whole number."""
    price = {"nor_conv_3x3": 1.25, "nor_conv_1x1": 0.7, "avg_pool_3x3": 0.3, "skip_connect": 0.1}
    terms = {((d.name, o),): price.get(o, 0.0) for d in SPACE.decisions for o in d.options}
    table = CostTable("latency_ms", "ms", 2.1, terms, {"space": "nasbench201"})
    table.save(tmp_path / "latency.json")
    return tmp_path / "latency.json"


def printed(capsys, *words):
    capsys.readouterr()
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def refused(capsys, *words):
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ddpnas: ") and error.count("\n") == 1
    return error


def test_limits_on_both_sides_are_met_kept_and_used_in_training(capsys, run, tmp_path):
    record = json.loads(printed(capsys, "generate", run, "--limit", "macs=100K..200K", "--json"))
    assert 100_000 <= record["costs"]["macs"] <= 200_000 and record["margin"]["macs"] >= 0
    assert record["limits"] == {"macs": [100_000, 200_000]}
    shown = printed(capsys, "generate", run, "--limit", "macs>=150K")
    assert "at least 150,000" in shown
    words = ["train", run, "--epochs", "1", "--random", "1", "--limit-train-images", "50"]
    shown = printed(capsys, *words, "--out", tmp_path / "trained", "--device", "cpu")
    assert "within macs at least 150,000" in shown
    kept = json.loads((tmp_path / "trained" / "result.json").read_text())
    assert all(network["costs"]["macs"] >= 150_000 for network in kept["networks"])
    about = json.loads((tmp_path / "trained" / "architecture.json").read_text())
    assert about["limits"] == {"macs": [150_000, None]}
    assert (
        "within the limits: macs at least 150,000"
        in (tmp_path / "trained" / "README.md").read_text()
    )


def test_the_best_networks_are_listed_and_may_be_scored_again(capsys, run):
    words = ["generate", run, "--limit", "macs=300K", "--top", "5"]
    top = json.loads(printed(capsys, *words, "--json"))["top"]
    values = [one["certificate"]["objective"] for one in top]
    assert len(top) == 5 and values == sorted(values, reverse=True)
    assert "the best networks" in printed(capsys, *words)
    words = ["generate", run, "--limit", "macs=300K", "--rescore", "3", "--device", "cpu"]
    record = json.loads(printed(capsys, *words, "--json"))
    scores = [one["score"] for one in record["top"]]
    assert len(scores) == 3 and scores[record["chosen"]] == max(scores)
    assert record["text"] == record["top"][record["chosen"]]["text"]
    assert record["changed_by_rescoring"] == (record["chosen"] > 0)
    assert "the choice" in printed(capsys, *words)


def test_a_candidate_that_diverges_is_not_chosen(capsys, run, monkeypatch):
    scores = [math.nan, 0.5, 0.75, math.inf]
    evaluations = [Evaluation(score, {}) for score in scores]
    monkeypatch.setattr("ddpnas.runs.run.Run.rescore", lambda *given, **named: evaluations)
    words = ["generate", run, "--limit", "macs=300K", "--rescore", "4"]
    record = json.loads(printed(capsys, *words, "--json"), parse_constant=pytest.fail)
    assert record["chosen"] == 2 and [one["score"] for one in record["top"]] == [
        None,
        0.5,
        0.75,
        None,
    ]
    shown = printed(capsys, *words, "--top", "4")
    assert "to number 3 (0.7500)" in shown and "75.00 %" not in shown
    assert Run(run).generated["top"][0]["score"] is None


def test_every_objective_is_maximised(capsys, run):
    results = {}
    for objective in ("log-theta", "theta", "expected-score"):
        shown = printed(capsys, "generate", run, "--objective", objective, "--json")
        results[objective] = json.loads(shown)
    likeliest = {
        decision.name: decision.options[int(np.argmax(row))]
        for decision, row in zip(SPACE.decisions, SearchResult.load(run).distribution.rows)
    }  # pruned options keep their theta
    assert results["log-theta"]["architecture"] == results["theta"]["architecture"] == likeliest
    assert results["expected-score"]["certificate"]["gap"] == 0
    says = refused(capsys, "generate", run, "--objective", "score")
    assert "did you mean 'expected-score'" in says


def test_a_measured_cost_is_limited_and_traded(capsys, run, latency):
    words = ["generate", run, "--costs", latency, "--limit", "latency_ms=4.4", "--json"]
    record = json.loads(printed(capsys, *words))
    assert 3 < record["costs"]["latency_ms"] <= 4.4
    assert record["tables"][0]["name"] == "latency_ms"
    points = json.loads(
        printed(capsys, "frontier", run, "--costs", latency, "--cost", "latency_ms", "--json")
    )
    best = [p for p in points if p["costs"]["latency_ms"] <= 4.4][-1]
    networks = [SPACE.canonical(one["architecture"]) for one in (best, record)]
    assert networks[0] == networks[1]


def test_a_margin_tightens_the_limit_and_the_measured_time_is_printed(
    capsys, run, latency, monkeypatch
):
    words = ["generate", run, "--costs", latency, "--limit", "latency_ms=4.4"]
    record = json.loads(printed(capsys, *words, "--margin", "10%", "--json"))
    assert record["costs"]["latency_ms"] <= 3.96 and record["limits"] == {"latency_ms": 4.4}
    assert "a margin is a share" in refused(capsys, *words, "--margin", "10")
    assert "measured" not in printed(capsys, *words)  # the table is of no machine
    check = LatencyCheck(Architecture({}), 3.9, 4.5, 0.1, -13.3)
    monkeypatch.setattr("ddpnas.cli.generate.measured_here", lambda table: True)
    monkeypatch.setattr("ddpnas.cli.generate.check_latency", lambda *given: check)
    shown = printed(capsys, *words, "--margin", "10%")
    assert "at most 4.4 (at most 3.96 as predicted, for the table's error)" in " ".join(
        shown.split()
    )
    assert "predicted 3.9, measured now 4.5 (interquartile range 0.1), outside the limit" in shown


def test_an_answer_is_kept_before_it_is_measured(capsys, caplog, run, latency, monkeypatch):
    kept = Path(run, "generated.json")
    monkeypatch.setattr("ddpnas.cli.generate.measured_here", lambda table: True)
    for number, error in ((4.4, OptionError("onnxruntime is missing")), (4.3, KeyboardInterrupt())):

        def fails(*given, error=error):
            raise error

        monkeypatch.setattr("ddpnas.cli.generate.check_latency", fails)
        words = ["generate", run, "--costs", str(latency), "--limit", f"latency_ms={number}"]
        assert main(words) == (0 if isinstance(error, OptionError) else 130)
        assert json.loads(kept.read_text())["limits"] == {"latency_ms": number}
    assert "latency_ms is not measured now: onnxruntime is missing" in caplog.text
    assert f"next: ddpnas train {run}" in capsys.readouterr().out


def test_several_threads_are_measured_now_only_where_they_wait_alike(
    capsys, run, latency, monkeypatch
):
    monkeypatch.setattr("ddpnas.cli.generate.measured_here", lambda table: True)
    monkeypatch.setattr("ddpnas.cli.generate.check_latency", pytest.fail)
    table = CostTable.load(latency)
    CostTable("latency_ms", "ms", 1, table.terms, {"threads": 4, "waiting": "DEFAULT"}).save(
        latency
    )
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    assert "latency_ms: not measured now" in printed(capsys, "generate", run, "--costs", latency)


def test_milliseconds_of_trained_networks_keep_their_decimals(capsys, run, latency, tmp_path):
    words = ["generate", run, "--costs", latency, "--limit", "latency_ms=4.4", "--json"]
    chosen = json.loads(printed(capsys, *words))["costs"]["latency_ms"]
    assert f"{chosen:.6g}" == str(chosen) and chosen % 1
    out = tmp_path / "trained"
    words = ["--epochs", "1", "--limit-train-images", "100", "--random", "2", "--device", "cpu"]
    table = printed(capsys, "train", run, *words, "--quiet", "--out", out)
    kept = [n["costs"] for n in json.loads((out / "result.json").read_text())["networks"]]
    mean = f"{(kept[1]['latency_ms'] + kept[2]['latency_ms']) / 2:.6g}"
    macs = f"{(kept[1]['macs'] + kept[2]['macs']) // 2:,.0f}"
    assert f" {chosen} " in table and f" {mean} " in table and f" {macs} " in table
    assert f" {chosen} " in (out / "README.md").read_text()
    printed(capsys, "report", run, "--trained", out, "--out", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert f"chosen: {chosen} ms" in page and f" %, {chosen} ms" in page


def test_a_table_of_another_space_is_refused(capsys, run, latency, tmp_path):
    table = CostTable.load(latency)
    for about, says in [
        ({"space": "darts"}, "belongs to space 'darts', not 'nasbench201'"),
        ({"options": {"channels": 16}}, "belongs to another network: channels 16 instead of 2"),
    ]:
        CostTable("latency_ms", "ms", 1, table.terms, about).save(tmp_path / "other.json")
        assert says in refused(capsys, "generate", run, "--costs", tmp_path / "other.json")
    CostTable("macs", "ms", 1, table.terms).save(tmp_path / "other.json")
    says = refused(capsys, "generate", run, "--costs", tmp_path / "other.json")
    assert "two cost tables are named 'macs'" in says
    CostTable("energy", "mJ", 1, {(("x", "y"),): 1}).save(tmp_path / "other.json")
    says = refused(capsys, "generate", run, "--costs", tmp_path / "other.json")
    assert "unknown decision 'x'" in says


def test_the_frontier_is_printed_thinned_and_written_whole(capsys, run, tmp_path):
    out = [tmp_path / name for name in ("f.csv", "f.json", "f.svg")]
    words = [w for path in out for w in ("--out", path)]
    shown = printed(capsys, "frontier", run, "--cost", "macs", *words)
    assert "architectures that nothing beats in objective and macs" in shown
    rows = list(csv.DictReader(out[0].read_text().splitlines()))
    points = json.loads(out[1].read_text())
    assert [r["architecture"] for r in rows] == [p["text"] for p in points]
    values = [(p["costs"]["macs"], p["objective"]) for p in points]
    assert values == sorted(values)
    assert b"<svg" in out[2].read_bytes()
    two = printed(capsys, "frontier", run, "--cost", "macs", "--cost", "params", "--csv")
    assert len(list(csv.DictReader(io.StringIO(two)))) >= len(points)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["frontier"], "--cost macs"),
        (["frontier", "--cost", "mac"], "did you mean 'macs'"),
        (["frontier", "--cost", "macs", "--out", "f.txt"], "ends neither in"),
        (["frontier", "--cost", "macs", "--cost", "params", "--out", "f.svg"], "draws one cost"),
        (["frontier", "--cost", "macs", "--limit", "macs=10"], "lowest possible is"),
        (["generate", "--top", "0"], "--top must be a whole number from 1"),
        (["generate", "--rescore", "-1"], "--rescore must be a whole number from 0"),
        (["generate", "--height", "2"], "those of DARTS cells"),
        (["generate", "--costs", "absent.json"], "there is no file absent.json"),
    ],
)
def test_a_wrong_question_gets_one_sentence(capsys, run, words, says):
    assert says in refused(capsys, words[0], run, *words[1:])
