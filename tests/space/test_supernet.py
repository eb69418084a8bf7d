"""What visiting every option finds."""

import pytest
from torch import nn

from ddpnas import SearchSpace
from ddpnas.errors import SpaceError


def chain(*middle):
    return lambda choose: nn.Sequential(
        nn.Conv2d(3, 4, 1),
        choose("d", {"plain": nn.Identity, "other": lambda: nn.Sequential(*middle)}),
    )


def test_batch_norm_of_other_channels_or_dimensions_is_told():
    with pytest.raises(SpaceError, match="'other' of decision 'd' fails: BatchNorm of 5 channels"):
        SearchSpace(chain(nn.BatchNorm2d(5)), (3, 8, 8))
    with pytest.raises(SpaceError, match="'other' of decision 'd' fails: expected 2D or 3D"):
        SearchSpace(chain(nn.BatchNorm1d(4)), (3, 8, 8))
    assert SearchSpace(chain(nn.BatchNorm2d(4)), (3, 8, 8)).output_shape == (4, 8, 8)


def test_a_batch_norm_that_takes_its_width_from_the_input_fits():
    lazy = nn.LazyBatchNorm2d()
    space = SearchSpace(chain(lazy), (3, 8, 8))
    built = space.build({"d": "other"})
    assert space.output_shape == (4, 8, 8) and lazy.num_features == 0
    assert built[1][0].running_mean.tolist() == [0] * 4


@pytest.mark.parametrize(("decision", "option"), [("kernel", 3), (1, "conv")])
def test_names_that_are_no_text_are_refused_at_once(decision, option):
    def network(choose):
        return choose(decision, {option: lambda: nn.Linear(4, 2), "other": lambda: nn.Linear(4, 2)})

    with pytest.raises(SpaceError, match="names of decisions and options must be text"):
        SearchSpace(network, (4,))
