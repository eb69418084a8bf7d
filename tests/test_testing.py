"""The shipped contract tests: our spaces and strategies pass, broken ones fail."""

import pytest
import torch
from torch import nn

import ddpnas
from ddpnas import Architecture
from ddpnas.strategies import DDPNASPaper
from ddpnas.testing import SpaceContract, StrategyContract

SMALL = {"width": 0.25, "input_shape": (3, 32, 32), "num_classes": 5}
OPTIONS = {
    "darts": {"channels": 4, "cells": 4, "input_shape": (3, 16, 16), "num_classes": 5},
    "elastic-mobilenet-v3": {**SMALL, "factors": (1.0, 2.0), "depths": (1, 2)},
    "edge": {"stem": (4, 8), "stages": ((4, 8), (8, 12)), "head": (8, 16), "num_classes": 5},
    "mnasnet": SMALL,
    "mobilenet-v2": SMALL,
    "mobilenet-v3": SMALL,
    "nasbench-macro": {"width": 0.125, "input_shape": (3, 16, 16)},
    "nasbench201": {"channels": 4, "cells_per_stage": 1, "input_shape": (3, 16, 16)},
    "shufflenet": SMALL,
    "toy": {},
}


def published(name):
    class Test(SpaceContract):
        def make_space(self):
            return ddpnas.create_space(name, **OPTIONS[name])

    return type(f"Test_{name.replace('-', '_')}", (Test,), {})


for _name in ddpnas.list_spaces():
    globals()[f"Test_{_name.replace('-', '_')}"] = published(_name)


def space_of(network, **options):
    class Contract(SpaceContract):
        def make_space(self):
            return ddpnas.SearchSpace(network, (4,), **options)

    return Contract()


def many_samples(network):
    contract = space_of(network)
    contract.architectures = 8
    return contract


def choices(choose):
    return choose("d", {"a": lambda: nn.Linear(4, 2), "b": lambda: nn.Linear(4, 2)})


def test_a_text_form_that_loses_something_fails():
    contract = space_of(choices, text=(lambda a: "text", lambda text: {"d": "a"}))
    with pytest.raises(AssertionError, match="'text' is read as something else"):
        contract.test_the_text_form_is_read_again()


def test_a_network_that_differs_while_searching_fails():
    class Network(nn.Module):
        def __init__(self, choose):
            super().__init__()
            self.layer, self.searching = choices(choose), choose.searching

        def forward(self, x):
            return self.layer(x) + float(self.searching)

    with pytest.raises(AssertionError, match="not close"):
        space_of(Network).test_a_path_of_the_supernet_is_the_network_with_its_weights()


def test_a_network_that_runs_what_is_not_chosen_fails():
    class Network(nn.Module):
        def __init__(self, choose):
            super().__init__()
            self.choice = choices(choose)

        def forward(self, x):
            inside = getattr(self.choice, "options", [self.choice])
            return self.choice(x) + sum(option(x) for option in inside)

    with pytest.raises(AssertionError, match="although the path does not use it"):
        space_of(Network).test_only_the_path_that_runs_is_trained()


def test_a_layer_that_paths_use_and_never_train_fails():
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            with torch.no_grad():
                return self.layer(x)

    def network(choose):
        return choose("d", {"a": Frozen, "b": lambda: nn.Linear(4, 2)})

    with pytest.raises(AssertionError, match="layer.weight never has a gradient|layer.bias never"):
        many_samples(network).test_only_the_path_that_runs_is_trained()


def test_a_canonical_form_that_is_another_network_fails():
    class Same(ddpnas.SearchSpace):
        def canonical(self, architecture):
            return Architecture({d.name: d.options[0] for d in self.decisions})

    def network(choose):
        return nn.Sequential(nn.Linear(4, 2), choose("d", {"a": nn.ReLU, "b": nn.Tanh}))

    class Contract(SpaceContract):
        architectures = 8

        def make_space(self):
            return Same(network, (4,))

    contract = Contract()
    contract.test_the_canonical_form_is_its_own()
    with pytest.raises(AssertionError, match="d=b and its canonical form give other"):
        contract.test_a_canonical_form_stands_for_equal_networks_alone()


def test_forms_that_all_give_the_same_fail():
    def network(choose):
        return nn.Sequential(choices(choose), nn.Softmax(dim=1), nn.AdaptiveAvgPool1d(1))

    with pytest.raises(AssertionError, match="2 canonical forms give the same outputs"):
        many_samples(network).test_a_canonical_form_stands_for_equal_networks_alone()


def test_a_strategy_that_ignores_its_seed_fails_unless_it_says_so():
    class Contract(StrategyContract):
        def make_strategy(self, space, seed):
            return DDPNASPaper(space, 0)

    with pytest.raises(AssertionError, match="eight seeds give the same search"):
        Contract().test_other_seeds_give_other_searches()
    Contract.deterministic = True
    Contract().test_other_seeds_give_other_searches()


def test_a_strategy_that_forgets_what_it_was_told_fails():
    class Forgetful(DDPNASPaper):
        def load_state_dict(self, state):
            super().load_state_dict({**state, "cycles": []})

    class Contract(StrategyContract):
        def make_strategy(self, space, seed):
            return Forgetful(space, seed)

    with pytest.raises(AssertionError, match="restored from its state, it asks for others"):
        Contract().test_its_state_restores_exactly_from_json()


def test_a_strategy_that_prefers_low_scores_fails():
    class Contrary(DDPNASPaper):
        def tell(self, architectures, scores):
            super().tell(architectures, [-score for score in scores])

    class Contract(StrategyContract):
        def make_strategy(self, space, seed):
            return Contrary(space, seed)

    with pytest.raises(AssertionError, match="quality 0.[0-4].*, inverted 0.[6-9]"):
        Contract().test_higher_scores_are_better()


def test_whole_numbers_are_inputs_too():
    def network(choose):
        return nn.Sequential(
            nn.Embedding(10, 4),
            nn.Flatten(),
            choose("d", {"a": lambda: nn.Linear(12, 2), "b": lambda: nn.Linear(12, 2)}),
        )

    space = ddpnas.SearchSpace(network, (3,), input_dtype=torch.int64)
    assert space.output_shape == (2,)
    assert ddpnas.count_costs(space)["params"].cost({"d": "a"}) == 40 + 26

    class Contract(SpaceContract):
        def make_space(self):
            return space

    Contract().test_a_path_of_the_supernet_is_the_network_with_its_weights()
