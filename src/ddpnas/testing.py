"""Contract tests for your space, strategy or evaluator: subclass, say how it is made, run pytest.

    import ddpnas.testing

    class TestMySpace(ddpnas.testing.SpaceContract):
        def make_space(self):
            return ddpnas.SearchSpace(network, (3, 32, 32))

    class TestMyStrategy(ddpnas.testing.StrategyContract):
        def make_strategy(self, space, seed):
            return MyStrategy(space, seed)

    class TestMyEvaluator(ddpnas.testing.EvaluatorContract):
        def make_evaluator(self, space, data, seed):
            return MyEvaluator(space, data, seed=seed)

The spaces and strategies of this package are tested by the same. A failure says what is wrong in
its message; neither class needs anything but pytest to run.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ddpnas.costs.count import count_costs
from ddpnas.costs.network import count_architecture
from ddpnas.data.data import Data, make_data
from ddpnas.errors import DdpnasError, OptionError
from ddpnas.evaluators.base import Evaluation, Evaluator
from ddpnas.space.decisions import Architecture, Decision, DecisionSpace, Rule
from ddpnas.space.outputs import main_output
from ddpnas.space.search_space import SearchSpace
from ddpnas.space.slices import widths_of
from ddpnas.space.supernet import Choice
from ddpnas.spaces.registry import create_space
from ddpnas.strategies.base import Strategy
from ddpnas.strategies.contract import hand_over, made_up_score, tell_batch
from ddpnas.strategies.registry import create_strategy

__all__ = ["EvaluatorContract", "SpaceContract", "StrategyContract"]


class SpaceContract:
    """What every search space promises.

    Attributes:
        architectures: Number of random architectures in each test.
        batch: Number of inputs in each run.

    Example:
        >>> class TestToy(SpaceContract):
        ...     def make_space(self):
        ...         return create_space("toy")
        >>> TestToy().test_the_text_form_is_read_again()  # or by pytest
    """

    architectures: ClassVar[int] = 3
    batch: ClassVar[int] = 4
    _made: ClassVar[dict[type, SearchSpace]] = {}

    def make_space(self) -> SearchSpace:
        """Return the space under test; made once a class."""
        raise NotImplementedError

    def make_input(self, space: SearchSpace) -> Tensor:
        """Return a batch of inputs; whole numbers are 0 or 1."""
        shape = (self.batch, *space.input_shape)
        if space.input_dtype.is_floating_point:
            return torch.randn(shape, dtype=space.input_dtype)
        return torch.randint(0, 2, shape, dtype=space.input_dtype)

    @property
    def space(self) -> SearchSpace:
        """The space under test."""
        if type(self) not in self._made:
            self._made[type(self)] = self.make_space()
        return self._made[type(self)]

    def samples(self) -> list[Architecture]:
        """Return random architectures, the same in every test."""
        rng = np.random.default_rng(0)
        return [self.space.sample(rng) for _ in range(self.architectures)]

    def test_sampled_architectures_belong_to_the_space(self) -> None:
        """Samples obey all rules, and survive being written as indices."""
        for architecture in self.samples():
            assert self.space.check(architecture) == architecture
            assert self.space.decode(self.space.encode(architecture)) == architecture

    def test_the_text_form_is_read_again(self) -> None:
        """``parse`` is the inverse of ``format``."""
        for architecture in self.samples():
            text = self.space.format(architecture)
            assert self.space.parse(text) == architecture, f"{text!r} is read as something else"

    def test_the_canonical_form_is_its_own(self) -> None:
        """Canonical architectures obey the rules and are canonical."""
        for architecture in self.samples():
            canonical = self.space.canonical(architecture)
            assert self.space.check(canonical) == self.space.canonical(canonical) == canonical

    def test_a_canonical_form_stands_for_equal_networks_alone(self) -> None:
        """A network gives what its canonical form gives, and not all forms give the same.

        Either both have the weights of one supernet, or both are made anew with one seed: a form
        that moves a layer to another place has other weights of the supernet there.
        """
        torch.manual_seed(0)
        supernet, inputs = self.space.supernet(), self.make_input(self.space)
        _disturb(supernet)

        def outputs(architecture: Architecture, *, anew: bool = False) -> Tensor:
            torch.manual_seed(1)
            network = self.space.build(architecture, weights_from=None if anew else supernet)
            if anew:
                _disturb(network)
            torch.manual_seed(2)  # for dropout
            with torch.no_grad():
                return _output(network.train()(inputs))

        forms = dict[Architecture, Tensor]()
        for architecture in self.samples():
            form = self.space.canonical(architecture)
            forms[form] = outputs(form)
            equal = torch.allclose(outputs(architecture), forms[form], rtol=1e-4, atol=1e-5)
            assert equal or torch.allclose(
                outputs(architecture, anew=True), outputs(form, anew=True), rtol=1e-4, atol=1e-5
            ), f"{self.space.format(architecture)} and its canonical form give other outputs"
        first, *others = forms.values()
        assert not others or not all(torch.allclose(first, other) for other in others), (
            f"{len(forms)} canonical forms give the same outputs"
        )

    def test_built_networks_run_without_trace_of_the_search(self) -> None:
        """A built network is made of plain modules and gives outputs of the stated shape."""
        for architecture in self.samples():
            network = self.space.build(architecture)
            left = [m for m in network.modules() if isinstance(m, Choice)]
            assert not left, f"the built network still asks {left[0].decision!r}"
            held = [module for module in network.modules() if widths_of(module)]
            assert not held, f"the built {type(held[0]).__name__} still has an undecided width"
            output = _output(network.train()(self.make_input(self.space)))
            assert tuple(output.shape) == (self.batch, *self.space.output_shape)

    def test_a_path_of_the_supernet_is_the_network_with_its_weights(self) -> None:
        """A path and the network built with ``weights_from`` give the same outputs."""
        torch.manual_seed(0)
        supernet = self.space.supernet().train()
        for architecture in self.samples():
            network = self.space.build(architecture, weights_from=supernet).train()
            supernet.set_path(architecture)
            inputs = self.make_input(self.space)
            outputs = []
            for module in (supernet, network):
                torch.manual_seed(1)  # for dropout
                with torch.no_grad():
                    outputs.append(_output(module(inputs)))
            torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-4, atol=1e-5)

    def test_only_the_path_that_runs_is_trained(self) -> None:
        """Gradients reach every parameter of the path, in some network, and nothing else."""
        supernet = self.space.supernet().train()
        reached, untrained = set[str](), set[str]()

        def run(architecture: Architecture) -> None:
            supernet.zero_grad(set_to_none=True)
            supernet.set_path(architecture)
            path = {id(parameter) for parameter in supernet.path_parameters()}
            loss = _every_output(supernet(self.make_input(self.space)))
            if loss.requires_grad:
                loss.backward()  # type: ignore[no-untyped-call]
            for name, parameter in supernet.named_parameters():
                assert parameter.grad is None or id(parameter) in path, (
                    f"{name} has a gradient, although the path does not use it"
                )
                if parameter.grad is not None:
                    reached.add(name)
                elif id(parameter) in path and parameter.requires_grad:
                    untrained.add(name)

        for architecture in self.samples():
            run(architecture)
        # In some networks nothing leads from a layer to the output, as in a cell without an edge.
        rng, parameters = np.random.default_rng(1), dict(supernet.named_parameters())
        for _ in range(200):
            if not (left := untrained - reached):
                return
            supernet.set_path(architecture := self.space.sample(rng))
            path = {id(parameter) for parameter in supernet.path_parameters()}
            if any(id(parameters[name]) in path for name in left):
                run(architecture)
        never = sorted(untrained - reached)
        assert not never, f"{never[0]} never has a gradient, although paths use it"

    def test_counted_costs_are_those_of_the_built_network(self) -> None:
        """The tables' costs are what the network has and does: the sum over choices is exact."""
        costs = count_costs(self.space)
        for architecture in self.samples():
            counted = count_architecture(self.space, architecture)
            assert {n: table.cost(architecture) for n, table in costs.items()} == {
                name: counted[name] for name in costs
            }


class StrategyContract:
    """What every strategy promises.

    Attributes:
        deterministic: Whether the strategy searches alike with every seed.

    Example:
        >>> from ddpnas.strategies import create_strategy
        >>> class TestRandom(StrategyContract):
        ...     def make_strategy(self, space, seed):
        ...         return create_strategy("random", space, seed=seed, evaluations=20)
        >>> TestRandom().test_it_ends_after_the_evaluations_that_it_announced()  # or by pytest
    """

    deterministic: ClassVar[bool] = False

    def make_strategy(self, space: DecisionSpace, seed: int) -> Strategy:
        """Return a new strategy over the space.

        Args:
            space: Decisions to search over.
            seed: Seed for all its randomness.
        """
        raise NotImplementedError

    def spaces(self) -> list[DecisionSpace]:
        """Return the spaces to run on: the toy, uneven decisions, widths, one that is decided."""
        uneven = DecisionSpace(
            [
                Decision("depth", ("one", "two")),
                Decision("first", ("a", "b", "c", "d")),
                Decision("second", ("a", "b", "c"), active_when=(("depth", "two"),)),
                Decision("fixed", ("only",)),
            ]
        )
        stem, stage = (8, 16, 24, 32), (24, 32, 64)
        widths = DecisionSpace(
            [
                Decision("stem", tuple(map(str, stem)), values=stem),
                Decision("stage", tuple(map(str, stage)), values=stage),
                Decision("block", ("conv", "skip")),
            ]
        )
        decided = DecisionSpace([Decision("fixed", ("only",)), Decision("other", ("one",))])
        return [create_space("toy"), uneven, widths, decided]

    def test_it_ends_after_the_evaluations_that_it_announced(self) -> None:
        """``evaluations`` is exact, known before the first is made, and at least 1."""
        for space in self.spaces():
            strategy = self.make_strategy(space, 0)
            announced = strategy.evaluations
            assert len(_run(strategy, space)) == announced == strategy.evaluations >= 1

    def test_it_asks_for_architectures_of_the_space(self) -> None:
        """What is asked and what is recommended belongs to the space."""
        for space in self.spaces():
            strategy = self.make_strategy(space, 0)
            for architecture, _ in _run(strategy, space):
                assert space.check(architecture) == architecture
            assert space.check(strategy.architecture) == strategy.architecture

    def test_it_asks_the_same_until_it_is_told(self) -> None:
        """``ask`` twice is ``ask`` once, so an interrupted search can continue."""
        for space in self.spaces():
            strategy = self.make_strategy(space, 0)
            assert strategy.ask() == strategy.ask()

    def test_the_same_seed_gives_the_same_search(self) -> None:
        """Everything random comes from the seed."""
        for space in self.spaces():
            runs = [_run(self.make_strategy(space, 7), space) for _ in range(2)]
            assert runs[0] == runs[1]

    def test_other_seeds_give_other_searches(self) -> None:
        """Of eight seeds two search differently, unless the strategy is ``deterministic``."""
        if self.deterministic:
            return
        space = DecisionSpace([Decision(f"d{i}", tuple("abcde")) for i in range(3)])
        first, *others = (_run(self.make_strategy(space, seed), space) for seed in range(8))
        assert any(run != first for run in others), (
            "eight seeds give the same search; set deterministic = True if that is meant"
        )

    def test_its_state_restores_exactly_from_json(self) -> None:
        """Loaded before and after every batch into a new one, it goes on like the unbroken one."""
        for space in self.spaces():
            unbroken, strategy = self.make_strategy(space, 3), self.make_strategy(space, 3)
            while not unbroken.done:
                batch = unbroken.ask()
                for asked in (False, True):
                    before, strategy = strategy, self.make_strategy(space, 3)
                    if asked:
                        before.ask()
                    hand_over(before, strategy)
                assert strategy.ask() == batch, "restored from its state, it asks for others"
                for each in (unbroken, strategy):
                    tell_batch(each, space)
            assert strategy.done
            assert strategy.architecture == unbroken.architecture
            assert strategy.distribution.to_dict() == unbroken.distribution.to_dict()

    def test_its_distribution_is_one(self) -> None:
        """Theta is a probability for each option of each decision, throughout."""
        for space in self.spaces():
            strategy = self.make_strategy(space, 0)
            _check_distribution(strategy, space)
            while not strategy.done:
                tell_batch(strategy, space)
                _check_distribution(strategy, space)

    def test_scores_that_are_nan_count_as_bad(self) -> None:
        """A third of the scores is NaN; theta stays a probability and the state JSON."""
        for space in self.spaces():
            strategy = self.make_strategy(space, 1)
            while not strategy.done:
                tell_batch(strategy, space, _sometimes_nan)
                _check_distribution(strategy, space)
            json.dumps(strategy.state_dict(), allow_nan=False)

    def test_scores_that_say_nothing_still_give_an_architecture(self) -> None:
        """All scores are equal, or all are NaN."""
        for space in self.spaces():
            for value in (0.5, math.nan):
                strategy = self.make_strategy(space, 2)
                while not strategy.done:
                    tell_batch(strategy, space, lambda _, value=value: value)  # type: ignore[misc]
                assert space.check(strategy.architecture) == strategy.architecture
                _check_distribution(strategy, space)

    def test_higher_scores_are_better(self) -> None:
        """It recommends better architectures than with inverted scores, over four seeds."""
        space = DecisionSpace([Decision(f"d{i}", tuple("abcde")) for i in range(6)])

        def quality(architecture: Architecture) -> float:
            return sum(space.encode(architecture)) / 24

        means = []
        for sign in (0.4, -0.4):
            found = []
            for seed in range(4):
                strategy = self.make_strategy(space, seed)
                while not strategy.done:
                    tell_batch(strategy, space, lambda a, sign=sign: 0.5 + sign * quality(a))  # type: ignore[misc]
                found.append(quality(strategy.architecture))
            means.append(sum(found) / len(found))
        assert means[0] > means[1] + 0.1, f"quality {means[0]:.2f}, inverted {means[1]:.2f}"

    def test_rules_of_the_search_are_obeyed_or_refused(self) -> None:
        """All that is asked obeys them, to the end, unless the strategy declines such spaces."""
        decisions = [Decision(f"block{i}", ("skip", "a", "b", "c")) for i in range(6)]
        blocks = {(d.name, option): 1.0 for d in decisions for option in "abc"}
        space = DecisionSpace(decisions, [Rule(blocks, says="at most three blocks", upper=3.0)])
        try:
            strategy = self.make_strategy(space, 0)
        except DdpnasError:
            return
        scored = _run(strategy, space)
        for architecture, _ in scored:
            assert space.check(architecture) == architecture
        assert len(scored) == strategy.evaluations
        distribution = strategy.distribution
        if distribution.max_survivors == 1:
            assert space.check(distribution.mode()) == strategy.architecture

    def test_rules_of_final_networks_are_obeyed_or_refused(self) -> None:
        """What is recommended obeys every rule, unless the strategy declines such spaces."""
        toy = create_space("toy")
        convolutions = {(d.name, o): 1.0 for d in toy.decisions for o in d.options if o != "skip"}
        rule = Rule(convolutions, says="at most two convolutions", upper=2.0, final=True)
        space = DecisionSpace(toy.decisions, [rule])
        try:
            strategy = self.make_strategy(space, 0)
        except DdpnasError:
            return
        _run(strategy, space)
        assert rule.holds(strategy.architecture)


class EvaluatorContract:
    """What every evaluator promises."""

    def make_evaluator(self, space: SearchSpace, data: Data, seed: int) -> Evaluator:
        """Return a new evaluator."""
        raise NotImplementedError

    def make_space(self) -> SearchSpace:
        """Return the space to score architectures of; its inputs and classes are the data's."""
        return create_space("toy", num_classes=2, input_shape=(1, 8, 8))

    def make_data(self) -> Data:
        """Return the data: by default 48 images of noise, brighter in one of two classes."""
        generator = torch.Generator().manual_seed(0)
        labels = torch.arange(48) % 2
        pixels = torch.randint(0, 128, (48, 1, 8, 8), generator=generator)
        images = (pixels + 96 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
        return make_data((images, labels), name="noise", flip=False)

    def make_batch(self, space: SearchSpace) -> list[Architecture]:
        """Return the architectures that are scored, the same in every test."""
        rng = np.random.default_rng(0)
        return list(dict.fromkeys(space.sample(rng) for _ in range(5)))

    def test_every_architecture_gets_a_score_in_order(self) -> None:
        """One evaluation an architecture; its details are numbers."""
        space, data = self.make_space(), self.make_data()
        batch = self.make_batch(space)
        found = list(self.make_evaluator(space, data, 0).evaluate(batch))
        assert len(found) == len(batch), f"{len(batch)} were asked, {len(found)} came"
        for evaluation in found:
            numbers = [evaluation.score, *evaluation.details.values()]
            assert all(isinstance(number, (int, float)) for number in numbers)

    def test_the_same_seed_gives_the_same_scores(self) -> None:
        """Everything random comes from the seed, and the global random state is left alone."""
        space, data = self.make_space(), self.make_data()
        batch, found = self.make_batch(space), []
        for other in (1, 2):
            torch.manual_seed(other)
            expected = torch.rand(1)
            torch.manual_seed(other)
            found.append(_scores(self.make_evaluator(space, data, 7).evaluate(batch)))
            assert torch.equal(torch.rand(1), expected), "the global random state was changed"
        assert found[0] == found[1]

    def test_scoring_again_changes_nothing_and_depends_on_the_architecture_alone(self) -> None:
        """Asked twice, alone or in company, an architecture has the same score afterwards."""
        space, data = self.make_space(), self.make_data()
        batch = self.make_batch(space)
        evaluator = self.make_evaluator(space, data, 0)
        list(evaluator.evaluate(batch))
        try:
            together = _scores(evaluator.rescore(batch))
        except OptionError:
            return  # nothing is left to judge by
        again = _scores(evaluator.rescore(batch))
        assert again == together, "a score is another one when asked for again"
        backwards = _scores(evaluator.rescore(batch[::-1]))[::-1]
        assert backwards == together, "a score depends on its place among others"
        alone = [evaluator.rescore([architecture])[0].score for architecture in batch]
        assert alone == together, "a score depends on what else is scored"

    def test_its_state_restores_in_the_middle_of_a_batch(self) -> None:
        """A fresh evaluator with the state goes on as the unbroken one, from every checkpoint."""
        space, data = self.make_space(), self.make_data()
        batch = self.make_batch(space)
        unbroken = self.make_evaluator(space, data, 3)
        whole = _scores(unbroken.evaluate(batch))
        for done in range(len(batch)):
            first, scores = self.make_evaluator(space, data, 3), []
            asked = first.evaluate(batch)
            scores = [next(asked).score for _ in range(done)]
            second = self._restored(first, space, data)
            scores += _scores(second.evaluate(batch[done:]))
            assert scores == whole, f"interrupted after {done} scores it goes on otherwise"

    def test_its_state_restores_while_it_prepares(self) -> None:
        """Interrupted after any part of what precedes the scores, it does the rest."""
        space, data = self.make_space(), self.make_data()
        batch = self.make_batch(space)
        evaluator = self.make_evaluator(space, data, 3)
        parts = len(list(evaluator.prepare(batch)))
        assert list(evaluator.prepare(batch)) == [], "what is prepared is prepared again"
        whole = _scores(evaluator.evaluate(batch))
        for part in (i for i in {0, parts // 2, parts - 1} if 0 <= i < parts):
            first = self.make_evaluator(space, data, 3)
            preparing = first.prepare(batch)
            for _ in range(part + 1):
                next(preparing)
            second = self._restored(first, space, data)
            assert len(list(second.prepare(batch))) == parts - part - 1
            assert _scores(second.evaluate(batch)) == whole

    def _restored(self, evaluator: Evaluator, space: SearchSpace, data: Data) -> Evaluator:
        """Return a fresh evaluator with the state of this one, taken through JSON."""
        tensors, plain = evaluator.state_dict()
        copies = {name: tensor.clone() for name, tensor in tensors.items()}
        fresh = self.make_evaluator(space, data, 3)
        fresh.load_state_dict(copies, json.loads(json.dumps(plain)))
        return fresh

    def test_its_identity_is_plain_data(self) -> None:
        """What scores depend on is the same for equal evaluators, and survives JSON."""
        space, data = self.make_space(), self.make_data()
        one, other = (self.make_evaluator(space, data, 0).identity() for _ in range(2))
        assert json.loads(json.dumps(one)) == one == other

    def test_it_serves_a_strategy_or_says_why_not(self) -> None:
        """``requires`` returns, or raises an error of this package."""
        space, data = self.make_space(), self.make_data()
        strategy = create_strategy("random", space, evaluations=3)
        with contextlib.suppress(DdpnasError):
            self.make_evaluator(space, data, 0).requires(strategy)


def _scores(found: Iterable[Evaluation]) -> list[float]:
    return [evaluation.score for evaluation in found]


def _run(strategy: Strategy, space: DecisionSpace) -> list[tuple[Architecture, float]]:
    """Run a strategy to its end; return what was scored."""
    scored: list[tuple[Architecture, float]] = []
    while not strategy.done:
        scored += tell_batch(strategy, space)
        assert len(scored) <= strategy.evaluations, "more evaluations than were announced"
    return scored


def _sometimes_nan(architecture: Architecture) -> float:
    score = made_up_score(architecture)
    return math.nan if score < 1 / 3 else score


def _check_distribution(strategy: Strategy, space: DecisionSpace) -> None:
    for decision in space.decisions:
        row = strategy.distribution.theta[decision.name]
        assert len(row) == len(decision.options)
        assert (row >= 0).all() and math.isclose(row.sum(), 1.0, abs_tol=1e-9)


def _disturb(network: nn.Module) -> None:
    """Change all weights a bit: branches that begin with weights of 0 would be equal."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))


def _every_output(output: Any) -> Tensor:
    """Return a loss of all outputs of a network, auxiliary ones as well."""
    tensors = output if isinstance(output, tuple) else (output,)
    return torch.stack([t.square().sum() for t in tensors if isinstance(t, Tensor)]).sum()


def _output(output: Any) -> Tensor:
    """Return the output of a network, the first where it has auxiliary ones."""
    first = main_output(output)
    assert isinstance(first, Tensor), f"the network gives {type(first).__name__}, not a tensor"
    return first
