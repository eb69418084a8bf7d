import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from ddpnas.errors import RunError
from ddpnas.runs.config import RunConfig
from ddpnas.runs.folder import RunFolder
from ddpnas.utils.files import read_json, read_records, write_atomic


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_atomic(path, b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, b"new and longer")
    assert path.read_bytes() == b"old"


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
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(RunError, match="holds a finished run; .*--overwrite"):
        create()
    create(overwrite=True)
    assert not (tmp_path / "result.json").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


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


def test_records_are_cut_to_the_checkpoint_and_a_torn_line_is_dropped(tmp_path):
    folder = RunFolder.create(tmp_path)
    for i in range(4):
        folder.append("history.jsonl", {"i": i})
    with open(tmp_path / "history.jsonl", "a") as stream:
        stream.write('{"i": 4')
    assert read_records(folder.path / "history.jsonl") == [{"i": i} for i in range(4)]
    assert folder.cut("history.jsonl", 2) == [{"i": 0}, {"i": 1}]
    assert (tmp_path / "history.jsonl").read_text() == '{"i": 0}\n{"i": 1}\n'
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
    with pytest.raises(RunError, match=r"checkpoint.safetensors was saved by another version"):
        folder.load_checkpoint()
    folder.close()


def test_damaged_files_are_named(tmp_path):
    folder = RunFolder.create(tmp_path)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"garbage")
    with pytest.raises(RunError, match="checkpoint.safetensors is damaged"):
        folder.load_checkpoint()
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunError, match="run.json is damaged"):
        read_json(tmp_path / "run.json")
    with pytest.raises(RunError, match="holds no result.json"):
        read_json(tmp_path / "result.json")
    folder.close()
    with pytest.raises(RunError, match="not a run folder"):
        RunFolder.open(tmp_path / "absent")


def test_files_are_json(tmp_path):
    folder = RunFolder.create(tmp_path)
    folder.write_identity(RunConfig(space="ä"), {"identity": {"seed": 0}})
    assert json.loads((tmp_path / "run.json").read_text()) == {"identity": {"seed": 0}}
    assert "seed: 0" in (tmp_path / "config.yaml").read_text()
    folder.close()
