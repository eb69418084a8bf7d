"""RunFolder: what a search leaves on disk, and how it goes on after an interruption.

    config.yaml             the resolved configuration, usable as --config
    run.json                what identifies the run, what was searched (decisions, data), versions
    history.jsonl           one line an evaluated architecture
    distributions.jsonl     one line a stage: theta and survivors
    checkpoint.safetensors  weights and optimizer state; all other state as JSON in its metadata
    result.json             once the search is finished

Each file is replaced whole; the two ``.jsonl`` grow by a line at a time, before the checkpoint
that counts it is written, and are cut back to the checkpoint on resume. So the folder is
consistent after a kill at any moment. Nothing in it is executed when read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor

from ddpnas.errors import RunError
from ddpnas.runs.config import RunConfig
from ddpnas.training.checkpoint import load_checkpoint, save_checkpoint
from ddpnas.utils.files import read_records, whole_lines, writable, write_atomic

__all__ = [
    "CHECKPOINT",
    "CONFIG",
    "GENERATED",
    "HISTORY",
    "LATENCY",
    "LATENCY_CHECK",
    "REPORT",
    "REPORT_DATA",
    "RESULT",
    "RUN",
    "STAGES",
    "TRAINED",
    "RunFolder",
]

CONFIG = "config.yaml"
RUN = "run.json"
HISTORY = "history.jsonl"
STAGES = "distributions.jsonl"
CHECKPOINT = "checkpoint.safetensors"
RESULT = "result.json"
GENERATED = "generated.json"  # what `ddpnas generate` found last
LATENCY = "latency.json"  # the table that `ddpnas latency --run` measured
LATENCY_CHECK = "latency_check.json"
REPORT = "report.html"
TRAINED = "trained"  # folder that `ddpnas train` fills
REPORT_DATA = "report-data"  # folder of the figures behind the report

OWN_FILES = (
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
)
OWN_FOLDERS = (TRAINED, REPORT_DATA)
_LOCK = ".lock"


class RunFolder:
    """An open run folder, locked against other processes until :meth:`close`."""

    def __init__(self, path: Path, lock: FileLock) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls, path: str | Path, *, overwrite: bool = False) -> RunFolder:
        """Return a new, empty run folder.

        Raises:
            RunError: the folder cannot be written, is in use, holds a run (unless
                ``overwrite``, which removes the run's files and no others) or something else.
        """
        folder = cls._open(Path(path), make=True)
        try:
            present = folder._present()
            saved = {RESULT, HISTORY} <= {*present}  # by SearchResult.save
            if present and RUN not in present and not saved:
                raise RunError(f"{path} holds no run, but {present[0]}, ...; give another --out")
            if present and not overwrite:
                what = "a finished run"
                if RESULT not in present:
                    what = f"an unfinished run; go on with `ddpnas resume {path}`"
                raise RunError(
                    f"{path} holds {what}; give another --out, or --overwrite to replace it (from "
                    f"Python: out and overwrite=True)"
                )
            for name in OWN_FILES:
                (folder.path / name).unlink(missing_ok=True)
                (folder.path / f"{name}.tmp").unlink(missing_ok=True)
            for name in OWN_FOLDERS:
                shutil.rmtree(folder.path / name, ignore_errors=True)
        except BaseException:
            folder.close()
            raise
        return folder

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Return an existing run folder, to go on with it.

        Raises:
            RunError: there is none, or it is in use.
        """
        if not (Path(path) / RUN).is_file():
            raise RunError(f"{path} is not a run folder (it holds no {RUN})")
        return cls._open(Path(path), make=False)

    @classmethod
    def _open(cls, path: Path, *, make: bool) -> RunFolder:
        with writable(path, "give another --out" if make else "make it writable"):
            if make:
                path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path / _LOCK)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                instead = "give another --out" if make else "wait until that has ended"
                raise RunError(f"{path} is in use by another process; {instead}") from None
        return cls(path, lock)

    def _present(self) -> list[str]:
        """Return what the folder holds, without what a kill may leave before a run exists."""
        names = {p.name for p in self.path.iterdir()} - {_LOCK}
        if RUN not in names:
            names -= {CONFIG, f"{CONFIG}.tmp", f"{RUN}.tmp"}
        return sorted(names)

    @classmethod
    @contextlib.contextmanager
    def opened(cls, path: str | Path) -> Iterator[RunFolder]:
        """Open an existing run folder for the length of a ``with`` block."""
        folder = cls.open(path)
        try:
            yield folder
        finally:
            folder.close()

    def close(self) -> None:
        """Release the folder to other processes."""
        self._lock.release()

    def write_identity(self, config: RunConfig, identity: Mapping[str, Any]) -> None:
        """Write what a resumed run is compared with; run.json last, it makes the folder a run."""
        self._write_config(config)
        self.write_json(RUN, identity)

    def note_images(self, data: str) -> None:
        """Write where the images of the run are now, if that is another place than before."""
        config = RunConfig.read(self.path / CONFIG)
        if config.data is not None and config.data.data != data:
            moved = dataclasses.replace(config.data, data=data)
            self._write_config(dataclasses.replace(config, data=moved))

    def _write_config(self, config: RunConfig) -> None:
        write_atomic(self.path / CONFIG, config.to_yaml().encode())

    def write_json(self, name: str, data: Any) -> None:
        """Write plain data as a JSON file."""
        write_atomic(self.path / name, (json.dumps(data, indent=1) + "\n").encode())

    def append(self, name: str, record: Mapping[str, Any]) -> None:
        """Add a line to a .jsonl file."""
        with open(self.path / name, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")

    def cut(self, name: str, records: int) -> list[dict[str, Any]]:
        """Cut a .jsonl file to its first records, and return them."""
        path = self.path / name
        write_atomic(path, b"".join(whole_lines(path)[:records]))
        return read_records(path)

    def save_checkpoint(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Write weights and all other state as one file."""
        save_checkpoint(self.path / CHECKPOINT, tensors, plain)

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return what was saved last, None where nothing was yet."""
        return load_checkpoint(self.path / CHECKPOINT)
