"""The toy space, whose best architecture is known."""

import itertools

from ddpnas import create_space
from ddpnas.spaces.toy import BEST, merit


def test_one_architecture_alone_is_the_best():
    space = create_space("toy")
    everything = [space.decode(i) for i in itertools.product(range(3), repeat=4)]
    merits = sorted(map(merit, everything))
    assert len(everything) == space.size == 81
    assert merits[-1] == merit(BEST) == 1.0 > merits[-2] and merits[0] >= 0.0
