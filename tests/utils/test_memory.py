"""free_memory(): what the limits of containers and services leave."""

import psutil
import pytest

from ddpnas.utils import memory
from ddpnas.utils.memory import free_memory

FREE = 1_000_000
NAMES = {
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Return a function that makes a group with a limit, and one that puts this process there."""
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory, "_OWN_GROUPS", tmp_path / "own")
    machine = psutil.virtual_memory()._replace(available=FREE)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: machine)

    def limit(place, most, used=100, cached=30, version=2):
        group = tmp_path / "groups" / place
        group.mkdir(parents=True, exist_ok=True)
        names = NAMES[version]
        (group / names[0]).write_text(f"{most}\n")
        (group / names[1]).write_text(f"{used}\n")
        (group / "memory.stat").write_text(f"anon 5\n{names[2]} {cached}\n")

    return limit, (tmp_path / "own").write_text


def test_without_limits_all_that_is_free_can_be_used(groups):
    limit, put = groups
    assert free_memory() == FREE
    put("0::/\n")
    assert free_memory() == FREE
    limit("", "max")
    assert free_memory() == FREE


def test_the_least_that_a_group_or_one_above_leaves_counts(groups):
    limit, put = groups
    put("0::/user/mine\n")
    limit("user/mine", 50_000)
    limit("user/other", 10)
    assert free_memory() == 50_000 - 100 + 30
    limit("user", 9_000, used=2_000)
    assert free_memory() == 9_000 - 2_000 + 30
    limit("user/mine", "max")
    assert free_memory() == 9_000 - 2_000 + 30
    limit("", 500, used=600)
    assert free_memory() == 0


def test_in_a_container_that_does_not_see_its_place_the_root_counts(groups):
    limit, put = groups
    limit("", 40_000)
    for place in ("/docker/abc", "/", "/../../x"):
        put(f"0::{place}\n")
        assert free_memory() == 40_000 - 100 + 30


def test_limits_of_the_first_version(groups):
    limit, put = groups
    put("3:cpu,memory:/slurm/job\n2:pids:/slurm/job\n0::/\n")
    limit("memory/slurm/job", 7_000, version=1)
    limit("memory", 9223372036854771712, version=1)
    assert free_memory() == 7_000 - 100 + 30
