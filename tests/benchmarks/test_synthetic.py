import numpy as np
import pytest

from ddpnas.benchmarks.synthetic import EXAMPLES, make_table
from ddpnas.errors import OptionError


def shaped(table):
    """Return the latent quality as an array of one axis a decision, of mean 0 and deviation 1."""
    sizes = [len(d.options) for d in table.space.decisions]
    u = -2.0 * np.log((90.0 - table.test[1].astype(np.float64)) / 5.0)
    return ((u - u.mean()) / u.std()).reshape(sizes)


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "network"])
def test_every_example_is_a_table_of_all_architectures(name):
    table = make_table(0, **EXAMPLES[name])
    assert len(table.codes) == table.space.size == len(table.valid[1])
    rng = np.random.default_rng(0)
    architecture = table.space.sample(rng)
    at = np.ravel_multi_index(
        table.space.encode(architecture), [len(d.options) for d in table.space.decisions]
    )
    record = table.query(architecture)
    assert record.valid == pytest.approx(table.valid[1][at] / 100.0)
    assert 0.5 < table.test[1].max() / 100.0 < 0.9


def test_the_same_seed_gives_the_same_table_and_another_a_different_one():
    first, again, other = (make_table(s, (3, 4), pair=1.0) for s in (1, 1, 2))
    assert (first.valid[1] == again.valid[1]).all()
    assert not (first.test[1] == other.test[1]).all()


def test_single_effects_add_up_and_shared_ones_do_not_depend_on_the_decision():
    u = shaped(make_table(0, (3, 4, 5), single=1.0))
    parts = [u.mean(axis=tuple(j for j in range(3) if j != i), keepdims=True) for i in range(3)]
    assert u == pytest.approx(sum(parts), abs=1e-4)
    u = shaped(make_table(0, (4, 4, 4), shared=1.0))
    assert u == pytest.approx(u.transpose(2, 0, 1), abs=1e-4)


def test_pairs_do_not_add_up():
    u = shaped(make_table(0, (4, 4, 4), pair=1.0))
    parts = [u.mean(axis=tuple(j for j in range(3) if j != i), keepdims=True) for i in range(3)]
    assert np.std(u - sum(parts)) > 0.3


def test_the_rugged_part_is_correlated_as_it_says():
    values = [shaped(make_table(s, (2, 2, 2, 2, 2), rugged=1.0, decay=0.5)) for s in range(200)]
    near = np.mean([(u[0] * u[1]).mean() for u in values])
    far = np.mean([(u[0, 0, 0] * u[1, 1, 1]).mean() for u in values])
    # of mean 0 in each table, so that both are lower than decay and decay^3
    assert 0.2 < near < 0.5 and far < near / 2


def test_noise_is_on_the_score_only_and_broken_lowers_what_has_it():
    quiet, loud = (make_table(0, (4, 4, 4), single=1.0, noise=n) for n in (0.0, 0.5))
    assert quiet.test[1] == pytest.approx(loud.test[1])
    assert quiet.valid[1] == pytest.approx(quiet.test[1])
    assert loud.valid[1] != pytest.approx(loud.test[1], abs=0.1)
    whole, broken = (make_table(0, (4, 4, 4), single=1.0, broken=b) for b in (0.0, 3.0))
    lower = broken.test[1].reshape(4, 4, 4) < whole.test[1].reshape(4, 4, 4) - 1e-3
    assert lower[0, 0].all() and lower[0, :, 0].all() and not lower[0, 1:, 1:].any()


def test_what_makes_no_table_is_refused():
    with pytest.raises(OptionError, match="a table holds 100000"):
        make_table(0, (10,) * 8, single=1.0)
    with pytest.raises(OptionError, match="at least one part"):
        make_table(0, (3, 3))
    with pytest.raises(OptionError, match="2 to 26 options"):
        make_table(0, (1, 3), single=1.0)
