"""Logits and the weights that are drawn from them."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Dirichlet

from ddpnas.relaxed.mixed import Draw
from ddpnas.relaxed.mixture import Mixture
from ddpnas.relaxed.relaxations import RELAXATIONS
from ddpnas.space import Decision

DECISIONS = (Decision("a", ("x", "y", "z")), Decision("b", ("p", "q", "r", "s", "t")))


def mixture(name, **logits):
    made = Mixture(DECISIONS, RELAXATIONS[name])
    with torch.no_grad():
        for decision, values in logits.items():
            made.logits[decision].copy_(torch.tensor(values))
    return made


@pytest.mark.parametrize("name", RELAXATIONS)
def test_weights_sum_to_one_and_gradients_reach_the_logits(name):
    made = mixture(name, a=[0.5, -0.5, 0.0])
    draw = made.draw(temperature=1.0, seed=3)["a"]
    assert draw.weights.sum().item() == pytest.approx(1.0, abs=1e-6)
    (draw.weights * torch.tensor([1.0, 2.0, 4.0])).sum().backward()
    assert made.logits["a"].grad.abs().sum() > 0
    assert torch.equal(draw.weights, made.draw(temperature=1.0, seed=3)["a"].weights)


@pytest.mark.parametrize("name", RELAXATIONS)
def test_pruned_options_have_no_weight_and_no_gradient(name):
    made = mixture(name)
    made.keep([np.array([True, False, True]), np.array([False, False, True, False, False])])
    draws = made.draw(temperature=1.0, seed=0)
    assert set(draws["a"].runs + draws["a"].adds) == {0, 2} and draws["b"].runs == (2,)
    assert draws["a"].weights[1] == 0 and draws["b"].weights.tolist() == [0, 0, 1, 0, 0]
    (draws["a"].weights * torch.tensor([1.0, 2.0, 4.0])).sum().backward()
    assert made.logits["a"].grad[1] == 0
    first, second = made.probabilities()
    assert first[1] == 0 and first.sum() == pytest.approx(1.0) and second[2] == 1.0


def test_the_hard_gumbel_draws_options_as_often_as_the_softmax_says():
    made = mixture("gumbel-hard", a=[0.0, 1.0, -1.0])
    for temperature in (10.0, 0.1):
        counts = np.zeros(3)
        for seed in range(600):
            counts[made.draw(temperature, seed)["a"].runs[0]] += 1
        expected = 600 * made.probabilities()[0]
        assert stats.chisquare(counts, expected).pvalue > 1e-3
        np.testing.assert_allclose(
            made.probabilities()[0], torch.softmax(made.logits["a"], 0).detach(), 1e-6
        )


def test_the_hard_gradient_is_that_of_the_soft_weights_of_the_same_draw():
    hard, soft = (mixture(name, a=[0.3, -0.2, 0.1]) for name in ("gumbel-hard", "gumbel"))
    slope = torch.tensor([1.0, 2.0, 4.0])
    draws = [made.draw(2.0, 5)["a"] for made in (hard, soft)]
    for draw in draws:
        (draw.weights * slope).sum().backward()
    assert draws[0].runs == (int(draws[1].weights.argmax()),)
    torch.testing.assert_close(hard.logits["a"].grad, soft.logits["a"].grad)


def test_dirichlet_samples_have_the_mean_that_theta_states():
    made = mixture("dirichlet", a=[0.0, 1.0, -1.0])
    samples = torch.stack([made.draw(1.0, seed)["a"].weights for seed in range(600)]).detach()
    concentration = torch.tensor([1.0, 2.0, float(np.exp(-1.0))])  # ELU + 1
    deviation = Dirichlet(concentration).variance.sqrt() / 600**0.5
    mean = torch.tensor(made.probabilities()[0], dtype=torch.float32)
    torch.testing.assert_close(mean, concentration / concentration.sum())
    assert ((samples.mean(dim=0) - mean).abs() < 3 * deviation).all()
    np.testing.assert_allclose(mixture("dirichlet", b=[0.0] * 5).probabilities()[1], 0.2)


@pytest.mark.parametrize("name", RELAXATIONS)
def test_draws_depend_on_names_and_not_on_their_order(name):
    other = (Decision("b", ("t", "q", "p", "s", "r")), Decision("a", ("z", "x", "y")))
    found = []
    for decisions in (DECISIONS, other):
        made = Mixture(decisions, RELAXATIONS[name], seed=4)
        draws = made.draw(1.0, seed=9)
        found.append(
            {
                (d.name, option): (float(made.logits[d.name][k]), float(draws[d.name].weights[k]))
                for d in decisions
                for k, option in enumerate(d.options)
            }
        )
    assert found[0].keys() == found[1].keys()
    for pair, values in found[0].items():
        assert values == pytest.approx(found[1][pair], abs=1e-6)


def test_two_paths_run_and_one_counts_as_often_as_the_softmax_says():
    made = mixture("two-path", b=[0.0, 1.0, -1.0, 0.5, 0.0])
    counts = np.zeros(5)
    for seed in range(600):
        one = made.draw(1.0, seed, path=True)["b"]
        assert one.weights.sum() == 1 and one.weights[one.runs[0]] == 1 and len(one.runs) == 1
        counts[one.runs[0]] += 1
    assert stats.chisquare(counts, 600 * made.probabilities()[1]).pvalue > 1e-3
    draw, slope = made.draw(1.0, 7)["b"], torch.arange(5.0)
    assert len(draw.runs) == 2 and sorted(draw.weights.tolist())[-2:] == [0.0, 1.0]
    (draw.weights * slope).sum().backward()
    found, pair = made.logits["b"].grad, list(draw.runs)
    share = made.logits["b"].detach()[pair].softmax(0)
    torch.testing.assert_close(found[pair], share * (slope[pair] - (share * slope[pair]).sum()))
    assert found.count_nonzero() == 2


def test_options_drop_out_as_often_as_stated_and_no_group_is_lost():
    names = ("conv1", "conv2", "conv3", "conv4", "max", "avg", "skip", "none")
    made = Mixture([Decision("op", names)], RELAXATIONS["softmax"], drop_rate=3e-5)
    runs = [made.draw(1.0, seed)["op"].runs for seed in range(1500)]
    dropped = 1 - np.mean([len(run) / 8 for run in runs])
    rate = 3e-5**0.25
    assert rate == pytest.approx(0.074, abs=1e-4)
    assert abs(dropped - rate) < 3 * (rate * (1 - rate) / (8 * 1500)) ** 0.5
    heavy = Mixture([Decision("op", names)], RELAXATIONS["softmax"], drop_rate=0.4)
    for seed in range(100):
        draw = heavy.draw(1.0, seed)["op"]
        assert min(draw.runs) < 4 <= max(draw.runs), "a group has lost all its options"
        assert draw.weights.sum().item() == pytest.approx(1.0)


def test_options_that_took_no_part_keep_their_probability():
    made = mixture("softmax", a=[0.5, -0.5, 0.0], b=[0.1, 0.2, 0.3, 0.4, 0.5])
    before = [logits.detach().clone() for logits in made.parameters()]
    shares = [logits.softmax(0) for logits in before]
    with torch.no_grad():
        for logits in made.parameters():
            logits += torch.randn(len(logits))
    made.restore(
        before, {"a": Draw(torch.zeros(3), (0, 1, 2)), "b": Draw(torch.zeros(5), (0, 3), (4,))}
    )
    after = [logits.detach().softmax(0) for logits in made.parameters()]
    assert not torch.allclose(after[0], shares[0])
    torch.testing.assert_close(after[1][1:3], shares[1][1:3], atol=1e-6, rtol=0)
    assert not torch.allclose(after[1][[0, 3, 4]], shares[1][[0, 3, 4]])
