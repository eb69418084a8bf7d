import json

import torch
from safetensors.torch import load_file

from ddpnas import Recipe, count_costs, create_space
from ddpnas.training.compare import compare, save_trained


def test_random_networks_are_within_the_same_limits_and_everything_is_kept(
    small_space, stripes, tmp_path
):
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
    save_trained(tmp_path, small_space, stripes, trained, seed=0)
    kept = json.loads((tmp_path / "result.json").read_text())
    assert [n["accuracy"] for n in kept["networks"]] == [one.result.accuracy for one in trained]
    about = json.loads((tmp_path / "architecture.json").read_text())
    space = create_space(about["space"], **about["space_options"])
    model = space.build(space.parse(about["text"])).eval()
    model.load_state_dict(load_file(tmp_path / "model.safetensors"))
    x = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(model(x), trained[0].result.model(x))
