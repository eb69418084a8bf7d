"""Every evaluator keeps the contract; an evaluator that breaks it is found out."""

import zlib

import pytest

from ddpnas.benchmarks import load_table
from ddpnas.errors import ArchitectureError, OptionError, SpaceError
from ddpnas.evaluators import (
    BaseEvaluator,
    Evaluation,
    SupernetConfig,
    SupernetEvaluator,
    TableEvaluator,
    create_evaluator,
    evaluator_options,
    list_evaluators,
)
from ddpnas.testing import EvaluatorContract


def by_hash(architecture):
    return zlib.crc32(repr(sorted(architecture.items())).encode()) / 2**32


class Supernet(EvaluatorContract):
    config = SupernetConfig(warmup_epochs=3, batch_size=8)

    def make_evaluator(self, space, data, seed):
        return SupernetEvaluator(space, data, 5, self.config, seed=seed, device="cpu", scale_from=5)


class TestFair(Supernet):
    pass


class TestPath(Supernet):
    config = SupernetConfig(training="path", batch_size=8)


class TestStandalone(EvaluatorContract):
    def make_evaluator(self, space, data, seed):
        return create_evaluator(
            "standalone", space, data, evaluations=5, seed=seed, device="cpu", epochs=1
        )


class TestContinued(EvaluatorContract):
    def make_evaluator(self, space, data, seed):
        return create_evaluator(
            "continued", space, data, evaluations=5, seed=seed, device="cpu", batch_size=8
        )


class TestTable(EvaluatorContract):
    def make_evaluator(self, space, data, seed):
        return TableEvaluator(by_hash)


def broken(evaluate):
    """Return the contract of an evaluator that scores like this."""

    class Broken(BaseEvaluator):
        asked = 0

    Broken.evaluate = evaluate

    class Contract(EvaluatorContract):
        def make_evaluator(self, space, data, seed):
            return Broken()

    return Contract()


def test_a_score_that_depends_on_the_batch_or_on_time_is_found_out():
    def by_place(self, architectures):
        yield from (Evaluation(float(i)) for i in range(len(architectures)))

    def by_time(self, architectures):
        for _ in architectures:
            self.asked += 1
            yield Evaluation(float(self.asked))

    says = "test_scoring_again_changes_nothing_and_depends_on_the_architecture_alone"
    for evaluate, why in ((by_place, "depends on its place"), (by_time, "when asked for again")):
        with pytest.raises(AssertionError, match=why):
            getattr(broken(evaluate), says)()
    with pytest.raises(AssertionError, match="goes on otherwise"):
        broken(by_time).test_its_state_restores_in_the_middle_of_a_batch()


def test_an_error_while_scoring_again_is_no_refusal():
    contract = broken(lambda self, architectures: (Evaluation(0.5) for _ in architectures))
    evaluator = contract.make_evaluator(None, None, 0)
    says = "test_scoring_again_changes_nothing_and_depends_on_the_architecture_alone"

    def failing(error):
        def rescore(self, architectures):
            raise error

        type(evaluator).rescore = rescore
        getattr(contract, says)()

    failing(OptionError("there is nothing to judge by"))
    with pytest.raises(SpaceError, match="broken"):
        failing(SpaceError("broken"))


def test_the_table_has_the_scores_of_the_benchmark(small_space, stripes):
    table = load_table("nasbench201")
    asked = [small_space.decode((i, 4, 3, 2, 1, 0)) for i in range(5)]
    for options, epochs in (({}, 12), ({"epochs": 200}, 200)):
        one = create_evaluator("table", small_space, stripes, evaluations=5, **options)
        found = [evaluation.score for evaluation in one.evaluate(asked)]
        assert found == [table.query(architecture, epochs).valid for architecture in asked]


def test_a_table_of_other_decisions_or_without_an_architecture_is_refused(small_space, stripes):
    with pytest.raises(SpaceError, match="does not have the decisions of this space"):
        create_evaluator("table", small_space, stripes, evaluations=1, table="nasbench-macro")
    with pytest.raises(ArchitectureError, match="no score for"):
        list(TableEvaluator({}).evaluate([small_space.decode((0,) * 6)]))


def test_a_mapping_of_architectures_gives_scores(small_space):
    asked = [small_space.decode((i,) * 6) for i in range(3)]
    scores = {architecture: 0.1 * i for i, architecture in enumerate(asked)}
    found = list(TableEvaluator(scores).evaluate(asked[::-1]))
    assert [one.score for one in found] == [0.2, 0.1, 0.0]


def test_unknown_names_and_options_are_refused_with_the_nearest(small_space, stripes):
    for name, options, says in (
        ("supernett", {}, "did you mean 'supernet'"),
        ("supernet", {"warmup_epoch": 3}, "did you mean 'warmup_epochs'"),
        (
            "supernet",
            {"warmup_epochs": "many"},
            "from 0 to 100,000, not 'many'",
        ),
        ("standalone", {"epochs": 0}, "from 1 to 100,000, not 0"),
    ):
        with pytest.raises(OptionError, match=says):
            create_evaluator(name, small_space, stripes, evaluations=1, **options)


@pytest.mark.parametrize("name", list_evaluators())
def test_options_are_listed_with_defaults(name):
    known = evaluator_options(name)
    assert known and evaluator_options(name, **known) == known
