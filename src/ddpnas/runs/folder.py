"""RunFolder: the files of a search, and how it resumes from them after an interruption.

    config.yaml             the resolved configuration, usable as --config
    run.json                the run's identity, the space and data that it searches, versions
    history.jsonl           one line for each evaluated architecture
    distributions.jsonl     one line for each stage: probabilities and survivors
    checkpoint.safetensors  weights and optimizer state; all other state as JSON in its metadata
    result.json             the result, once the search is finished

The folder is consistent after a kill at any moment. Files are replaced as a whole. Only the two
``.jsonl`` files grow, a line at a time. A line is written before the checkpoint that counts it, and
on resume lines that no checkpoint counts are cut off. Nothing in the folder is executed.
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
    """An open run folder, locked against other processes until :meth:`close`.

    Example:
        >>> import tempfile
        >>> folder = RunFolder.create(Path(tempfile.mkdtemp(), "run"))
        >>> folder.append(HISTORY, {"score": 0.5})
        >>> folder.append(HISTORY, {"score": 0.7})
        >>> folder.cut(HISTORY, 1)
        [{'score': 0.5}]
        >>> folder.close()
    """

    def __init__(self, path: Path, lock: FileLock) -> None:
        self.path = path
        self._lock = lock

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
            present = folder._present()
            saved = {RESULT, HISTORY} <= {*present}  # the two files of SearchResult.save
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
        """Open an existing run folder and return it.

        Raises:
            RunError: The path is not a run folder, or another process uses it.
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
        """Return the names in the folder that count as its content."""
        names = {p.name for p in self.path.iterdir()} - {_LOCK}
        # run.json is written last and makes the folder a run. A kill just before leaves these.
        if RUN not in names:
            names -= {CONFIG, f"{CONFIG}.tmp", f"{RUN}.tmp"}
        return sorted(names)

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
        self._lock.release()

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
        write_atomic(self.path / CONFIG, config.to_yaml().encode())

    def write_json(self, name: str, data: Any) -> None:
        """Write plain data as the JSON file of that name, replacing it as a whole."""
        write_atomic(self.path / name, (json.dumps(data, indent=1) + "\n").encode())

    def append(self, name: str, record: Mapping[str, Any]) -> None:
        """Add a record as a line to the ``.jsonl`` file of that name."""
        with open(self.path / name, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")

    def cut(self, name: str, records: int) -> list[dict[str, Any]]:
        """Cut the ``.jsonl`` file of that name to its first ``records`` lines and return them."""
        path = self.path / name
        write_atomic(path, b"".join(whole_lines(path)[:records]))
        return read_records(path)

    def save_checkpoint(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Write tensors by name and all other state, plain data for JSON, as one file."""
        save_checkpoint(self.path / CHECKPOINT, tensors, plain)

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the tensors and the plain data saved last, or None if there is no checkpoint."""
        return load_checkpoint(self.path / CHECKPOINT)
