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

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from torch import Tensor

from ddpnas.errors import RunError
from ddpnas.training.checkpoint import load_checkpoint, save_checkpoint
from ddpnas.utils.files import read_records, whole_lines, writable, write_atomic

__all__ = ["CHECKPOINT", "GENERATED", "RunFolder"]

CHECKPOINT = "checkpoint.safetensors"
GENERATED = "generated.json"  # by `ddpnas generate`, for `ddpnas train`
OWN_FILES = (
    "config.yaml",
    "run.json",
    "history.jsonl",
    "distributions.jsonl",
    CHECKPOINT,
    "result.json",
    GENERATED,
    "latency.json",
    "latency_check.json",
    "report.html",
)
OWN_FOLDERS = ("trained", "report-data")
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
            saved = {"result.json", "history.jsonl"} <= {*present}  # by SearchResult.save
            if present and "run.json" not in present and not saved:
                raise RunError(f"{path} holds no run, but {present[0]}, ...; give another --out")
            if present and not overwrite:
                what = "a finished run"
                if "result.json" not in present:
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
        if not (Path(path) / "run.json").is_file():
            raise RunError(f"{path} is not a run folder (it holds no run.json)")
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
        if "run.json" not in names:
            names -= {"config.yaml", "config.yaml.tmp", "run.json.tmp"}
        return sorted(names)

    def close(self) -> None:
        """Release the folder to other processes."""
        self._lock.release()

    def write_identity(self, config: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
        """Write what a resumed run is compared with; run.json last, it makes the folder a run."""
        self._write_config(config)
        self.write_json("run.json", identity)

    def note_images(self, data: str) -> None:
        """Write where the images of the run are now, where that is another place than before."""
        config = yaml.safe_load((self.path / "config.yaml").read_text(encoding="utf-8"))
        if config.get("data") != data:
            self._write_config({**config, "data": data})

    def _write_config(self, config: Mapping[str, Any]) -> None:
        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        write_atomic(self.path / "config.yaml", text.encode())

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
