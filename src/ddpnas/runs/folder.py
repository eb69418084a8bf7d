"""RunFolder: the files of a search, and how it resumes from them after an interruption.

    plan.json               how `ddpnas fit` divides its time, where that made the run
    config.yaml             the resolved configuration, usable as --config
    run.json                the run's identity, the space and data that it searches, versions
    history.jsonl           one line for each evaluated architecture
    distributions.jsonl     one line for each stage: probabilities and survivors
    checkpoint.safetensors  weights and optimizer state; all other state as JSON in its metadata
    result.json             the result, once the search is finished

The folder is consistent after a kill or a power cut at any moment. Files are replaced as a whole.
Only the two ``.jsonl`` files grow, a line at a time. A line is on the disk before the checkpoint
that counts it. On resume, lines that no checkpoint counts are cut off, and lines that one counts
must be there unchanged. Nothing in the folder is executed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ddpnas.errors import RunError
from ddpnas.runs.config import RunConfig
from ddpnas.training.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from ddpnas.training.saving import lock_trained
from ddpnas.utils.files import LOCK, check_place, lock, sync, writable, write_atomic
from ddpnas.utils.read import Whole, checked_content, whole_lines
from ddpnas.utils.text import json_text, resume_command

__all__ = [
    "BEST",
    "CONFIG",
    "EXPORTS",
    "GENERATED",
    "HISTORY",
    "LATENCY",
    "LATENCY_CHECK",
    "PLAN",
    "REPORT",
    "REPORT_DATA",
    "RESULT",
    "RUN",
    "SHRINK",
    "STAGES",
    "TRAINED",
    "RunFolder",
    "no_run",
]

PLAN = "plan.json"
SHRINK = "shrink.json"  # the plan of `ddpnas shrink`, whose folder holds no search
CONFIG = "config.yaml"
RUN = "run.json"
HISTORY = "history.jsonl"
STAGES = "distributions.jsonl"
RESULT = "result.json"
GENERATED = "generated.json"  # what `ddpnas generate` found last
LATENCY = "latency.json"  # the table that `ddpnas latency --run` measured
LATENCY_CHECK = "latency_check.json"
REPORT = "report.html"
TRAINED = "trained"  # folder that `ddpnas train` fills
BEST = "best"  # folder of the best network so far of `ddpnas fit`
REPORT_DATA = "report-data"  # folder of the figures behind the report
EXPORTS = {"onnx": "net.onnx", "torch": "net.pt2"}  # by kind: the exported network of a fit

OWN_FILES = (
    PLAN,
    CONFIG,
    RUN,
    HISTORY,
    STAGES,
    CHECKPOINT,
    RESULT,
    GENERATED,
    LATENCY,
    LATENCY_CHECK,
    REPORT,
    *EXPORTS.values(),
)
OWN_FOLDERS = (TRAINED, BEST, f"{BEST}.new", f"{BEST}.old", REPORT_DATA)
_GROWING = (HISTORY, STAGES)
_LINES = "lines"  # part of a checkpoint: the number and the checksum of the lines it stands on


def no_run(path: Path, missing: str) -> RunError:
    """Return the error for what is no run folder; it says what is there instead.

    Args:
        path: What was given.
        missing: Name of a file that it lacks.
    """
    if not path.exists():
        return RunError(f"there is no run folder {path}")
    if missing == RUN and any((p / "model.safetensors").is_file() for p in (path, path / TRAINED)):
        return RunError(
            f"{path} holds a trained network and no search that could give others; `ddpnas shrink` "
            f"cuts a network of a library or of your own to limits"
        )
    return RunError(f"{path} is not a run folder (it holds no {missing})")


class RunFolder:
    r"""An open run folder, locked against other processes until :meth:`close`.

    Example:
        >>> import tempfile
        >>> folder = RunFolder.create(Path(tempfile.mkdtemp(), "run"))
        >>> folder.append(HISTORY, {"score": 0.5})
        >>> folder.save_checkpoint({}, {"evaluations": 1})
        >>> folder.append(HISTORY, {"score": 0.7})
        >>> folder.load_checkpoint()
        ({}, {'evaluations': 1})
        >>> (folder.path / HISTORY).read_text()
        '{"score": 0.5}\n'
        >>> folder.close()
    """

    def __init__(self, path: Path, held: contextlib.ExitStack) -> None:
        self.path = path
        self._held = held
        self._lines = {name: _Lines() for name in _GROWING}

    @classmethod
    def create(cls, path: str | Path, *, overwrite: bool = False) -> RunFolder:
        """Create an empty run folder and return it.

        Args:
            path: Path of the folder. It may exist if it is empty.
            overwrite: Remove the files of the run that the folder holds, and no others.

        Raises:
            RunError: The folder cannot be written, is in use, holds a run (without ``overwrite``)
                or holds something else.
        """
        folder = cls._open(Path(path), make=True)
        try:
            folder._refuse_present(overwrite)
            with writable(folder.path):
                folder._clear()
        except BaseException:
            folder.close()
            raise
        return folder

    @classmethod
    def check_free(cls, path: str | Path, *, overwrite: bool = False) -> None:
        """Refuse what :meth:`create` refuses, without making anything.

        Raises:
            RunError: The folder holds a run (without ``overwrite``) or something else, or it
                cannot be made there.
        """
        check_place(Path(path))
        if Path(path).is_dir():
            cls(Path(path), contextlib.ExitStack())._refuse_present(overwrite)

    def _refuse_present(self, overwrite: bool) -> None:
        """Raise :class:`RunError` if the folder holds what a new run must not replace."""
        present = self._present()
        saved = {RESULT, HISTORY} <= {*present}  # the two files of SearchResult.save
        # A fit that started from a network has a plan and no search.
        started = (self.path / PLAN).is_file() and not {TRAINED, BEST}.isdisjoint(present)
        if present and RUN not in present and not saved and not started:
            raise RunError(f"{self.path} holds no run, but {present[0]}, ...; give another --out")
        if present and not overwrite:
            what = "a finished run"
            trained = RUN not in present and (self.path / TRAINED / "model.safetensors").is_file()
            if RESULT not in present and not trained:
                what = f"an unfinished run; go on with `{resume_command(self.path)}`"
            raise RunError(
                f"{self.path} holds {what}; give another --out, or --overwrite to replace it (from "
                f"Python: out and overwrite=True)"
            )

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open an existing run folder and return it.

        Raises:
            RunError: The path is not a run folder, or another process uses it.
        """
        if not (Path(path) / RUN).is_file():
            raise no_run(Path(path), RUN)
        return cls._open(Path(path), make=False)

    @classmethod
    def _open(cls, path: Path, *, make: bool) -> RunFolder:
        with writable(path, "give another --out" if make else "make it writable"):
            if make:
                path.mkdir(parents=True, exist_ok=True)
                sync(path.parent)
            instead = "give another --out" if make else "wait until that has ended"
            held = contextlib.ExitStack()
            held.enter_context(lock(path, path / LOCK, instead))
            return cls(path, held)

    def _present(self) -> list[str]:
        """Return the names in the folder that count as its content."""
        names = {p.name for p in self.path.iterdir()} - {LOCK}
        # run.json is written last and makes the folder a run. A kill just before leaves these.
        if RUN not in names:
            begun = [PLAN, RUN]
            if not self._holds_another_config():
                begun.append(CONFIG)
            if PLAN in names:  # without one, a latency table is a user's
                begun.append(LATENCY)
            for name in begun:
                names -= {name, *(p.name for p in self.path.glob(f"{name}.*.tmp"))}
        return sorted(names)

    def _holds_another_config(self) -> bool:
        """Return whether the file with the name of a configuration is another program's."""
        if not (self.path / CONFIG).is_file():
            return False
        try:
            RunConfig.read(self.path / CONFIG)
        except RunError:
            return True
        return False

    def _clear(self) -> None:
        """Remove the files of a run, in an order that leaves a run to replace at any moment."""
        first = (RESULT, CHECKPOINT)  # what is left is an unfinished run
        last = (RUN, CONFIG, PLAN)  # see _present
        with lock_trained(self.path / TRAINED, make=False):
            for name in (*first, *({*OWN_FILES} - {*first, *last})):
                self._remove(name)
            for name in OWN_FOLDERS:
                shutil.rmtree(self.path / name, ignore_errors=True)
        for name in last:
            self._remove(name)

    def _remove(self, name: str) -> None:
        for file in (self.path / name, *self.path.glob(f"{name}.*.tmp")):
            file.unlink(missing_ok=True)

    @classmethod
    @contextlib.contextmanager
    def opened(cls, path: str | Path) -> Iterator[RunFolder]:
        """Open an existing run folder for a ``with`` block.

        Raises:
            RunError: See :meth:`open`.
        """
        folder = cls.open(path)
        try:
            yield folder
        finally:
            folder.close()

    def close(self) -> None:
        """Unlock the folder for other processes."""
        self._held.close()

    def write_identity(self, config: RunConfig, identity: Mapping[str, Any]) -> None:
        """Write the files that a resumed run is compared with.

        Args:
            config: The resolved configuration, for config.yaml.
            identity: The content of run.json, as plain data.
        """
        self._write_config(config)  # first: once run.json exists, the folder counts as a run
        self.write_json(RUN, identity)

    def note_images(self, data: str) -> None:
        """Update the path of the images in config.yaml, if they have moved.

        Args:
            data: Path or name of the images, as given to the resumed run.
        """
        config = RunConfig.read(self.path / CONFIG)
        if config.data is not None and config.data.data != data:
            moved = dataclasses.replace(config.data, data=data)
            self._write_config(dataclasses.replace(config, data=moved))

    def _write_config(self, config: RunConfig) -> None:
        with self._writing():
            write_atomic(self.path / CONFIG, config.to_yaml().encode())

    def write_json(self, name: str, data: Any) -> None:
        """Write plain data as the JSON file of that name, replacing it as a whole.

        Raises:
            RunError: It cannot be written.
        """
        with self._writing():
            self._sync_lines()
            write_atomic(self.path / name, (json_text(data, indent=1) + "\n").encode())

    def append(self, name: str, record: Mapping[str, Any]) -> None:
        """Add a record as a line to the ``.jsonl`` file of that name.

        Raises:
            RunError: It cannot be written.
        """
        line = (json.dumps(record) + "\n").encode()
        with self._writing(), open(self.path / name, "ab") as stream:
            stream.write(line)
        self._lines[name].add(line)

    def save_checkpoint(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Write tensors by name and all other state, plain data for JSON, as one file.

        Raises:
            RunError: It cannot be written.
        """
        with self._writing():
            self._sync_lines()  # before the checkpoint that counts them
            lines = {name: known.to_list() for name, known in self._lines.items()}
            save_checkpoint(self.path / CHECKPOINT, tensors, {**plain, _LINES: lines})

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the tensors and the plain data saved last, or None if there is no checkpoint.

        Lines that were added after the checkpoint are cut off: a resumed search writes them again.

        Raises:
            RunError: The checkpoint is damaged, or lines that it stands on are no longer there.
        """
        saved = load_checkpoint(self.path / CHECKPOINT)
        counted = {} if saved is None else saved[1].pop(_LINES, None)
        counted = checked_content(counted, dict[str, tuple[Whole, str]], self.path / CHECKPOINT)
        for name in _GROWING:
            self._cut(name, *counted.get(name, (0, _Lines().to_list()[1])))
        return saved

    def _cut(self, name: str, number: int, checksum: str) -> None:
        """Cut a file to its first lines, which must be those that were counted."""
        path, known = self.path / name, _Lines()
        lines = whole_lines(path)[:number]
        for line in lines:
            known.add(line)
        if known.to_list() != [number, checksum]:
            what = "has changed" if len(lines) == number else f"has only {len(lines)} of them"
            raise RunError(
                f"{CHECKPOINT} stands on {number} lines of {path}, which {what}; start again with "
                f"--overwrite"
            )
        self._lines[name] = known
        if path.exists():
            with self._writing():
                os.truncate(path, sum(map(len, lines)))  # needs no room on the disk
                sync(path)

    def _sync_lines(self) -> None:
        """Return once all lines survive a power cut."""
        for name, known in self._lines.items():
            if not known.synced:
                sync(self.path / name)
                sync(self.path)  # the file may be new
                known.synced = True

    def _writing(self) -> contextlib.AbstractContextManager[None]:
        return writable(self.path, "make it writable", f"go on: {resume_command(self.path)}")


class _Lines:
    """The number and the checksum of the lines of a file, and whether all are on the disk."""

    def __init__(self) -> None:
        self._number, self._checksum, self.synced = 0, hashlib.sha256(), True

    def add(self, line: bytes) -> None:
        """Count one more line, which was just written."""
        self._number += 1
        self._checksum.update(line)
        self.synced = False

    def to_list(self) -> list[int | str]:
        """Return number and checksum as plain data."""
        return [self._number, self._checksum.hexdigest()]
