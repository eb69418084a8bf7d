"""Ways to damage a file: in its bytes, in what it says, or by putting something else there."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

from ddpnas.training.checkpoint import (
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)

# Values that belong nowhere, or that break whoever trusts them.
HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 3, 2.5, 2**63, -(10**30), 1e308, 5e-324, float("nan"), float("inf"), "", "x",
    "\ud800", "\x1b[31m", "[b]", "../../etc/passwd", "a" * 5000, [], {}, [[]], [None], {"a": {}},
    {"": 0}, [1e308] * 3, ["x"] * 300,
)  # fmt: skip
DEEP = b"[" * 3000 + b"]" * 3000
YAML = (
    "a: &a [x, x]\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\n", "- 1\n", "a: [",
    "seed: 1\nseed: 2\n", "!!python/object/apply:os.system [ls]",
    "seed: 2020-01-01\n", "seed: .nan\n",
    "space: {a: 1}\n",
    "? [1, 2]\n: 3\n", "\t", "\0", "data: !!binary aGk=\n", "seed: 1e999\n", "space_options: [1]\n",
    "seed: 0o7\nspace: 1:30:00\n", "--- a\n--- b\n", "evaluator_options: {1: 2}\n", "strategy: ~\n",
)  # fmt: skip


@st.composite
def edited(draw: Any, content: Any) -> Any:
    """Return JSON content in which one place says something else."""
    at = content
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            return draw(st.sampled_from(HOSTILE))
        key = draw(st.sampled_from(keys))
        inside = at[key]
        if not isinstance(inside, (dict, list)) or not inside or draw(st.integers(0, 3)) == 0:
            break
        at = inside
    how = draw(st.integers(0, 4))
    if how == 0:
        del at[key]
    elif how == 1 and isinstance(at, list):
        at.append(at[key])
    elif how == 1:
        at["strange"] = at[key]
    elif how == 2:
        at[key] = [at[key]]
    else:
        at[key] = draw(st.sampled_from(HOSTILE))
    return content


@st.composite
def damaged_bytes(draw: Any, content: bytes) -> bytes:
    """Return bytes of which some were lost, changed or added."""
    start = draw(st.integers(0, len(content)))
    end = min(len(content), start + draw(st.integers(0, 40)))
    rubbish = st.one_of(
        st.binary(max_size=20),
        st.sampled_from([b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\x00" * 8, b"NaN", b"1e999", DEEP]),
    )
    return draw(
        st.one_of(
            st.just(content[:start]),
            rubbish.map(lambda more: content[:start] + more + content[start:]),
            rubbish.map(lambda more: content[:start] + more + content[end:]),
            st.just(content + content),
            st.just(flipped(content, start)),
            st.just(content.decode("utf-8", "replace").encode("utf-16")),
            rubbish,
        )
    )


def flipped(content: bytes, place: int) -> bytes:
    """Return bytes of which one bit is another."""
    changed = bytearray(content)
    if changed:
        changed[place % len(changed)] ^= 1 << place % 8
    return bytes(changed)


@st.composite
def damage_tensors(draw: Any, path: Path) -> str:
    """Change what a file of tensors holds, under a checksum that fits."""
    kept = load_weights(path)
    of_a_tensor = ("type", "shape", "lost", "infinite") if kept else ()
    how: str = draw(st.sampled_from((*of_a_tensor, "more", "state")))
    name = draw(st.sampled_from(sorted(kept))) if how in of_a_tensor else ""
    tensor = kept.get(name, torch.zeros(0))
    if how == "type":
        kept[name] = tensor.double() if tensor.is_floating_point() else tensor.float()
    elif how == "shape":
        kept[name] = tensor.reshape(-1)[:1].clone()
    elif how == "lost":
        del kept[name]
    elif how == "infinite" and tensor.is_floating_point():
        kept[name] = torch.full_like(tensor, torch.inf)
    elif how == "more":
        kept["strange"] = torch.zeros(3)
    if path.name in (WEIGHTS, "head.safetensors"):
        save_weights(path, kept)
        return how
    _, plain = load_checkpoint(path)
    save_checkpoint(path, kept, draw(edited(plain)) if how == "state" else plain)
    return how


WEIGHTS = "model.safetensors"


@st.composite
def damage(draw: Any, path: Path) -> str:
    """Damage a file and return how."""
    content = path.read_bytes()
    how = draw(st.sampled_from(("bytes", "edit", "edit", "edit", "other")))
    if how == "edit" and path.suffix == ".safetensors":
        return draw(damage_tensors(path))
    if how == "edit" and path.suffix == ".json":
        path.write_text(json.dumps(draw(edited(json.loads(content)))))
    elif how == "edit" and path.suffix == ".jsonl":
        lines = content.decode().splitlines()
        at = draw(st.integers(0, len(lines) - 1))
        lines[at] = json.dumps(draw(edited(json.loads(lines[at]))))
        path.write_text("\n".join(lines) + "\n")
    elif how == "edit" and path.suffix == ".yaml":
        at = draw(st.integers(0, len(content)))
        whole = draw(st.sampled_from((True, False)))
        more = draw(st.sampled_from(YAML)).encode("utf-8")
        path.write_bytes(more if whole else content[:at].rpartition(b"\n")[0] + b"\n" + more)
    elif how == "other":
        path.unlink()
        return put_something_else(path, draw(st.sampled_from(KINDS)))
    else:
        path.write_bytes(draw(damaged_bytes(content)))
        how = "bytes"
    return how


KINDS = ("nothing", "folder", "pipe", "circle", "device", "empty")


def put_something_else(path: Path, kind: str) -> str:
    """Put something that is no regular file where a file was, or an empty one."""
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "circle":
        path.symlink_to(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "empty":
        path.touch()
    return kind


def copied(folder: Path, to: Path) -> Path:
    """Return a fresh copy of a folder, in place of what an example left there."""
    shutil.rmtree(to, ignore_errors=True)
    return shutil.copytree(folder, to)
