"""Strategies by name, those of a user's file among them."""

import json

import pytest

from ddpnas import create_space
from ddpnas.errors import OptionError, RunError
from ddpnas.space.user_code import UserCode, confirmed_name
from ddpnas.strategies import list_strategies, strategy_options
from ddpnas.strategies.base import BaseStrategy
from ddpnas.strategies.user_strategy import NamedStrategy

FILE = """
import numpy as np
from ddpnas.errors import OptionError
from ddpnas.strategies.base import BaseStrategy

class Mine(BaseStrategy):
    def __init__(self, space, seed=0, *, evaluations=4, shift=0):
        if shift < 0:
            raise OptionError("shift is at least 0")
        super().__init__(space, seed, evaluations // (1 - (shift > 9)))

    def propose(self):
        return [self.legal.uniform(self.rng)]

class Open(Mine):
    def __init__(self, space, seed=0, **options):
        super().__init__(space, seed, **options)

class Forgetful(Mine):
    def load_state_dict(self, state):
        pass

class OfArrays(Mine):
    def state_dict(self):
        return {**super().state_dict(), "weights": np.ones(3)}

class Fails(Mine):
    def learn(self, architectures, scores):
        self.scores[99]

class Silent(Mine):
    def ask(self):
        return []

class WithoutDistribution(Mine):
    distribution = None

class Elsewhere(Mine):
    def ask(self):
        return [{"elsewhere": "conv"}]

class Plain:
    done = False

    def __init__(self, space, seed=0):
        self.architecture = space.sample(np.random.default_rng(seed))

    def ask(self):
        return [self.architecture]

    def tell(self, architectures, scores):
        self.done = True

number = 3
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


def test_a_name_of_the_package_is_what_the_package_makes():
    named = NamedStrategy.read("sng")
    assert (named.name, named.source) == ("sng", None)
    assert named.options() == strategy_options("sng")
    named.rehearse(create_space("toy"), 0, delta=-1)  # only what a file has is rehearsed
    with pytest.raises(OptionError, match="did you mean 'pruning'"):
        named.create(create_space("toy"), 0, prunning=True)


def test_a_class_of_a_file_is_made_with_its_options(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    named = NamedStrategy.read("mine.py:Mine")
    assert named.name == f"{file}:Mine" and named.source.content == file.read_bytes()
    assert named.options() == {"evaluations": 4, "shift": 0}
    strategy = named.create(create_space("toy"), 1, evaluations=7)
    assert isinstance(strategy, BaseStrategy) and strategy.evaluations == 7
    named.rehearse(create_space("toy"), 1, evaluations=1)
    passed_on = NamedStrategy.read("mine.py:Open").create(create_space("toy"), evaluations=9)
    assert passed_on.evaluations == 9


def test_the_class_is_that_of_the_file_when_it_was_read(file):
    before = NamedStrategy.read(f"{file}:Mine")
    file.write_text(FILE.replace("evaluations=4", "evaluations=5"))
    after = NamedStrategy.read(f"{file}:Mine")
    assert [n.options()["evaluations"] for n in (before, after, before)] == [4, 5, 4]


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("Mina", {}, r"in \S+mine.py: unknown strategy 'Mina': did you mean 'Mine'"),
        ("", {}, r"which strategy of \S+mine.py\? Name it as \S+mine.py:Elsewhere; known: Els"),
        ("number", {}, r"unknown strategy 'number': known: Elsewhere, .*Plain, "),
        ("Mine", {"shft": 1}, r"option of strategy '\S+Mine' 'shft': did you mean 'shift'"),
        ("Mine", {"shift": -1}, r"^shift is at least 0$"),
        ("Mine", {"shift": 10}, r"mine.py fails in line 10: ZeroDivisionError"),
        ("Open", {"shft": 1}, r"mine.py fails in line 17: TypeError: .*'shft'"),
        ("np", {}, r"unknown strategy 'np'"),
        ("OptionError", {}, r"mine.py:OptionError cannot search: it has no ask, tell;"),
    ],
)
def test_what_cannot_be_made_is_told(file, name, options, says):
    with pytest.raises(OptionError, match=says):
        NamedStrategy.read(f"{file}:{name}").create(create_space("toy"), **options)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "Forgetful",
            "from its state, it does not ask for the same again; see ddpnas.strategies.Strategy",
        ),
        ("OfArrays", "its state is not plain data: Object of type ndarray"),
        ("Fails", r"mine.py fails in line 29: IndexError"),
        ("Silent", "mine.py:Silent cannot search: it asks for no architecture;"),
        ("WithoutDistribution", "its distribution is not a JointDistribution"),
        ("Elsewhere", r"mine.py fails: KeyError: "),
        ("Plain", "it has no distribution, evaluations, load_state_dict, stage, state_dict;"),
    ],
)
def test_what_could_not_search_or_go_on_fails_at_the_rehearsal(file, name, says):
    named = NamedStrategy.read(f"{file}:{name}")
    named.create(create_space("toy"))
    with pytest.raises(OptionError, match=says):
        named.rehearse(create_space("toy"))


def test_members_that_the_protocol_leaves_empty_are_not_there(file):
    code = "from ddpnas.strategies import Strategy\nclass Half(Strategy):\n    ask = tell = print\n"
    file.write_text(code + "    def __init__(self, space, seed): pass\n")
    with pytest.raises(OptionError, match="it has no architecture, done;"):
        NamedStrategy.read(f"{file}:Half").create(create_space("toy"))


LATER = """
from ddpnas.strategies.base import BaseStrategy

class One(BaseStrategy):
    def __init__(self, space, seed=0):
        super().__init__(space, seed, 1)

    def propose(self):
        from {module} import first
        return [first(self.space)]
"""


def test_each_of_two_files_in_a_folder_finds_what_it_imports_later(tmp_path):
    space = create_space("toy")
    strategies = []
    for i in (0, 1):
        (tmp_path / f"one{i}.py").write_text(LATER.replace("{module}", f"beside{i}"))
        code = f"def first(space): return tuple({i} for _ in space.decisions)"
        (tmp_path / f"beside{i}.py").write_text(code)
        strategies.append(NamedStrategy.read(f"{tmp_path / f'one{i}.py'}:One").create(space))
    asked = [space.encode(strategy.ask()[0]) for strategy in strategies]
    assert [{*indices} for indices in asked] == [{0}, {1}]


def kept(name):
    """Return the fingerprint of a file as a run folder keeps it."""
    return json.loads(json.dumps(UserCode.read(name, "strategy", OptionError).fingerprint()))


def confirm(name, given, code=None):
    """Return the name to reopen runs/a by."""
    known = list_strategies()
    return confirmed_name("strategy", "runs/a", name, given, known=known, kept=code)


def test_code_in_a_file_goes_on_when_it_is_named_and_as_it_was(file):
    name, code = f"{file}:Mine", kept(f"{file}:Mine")
    moved = file.rename(file.with_name("moved.py"))
    assert confirm(name, f"{moved}:Mine", code) == f"{moved}:Mine"
    with pytest.raises(RunError, match=f"the strategy of runs/a is .* executed: --strategy {name}"):
        confirm(name, None, code)
    with pytest.raises(RunError, match=r"uses 'Mine' of its file, not 'Open'; .*--strategy FI"):
        confirm(name, f"{moved}:Open", code)
    with pytest.raises(RunError, match="there is no file .* with a strategy"):
        confirm(name, name, code)
    moved.write_text("raise SystemExit  # not executed\n")
    with pytest.raises(RunError, match=r"moved.py is no longer that of runs/a; restore"):
        confirm(name, f"{moved}:Mine", code)


def test_a_strategy_that_is_in_no_file_has_its_name_alone():
    assert confirm("sng", None) == confirm("sng", "sng") == "sng"
    with pytest.raises(RunError, match="uses strategy sng, not mine.py:Mine; leave --strategy out"):
        confirm("sng", "mine.py:Mine")
    with pytest.raises(RunError, match="'program.Mine', was made in a Python program"):
        confirm("program.Mine", None)
