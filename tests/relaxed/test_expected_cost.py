"""The expected cost of a mixture is the multilinear extension of the table."""

import itertools

import numpy as np
import pytest
import torch

from ddpnas.costs import CostTable
from ddpnas.errors import SpaceError
from ddpnas.relaxed import CostPenalty, ExpectedCost
from ddpnas.space import Decision, DecisionSpace

from ..conftest import published_costs, published_space

THREE = DecisionSpace([Decision("a", ("x", "y")), Decision("b", ("p", "q", "r"))])
TABLE = CostTable(
    "macs", "MACs", 3, {(("a", "x"),): 10, (("a", "y"), ("b", "q")): 7, (("b", "r"),): 2}
)


def test_it_is_the_cost_of_every_cell_where_weights_are_one_hot():
    space, table = published_space("nasbench201"), published_costs("nasbench201")["macs"]
    cells = torch.cartesian_prod(*[torch.arange(5)] * 6)
    one_hot = torch.eye(5)[cells]  # (15,625, 6, 5)
    found = ExpectedCost(table, space)(
        {d.name: one_hot[:, i] for i, d in enumerate(space.decisions)}
    )
    assert found.tolist() == [table.cost(space.decode(cell)) for cell in cells.tolist()]


def test_it_is_the_mean_over_independent_decisions_with_differences_as_gradient():
    weights = {"a": torch.tensor([0.25, 0.75]), "b": torch.tensor([0.5, 0.3, 0.2])}
    for row in weights.values():
        row.requires_grad_()
    value = ExpectedCost(TABLE, THREE)(weights)
    mean = sum(
        (weights["a"][i] * weights["b"][j]).item() * TABLE.cost(THREE.decode((i, j)))
        for i, j in itertools.product(range(2), range(3))
    )
    assert value.item() == pytest.approx(mean)
    value.backward()
    given = weights["b"].detach().numpy()
    swapped = [
        float(np.dot(given, [TABLE.cost(THREE.decode((i, j))) for j in range(3)])) for i in range(2)
    ]
    slope = weights["a"].grad
    assert float(slope[1] - slope[0]) == pytest.approx(swapped[1] - swapped[0])


@pytest.mark.parametrize("form", ["penalty", "product", "hinge"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_loss_keeps_its_type_with_the_cost_in_it(form, dtype):
    """The expected cost has 64 bits, on the processor where the device of the loss has none."""
    penalty = CostPenalty(ExpectedCost(TABLE, THREE), form, weight=2.0, reference=1.0)
    weights = {"a": torch.tensor([0.25, 0.75]), "b": torch.tensor([0.5, 0.3, 0.2])}
    assert penalty(torch.tensor(1.0, dtype=dtype), weights).dtype == dtype


def test_a_table_of_another_space_is_refused():
    with pytest.raises(SpaceError, match="unknown decision 'a'"):
        ExpectedCost(TABLE, DecisionSpace([Decision("b", ("p", "q", "r"))]))
