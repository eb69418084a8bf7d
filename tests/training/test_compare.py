from ddpnas import Recipe, compare, count_costs


def test_random_networks_are_within_the_same_limits(small_space, stripes):
    costs = count_costs(small_space)
    found = small_space.parse(
        "|skip_connect~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|skip_connect~2|"
    )
    limits = {"macs": costs["macs"].cost(found)}
    epochs = []
    trained = compare(
        small_space,
        found,
        stripes,
        costs=costs,
        limits=limits,
        random=3,
        recipe=Recipe(epochs=1, batch_size=16),
        device="cpu",
        on_epoch=lambda name, record: epochs.append(name),
    )
    assert [one.name for one in trained] == epochs == ["found", "random 1", "random 2", "random 3"]
    assert all(one.costs["macs"] <= limits["macs"] for one in trained)
