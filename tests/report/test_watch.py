"""The live page: what it serves, to whom, and that it follows the run without touching it."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from ddpnas.cli import main
from ddpnas.errors import OptionError, RunError
from ddpnas.report import analysis as view
from ddpnas.report.watch import Watch


@pytest.fixture
def served(unfinished):
    watch = Watch([str(unfinished)], port=0)
    thread = threading.Thread(target=watch.serve)
    thread.start()
    yield watch, unfinished
    watch.close()
    thread.join()


def ask(watch, path="/", method="GET", **headers):
    port = int(watch.address.rstrip("/").rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer, body


def test_the_page_follows_the_run_and_is_sent_again_only_when_it_changed(served):
    watch, run = served
    answer, body = ask(watch)
    assert answer.status == 200 and "unfinished: 7 of" in body
    tag = answer.headers["ETag"]
    assert ask(watch, If_None_Match=tag)[0].status == 304
    lines = (run / "history.jsonl").read_text().splitlines()
    (run / "history.jsonl").write_text("\n".join([*lines[:7], lines[6], ""]))
    answer, body = ask(watch, If_None_Match=tag)
    assert answer.status == 200 and "unfinished: 8 of" in body
    answer, body = ask(watch, method="HEAD")
    assert answer.status == 200 and body == ""


def test_a_page_made_anew_does_not_count_the_space_anew_unless_its_options_changed(
    run, monkeypatch
):
    counted = []
    count_costs = view.count_costs
    monkeypatch.setattr(view, "count_costs", lambda one: counted.append(one) or count_costs(one))
    (run / "result.json").unlink()  # it counts the lines of the history
    watch = Watch([str(run)], port=0)
    first, _ = watch.page()
    for _ in range(2):
        kept = (run / "history.jsonl").read_text().splitlines(keepends=True)[:-1]
        (run / "history.jsonl").write_text("".join(kept))
        page, _ = watch.page()
        assert page != first
    assert len(counted) == 1
    about = json.loads((run / "trained" / "architecture.json").read_text())
    about["space_options"]["width"] = 12
    (run / "trained" / "architecture.json").write_text(json.dumps(about))
    watch.page()
    assert len(counted) == 2
    watch._server.server_close()


def test_it_serves_one_page_to_this_machine_and_nothing_else(served):
    watch, _ = served
    assert watch.address.startswith("http://127.0.0.1:")
    for path in ("/run.json", "/history.jsonl", "/..", "/../run.json", "/?x", "/checkpoint"):
        assert ask(watch, path)[0].status == 404, path
    for host, status in (("evil.example:80", 403), ("localhost", 200), ("127.0.0.1", 200)):
        assert ask(watch, Host=host)[0].status == status  # without a port it is port 80
    assert ask(watch, method="POST")[0].status == 501


def test_it_writes_nothing_into_the_run(served):
    watch, run = served
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*")}
    ask(watch)
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*")} == before


def test_a_run_that_is_damaged_meanwhile_is_said_and_the_server_goes_on(served):
    watch, run = served
    kept = (run / "run.json").read_text()
    (run / "run.json").write_text("{")
    answer, body = ask(watch)
    assert answer.status == 503 and "run.json: it is not JSON" in body
    (run / "run.json").write_text(kept)
    assert ask(watch)[0].status == 200


@pytest.mark.parametrize(
    ("name", "status"), [("run.json", 503), ("history.jsonl", 200), ("other.json", 200)]
)
def test_a_link_that_leads_nowhere_ends_no_server(served, name, status):
    watch, run = served
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(run / name)
    answer, _ = ask(watch)
    assert answer.status == status
    with contextlib.suppress(RunError):  # or a page of what is left
        Watch([str(run)], port=0)._server.server_close()


def test_what_cannot_be_watched_gets_one_sentence(served, tmp_path):
    watch, run = served
    with pytest.raises(RunError, match="not a run folder"):
        Watch([str(tmp_path)], port=0)
    taken = int(watch.address.rstrip("/").rpartition(":")[2])
    for port in (taken, 70_000):
        with pytest.raises(OptionError, match="give another --port"):
            Watch([str(run)], port=port)


def test_the_command_says_what_to_open_and_ends_with_an_interruption(
    unfinished, capsys, monkeypatch
):
    def interrupted(watch):
        watch._server.server_close()
        raise KeyboardInterrupt

    monkeypatch.setattr(Watch, "serve", interrupted)
    assert main(["watch", str(unfinished), "--port", "0"]) == 0
    printed = capsys.readouterr()
    assert re.match(r"open http://127\.0\.0\.1:\d+/", printed.out) and printed.err == ""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="interrupts a process as POSIX does")
def test_the_command_as_a_process_ends_with_an_interruption(unfinished):
    code = (  # what starts the tests in the background may have interruptions ignored
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from ddpnas.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "watch", str(unfinished), "--port", "0"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert "open http://127.0.0.1:" in child.stdout.readline()
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=120) == 0
    finally:
        child.kill()
        child.stdout.close()
