"""The DARTS space against published networks."""

import numpy as np
import pytest
import torch
from timm.layers import DropPath

from ddpnas import JointDistribution, count_costs, create_space, generate
from ddpnas.errors import ArchitectureError, OptionError
from ddpnas.space.choose import BuildChoice
from ddpnas.spaces.darts import CELLS, EDGES, network

from ..conftest import published_space

V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), "
    "('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)
RELEASED = (  # with DDPNAS; nested, the second input of a node before the first
    "Genotype(normal=[[('sep_conv_5x5', 1), ('max_pool_3x3', 0)], [('dil_conv_3x3', 0), "
    "('sep_conv_3x3', 1)], [('sep_conv_3x3', 0), ('max_pool_3x3', 3)], [('dil_conv_3x3', 2), "
    "('avg_pool_3x3', 0)]], normal_concat=range(2, 6), reduce=[[('sep_conv_5x5', 1), "
    "('avg_pool_3x3', 0)], [('avg_pool_3x3', 1), ('skip_connect', 0)], [('skip_connect', 2), "
    "('sep_conv_3x3', 1)], [('dil_conv_5x5', 0), ('dil_conv_5x5', 4)]], reduce_concat=range(2, 6))"
)
SMALL = published_space("darts", channels=4, cells=4, input_shape=(3, 16, 16))


def test_an_auxiliary_head_costs_parameters_but_nothing_at_inference():
    options = {"channels": 4, "cells": 3, "input_shape": (3, 32, 32)}
    plain, headed = (
        count_costs(create_space("darts", auxiliary=auxiliary, **options))
        for auxiliary in (False, True)
    )
    assert headed["macs"].terms == plain["macs"].terms
    assert headed["macs"].fixed == plain["macs"].fixed
    assert headed["params"].fixed > plain["params"].fixed


def parameters(text, **options):
    """Count what the network function makes; a space of 20 open cells would take seconds."""
    with torch.device("meta"):
        made = network(BuildChoice(SMALL.parse(text)), **options)
    return sum(p.numel() for p in made.parameters())


def test_darts_v2_has_its_published_parameters():
    assert parameters(V2, channels=36, cells=20) == 3_349_342


@pytest.mark.parametrize(
    ("text", "pool_norm", "params"),
    [
        (V2, False, 4_718_752),
        (RELEASED, True, 4_506_592),  # published as 4.51 M
        (RELEASED, False, 4_497_376),
    ],
)
def test_imagenet_networks_have_their_published_parameters(text, pool_norm, params):
    options = {"num_classes": 1000, "input_shape": (3, 224, 224), "pool_norm": pool_norm}
    assert parameters(text, channels=48, cells=14, stem="imagenet", **options) == params


def test_flat_and_nested_genotypes_are_read_alike():
    released = SMALL.parse(RELEASED)
    assert released["normal.2<-1"] == "sep_conv_5x5" and released["reduce.5<-4"] == "dil_conv_5x5"
    flat = SMALL.format(released)
    assert flat.startswith("Genotype(normal=[('max_pool_3x3', 0), ('sep_conv_5x5', 1), ")
    assert SMALL.parse(flat) == released


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("reduce=", "other=", "the form is"),
        ("('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ", "", "the form is"),
        ("('dil_conv_3x3', 2)", "('dil_conv_3x3', 5)", "has input 5; possible are 0 to 4"),
        ("('dil_conv_3x3', 2)", "('dil_conv_3x3', 0)", "has input 0 twice"),
        ("'dil_conv_3x3'", "'dil_conv_7x7'", "did you mean 'dil_conv_"),
        ("('dil_conv_3x3', 2)", "('none', 2)", "node 5 of the normal cell has exactly two inputs"),
    ],
)
def test_other_genotypes_are_refused(before, after, says):
    with pytest.raises(ArchitectureError, match=says):
        SMALL.parse(V2.replace(before, after))


def test_samples_have_two_inputs_a_node_although_few_architectures_do():
    assert SMALL.valid_size == (7**8 * 1 * 3 * 6 * 10) ** 2 < SMALL.size / 1e6
    architecture = SMALL.sample(np.random.default_rng(0))
    for cell in CELLS:
        for node in (2, 3, 4, 5):
            edges = [architecture[f"{cell}.{i}<-{j}"] for i, j in EDGES if i == node]
            assert sum(edge != "none" for edge in edges) == 2


def test_generation_obeys_the_rule_within_the_limit():
    costs = count_costs(SMALL)
    uniform = JointDistribution.uniform(SMALL.decisions)
    rng = np.random.default_rng(0)
    learned = uniform.with_rows([rng.dirichlet(np.ones(8)) for _ in SMALL.decisions])
    free = generate(learned, SMALL, None, costs)
    tight = generate(learned, SMALL, {"macs": 0.9 * free.costs["macs"]}, costs)
    assert SMALL.check(tight.architecture) == tight.architecture
    assert tight.margin["macs"] >= 0 and tight.log_prob < free.log_prob
    assert tight.certificate.gap == pytest.approx(0, abs=1e-6)


def test_a_path_with_any_number_of_inputs_runs_and_has_a_text():
    supernet = SMALL.supernet()
    for option in ("none", "max_pool_3x3"):
        path = {decision.name: option for decision in SMALL.decisions}
        supernet.set_path(path)
        assert supernet(torch.randn(2, 3, 16, 16)).shape == (2, 10)
        assert SMALL.format(path).startswith("Genotype(normal=[[")


def test_the_auxiliary_head_answers_while_training_only():
    space = SMALL.with_options(auxiliary=True, input_shape=(3, 32, 32))
    assert space.output_shape == (10,)
    network = space.build(space.parse(V2))
    output, extra = network(torch.randn(2, 3, 32, 32))
    assert output.shape == extra.shape == (2, 10)
    assert network.eval()(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_drop_path_is_the_same_on_every_edge_and_spares_identities():
    network = SMALL.with_options(drop_path=0.3).build(SMALL.parse(V2))
    assert {m.drop_prob for m in network.modules() if isinstance(m, DropPath)} == {0.3}
    last = [m for m in network.cells[3].modules() if isinstance(m, DropPath)]
    assert len(last) == 6  # of 8 edges, 2 are identities


def test_what_cannot_be_made_is_told():
    for option, says in [
        ({"stem": "mnist"}, "known: cifar, imagenet"),
        ({"cells": 2}, "from 3 to 1,000, not 2"),
    ]:
        with pytest.raises(OptionError, match=says):
            create_space("darts", **option)
