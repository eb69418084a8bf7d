"""What began and what would go on are compared option by option."""

import pytest

from ddpnas.errors import RunError
from ddpnas.utils.options import refuse_differences

BEFORE = {
    "seed": 1,
    "how": {"lr": 0.1, "inner": {"a": [1, 2]}},
    "rows": [["x", "a"], ["y", "b"]],
    "steps": [{"name": "w"}],
}


def compared(now, **more):
    refuse_differences("run", BEFORE, now, defaults={"how": {"new": 3}}, instead="do else", **more)


def test_equal_settings_go_on_and_a_missing_one_is_its_default():
    compared(BEFORE)
    compared({**BEFORE, "how": {**BEFORE["how"], "new": 3}, "rows": (("x", "a"), ("y", "b"))})
    compared({"seed": 1})  # what only the past has is not asked


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 2}, "with: seed was 1 and is 2; do else"),
        ({"how": {**BEFORE["how"], "lr": 0.2}}, "with: how.lr was 0.1 and is 0.2; do"),
        ({"how": {**BEFORE["how"], "new": 4}}, "with: how.new was 3 and is 4; do"),
        (
            {"how": {"lr": 0.1, "inner": {"a": [1]}}},
            r"with: how.inner.a was \[1, 2\] and is \[1\]; do",
        ),
        ({"how": {"lr": 0.1}}, r"with: how.inner.a was \[1, 2\] and is not given; do"),
        (
            {"rows": [["x", "a"], ["y", "c"]]},
            r'with: rows.1 was \["y", "b"\] and is \["y", "c"\]; do',
        ),
        ({"steps": [{"name": "x"}]}, r'with: steps.0.name was "w" and is "x"; do'),
        ({"rows": [["x", "a"]]}, r"with: rows.1 was .* and is not given; do"),
        (
            {"seed": dict.fromkeys("abcdefg", 1)},
            r"; seed.e was not given and is 1 \(and 3 more differences\); do",
        ),
    ],
)
def test_only_what_differs_is_named(change, says):
    with pytest.raises(RunError, match=says):
        compared({**BEFORE, **change})


def test_what_may_differ_is_left_out():
    compared({**BEFORE, "how": {**BEFORE["how"], "lr": 9}}, left_out=("how.lr",))
