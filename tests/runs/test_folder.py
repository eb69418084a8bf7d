import contextlib
import errno
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import ddpnas
from ddpnas.errors import RunError
from ddpnas.runs import Run
from ddpnas.runs.config import RunConfig
from ddpnas.runs.folder import RunFolder
from ddpnas.training.checkpoint import load_checkpoint, save_checkpoint
from ddpnas.utils.files import writable, write_atomic
from ddpnas.utils.read import read_json, read_records


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_atomic(path, b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, b"new and longer")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]  # a full disk gets its room back


def test_what_a_killed_process_was_writing_is_removed_and_not_what_one_still_writes(tmp_path):
    path = tmp_path / "x.json"
    alive = f"x.json.{os.getppid()}.tmp"
    for name in ("x.json.999999999.tmp", alive, "x.json.mine.tmp", "xyjson.999999999.tmp"):
        (tmp_path / name).touch()
    write_atomic(path, b"new")
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"x.json", alive, "x.json.mine.tmp", "xyjson.999999999.tmp"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_asks_for_room_and_not_for_another_folder(tmp_path, number):
    with (
        pytest.raises(RunError, match="make room, then go on") as refused,
        writable(tmp_path, then="go on"),
    ):
        raise OSError(number, os.strerror(number))
    assert "--out" not in str(refused.value)


def test_a_folder_in_use_is_not_opened_by_another_process(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    folder.write_identity(RunConfig(), {"identity": {}})
    code = (
        "from ddpnas.errors import RunError; from ddpnas.runs.folder import RunFolder\n"
        "for open_it in (RunFolder.open, lambda path: RunFolder.create(path, overwrite=True)):\n"
        f"    try: open_it({str(tmp_path / 'run')!r})\n"
        "    except RunError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.count("in use by another process") == 2, done.stderr
    folder.close()
    RunFolder.open(tmp_path / "run").close()


def test_a_folder_with_something_in_it_is_not_overwritten_unless_told_so(tmp_path):
    def create(**options):
        RunFolder.create(tmp_path, **options).close()

    (tmp_path / "trained").mkdir()
    for mine in ("report.html", "trained/weights.txt"):
        (tmp_path / mine).write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(RunError, match=r"holds no run, but report.html, \.\.\.; give another"):
            create(overwrite=overwrite)
    for mine in ("report.html", "trained/weights.txt"):
        assert (tmp_path / mine).read_text() == "mine"
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(RunError, match="unfinished run; go on with `ddpnas resume"):
        create()
    for theirs in ("result.json", "net.onnx", "net.pt2"):
        (tmp_path / theirs).write_text("{}")
    with pytest.raises(RunError, match="holds a finished run; .*--overwrite"):
        create()
    create(overwrite=True)
    for theirs in ("result.json", "net.onnx", "net.pt2"):
        assert not (tmp_path / theirs).exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_fit_that_was_killed_before_its_run_is_replaced(tmp_path):
    begun = ("plan.json", "latency.json", "latency.json.999999999.tmp", "run.json.999999999.tmp")
    for name in begun:
        (tmp_path / name).write_text("{}")
    RunFolder.create(tmp_path).close()
    assert not {*begun} & {path.name for path in tmp_path.iterdir()}
    (tmp_path / "latency.json").write_text("{}")  # a table that nothing says a fit measured
    with pytest.raises(RunError, match=r"holds no run, but latency.json"):
        RunFolder.create(tmp_path, overwrite=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="cannot be written"):
        RunFolder.create(tmp_path / "run")


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunError, match="cannot be written .*give another --out"):
            RunFolder.create(path)


@pytest.fixture
def counted(tmp_path):
    """Return an open folder whose checkpoint stands on two records, and which has two more."""
    folder = RunFolder.create(tmp_path)
    for i in range(4):
        folder.append("history.jsonl", {"i": i})
        if i == 1:
            folder.save_checkpoint({}, {})
    yield folder
    folder.close()


def test_records_are_cut_to_the_checkpoint_and_a_torn_line_is_dropped(counted):
    path = counted.path / "history.jsonl"
    with open(path, "a") as stream:
        stream.write('{"i": 4')
    assert read_records(path) == [{"i": i} for i in range(4)]
    counted.load_checkpoint()
    assert path.read_text() == '{"i": 0}\n{"i": 1}\n'
    counted.append("history.jsonl", {"i": 2})
    counted.save_checkpoint({}, {})
    counted.load_checkpoint()
    assert len(read_records(path)) == 3


@pytest.mark.parametrize(
    "content, says",
    [
        ('{"i": 0}\n', "on 2 lines of .*history.jsonl, which has only 1 of them; start again"),
        ('{"i": 0}\n{"i": 1}', "which has only 1 of them"),
        ("", "which has only 0 of them"),
        ('{"i": 0}\n{"i": 9}\n{"i": 2}\n', "which has changed"),
    ],
)
def test_records_that_a_checkpoint_stands_on_are_missed(counted, content, says):
    (counted.path / "history.jsonl").write_text(content)
    with pytest.raises(RunError, match=says):
        counted.load_checkpoint()


def test_lines_are_on_the_disk_before_the_checkpoint_that_counts_them(tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, Path.replace

    def synced(descriptor):
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name.split(".")[0])
        fsync(descriptor)

    def renamed(self, target):
        done.append(f"rename {target.name}")
        replace(self, target)

    folder = RunFolder.create(tmp_path / "run")
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    folder.append("history.jsonl", {})
    folder.append("distributions.jsonl", {})
    folder.save_checkpoint({}, {})
    renames = ["checkpoint", "rename checkpoint.safetensors", "run"]
    assert done == ["history", "run", "distributions", "run", *renames]
    folder.append("history.jsonl", {})
    folder.write_json("result.json", {})
    assert done[7:] == ["history", "run", "result", "rename result.json", "run"]
    folder.close()


def test_equal_checkpoints_are_equal_files(tmp_path):
    tensors = {"b": torch.ones(3), "a": torch.zeros(2, dtype=torch.int64), "c": torch.ones(())}
    for name in ("one", "other"):
        save_checkpoint(tmp_path / name, tensors, {"evaluations": 3})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    header = (tmp_path / "one").read_bytes()[8:]
    assert re.match(rb'{"__metadata__":{"checksum":"\w{64}","form":"\d+","state":', header)
    loaded, _ = load_checkpoint(tmp_path / "one")
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)


def test_every_bit_of_a_checkpoint_counts(tmp_path):
    folder = RunFolder.create(tmp_path)
    folder.save_checkpoint({"w": torch.randn(4), "half": torch.ones(3).bfloat16()}, {"score": 0.5})
    whole = (tmp_path / "checkpoint.safetensors").read_bytes()
    assert folder.load_checkpoint() is not None
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        (tmp_path / "checkpoint.safetensors").write_bytes(damaged)
        with pytest.raises(RunError, match="checkpoint.safetensors"):
            folder.load_checkpoint()
    folder.close()


@pytest.mark.parametrize("change", ["missing", "misshapen", "more", "number", "state"])
def test_a_checkpoint_that_was_put_together_is_refused(tmp_path, change):
    folder = RunFolder.create(tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    folder.save_checkpoint({"a": torch.ones(4), "b": torch.zeros(2)}, {"evaluations": 3})
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in ("a", "b")}
    if change == "missing":
        del tensors["b"]
    elif change == "state":
        metadata["state"] = metadata["state"].replace("3", "4")
    else:
        new = {
            "misshapen": torch.ones(2, 2),
            "more": torch.ones(4),
            "number": torch.full((4,), 2.0),
        }
        tensors["c" if change == "more" else "a"] = new[change]
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(RunError, match="is damaged .its content has another checksum.; remove"):
        folder.load_checkpoint()
    folder.close()


def test_a_checkpoint_keeps_tensors_and_plain_state_exactly(tmp_path):
    folder = RunFolder.create(tmp_path)
    assert folder.load_checkpoint() is None
    weights = torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last)
    plain = {"score": 0.1 + 0.2, "rng": {"state": 2**127 + 1}, "none": None}
    folder.save_checkpoint({"w": weights}, plain)
    tensors, again = folder.load_checkpoint()
    assert torch.equal(tensors["w"], weights) and again == plain
    folder.close()


def test_a_checkpoint_of_another_version_is_not_misread(tmp_path):
    folder = RunFolder.create(tmp_path)
    save_file({}, tmp_path / "checkpoint.safetensors", metadata={"state": "{}"})
    with pytest.raises(RunError, match=r"checkpoint.safetensors was saved by a version"):
        folder.load_checkpoint()
    folder.close()


def test_damaged_files_are_named(tmp_path):
    folder = RunFolder.create(tmp_path)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"garbage")
    with pytest.raises(RunError, match="checkpoint.safetensors is damaged"):
        folder.load_checkpoint()
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunError, match="cannot use .*run.json: it is not JSON"):
        read_json(tmp_path / "run.json")
    with pytest.raises(RunError, match="there is no file .*result.json"):
        read_json(tmp_path / "result.json")
    folder.close()
    with pytest.raises(RunError, match="there is no run folder"):
        RunFolder.open(tmp_path / "absent")


def test_files_are_json(tmp_path):
    folder = RunFolder.create(tmp_path)
    folder.write_identity(RunConfig(space="ä"), {"identity": {"seed": 0}})
    assert json.loads((tmp_path / "run.json").read_text()) == {"identity": {"seed": 0}}
    assert "seed: 0" in (tmp_path / "config.yaml").read_text()
    folder.close()


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Return a finished run of 7 scores of a table, and one that was interrupted after 3."""
    base = tmp_path_factory.mktemp("searched")
    options = {"evaluator": "table", "strategy_options": {"evaluations": 7}}
    data = ddpnas.load_data("sign-digits-small")
    space = ddpnas.create_space("nasbench201", channels=2, cells_per_stage=1, num_classes=10,
                                input_shape=data.input_shape)  # fmt: skip

    def stop(progress):
        if progress.done == 3:
            raise KeyboardInterrupt

    for name, on_progress in (("run", None), ("begun", stop)):
        with contextlib.suppress(KeyboardInterrupt):
            ddpnas.search(space, data, "random", out=base / name,
                          on_progress=on_progress, **options)  # fmt: skip
    return base


EDITS = [
    (
        "result.json",
        ("distribution", "theta", "1<-0", "none"),
        math.nan,
        "none must be .*, not nan",
    ),
    (
        "result.json",
        ("distribution", "theta", "1<-0", "none"),
        -1,
        "theta.1<-0.none must be ",
    ),
    ("result.json", ("distribution", "theta", "1<-0", "none"), 0.9, "'1<-0' must be probabilities"),
    ("result.json", ("distribution", "survivors", "1<-0"), [], "no option of decision '1<-0'"),
    ("result.json", ("architecture", "1<-0"), "conv", "unknown option of decision '1<-0' 'conv'"),
    ("result.json", ("seconds",), -1, "seconds must be a number of at least 0, not -1"),
    ("history.jsonl", ("architecture", "1<-0"), "conv", "unknown option of decision '1<-0' 'conv'"),
    ("history.jsonl", ("seconds",), math.nan, "line 1 of .*: seconds must be .*, not nan"),
    ("history.jsonl", ("score",), [], "line 1 of .*: score must be a number, not .."),
    ("run.json", ("about", "data", "input_shape"), 3, "about.data.input_shape must be a list of"),
    ("run.json", ("about", "space", "rules"), None, "about.space.rules must be a list of"),
    ("run.json", ("identity", "seed"), "x", "seed must be a whole number.*, not 'x'"),
    ("run.json", ("identity", "data"), {}, "data.name is missing; it must be text"),
]


@pytest.mark.parametrize(("name", "keys", "value", "says"), EDITS)
def test_an_edited_file_is_one_sentence_with_its_name_and_key(
    searched, tmp_path, name, keys, value, says
):
    run = shutil.copytree(searched / "run", tmp_path / "run")
    first, *rest = (run / name).read_text().splitlines() if name[-1] == "l" else [
        (run / name).read_text()]  # fmt: skip
    content = at = json.loads(first)
    for key in keys[:-1]:
        at = at[key]
    at[keys[-1]] = value
    (run / name).write_text("\n".join([json.dumps(content), *rest]) + "\n")
    with pytest.raises(RunError, match=says) as caught:
        opened = Run(run)
        _ = opened.result, opened.history, opened.identity, opened.decision_space
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_a_distribution_of_other_decisions_is_refused(searched, tmp_path):
    run = shutil.copytree(searched / "run", tmp_path / "run")
    content = json.loads((run / "result.json").read_text())
    gone = content["distribution"]["decisions"].pop()["name"]
    del content["distribution"]["theta"][gone], content["distribution"]["survivors"][gone]
    content["architecture"].popitem()
    (run / "result.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"result.json: its decisions are not those of .*run.json"):
        _ = Run(run).result


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda plain: plain.update(scores=[0.5] * 9), "it has 9 scores for a batch of 1 "),
        (lambda plain: plain.update(scores={}), "scores must be a list of numbers, not {}"),
        (lambda plain: plain.pop("strategy"), "strategy is missing"),
        (lambda plain: plain["strategy"].update(history=[[9] * 6] * 3), "index 9 is out of range"),
        (lambda plain: plain["strategy"].update(scores=[]), "it has 0 scores for 1 architectures"),
        (lambda plain: plain["strategy"]["rng"].update(state={}), "rng.state.state is missing"),
    ],
)
def test_an_edited_checkpoint_does_not_hang_the_search(searched, tmp_path, change, says):
    run = shutil.copytree(searched / "begun", tmp_path / "run")
    tensors, plain = load_checkpoint(run / "checkpoint.safetensors")
    change(plain)
    save_checkpoint(run / "checkpoint.safetensors", tensors, plain)
    with pytest.raises(RunError, match=says):
        ddpnas.resume(run)
