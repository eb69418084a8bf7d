"""Taking a network apart: which parts there are, which of them are the same, and how they run."""

import torch
from torch import nn

from ddpnas import SearchSpace, create_space
from ddpnas.costs._parts import caller, find_parts


def parts_of(space, batch=1):
    with torch.device("meta"):
        opened = space.opened()
    return opened, find_parts(space, opened, batch)


def test_operations_on_equal_shapes_are_one_and_identities_none():
    space = create_space("nasbench201", channels=4, cells_per_stage=3)
    _, parts = parts_of(space)
    assert len(parts) == 3 * 3 * 6 * 5 + 1  # every option of every edge of every cell, and the rest
    keys = {(part.key, part.operations > 0) for part in parts}
    assert sum(counts for _, counts in keys) == 3 * 3 + 1  # three operations at three widths
    assert parts[-1].choices == () and len(parts[-1].holes) == 3 * 3 * 6


def test_what_looks_alike_but_does_something_else_is_another_part():
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
    keys = {part.choices: part.key for part in parts_of(space)[1]}
    a, b, c, d = (keys[(("x", option),)] for option in "abcd")
    assert a == d and len({a, b, c}) == 3


def test_parts_put_together_are_the_network():
    """Filling the holes with what the choices gave gives what the network gave."""
    space = create_space("nasbench201", channels=2, cells_per_stage=1, input_shape=(3, 8, 8))
    _, parts = parts_of(space, batch=2)
    torch.manual_seed(0)
    opened = space.opened()
    example = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        given = []
        choices = {hole.path: opened.get_submodule(hole.path) for hole in parts[-1].holes}
        for choice in choices.values():
            choice.register_forward_hook(lambda module, args, output: given.append(output))
            choice.active = 1  # skip_connect
        expected = opened(example)
        run = caller(opened, parts[-1], ((example,), {}), list(given))
        for _ in range(2):  # over and over
            assert torch.equal(run(), expected)


def test_a_choice_that_runs_twice_has_two_holes_with_their_own_shapes():
    class Twice(nn.Module):
        def __init__(self, choose):
            super().__init__()
            self.choice = choose("x", {"relu": nn.ReLU, "none": nn.Identity})

        def forward(self, x):
            return self.choice(self.choice(x)[:, :1])

    _, parts = parts_of(SearchSpace(Twice, (3, 4, 4)))
    assert [tuple(hole.output.shape) for hole in parts[-1].holes] == [(1, 3, 4, 4), (1, 1, 4, 4)]
    relus = [part for part in parts if part.choices == (("x", "relu"),)]
    assert len({part.key for part in relus}) == 2


def test_choices_inside_an_option_are_holes_of_it(nested_space):
    _, parts = parts_of(nested_space)
    found = {}
    for part in parts:
        found.setdefault(part.choices, []).append((part.operations > 0, len(part.holes)))
    deep, flat = ("depth", "2"), ("depth", "1")
    assert found[()] == [(True, 2)]
    assert found[(deep,)] == [(True, 2), (True, 2)]  # the ReLU, at two places
    assert found[(flat,)] == [(False, 1), (False, 0)]  # a choice alone, and an identity
    assert found[(deep, ("kernel", "3"))] == [(True, 0)] * 4
    kernels = {p.key for p in parts if p.choices[-1:] == (("kernel", "3"),)}
    assert len(kernels) == 1
