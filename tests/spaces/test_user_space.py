"""A user's own space from a file."""

import importlib
import json
import pickle
import textwrap

import pytest
import torch

from ddpnas.errors import RunError, SpaceError
from ddpnas.space.user_code import UserCode, confirmed_name, names_file
from ddpnas.spaces.user_space import space_from_file

FILE = """
import torch
from torch import nn
from ddpnas import Rule, SearchSpace

def network(choose, *, width=4, num_classes=2):
    layers = {"plain": lambda: nn.Linear(width, width), "nothing": nn.Identity}
    return nn.Sequential(
        nn.Embedding(9, width),
        *(choose(f"layer{i}", layers) for i in (1, 2)),
        nn.Flatten(),
        nn.Linear(3 * width, num_classes),
    )

rule = Rule({("layer1", "plain"): 1.0, ("layer2", "plain"): 1.0}, says="one layer", lower=1.0)
space = SearchSpace(network, (3,), input_dtype=torch.int64, rules=[rule])
number = 3
"""


def confirm(name, given, kept=None, **more):
    """Return the name to reopen runs/a by."""
    return confirmed_name("space", "runs/a", name, given, known=(), kept=kept, **more)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(textwrap.dedent(FILE))
    return path


def test_a_space_in_a_file_keeps_its_rules_and_its_input_type(file):
    space = space_from_file(f"{file}:space", width=8, num_classes=5, input_shape=(3,))
    assert (space.name, space.output_shape) == (f"{file}:space", (5,))
    assert space.input_dtype == torch.int64 and space.valid_size == 3
    assert space.options["width"] == 8


def test_what_is_no_space_is_told(file):
    with pytest.raises(SpaceError, match="did you mean 'space'"):
        space_from_file(f"{file}:spaze")
    with pytest.raises(SpaceError, match="unknown network function 'number'"):
        space_from_file(f"{file}:number")
    with pytest.raises(SpaceError, match="there is no file"):
        space_from_file(f"{file}x.py:space")
    for name in (f"{file}", f"{file}:"):
        with pytest.raises(SpaceError, match=r"mine.py:network; known: network, space$"):
            space_from_file(name)
    with pytest.raises(RunError, match=r"--space FILE.py:network"):
        confirm(f"{file}:network", f"{file}")


OBJECTS = """
from torch import nn
from ddpnas import SearchSpace

def plain(x): return x

def network(choose, widths=(8, 16), activation=nn.ReLU, function=plain):
    layers = {str(width): lambda: nn.Linear(widths[0], 2) for width in widths}
    return nn.Sequential(nn.Linear(3, widths[0]), activation(), choose("layer", layers))

space = SearchSpace(network, (3,), widths=(4, 16), activation=nn.Tanh)
"""


@pytest.mark.parametrize("attribute", ["network", "space"])
def test_options_that_were_kept_as_plain_data_make_the_space_again(tmp_path, attribute):
    (tmp_path / "mine.py").write_text(OBJECTS)
    name = f"{tmp_path / 'mine.py'}:{attribute}"
    space = space_from_file(name, input_shape=(3,))
    kept = json.loads(json.dumps(space.plain_options))
    again = space_from_file(name, **kept)
    assert again.plain_options == space.plain_options == kept
    assert isinstance(again.options["widths"], tuple)
    assert again.options["activation"] is space.options["activation"]
    assert "0x" not in kept["function"]


def test_an_option_may_be_the_default_of_the_function_where_the_space_has_another(file):
    file.write_text(file.read_text().replace("(network, (3,),", "(network, (3,), width=8,"))
    assert space_from_file(f"{file}:space").options["width"] == 8
    assert space_from_file(f"{file}:space", width=4).options["width"] == 4


def test_a_file_space_is_recognised_by_its_form():
    assert names_file("a/b.py:network") and names_file("a/b.py")
    assert not names_file("nasbench201")


CODE = """
from torch import nn

def network(choose, width=2):
    return choose("op", {"a": lambda: nn.Linear(3, width), "b": lambda: nn.Linear(3, width)})
"""
SAME = """
'About the file.'
from torch import nn

def network(choose, width=2):
    "Return a network."
    # with two options
    return choose(
        "op",
        {
            "a": lambda: nn.Linear(3, width),
            "b": lambda: nn.Linear(3, width),
        },
    )
"""


def fingerprint(path, text):
    path.write_text(text)
    return UserCode.read(f"{path}:network", "space", SpaceError).fingerprint()


def test_comments_layout_and_docstrings_are_no_part_of_a_files_fingerprint(tmp_path):
    file = tmp_path / "mine.py"
    assert fingerprint(file, SAME) == fingerprint(file, CODE)
    for change in (("width=2", "width=3"), ("nn.Linear", "nn.LazyLinear"), ('"b"', '"c"')):
        assert fingerprint(file, CODE.replace(*change)) != fingerprint(file, CODE)


def test_a_file_that_changed_since_is_refused_by_what_was_made_from_it(tmp_path):
    file = tmp_path / "mine.py"
    code = fingerprint(file, CODE)
    name = f"{file}:network"
    file.write_text(SAME)
    confirm(name, name, code)
    file.write_text("raise SystemExit  # not executed")
    confirm(name, name, None)  # killed before the fingerprint was kept
    with pytest.raises(RunError, match=r"mine.py is no longer that of runs/a.*restore the file"):
        confirm(name, name, code)
    with pytest.raises(RunError, match=r"or name its copy: --space net/mine.py:network"):
        confirm(name, name, code, copy="net/mine.py:network")
    with pytest.raises(RunError, match=r"uses 'network' of its file, not 'other'"):
        confirm(name, f"{file}:other")


def test_what_is_executed_is_the_file_as_it_is_now(tmp_path):
    file = tmp_path / "mine.py"
    for width in (2, 3, 4):  # of the same length and, perhaps, in the same second
        file.write_text(CODE.replace("width=2", f"width={width}"))
        space = space_from_file(f"{file}:network", input_shape=(3,))
        assert space.options["width"] == width and space.source.content == file.read_bytes()
        assert space.with_options(width=7).source == space.source
    assert list(tmp_path.iterdir()) == [file]


BESIDE = {
    "mine.py": """
import torch
from blocks import linear
import parts.inner.deep as deep

def network(choose):
    from parts import wide
    return choose("op", {"a": linear(deep.width()), "b": linear(wide.width())})
""",
    "blocks.py": """
from torch import nn
def linear(width): return lambda: nn.Linear(3, width)
""",
    "parts/inner/__init__.py": "from ..wide import width as one",
    "parts/inner/deep.py": "from . import one\ndef width(): return one()",
    "parts/wide.py": "def width(): return 5",
    "torch_models.py": "",
}


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_what_a_file_imports_from_its_folder_is_part_of_it(tmp_path):
    name = f"{tmp_path / 'mine.py'}:network"
    write(tmp_path, BESIDE)
    space = space_from_file(name, input_shape=(3,))
    assert set(space.source.imported) == set(BESIDE) - {"mine.py", "torch_models.py"}
    code = space.source.fingerprint()
    write(tmp_path, {"parts/wide.py": "# wide\ndef width(): return 5", "torch_models.py": "x = 1"})
    confirm(name, name, code)
    write(tmp_path, {"parts/wide.py": "def width(): return 6"})  # as long, and as old
    assert space_from_file(name, input_shape=(3,)).output_shape == (6,)
    with pytest.raises(RunError, match=r"code in \S+parts/wide.py is no longer that of runs/a"):
        confirm(name, name, code)


def test_files_in_other_folders_have_what_lies_beside_them(tmp_path):
    write(tmp_path / "one", BESIDE)
    write(tmp_path / "two", {**BESIDE, "parts/wide.py": "def width(): return 7"})
    shapes = [
        space_from_file(f"{tmp_path / folder / 'mine.py'}:network", input_shape=(3,)).output_shape
        for folder in ("one", "two", "one")
    ]
    assert shapes == [(5,), (7,), (5,)]
    (tmp_path / "one" / "blocks.py").write_text("def linear(:")
    with pytest.raises(SpaceError, match=r"mine.py fails: SyntaxError"):
        space_from_file(f"{tmp_path / 'one' / 'mine.py'}:network", input_shape=(3,))


def test_code_and_its_imports_are_executed_as_they_were_read(tmp_path):
    write(tmp_path, BESIDE)
    code = pickle.loads(
        pickle.dumps(UserCode.read(f"{tmp_path / 'mine.py'}:network", "space", SpaceError))
    )
    write(tmp_path, {"parts/wide.py": "def width(): return 9"})
    assert code.execute(SpaceError).deep.width() == 5


def test_a_file_in_the_folder_does_not_stand_in_for_a_package_of_its_name(tmp_path):
    write(tmp_path, {**BESIDE, "wave.py": "raise SystemExit"})
    space_from_file(f"{tmp_path / 'mine.py'}:network", input_shape=(3,))
    assert importlib.import_module("wave").Wave_read


def test_a_file_that_fails_is_told_with_the_line(file):
    file.write_text("a = 0\nb = 1 / a\n")
    with pytest.raises(SpaceError, match=r"mine.py fails in line 2: ZeroDivisionError: division"):
        space_from_file(f"{file}:network")
