"""The package as such: what it imports, what it names, what it ships."""

import ast
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

import ddpnas

SOURCE = Path(ddpnas.__file__).parent

# The rooms from top to bottom; a room imports from those above it or beside it.
ROOMS = [
    {"errors", "_version", "disk", "workers", "source", "differences", "settings", "own_file"},
    {"architecture", "uniform"},
    {"distribution"},
    {"cost_table", "limits", "objective", "solver"},
    {"infeasible", "generate", "frontier"},
    {"strategies", "layers", "meta"},
    {"choice"},
    {"drawing"},
    {"distributed"},
    {"space"},
    {"replace"},
    {"spaces", "costs", "data", "benchmarks"},
    {"checkpoint"},
    {"run"},
    {"trained"},
    {"training"},
    {"evaluators"},
    {"identity"},
    {"search_loop"},
    {"search"},
    {"reopen"},
    {"rescore"},
    {"report"},
    {"export"},
    {"testing"},
    {"cli"},
]
WITHOUT_TORCH = set().union(*ROOMS[:5]) | {"strategies", "benchmarks"}


def room_of(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports_of(path):
    """Return the module of each import in a file."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
        yield from names


FILES = [p for p in SOURCE.rglob("*.py") if p.name not in ("__init__.py", "__main__.py")
         or p.parent != SOURCE]  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_room_imports_from_above_only(path):
    level = {room: i for i, rooms in enumerate(ROOMS) for room in rooms}
    here = room_of(path)
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "ddpnas" and len(parts) > 1 and parts[1] in level:
            assert level[parts[1]] <= level[here], f"{here} imports {name}"


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if room_of(p) in WITHOUT_TORCH],
    ids=lambda p: str(p.relative_to(SOURCE)),
)
def test_the_algorithm_does_not_know_torch(path):
    assert "torch" not in {name.split(".")[0] for name in imports_of(path)}


def test_import_is_silent_and_loads_nothing_heavy():
    code = (
        "import sys, ddpnas; print(sorted({'torchvision', 'scipy', 'matplotlib', 'optuna', 'rich', "
        "'jsonargparse', 'timm', 'accelerate', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n" and done.stderr == ""


def test_every_public_name_is_there_and_documented():
    for name in ddpnas.__all__:
        value = getattr(ddpnas, name)
        if callable(value):
            assert value.__doc__ and len(value.__doc__.split()) > 4, name


def test_embedded_data_comes_with_its_licence():
    for room in ("ddpnas.data", "ddpnas.benchmarks"):
        embedded = resources.files(room) / "embedded"
        texts = [f.read_text() for f in embedded.iterdir() if f.name.endswith((".md", ".txt"))]
        for file in embedded.iterdir():
            if file.name.endswith(".npz"):
                assert any(file.name in text for text in texts)
        assert any("Permission is hereby granted" in text for text in texts)
    assert (SOURCE / "py.typed").exists()
