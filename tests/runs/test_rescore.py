import numpy as np
import pytest
import torch

import ddpnas
from ddpnas.errors import ArchitectureError, RunError
from ddpnas.runs.folder import RunFolder
from ddpnas.runs.rescore import rescore


@pytest.fixture(scope="module")
def toy():
    """Return the space of four small layers, for the stripes."""
    return ddpnas.create_space("toy", num_classes=3, input_shape=(1, 8, 8))


@pytest.fixture(scope="module")
def run(tmp_path_factory, toy, stripes):
    """Return the folder of a finished search over the stripes."""
    out = tmp_path_factory.mktemp("rescore") / "run"
    ddpnas.search(
        toy, stripes, out=out, device="cpu",
        evaluator_options={"batch_size": 16, "warmup_epochs": 40, "proxy_weight": 0},
        strategy_options={"cycles_per_stage": 2, "draws": 20},
    )  # fmt: skip
    return out


def some(space, n):
    rng = np.random.default_rng(0)
    return [space.sample(rng) for _ in range(n)]


def test_scores_come_in_order_and_repeat(run, toy, stripes):
    candidates = some(toy, 4)
    first = rescore(run, candidates, space=toy, data=stripes, device="cpu")
    again = rescore(run, candidates[::-1], space=toy, data=stripes, device="cpu")
    assert [one.score for one in again[::-1]] == [one.score for one in first]
    assert len({one.score for one in first}) > 1
    count = len(stripes.valid)
    assert all(
        round(one.details["accuracy"] * count) == pytest.approx(one.details["accuracy"] * count)
        for one in first
    )


@pytest.mark.parametrize(
    "settings", [{"proxy_weight": 0}, {"score": "accuracy"}, {"proxy_weight": 1}]
)
def test_scores_are_those_of_the_search_while_its_weights_are_the_same(
    toy, stripes, tmp_path, settings
):
    config = {"batch_size": 16, "warmup_epochs": 2, **settings}
    ddpnas.search(
        toy, stripes, out=tmp_path, device="cpu", seed=3, evaluator_options=config,
        strategy_options={"cycles_per_stage": 1, "draws": 20},
    )  # fmt: skip
    history = ddpnas.SearchResult.load(tmp_path).history
    scored = [ddpnas.Architecture(record["architecture"]) for record in history]
    found = rescore(tmp_path, scored, space=toy, data=stripes, device="cpu")
    assert [one.score for one in found] == [record["score"] for record in history]
    assert [one.details["accuracy"] for one in found] == [record["accuracy"] for record in history]


def test_the_weights_are_those_that_the_search_left(run, toy, stripes, tmp_path):
    # Paths of trained weights are above chance, a third; the same paths untrained are not.
    history = ddpnas.SearchResult.load(run).history
    last = [ddpnas.Architecture(record["architecture"]) for record in history[-6:]]

    def mean(folder):
        found = rescore(folder, last, space=toy, data=stripes, device="cpu")
        return sum(one.details["accuracy"] for one in found) / len(found)

    trained = mean(run)
    assert trained > 0.5
    with torch.random.fork_rng():
        torch.manual_seed(0)
        rest = toy.supernet().state_dict()
    folder = RunFolder.open(run)
    tensors, plain = folder.load_checkpoint()
    folder.close()
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in run.iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    folder = RunFolder.open(copy)
    folder.save_checkpoint({**tensors, **{f"supernet.{k}": v for k, v in rest.items()}}, plain)
    folder.close()
    assert mean(copy) < trained - 0.1


def test_an_unfinished_run_is_refused(run, toy, stripes, tmp_path):
    for name in ("config.yaml", "run.json"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    with pytest.raises(RunError, match="not finished"):
        rescore(tmp_path, some(toy, 1), space=toy, data=stripes)


def test_an_architecture_of_another_space_is_refused(run, toy, stripes):
    other = ddpnas.Architecture({"layer": "conv"})
    with pytest.raises(ArchitectureError, match="layer"):
        rescore(run, [*some(toy, 1), other], space=toy, data=stripes, device="cpu")
