"""Random command lines and texts: what cannot be read is refused in one sentence, and in time."""

from __future__ import annotations

import contextlib
import functools
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ddpnas
from ddpnas.cli.parser import COMMANDS, parse
from ddpnas.generation.limits import parse_limits
from ddpnas.runs import RunConfig

from .conftest import bounded, call, command
from .damage import YAML

pytestmark = pytest.mark.slow

WORDS = (
    "", "-", "--", "-1", "0", "1e300", "nan", "inf", "9" * 400, "x", "é", "\x1b[31m", "a\nb", "[",
    "{", "[" * 2000, "{a: 1}", "[1, 2]", "*a", "&a [*a]", "a: b: c", "!!python/name:os.system", "~",
    "null", "true", "2020-01-01", "0o7", "1:30", "a" * 5000, "=", "macs=20M", "macs=..", "macs>=",
    "/dev/null", "/dev/zero", "/proc/self/mem", "here", "there/", "none/such.py:x", "toy", "darts",
    "%s", "\udcff", "{0}",
)  # fmt: skip
# What would search, train or measure for minutes, if a random command line happened to be right.
LONG = {"search", "resume", "train", "benchmark", "latency", "watch"}


@pytest.fixture(scope="module", autouse=True)
def elsewhere(tmp_path_factory):
    """Work in a folder with two empty ones: what happens to be right is really done."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        for folder in ("here", "there"):
            Path(folder).mkdir()
        yield


@functools.cache
def options_of(name: str) -> tuple[str, ...]:
    free = ("--space-options.channels", "--strategy-options.seed", "--evaluator-options.lr")
    return (*COMMANDS[name][0]()._option_string_actions, *free)


@st.composite
def command_lines(draw):
    """Return a command with options that it has, and values that these may not take."""
    name = draw(st.sampled_from(sorted(COMMANDS)))
    words = [name]
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.integers(0, 3))
        if kind == 0:
            words.append(draw(st.sampled_from(WORDS) | st.text(max_size=8)))
        else:
            option = draw(st.sampled_from(options_of(name)))
            value = draw(st.sampled_from(WORDS) | st.text(max_size=8))
            words += [f"{option}={value}"] if kind == 1 else [option, value]
    return words


@bounded(600)
@given(command_lines())
def test_any_command_line_is_read_or_refused(words):
    if words[0] not in LONG:
        command(words)
        return
    # The command itself is not called; it would answer an OSError, of too long a name, say.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit, OSError):
        call(lambda: parse(words))


@bounded(150)
@given(st.sampled_from(YAML) | st.text(max_size=40), st.booleans())
def test_any_configuration_is_read_or_refused(there, text, whole):
    path = there / "c.yaml"
    path.write_text(text if whole else RunConfig().to_yaml() + text, "utf-8", "surrogatepass")
    with contextlib.redirect_stdout(io.StringIO()):
        call(lambda: parse(["search", "--config", str(path)]))
    call(lambda: RunConfig.read(path))


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """Return a folder for the file of an example."""
    return tmp_path_factory.mktemp("configurations")


@functools.cache
def space(name: str):
    return ddpnas.create_space(name)


@bounded(1000)
@given(st.data())
def test_any_text_of_an_architecture_is_read_or_refused(data):
    chosen = space(data.draw(st.sampled_from(("toy", "nasbench201", "darts"))))
    sizes = [len(decision.options) for decision in chosen.decisions]
    text = chosen.format(chosen.decode([data.draw(st.integers(0, n - 1)) for n in sizes]))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    more = data.draw(st.sampled_from(WORDS) | st.text(max_size=8))
    call(lambda: chosen.parse(text[:start] + more + text[end:]))


@bounded(1000)
@given(st.text("macsprg=<>.,%KMG0123456789e+- \0é", max_size=20) | st.sampled_from(WORDS))
def test_any_text_of_a_limit_is_read_or_refused(text):
    call(lambda: parse_limits([text]))
    call(lambda: parse_limits({"macs": text}))
