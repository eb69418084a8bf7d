import pytest

from ddpnas import Recipe, Rule, compare, count_costs
from ddpnas.errors import OptionError


def test_networks_of_the_same_size_have_about_its_multiply_adds_and_obey_the_limits(
    small_space, stripes
):
    found = small_space.parse(
        "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|skip_connect~2|"
    )
    size = count_costs(small_space)["macs"].cost(small_space.canonical(found))
    trained = compare(
        small_space,
        found,
        stripes,
        limits={"macs": (0, size)},
        random=1,
        same_size=2,
        recipe=Recipe(epochs=1, batch_size=16),
        device="cpu",
    )
    assert [one.name for one in trained[1:]] == ["random 1", "same size 1", "same size 2"]
    assert all(0.9 * size <= one.costs["macs"] <= size for one in trained[2:])
    with pytest.raises(OptionError, match="same_size compares multiply-adds"):
        compare(small_space, found, stripes, costs={}, same_size=1)


def test_random_networks_are_within_the_same_limits_and_rules_and_run_all_they_cost(
    small_space, stripes
):
    costs = count_costs(small_space)
    found = small_space.parse(
        "|skip_connect~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|skip_connect~2|"
    )
    limits = {"macs": costs["macs"].cost(found)}
    pools = {(d.name, "avg_pool_3x3"): 1.0 for d in small_space.decisions}
    rule = Rule(pools, "no pooling", upper=0.0)
    epochs = []
    trained = compare(
        small_space,
        found,
        stripes,
        costs=costs,
        limits=limits,
        rules=[rule],
        random=3,
        recipe=Recipe(epochs=1, batch_size=16),
        device="cpu",
        on_epoch=lambda name, record: epochs.append(name),
    )
    assert [one.name for one in trained] == epochs == ["found", "random 1", "random 2", "random 3"]
    assert all(one.costs["macs"] <= limits["macs"] for one in trained)
    for one in trained[1:]:
        assert rule.holds(one.architecture)
        assert one.architecture == small_space.canonical(one.architecture)


def test_the_checkpoints_of_a_network_in_a_file_stay_in_the_folder(small_space, stripes, tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def network(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))\n"
    )
    one = small_space.decode([0] * len(small_space.decisions))
    compare(
        small_space, one, stripes, baselines=[f"{tmp_path}/net.py:network"],
        recipe=Recipe(epochs=1, batch_size=16), device="cpu", folder=tmp_path / "kept",
    )  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} <= {"kept", "net.py", "__pycache__"}
    assert len([*(tmp_path / "kept").glob("*/checkpoint.safetensors")]) == 2
