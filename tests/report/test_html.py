"""The page and its numbers: equal to each other and to the run, self-contained, and harmless."""

import csv
import dataclasses
import errno
import itertools
import json
import math
import re
import shlex
import shutil
from html.parser import HTMLParser

import pytest
import torch
import yaml

import ddpnas
from ddpnas import write_report
from ddpnas.cli import main
from ddpnas.cli.parser import parse
from ddpnas.errors import DataError, OptionError, RunError
from ddpnas.generation import parse_limits
from ddpnas.report.analysis import View
from ddpnas.report.html import _file_name
from ddpnas.report.sections.reproduce import run_commands, search_config
from ddpnas.runs import Run
from ddpnas.utils.files import write_atomic


class Reader(HTMLParser):
    """Collects tables by name with the raw values of their cells, links, tags and text."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.tags, self.sources, self.text = {}, set(), [], ""
        self._rows = self._cell = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.add(tag)
        self.sources += [v for k, v in attributes.items() if k in ("src", "href", "xlink:href")]
        if tag == "table":
            self._rows = self.tables.setdefault(attributes.get("data-name"), [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._cell = []
        elif tag == "data" and self._cell is not None:
            self._cell = attributes["value"]
        elif tag == "span" and self._cell is not None and attributes.get("aria-label") == "none":
            self._cell = ""

    def handle_data(self, data):
        self.text += data
        if isinstance(self._cell, list):
            self._cell.append(data)

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            cell = self._cell
            self._rows[-1].append("".join(cell) if isinstance(cell, list) else cell)
            self._cell = None


def read(path):
    return Reader(path.read_text(encoding="utf-8"))


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


@pytest.fixture(scope="module")
def written(whole_run, tmp_path_factory):
    return write_report(whole_run, tmp_path_factory.mktemp("out") / "page.html")


def test_the_csv_files_hold_the_numbers_of_the_page(written):
    tables = read(written).tables
    files = sorted(written.with_name("page-data").glob("*.csv"))
    assert {f.stem for f in files} == set(tables) - {None}
    assert len(files) >= 12
    for file in files:
        rows = rows_of(file)
        assert [row[1:] for row in rows[1:]] == tables[file.stem][1:], file.stem
        assert {row[0] for row in rows[1:]} == {"run"}


def test_the_numbers_are_those_of_the_run_folder(written, whole_run):
    data = written.with_name("page-data")
    history = [json.loads(line) for line in (whole_run / "history.jsonl").open()]
    assert [float(r[3]) for r in rows_of(data / "history.csv")[1:]] == [
        record["accuracy"] for record in history
    ]
    result = json.loads((whole_run / "trained" / "result.json").read_text())
    assert [float(r[2]) for r in rows_of(data / "networks.csv")[1:]] == [
        network["accuracy"] for network in result["networks"]
    ]
    generated = json.loads((whole_run / "generated.json").read_text())
    costs = {r[1]: float(r[2]) for r in rows_of(data / "costs.csv")[1:]}
    assert costs == generated["costs"] and costs["macs"] <= 4000
    theta = json.loads((whole_run / "result.json").read_text())["distribution"]["theta"]
    for _, decision, option, probability, *_ in rows_of(data / "distribution.csv")[1:]:
        assert float(probability) == theta[decision][option]


def test_the_found_network_stands_beside_random_ones_and_those_of_its_size(written, whole_run):
    networks = json.loads((whole_run / "trained" / "result.json").read_text())["networks"]
    assert [n["name"] for n in networks] == ["found", "random 1", "random 2", "same size 1"]
    found, *random, same = [n["accuracy"] for n in networks]
    text = " ".join(read(written).text.split())
    for mean, number, what in ((sum(random) / 2, "2", "networks"), (same, "1", "network")):
        better = "better" if found > mean else "not better"
        assert f"It is {better} than the mean of {number} random {what}" in text
    assert "within the same limits and of about the same size" in text
    assert "--random 2 --same-size 1" in text


def test_the_mistakes_are_those_of_the_confusion_matrix(written, whole_run):
    network = json.loads((whole_run / "trained" / "result.json").read_text())["networks"][0]
    confused = rows_of(written.with_name("page-data") / "confusion.csv")[1:]
    mistakes = rows_of(written.with_name("page-data") / "mistakes.csv")[1:]
    total = sum(map(sum, network["confusion"]))
    assert len(mistakes) == sum(int(r[3]) for r in confused)
    assert 1 - len(mistakes) / total == pytest.approx(network["accuracy"])


def test_the_page_needs_nothing_else_and_is_small(written):
    page = read(written)
    assert written.stat().st_size < 500_000
    assert "script" not in page.tags and "link" not in page.tags and "iframe" not in page.tags
    assert all(s.startswith(("#", "data:image/png")) for s in page.sources)
    assert not re.search(r"url\((?!#)|@import|@font-face", written.read_text())


def test_names_from_outside_stay_text(written, run, tmp_path):
    assert "<b>down</b>" in read(written).text
    source = written.read_text()
    [details] = re.findall(r'<p class="over">.*', source)
    assert source.count("<b>") == details.count("<b>") > 0
    for name in ("run.json", "result.json", "history.jsonl", "distributions.jsonl",
                 "generated.json", "config.yaml"):  # fmt: skip
        text = (run / name).read_text()
        text = text.replace("conv1", "<img src=x onerror=alert(1)>").replace("layer1", "l<i>1")
        (run / name).write_text(text.replace("space: toy", "space: <script>x</script>"))
    shutil.rmtree(run / "trained")
    page = read(write_report(run, tmp_path / "hostile.html"))
    assert not page.tags & {"script", "img"} and "<img src=x onerror=alert(1)>" in page.text
    assert "<script>x</script>" in page.text


def test_an_unfinished_run_is_reported_as_far_as_it_is(unfinished, tmp_path):
    page = read(write_report(unfinished, tmp_path / "page.html"))
    assert "unfinished: 7 of" in page.text and f"ddpnas resume {unfinished.name}" in page.text
    assert len(page.tables["history"]) == 8 and "networks" not in page.tables
    config = yaml.safe_load((unfinished / "config.yaml").read_text())
    config.update(space=f"{tmp_path}/space.py:network", strategy=f"{tmp_path}/mine.py:Mine")
    (unfinished / "config.yaml").write_text(yaml.safe_dump(config))
    page = read(write_report(unfinished, tmp_path / "page.html"))
    resume = f"ddpnas resume {unfinished.name} --space space.py:network --strategy mine.py:Mine"
    assert resume in page.text and str(tmp_path) not in page.text


def test_a_run_that_has_just_begun_is_reported(unfinished, tmp_path):
    (unfinished / "history.jsonl").unlink()
    (unfinished / "distributions.jsonl").write_text("")
    page = read(write_report(unfinished, tmp_path / "page.html"))
    assert "unfinished: 0 of" in page.text and "history" not in page.tables


def test_several_runs_are_compared(whole_run, unfinished, tmp_path):
    other = shutil.move(unfinished, tmp_path / "other")
    path = write_report([whole_run, other], tmp_path / "both.html")
    page = read(path)
    assert "2 searches compared" in page.text and "unfinished: other" in page.text
    rows = rows_of(tmp_path / "both-data" / "comparison.csv")
    assert [r[0] for r in rows[1:]] == ["run", "other"]
    assert page.tables["comparison"][1:] == rows[1:]
    history = rows_of(tmp_path / "both-data" / "history.csv")[1:]
    assert [r[0] for r in history].count("other") == 7


def test_two_runs_of_one_name_are_told_apart_and_their_choices_compared(whole_run, run, tmp_path):
    path = write_report([whole_run, run], tmp_path / "both.html")
    rows = rows_of(tmp_path / "both-data" / "choices.csv")
    assert len(set(rows[0])) == 4 and {r[3] for r in rows[1:]} == {"yes"}
    page = read(path)
    assert "agree on 4 of 4 decisions" in page.text and rows[0][1:3] == ["in_run_(1)", "in_run_(2)"]
    assert str(tmp_path) not in page.text and str(whole_run.parent) not in page.text


def test_the_commands_are_ones_that_the_parser_takes_and_repeat_the_run(
    whole_run, tmp_path, monkeypatch
):
    monkeypatch.chdir(whole_run.parent)  # files have no folders in what others may read
    lines = run_commands(View(Run(whole_run)))
    (whole_run.parent / "run.yaml").write_text(search_config(Run(whole_run)))
    assert str(whole_run.parent) not in " ".join(lines) + search_config(Run(whole_run))
    assert [shlex.split(line)[1] for line in lines] == ["search", "generate", "train", "report"]
    for line in lines:
        parse(shlex.split(line)[1:])
    words = shlex.split(lines[0])[1:]
    words[words.index("--out") + 1] = str(tmp_path / "again")
    assert main([*words, "--quiet"]) == 0
    scores = [
        [r["score"] for r in ddpnas.SearchResult.load(f).history]
        for f in (whole_run, tmp_path / "again")
    ]
    assert scores[0] == scores[1]


def test_options_that_are_paths_are_shown_by_their_last_part(run, tmp_path):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config.update(evaluator="rmi", evaluator_options={"teacher": "/home/me/nets/big.py:network"})
    config["strategy_options"]["mine"] = "/home/me/prior.json"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    page = write_report(run, tmp_path / "page.html").read_text()
    assert "big.py:network" in page and "mine prior.json" in page and "/home/me" not in page


def test_a_run_of_python_objects_gets_no_commands_that_cannot_work(run, tmp_path):
    text = read(write_report(run, tmp_path / "page.html")).text
    assert all(f"ddpnas {word} run" in text for word in ("generate", "train"))
    config = yaml.safe_load((run / "config.yaml").read_text())
    images = {key: config.pop(key) for key in ("data", "image_size", "limit_train_images")}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    text = read(write_report(run, tmp_path / "page.html")).text
    assert "The data came from Python objects" in text and "ddpnas generate run" in text
    assert "ddpnas train" not in text and "ddpnas search" not in text
    (run / "config.yaml").write_text(yaml.safe_dump({**config, **images, "space": "network"}))
    (run / "generated.json").unlink()
    text = read(write_report(run, tmp_path / "page.html")).text
    assert "The space came from Python objects" in text and "ddpnas report run" in text
    assert not any(f"ddpnas {word}" in text for word in ("train", "search", "generate", "resume"))


def test_a_users_file_is_executed_only_when_it_is_named(run, tmp_path):
    marker = tmp_path / "executed"
    source = (
        f"from pathlib import Path\nPath({str(marker)!r}).touch()\n"
        "from ddpnas.spaces.toy import network\n"
    )
    (tmp_path / "own.py").write_text(source)
    name = f"{tmp_path / 'own.py'}:network"
    for file in ("config.yaml", "run.json"):
        text = (run / file).read_text()
        text = text.replace("space: toy", f"space: {name}").replace('"toy"', json.dumps(name))
        (run / file).write_text(text)
    about = json.loads((run / "trained" / "architecture.json").read_text())
    about["space"] = name
    (run / "trained" / "architecture.json").write_text(json.dumps(about))
    page = read(write_report(run, tmp_path / "page.html"))
    assert not marker.exists() and "space: own.py:network" in page.text
    assert str(tmp_path) not in page.text
    assert "mistakes" not in page.tables and "frontier_macs" not in page.tables
    page = read(write_report(run, tmp_path / "page.html", space=name))
    assert "The images cannot be shown" not in page.text
    assert marker.exists() and "mistakes" in page.tables and "frontier_macs" in page.tables


def test_without_a_frontier_the_page_says_why(run, tmp_path, monkeypatch):
    def refuse(*given, **named):
        raise OptionError("no frontier: the rules of the space have too many partial sums to list")

    monkeypatch.setattr("ddpnas.report.analysis.frontier", refuse)
    page = read(write_report(run, tmp_path / "page.html"))
    assert "There is no frontier: the rules of the space have too many partial sums" in page.text
    assert "frontier_macs" not in page.tables and "Each point on the line" not in page.text


def test_a_table_of_another_cost_gets_a_frontier_and_predictions(run, tmp_path):
    space = ddpnas.create_space("toy")
    text = space.format({d.name: d.options[0] for d in space.decisions})
    networks = [
        {"architecture": text, "predicted_ms": 1.0 + i, "median_ms": 1.1 + i, "iqr_ms": 0.1}
        for i in range(4)
    ]
    check = {"architectures": 4, "mape_percent": 5.0, "worst_percent": 9.0, "networks": networks}
    terms = {((d.name, "conv3"),): 0.5 for d in space.decisions}
    about = {"backend": "torch", "machine": "here", "device": "cuda", "batch": 1, "threads": 1}
    about["check"] = check
    ddpnas.CostTable("latency_ms", "ms", 1.0, terms, about).save(run / "latency.json")
    energy = ddpnas.CostTable("energy_mj", "mJ", 1.0, terms)
    path = write_report(run, tmp_path / "page.html", costs=[energy])
    page = read(path)
    assert [r[1] for r in page.tables["latency"][1:]] == [str(1.0 + i) for i in range(4)]
    assert "Measured with torch on here, device cuda, batch size 1, 1 thread." in page.text
    assert {"frontier_latency_ms", "frontier_energy_mj"} <= set(page.tables)
    own = {"space": "toy", "check": "by hand"}  # a user's own table
    ddpnas.CostTable("latency_ms", "ms", 1.0, terms, own).save(run / "latency.json")
    page = read(write_report(run, path))
    assert "latency" not in page.tables and "frontier_latency_ms" in page.tables
    (run / "latency.json").write_text("{}")
    with pytest.raises(DataError, match="latency.json: name is missing; it must be text"):
        write_report(run, tmp_path / "page.html")


def test_what_cannot_be_reported_gets_one_sentence(run, tmp_path):
    with pytest.raises(RunError, match="not a run folder"):
        write_report(tmp_path, tmp_path / "page.html")
    with pytest.raises(OptionError, match="each run once"):
        write_report([run, run], tmp_path / "page.html")
    with pytest.raises(OptionError, match="needs a run folder"):
        write_report([], tmp_path / "page.html")
    (tmp_path / "mine.html").write_text("my own page")
    with pytest.raises(RunError, match="is not a report, so ddpnas does not replace it"):
        write_report(run, tmp_path / "mine.html")
    with pytest.raises(RunError, match="is a folder"):
        write_report(run, tmp_path)
    (run / "history.jsonl").write_text("nonsense\n")
    with pytest.raises(RunError, match="cannot use line 1 of .*history.jsonl: it is not JSON"):
        write_report(run, tmp_path / "page.html")
    (run / "run.json").write_text("{}")
    with pytest.raises(RunError, match="cannot use .*run.json: [a-z_]+ is missing"):
        write_report(run, tmp_path / "page.html")


def test_the_command_writes_into_the_run_folder_and_again(run, capsys):
    for _ in range(2):
        assert main(["report", str(run)]) == 0
        assert f"report: {run / 'report.html'}" in capsys.readouterr().out
    assert (run / "report-data" / "history.csv").exists()


def test_data_that_has_gone_is_said(run, tmp_path, caplog):
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "data": "/no/such/file.npz"}))
    text = read(write_report(run, tmp_path / "page.html")).text
    assert "The images cannot be shown" in text and "/no/such" not in text
    assert "no longer at /no/such/file.npz" in caplog.text


def test_thousands_of_rows_are_cut_on_the_page_but_not_in_the_csv(run, tmp_path):
    (run / "result.json").unlink()  # it counts the lines
    lines = (run / "history.jsonl").read_text().splitlines()
    (run / "history.jsonl").write_text("\n".join(lines * 170) + "\n")
    path = write_report(run, tmp_path / "page.html")
    page, rows = read(path), rows_of(tmp_path / "page-data" / "history.csv")
    assert len(rows) == 15 * 170 + 1 and len(page.tables["history"]) == 2001
    assert "first 2000 of 2550 rows" in page.text and path.stat().st_size < 2_000_000


def test_scores_that_are_losses_are_shown_as_accuracies(run, tmp_path):
    lines = [json.loads(line) for line in (run / "history.jsonl").open()]
    with open(run / "history.jsonl", "w") as stream:
        for i, record in enumerate(lines):
            record.update(accuracy=i / 20, score=-2.0 + i / 100)
            stream.write(json.dumps(record) + "\n")
    write_report(run, tmp_path / "page.html")
    rows = rows_of(tmp_path / "page-data" / "history.csv")
    assert rows[0][3:5] == ["accuracy", "score"]
    assert [float(r[3]) for r in rows[1:]] == [i / 20 for i in range(15)]


def test_scores_that_are_no_accuracies_are_shown_as_numbers(run, unfinished, tmp_path):
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()[:7]]
    scores = [math.nan, *(-1.5 + i / 8 for i in range(6))]
    with open(run / "history.jsonl", "w") as stream:
        for record, score in zip(lines, scores):
            del record["accuracy"]
            stream.write(json.dumps({**record, "score": score}) + "\n")
    assert Run(run).best_measure == -0.875
    text = write_report(run, tmp_path / "page.html").read_text()
    rows = rows_of(tmp_path / "page-data" / "history.csv")
    assert rows[0][3:5] == ["score", "seconds"]
    assert [r[3] for r in rows[1:]] == [str(score) for score in scores]
    page = Reader(text)
    assert "Score of each architecture" in page.text and "change of score against" in page.text
    assert "-0.875" in page.text and "-87.50" not in text and "alidation accuracy" not in page.text
    shutil.copytree(run, tmp_path / "other")
    page = read(write_report([run, tmp_path / "other"], tmp_path / "two.html"))
    assert (
        page.tables["comparison"][1][page.tables["comparison"][0].index("best score")] == "-0.875"
    )


def test_networks_of_probability_zero_have_no_height(run, tmp_path, capsys):
    found = json.loads((run / "result.json").read_text())
    theta = found["distribution"]["theta"]
    for row in theta.values():  # all but the likeliest option
        best = max(row, key=row.get)
        row.update({option: float(option == best) for option in row})
    (run / "result.json").write_text(json.dumps(found))
    space = Run(run).space()
    likeliest = {name: max(row, key=row.get) for name, row in theta.items()}
    below = f"macs={ddpnas.count_costs(space)['macs'].cost(likeliest) - 1:.0f}"
    capsys.readouterr()

    def strict(*words):
        assert main([*map(str, words)]) == 0
        return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)

    assert strict("generate", run, "--limit", below, "--json")["log_prob"] is None
    json.loads((run / "generated.json").read_text(), parse_constant=pytest.fail)
    points = strict("frontier", run, "--cost", "macs", "--out", tmp_path / "f.json", "--json")
    assert points[-1]["log_prob"] == 0 and points[0]["log_prob"] is None
    assert points == json.loads((tmp_path / "f.json").read_text(), parse_constant=pytest.fail)
    page = read(write_report(run, tmp_path / "page.html"))
    assert page.tables["frontier_macs"][1][1] == "-inf"


def test_accuracies_of_a_table_are_not_called_those_of_the_images(small_space, stripes, tmp_path):
    run = tmp_path / "run"
    ddpnas.search(
        small_space, stripes, "random", strategy_options={"evaluations": 3}, evaluator="table",
        out=run, device="cpu",
    )  # fmt: skip
    assert Run(run).scored == "3 architectures scored"
    (run / "result.json").unlink()  # it counts the lines
    lines = (run / "history.jsonl").read_text().splitlines(keepends=True)
    (run / "history.jsonl").write_text("".join([*lines, lines[0], lines[0]]))
    page = read(write_report(run))
    assert "accuracy in benchmark table nasbench201" in page.text
    assert "alidation accuracy" not in page.text
    assert "5 scores of 3 different architectures" in page.text


def test_scores_of_a_whole_space_say_so(run):
    lines = (run / "history.jsonl").read_text().splitlines(keepends=True)
    record = json.loads(lines[0])
    decisions = Run(run).decision_space.decisions
    chosen = itertools.product(*(d.options for d in decisions))
    names = [d.name for d in decisions]
    records = [record | {"architecture": dict(zip(names, one, strict=True))} for one in chosen]
    (run / "result.json").unlink()
    (run / "history.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in [*records, record]))
    n = len(records)
    assert Run(run).scored == f"{n + 1} scores of {n} different architectures (the whole space)"


def test_a_search_by_separate_trainings_is_reported_too(run, tmp_path):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config |= {"evaluator": "standalone", "evaluator_options": {"epochs": 2, "recipe": "quick"}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    page = read(write_report(run, tmp_path / "page.html"))
    assert "trained on its own for 2 epochs" in page.text and "through shared" not in page.text
    assert "evaluator: standalone" in page.text


def test_a_training_elsewhere_is_reported_where_it_is_named(run, tmp_path):
    shutil.move(run / "trained", tmp_path / "other")
    assert Run(run).trained is None
    named = Run(run, trained=tmp_path / "other")
    assert named.trained.found.name == "found"
    words = next(line for line in run_commands(View(named)) if line.startswith("ddpnas train "))
    assert "--out other" in words
    page = write_report(run, tmp_path / "page.html", trained=tmp_path / "other").read_text()
    assert "random 1" in page
    with pytest.raises(RunError, match="not a folder of ddpnas train"):
        write_report(run, tmp_path / "page.html", trained=run)
    with pytest.raises(OptionError, match="single run"):
        write_report([run, tmp_path], tmp_path / "page.html", trained=tmp_path / "other")
    about = json.loads((tmp_path / "other" / "result.json").read_text())
    about["networks"][0]["architecture"] = {"another": "decision"}
    (tmp_path / "other" / "result.json").write_text(json.dumps(about))
    with pytest.raises(RunError, match="another space"):
        Run(run, trained=tmp_path / "other")


def test_limits_and_whatever_else_was_asked_are_said_and_repeated_exactly(run, tmp_path):
    table = ddpnas.count_costs(ddpnas.create_space("toy", input_shape=(1, 8, 8), num_classes=3))
    measured = dataclasses.replace(table["macs"], name="ms", unit="ms")
    (tmp_path / "ms.json").write_text(json.dumps(measured.to_dict()))
    shutil.rmtree(run / "trained")
    words = ["generate", str(run), "--limit", "macs>=0.5", "--limit", "params=9000.123456789"]
    words += ["--costs", str(tmp_path / "ms.json"), "--limit", "ms=1..1e9", "--survivors-only"]
    words += ["--margin", "5%"]
    assert main(words) == 0
    page = read(write_report(run, tmp_path / "page.html"))
    assert "at least 0.5" in page.text
    line = next(x for x in run_commands(View(Run(run))) if x.startswith("ddpnas generate "))
    _, given = parse(shlex.split(line)[1:])
    limits = {"macs": ">=0.5", "params": 9000.123456789, "ms": (1.0, 1e9)}
    assert parse_limits(given.limit) == parse_limits(limits)
    assert given.survivors_only and given.costs == ["ms.json"] and given.margin == "5%"


def test_a_network_generated_after_the_training_gets_none_of_its_accuracy(run, tmp_path, caplog):
    before = read(write_report(run, tmp_path / "page.html"))
    lines = run_commands(View(Run(run)))
    assert Run(run).untrained is None and "Not trained yet" not in before.text
    assert main(["generate", str(run), "--limit", "macs=6K..1G"]) == 0
    kept = json.loads((run / "generated.json").read_text())
    trained = json.loads((run / "trained" / "architecture.json").read_text())
    assert kept["costs"]["macs"] > 6000 > trained["costs"]["macs"]
    page = read(write_report(run, tmp_path / "page.html"))
    for table in ("costs", "architecture", "networks"):
        assert page.tables[table] == before.tables[table], table
    headline = page.text[page.text.index("A network for") :].partition("The network")[0]
    assert "4,000" in headline and f"{kept['costs']['macs']:,.0f}" not in headline
    assert "It is not trained yet" in headline and "Not trained yet" in page.text
    assert float(page.tables["untrained_costs"][1][1]) == kept["costs"]["macs"]
    assert run_commands(View(Run(run))) == lines
    for words in (["evaluate", str(run)], ["export", str(run), "--timm"]):
        caplog.clear()
        main(words)
        assert "this is the trained network" in caplog.text and "not trained yet" in caplog.text


def test_a_network_generated_again_is_the_trained_one(run, tmp_path):
    assert main(["generate", str(run), "--limit", "macs=4K", "--rescore", "0", "--top", "2"]) == 0
    assert Run(run).untrained is None
    assert main(["generate", str(run), "--limit", "macs=4.0001K"]) == 0
    assert Run(run).untrained is None and str(Run(run).network.limits["macs"]) == "4,000"
    assert main(["generate", str(run), "--limit", "macs=4K", "--space-options.width", "4"]) == 0
    assert Run(run).untrained is not None


def test_an_architecture_that_was_given_to_the_training_is_called_so(run, tmp_path):
    searched = Run(run)
    other = {d.name: d.options[-1] for d in searched.decision_space.decisions}
    text = searched.space().format(other)
    words = ["train", str(run), "--epochs", "1", "--quiet", "--overwrite", "--architecture", text]
    assert main(words) == 0
    network = Run(run).network
    assert network.origin == "given" and network.text == text and not network.limits
    lines = run_commands(View(Run(run)))
    assert not any(line.startswith("ddpnas generate") for line in lines)
    train = next(line for line in lines if line.startswith("ddpnas train"))
    assert parse(shlex.split(train)[1:])[1].architecture == text
    page = read(write_report(run, tmp_path / "page.html"))
    assert "found network" not in page.text and "was given to the training" in page.text


def test_a_training_without_a_search_has_a_report_too(run, tmp_path):
    net = tmp_path / "net"
    text = Run(run).network.text
    words = ["train", "--space", "toy", "--architecture", text, "--epochs", "1", "--quiet"]
    data = ["--data", str(run.parent / "stripes.npz"), "--recipe-options.lr", "0.02"]
    assert main([*words, *data, "--random", "1", "--out", str(net)]) == 0
    assert main(["report", str(net)]) == 0
    page = read(net / "report.html")
    kept = json.loads((net / "result.json").read_text())["networks"]
    assert [float(row[1]) for row in page.tables["networks"][1:]] == [n["accuracy"] for n in kept]
    costs = {row[0]: float(row[1]) for row in page.tables["costs"][1:]}
    assert costs == kept[0]["costs"] and "The images cannot be shown" in page.text
    assert sorted(f.stem for f in (net / "report-data").glob("*.csv")) == sorted(page.tables)
    line = next(x for x in page.text.splitlines() if x.startswith("ddpnas train "))
    given = parse(shlex.split(line)[1:])[1]
    assert (given.architecture, given.data, given.random) == (text, "stripes.npz", 1)
    assert given.recipe_options == {"lr": 0.02} and str(tmp_path) not in page.text


def test_epochs_are_those_that_were_trained_not_those_that_were_planned(run, tmp_path, capsys):
    words = ["train", str(run), "--epochs", "50", "--patience", "1", "--quiet", "--overwrite"]
    assert main([*words, "--recipe-options.lr", "1e-9", "--recipe-options.ema", "0"]) == 0
    kept = json.loads((run / "trained" / "result.json").read_text())["networks"][0]
    epochs = len(kept["history"])
    assert 1 < epochs < kept["recipe"]["epochs"] == 50
    assert f"recipe quick, {epochs} epochs" in capsys.readouterr().out
    page = read(write_report(run, tmp_path / "page.html"))
    assert f"Trained from scratch for {epochs} epochs, the found network" in page.text
    assert f"for {epochs} epochs." in page.text and "50 epochs" not in page.text


def test_a_network_of_no_space_has_a_report_too(tmp_path):
    data = ddpnas.make_data((torch.randn(60, 5), torch.arange(60) % 2))
    ddpnas.train(torch.nn.Linear(5, 2), data, epochs=1, device="cpu").save(tmp_path / "net")
    page = read(write_report(tmp_path / "net"))
    assert float(page.tables["costs"][1][1]) == 12 and "trained network" in page.text
    with pytest.raises(RunError, match="net holds a trained network and no search"):
        write_report([tmp_path / "net", tmp_path])


def test_what_a_page_without_a_search_cannot_use_is_refused(whole_run, tmp_path):
    table = ddpnas.CostTable("energy", "mJ", 1.0, {})
    with pytest.raises(OptionError, match="trained network and no search, whose page does not use"):
        write_report(whole_run / "trained", tmp_path / "page.html", costs=[table])
    shrunk = tmp_path / "shrunk"
    shrunk.mkdir()
    (shrunk / "shrink.json").touch()
    for option, value in (("costs", [table]), ("trained", whole_run / "trained")):
        with pytest.raises(OptionError, match=f"folder of a shrink, .* does not use {option}"):
            write_report(shrunk, tmp_path / "page.html", **{option: value})


def test_a_class_without_test_images_has_no_accuracy(run, tmp_path):
    kept = json.loads((run / "trained" / "result.json").read_text())
    for network in kept["networks"]:
        network["confusion"][1] = [0, 0, 0]
        network["items"] = sum(map(sum, network["confusion"]))
    (run / "trained" / "result.json").write_text(json.dumps(kept))
    page = read(write_report(run, tmp_path / "page.html"))
    values = [row[1] for row in page.tables["classes"][1:]]
    assert values[2] == "" and "" not in values[:2] and values[0] <= values[1]


def test_a_network_without_mistakes_has_no_most_frequent_one(run, tmp_path):
    kept = json.loads((run / "trained" / "result.json").read_text())
    for network in kept["networks"]:
        of_class = network["items"] // 3
        network["confusion"] = [[of_class * (c == k) for k in range(3)] for c in range(3)]
    (run / "trained" / "result.json").write_text(json.dumps(kept))
    page = read(write_report(run, tmp_path / "page.html"))
    assert "No image is misclassified." in page.text and "Most frequent:" not in page.text


def test_only_files_of_a_report_are_replaced(run, tmp_path):
    (tmp_path / "page-data").mkdir()
    (tmp_path / "page-data" / "mine.csv").write_text("mine")
    with pytest.raises(RunError, match="belongs to no report, .*; remove it, or give an"):
        write_report(run, tmp_path / "page.html")
    assert (tmp_path / "page-data" / "mine.csv").read_text() == "mine"


def test_a_report_that_ran_out_of_room_is_written_again(run, tmp_path, monkeypatch):
    def full(path, content):
        if path.suffix == ".csv":
            raise OSError(errno.ENOSPC, "No space left on device")
        write_atomic(path, content)

    with monkeypatch.context() as patch:
        patch.setattr("ddpnas.report.html.write_atomic", full)
        with pytest.raises(RunError, match="No space left on device.; make room, then try again"):
            write_report(run, tmp_path / "page.html")
    (tmp_path / "page-data" / "of-an-older-report.csv").write_text("")
    assert write_report(run, tmp_path / "page.html").exists()
    assert (tmp_path / "page-data" / "history.csv").exists()
    assert not (tmp_path / "page-data" / "of-an-older-report.csv").exists()


def test_what_was_scored_again_is_listed_and_repeated_by_the_commands(run, tmp_path):
    shutil.rmtree(run / "trained")
    words = ["generate", str(run), "--limit", "macs=4K", "--rescore", "5", "--device", "cpu"]
    assert main(words) == 0
    kept = json.loads((run / "generated.json").read_text())
    page = read(write_report(run, tmp_path / "page.html"))
    rows = page.tables["rescored"][1:]
    assert len(rows) == 5
    assert [float(row[2]) for row in rows] == [one["score"] for one in kept["top"]]
    assert "of the 5 most likely" in page.text
    line = next(x for x in run_commands(View(Run(run))) if x.startswith("ddpnas generate "))
    assert "--rescore 5" in line
    parse(shlex.split(line)[1:])


def test_the_name_of_a_cost_makes_a_file_name():
    assert _file_name("frontier-energy/image") == "frontier-energy%2Fimage"
    assert _file_name("frontier-macs") == "frontier-macs"


def test_the_images_of_a_training_and_its_precision_are_said_and_repeated(tmp_path):
    data = ddpnas.load_data("sign-digits-small", limit_train_images=200)
    space = ddpnas.create_space("toy", num_classes=10, input_shape=data.input_shape)
    chosen = {d.name: d.options[0] for d in space.decisions}
    result = ddpnas.train(
        space.build(chosen), data, epochs=1, device="cpu", mixed_precision="bf16",
        sieve="random", sieve_options={"keep": 0.5},
    )  # fmt: skip
    result.save(tmp_path / "net", space=space, architecture=space.check(chosen))
    assert "sieve `random` with `keep=0.5`" in (tmp_path / "net" / "README.md").read_text()
    page = write_report(tmp_path / "net").read_text()
    words = "--sieve random", "--sieve-options.keep 0.5", "--mixed-precision bf16"
    assert all(one in page for one in words)
