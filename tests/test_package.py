"""The package as such: what it imports, what it names, what it ships."""

import ast
import importlib
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

import ddpnas

SOURCE = Path(ddpnas.__file__).parent

# From what all use to what uses all: a room imports from rooms before it and from itself.
ROOMS = (
    "errors", "_version", "utils", "space", "costs", "generation", "strategies", "benchmarks",
    "spaces", "data", "training", "evaluators", "relaxed", "runs", "export", "shrinking", "report",
    "fitting", "testing", "cli",
)  # fmt: skip
WITHOUT_TORCH = ("errors", "utils", "generation", "strategies", "benchmarks")
MOST_PUBLIC_NAMES = 44  # at top level; the rest is in the rooms


def module_of(path):
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(("ddpnas", *parts)).removesuffix(".__init__")


def room_of(module):
    return (module.split(".") + ["ddpnas"])[1]


def imports_of(path):
    """Return (module, name) of each import of this package in a file, name None for a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


MODULES = {module_of(path): path for path in SOURCE.rglob("*.py")}
INSIDE = {m: p for m, p in MODULES.items() if m not in ("ddpnas", "ddpnas.__main__")}


@pytest.mark.parametrize("module", sorted(INSIDE))
def test_a_room_imports_from_rooms_before_it_and_no_private_file_of_another(module):
    here = room_of(module)
    for source, name in imports_of(INSIDE[module]):
        whole = f"{source}.{name}" if f"{source}.{name}" in MODULES else source
        if not whole.startswith("ddpnas.") or whole == "ddpnas._version":
            continue
        there = room_of(whole)
        assert ROOMS.index(there) <= ROOMS.index(here), f"{module} imports {whole}"
        private = whole.rpartition(".")[2].startswith("_")
        assert there == here or not private, f"{module} imports the private file {whole}"
        inside = there == here and not module.endswith(here)  # the room's __init__ gathers
        assert not inside or whole.count(".") > 1, f"{module} imports its own room, not the file"


def test_every_room_is_in_the_order():
    assert {room_of(module) for module in INSIDE} == set(ROOMS)


def test_the_guide_for_contributors_lists_the_rooms_in_their_order():
    page = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
    listed = re.search(r"```\n(errors .*?)```", page, re.DOTALL)[1].split()
    assert listed == [room for room in ROOMS if not room.startswith("_")]
    alone = re.search(r"^3\. (.*) do not load torch", page, re.MULTILINE)[1]
    assert re.findall(r"`(\w+)`", alone) == [*WITHOUT_TORCH]


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_a_room_without_torch_loads_no_torch(room):
    files = sorted(module for module in INSIDE if room_of(module) == room)
    code = f"import importlib, sys; [importlib.import_module(m) for m in {files}]; "
    code += "print([m for m in ('torch', 'torchvision', 'timm') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_import_is_silent_and_loads_nothing_heavy():
    code = (
        "import sys, ddpnas; print(sorted({'torch', 'torchvision', 'scipy', 'matplotlib', "
        "'optuna', 'rich', 'jsonargparse', 'timm', 'accelerate', 'onnx', 'onnxruntime'} "
        "& set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n" and done.stderr == ""


@pytest.mark.parametrize("package", ["ddpnas", "ddpnas.space", "ddpnas.costs"])
def test_names_imported_on_first_use_are_those_that_type_checkers_see(package):
    """The names stand three times in the file: for editors, as ``__all__``, and with their home."""
    tree = ast.parse(MODULES[package].read_text())
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {a.name: n.module for n in checked.body for a in n.names}  # type: ignore[attr-defined]
    call = next(node for node in ast.walk(tree) if isinstance(node, ast.Dict))
    homes = ast.literal_eval(call)
    rooms = {name for name, home in seen.items() if home == "ddpnas"}
    assert {name: home for name, home in seen.items() if name not in rooms} == homes
    public = set(importlib.import_module(package).__all__) - {"__version__"}
    assert public == homes.keys() | rooms
    assert public <= set(dir(importlib.import_module(package)))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'ddpnas' has no attribute 'serach'"):
        ddpnas.serach  # noqa: B018


def test_public_names_at_top_level_are_few():
    assert len(ddpnas.__all__) <= MOST_PUBLIC_NAMES


def public_rooms():
    return [r for r in ROOMS if (SOURCE / r / "__init__.py").exists() and r not in ("utils", "cli")]


@pytest.mark.parametrize("package", ["ddpnas", *(f"ddpnas.{room}" for room in public_rooms())])
def test_every_public_name_is_there_and_documented(package):
    module = importlib.import_module(package)
    assert module.__doc__ and len(module.__doc__.splitlines()) <= 16, "says what flows in and out"
    for name in module.__all__:
        value = getattr(module, name)
        if callable(value):
            assert value.__doc__ and len(value.__doc__.split()) > 4, name


def test_a_room_is_an_attribute_of_the_package_without_an_import_of_it():
    rooms = [f"ddpnas.{room}.__all__" for room in public_rooms()]
    subprocess.run([sys.executable, "-c", f"import ddpnas; {'; '.join(rooms)}"], check=True)


@pytest.mark.parametrize("package", [f"ddpnas.{room}" for room in public_rooms()])
def test_no_file_of_a_lazy_room_is_called_like_a_name_that_the_room_exports(package):
    """Importing such a file would put the module where the function is."""
    module = importlib.import_module(package)
    if "lazy_names" in vars(module):
        files = {path.stem for path in (SOURCE / package.rpartition(".")[2]).glob("*.py")}
        assert not files & set(module.__all__)


def test_embedded_data_comes_with_its_licence():
    for room in ("ddpnas.data", "ddpnas.benchmarks"):
        embedded = resources.files(room) / "embedded"
        texts = [f.read_text() for f in embedded.iterdir() if f.name.endswith((".md", ".txt"))]
        for file in embedded.iterdir():
            if file.name.endswith(".npz"):
                assert any(file.name in text for text in texts)
        assert any("Permission is hereby granted" in text for text in texts)
    assert (SOURCE / "py.typed").exists()
