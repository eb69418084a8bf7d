"""Taking a network apart: which units there are, which of them are the same, and how they run."""

import torch
from torch import nn

from ddpnas import SearchSpace, create_space
from ddpnas.costs._units import bind, find_units


def units_of(space, batch=1):
    with torch.device("meta"):
        opened = space.opened()
    return opened, find_units(space, opened, batch)


def test_the_units_of_a_small_network():
    """The example of the module's docstring."""

    def network(choose):
        acts = {"relu": nn.ReLU, "silu": nn.SiLU}

        def block():
            return nn.Sequential(nn.Conv2d(8, 8, 1), choose("act", acts))

        return nn.Sequential(
            nn.Conv2d(3, 8, 3),
            choose("op", {"block": block, "skip": nn.Identity}),
            nn.Flatten(),
            nn.Linear(8 * 6 * 6, 10),
        )

    _, units = units_of(SearchSpace(network, (3, 8, 8)))
    assert [(unit.choices, [slot.decision for slot in unit.slots]) for unit in units] == [
        ((("op", "block"), ("act", "relu")), []),
        ((("op", "block"), ("act", "silu")), []),
        ((("op", "block"),), ["act"]),
        ((("op", "skip"),), []),
        ((), ["op"]),
    ]
    assert [unit.operations > 0 for unit in units] == [True, True, True, False, True]


def test_operations_on_equal_shapes_are_one_and_identities_none():
    space = create_space("nasbench201", channels=4, cells_per_stage=3)
    _, units = units_of(space)
    assert len(units) == 3 * 3 * 6 * 5 + 1  # every option of every edge of every cell, and the rest
    keys = {(unit.key, unit.operations > 0) for unit in units}
    assert sum(counts for _, counts in keys) == 3 * 3 + 1  # three operations at three widths
    assert units[-1].choices == () and len(units[-1].slots) == 3 * 3 * 6


def test_what_looks_alike_but_does_something_else_is_another_unit():
    class Scaled(nn.Module):
        """Its repr does not tell by how much."""

        def __init__(self, by, times=1):
            super().__init__()
            self.by, self.times = by, times
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            for _ in range(self.times):
                x = self.linear(x)
            return x * self.by

    options = {
        "a": lambda: Scaled(2.0),
        "b": lambda: Scaled(3.0),
        "c": lambda: Scaled(2.0, times=2),
        "d": lambda: Scaled(2.0),
    }
    space = SearchSpace(lambda choose: nn.Sequential(choose("x", options)), (4,))
    keys = {unit.choices: unit.key for unit in units_of(space)[1]}
    a, b, c, d = (keys[(("x", option),)] for option in "abcd")
    assert a == d and len({a, b, c}) == 3


def test_units_put_together_are_the_network():
    """Filling the slots with what the choices gave gives what the network gave."""
    space = create_space("nasbench201", channels=2, cells_per_stage=1, input_shape=(3, 8, 8))
    _, units = units_of(space, batch=2)
    torch.manual_seed(0)
    opened = space.opened()
    example = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        given = []
        choices = {slot.path: opened.get_submodule(slot.path) for slot in units[-1].slots}
        for choice in choices.values():
            choice.register_forward_hook(lambda module, args, output: given.append(output))
            choice.active = 1  # skip_connect
        expected = opened(example)
        run = bind(opened, units[-1], ((example,), {}), list(given))
        for _ in range(2):  # over and over
            assert torch.equal(run(), expected)


def test_a_choice_that_runs_twice_has_two_holes_with_their_own_shapes():
    class Twice(nn.Module):
        def __init__(self, choose):
            super().__init__()
            self.choice = choose("x", {"relu": nn.ReLU, "none": nn.Identity})

        def forward(self, x):
            return self.choice(self.choice(x)[:, :1])

    _, units = units_of(SearchSpace(Twice, (3, 4, 4)))
    assert [tuple(slot.output.shape) for slot in units[-1].slots] == [(1, 3, 4, 4), (1, 1, 4, 4)]
    relus = [unit for unit in units if unit.choices == (("x", "relu"),)]
    assert len({unit.key for unit in relus}) == 2


def test_choices_inside_an_option_are_holes_of_it(nested_space):
    _, units = units_of(nested_space)
    found = {}
    for unit in units:
        found.setdefault(unit.choices, []).append((unit.operations > 0, len(unit.slots)))
    deep, flat = ("depth", "2"), ("depth", "1")
    assert found[()] == [(True, 2)]
    assert found[(deep,)] == [(True, 2), (True, 2)]  # the ReLU, at two places
    assert found[(flat,)] == [(False, 1), (False, 0)]  # a choice alone, and an identity
    assert found[(deep, ("kernel", "3"))] == [(True, 0)] * 4
    kernels = {u.key for u in units if u.choices[-1:] == (("kernel", "3"),)}
    assert len(kernels) == 1
