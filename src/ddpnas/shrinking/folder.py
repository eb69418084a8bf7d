"""ShrinkFolder: the files of a shrink, and what of it was done before an interruption.

    shrink.json        the plan
    costs.json         the groups, and what their widths cost, for other limits later
    head.safetensors   weights of the given network once its new head is trained
    scores.jsonl       one line for each loss and accuracy, on the disk before the next is measured
    masks.safetensors  where the training of masks goes on, for the method "pas"
    trained/           the smaller network; while it is trained, the checkpoints
    net.onnx           the smaller network, checked
    program.pt2        the smaller network as a torch.export program, where no name rebuilds it

The JSON files have checksums, as tensors have: a number that changed later is noticed. Nothing in
the folder is executed.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from ddpnas.errors import RunError
from ddpnas.runs.folder import SHRINK
from ddpnas.shrinking.plan import ShrinkPlan
from ddpnas.space.decisions import Architecture
from ddpnas.utils.checksums import check_checksum, with_checksum
from ddpnas.utils.files import LOCK, check_place, lock, sync, writable, write_atomic
from ddpnas.utils.read import Measured, read_records, whole_lines
from ddpnas.utils.text import resume_command

__all__ = ["COSTS", "HEAD", "MASKS", "ONNX", "PROGRAM", "SCORES", "ShrinkFolder"]

COSTS = "costs.json"
HEAD = "head.safetensors"
SCORES = "scores.jsonl"
MASKS = "masks.safetensors"
ONNX = "net.onnx"
PROGRAM = "program.pt2"


class _Line(TypedDict):
    checksum: NotRequired[str]  # of the other values
    kind: Literal["width", "masks", "candidate", "accuracy"]
    value: Measured
    group: NotRequired[str]
    width: NotRequired[str]
    architecture: NotRequired[dict[str, str]]
    network: NotRequired[str]


class ShrinkFolder:
    """The open folder of a shrink.

    Args:
        path: The folder.

    Example:
        >>> import tempfile
        >>> folder = ShrinkFolder(Path(tempfile.mkdtemp()))
        >>> folder.add("width", 0.5, group="conv", width="8")
        >>> folder.widths()
        {('conv', '8'): 0.5}
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: list[_Line] = read_records(path / SCORES, _Line)
        for number, line in enumerate(self._lines, 1):
            what = f"line {number} of {path / SCORES}"
            check_checksum(line, what, "remove that line, and resume measures it again")
        if (path / SCORES).exists():  # a line that a kill left unfinished
            os.truncate(path / SCORES, sum(map(len, whole_lines(path / SCORES))))

    @classmethod
    @contextlib.contextmanager
    def created(cls, path: str | Path) -> Iterator[ShrinkFolder]:
        """Make an empty folder, locked against other processes while the block runs.

        Args:
            path: The folder; it may exist if it is empty.

        Raises:
            RunError: It holds something, is in use or cannot be written.
        """
        folder = Path(path)
        cls.check_free(folder)
        with writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            sync(folder.parent)
            held = lock(folder, folder / LOCK, "give another --out")
        with held:
            yield cls(folder)

    @staticmethod
    def check_free(path: str | Path) -> None:
        """Refuse what :meth:`created` refuses, without making anything.

        Raises:
            RunError: The folder holds something.
        """
        folder = Path(path)
        check_place(folder)
        found = [] if not folder.is_dir() else [one.name for one in folder.iterdir()]
        begun = [one.name for one in folder.glob(f"{SHRINK}.*.tmp")]  # a kill before the first file
        names = {*found} - {LOCK, *begun}
        if SHRINK in names:
            raise RunError(
                f"{folder} holds a shrink; go on with `{resume_command(folder)}`, or give another "
                f"--out"
            )
        if names:
            raise RunError(f"{folder} holds {min(names)}, ...; give another --out")

    @classmethod
    @contextlib.contextmanager
    def opened(cls, path: str | Path) -> Iterator[tuple[ShrinkFolder, ShrinkPlan]]:
        """Open the folder of a shrink and its plan, locked while the block runs.

        Raises:
            RunError: It is no such folder, is damaged, or in use.
        """
        folder = Path(path)
        if not (folder / SHRINK).is_file():
            raise RunError(f"{folder} is not the folder of a shrink (it holds no {SHRINK})")
        with lock(folder, folder / LOCK, "wait until that has ended"):
            yield cls(folder), ShrinkPlan.read(folder)

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write plain data as a JSON file, whole or not at all."""
        with self._writing():
            whole = with_checksum(content)
            write_atomic(self.path / name, (json.dumps(whole, indent=1) + "\n").encode())

    def add(
        self, kind: Literal["width", "masks", "candidate", "accuracy"], value: float, **of: Any
    ) -> None:
        """Append a score; it survives a power cut once this returns.

        Args:
            kind: A loss at a "width" of a group, the relative cost of what "masks" leave, the loss
                of a "candidate", or an "accuracy".
            value: The loss, the cost or the accuracy.
            of: Of what: group and width, architecture, or network.
        """
        line: Any = with_checksum({"kind": kind, **of, "value": value})
        with self._writing(), open(self.path / SCORES, "ab") as stream:
            stream.write((json.dumps(line) + "\n").encode())
            stream.flush()
            os.fsync(stream.fileno())
        if not self._lines:
            sync(self.path)
        self._lines.append(line)

    def widths(self) -> dict[tuple[str, str], float]:
        """Return (group, width) -> loss."""
        lines = (line for line in self._lines if line["kind"] == "width")
        return {(line["group"], line["width"]): line["value"] for line in lines}

    def left(self) -> Architecture | None:
        """Return the widths that masks left; None if no masks were trained yet."""
        lines = (line for line in self._lines if line["kind"] == "masks")
        return next((Architecture(line["architecture"]) for line in lines), None)

    def candidates(self) -> dict[Architecture, float]:
        """Return widths of whole networks -> loss."""
        lines = (line for line in self._lines if line["kind"] == "candidate")
        return {Architecture(line["architecture"]): line["value"] for line in lines}

    def accuracies(self) -> dict[str, float]:
        """Return network -> accuracy before fine-tuning; that as given is "given"."""
        lines = (line for line in self._lines if line["kind"] == "accuracy")
        return {line["network"]: line["value"] for line in lines}

    def _writing(self) -> contextlib.AbstractContextManager[None]:
        return writable(self.path, "make it writable", f"go on: {resume_command(self.path)}")
