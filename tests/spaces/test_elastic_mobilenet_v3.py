import math

import numpy as np
import pytest
import torch

import ddpnas
from ddpnas.errors import SpaceError
from ddpnas.space.elastic_kernel import ElasticKernelConv2d

SMALL = {"width": 0.25, "num_classes": 3, "input_shape": (1, 16, 16), "reduction": 4}


@pytest.fixture(scope="module")
def space():
    return ddpnas.create_space("elastic-mobilenet-v3", factors=(1.0, 2.0), depths=(1, 2), **SMALL)


def test_a_unit_has_as_many_networks_as_in_once_for_all():
    plain = ddpnas.create_space("elastic-mobilenet-v3", **SMALL)
    assert not any(".width" in d.name for d in plain.decisions)
    depths = [d for d in plain.decisions if d.name.endswith("depth")]
    assert [d.options for d in depths] == [("2", "3", "4")] * 5
    blocks = [d for d in plain.decisions if "block" in d.name]
    assert len(blocks) == 2 * 20 and all(len(d.options) == 3 for d in blocks)
    # 7,371 networks a unit, of which the table of decisions counts kernels of absent blocks, too.
    assert sum(9**depth for depth in (2, 3, 4)) == 7371
    assert plain.size == 9**20 * 3**5


def test_the_largest_network_holds_the_weights_of_all(space):
    supernet = space.supernet(seed=0)
    largest = {d.name: d.options[-1] for d in space.decisions}
    supernet.set_path(largest)
    transforms = [n for n, _ in supernet.named_parameters() if "transform" in n]
    used = {id(p) for p in supernet.path_parameters()}
    assert used == {id(p) for p in supernet.parameters()}
    assert len(transforms) == 2 * 10
    assert sum(isinstance(m, ElasticKernelConv2d) for m in supernet.modules()) == 10


def test_costs_and_outputs_are_those_of_built_networks(space):
    supernet, costs = space.supernet(seed=0).train(), ddpnas.count_costs(space)
    rng, images = np.random.default_rng(0), torch.randn(8, 1, 16, 16)
    smallest = {d.name: d.options[0] for d in space.decisions}  # its units are narrow
    for chosen in (smallest, space.sample(rng), space.sample(rng)):
        built = space.build(chosen, weights_from=supernet).train()
        counted = ddpnas.count_network(built, (1, 16, 16))
        assert {n: counted[n] for n in costs} == {n: t.cost(chosen) for n, t in costs.items()}
        assert not any(isinstance(m, ElasticKernelConv2d) for m in built.modules())
        supernet.set_path(chosen)
        with torch.no_grad():
            assert torch.equal(supernet(images), built(images))


def test_limits_are_solved_for(space):
    costs = ddpnas.count_costs(space)
    uniform = ddpnas.space.JointDistribution.uniform(space.decisions)
    least = costs["macs"].cost({d.name: d.options[0] for d in space.decisions})
    limit = 2 * least
    found = ddpnas.generate(uniform, space, {"macs": limit}, costs)
    assert costs["macs"].cost(found.architecture) <= limit
    assert math.isclose(found.certificate.gap, 0.0, abs_tol=1e-6)


def test_a_mixture_of_kernels_is_refused(stripes):
    tiny = {**SMALL, "input_shape": (1, 8, 8), "depths": (1,)}
    space = ddpnas.create_space("elastic-mobilenet-v3", **tiny)
    options = {"epochs": 1, "batch_size": 16}
    with pytest.raises(SpaceError, match="ElasticKernelConv2d, has an open width"):
        ddpnas.search(space, stripes, "darts", strategy_options=options, device="cpu")
