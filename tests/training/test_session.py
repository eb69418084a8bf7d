"""A training that was killed goes on to the weights it would have had; the best epoch is kept."""

import pytest
import torch

import ddpnas
from ddpnas import Recipe
from ddpnas.errors import RunError
from ddpnas.training.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint

ARCHITECTURE = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|skip_connect~2|"
PLAIN = Recipe(epochs=4, batch_size=16)
EVERYTHING = Recipe(
    epochs=4, batch_size=16, optimizer="rmsproptf", lr=0.01, decay_all=False, schedule="step",
    crop="resized", policy="trivial", cutout=3, erase=0.5, mixup=0.2, cutmix=1.0, keep_best=True,
)  # fmt: skip
ADAM = Recipe(epochs=3, batch_size=32, optimizer="adamw", lr=0.01, ema=0, patience=3)


class KilledError(Exception):
    pass


def trained(
    small_space, data, recipe, folder=None, *, kill_after=None, text=ARCHITECTURE, **options
):
    torch.manual_seed(0)
    network = small_space.build(small_space.parse(text))

    def on_epoch(record):
        if record["epoch"] == kill_after:
            raise KilledError

    return ddpnas.train(
        network, data, recipe, device="cpu", folder=folder, on_epoch=on_epoch, **options
    )  # fmt: skip


def without_seconds(history):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in history]


@pytest.mark.parametrize("recipe", [PLAIN, EVERYTHING, ADAM], ids=["plain", "everything", "adam"])
@pytest.mark.parametrize("kill_after", [1, 2])
def test_a_killed_training_ends_with_the_weights_of_the_unbroken_one(
    small_space, stripes, tmp_path, recipe, kill_after
):
    unbroken = trained(small_space, stripes, recipe)
    with pytest.raises(KilledError):
        trained(small_space, stripes, recipe, tmp_path, kill_after=kill_after)
    torch.rand(3)  # whatever else was drawn meanwhile
    resumed = trained(small_space, stripes, recipe, tmp_path, resume=True)
    assert without_seconds(resumed.history) == without_seconds(unbroken.history)
    for name, value in unbroken.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name
    assert resumed.evaluation.confusion == unbroken.evaluation.confusion
    again = trained(small_space, stripes, recipe, tmp_path, resume=True)  # was finished
    assert again.to_dict() == resumed.to_dict() and (again.last is None) == (resumed.last is None)
    for name, value in unbroken.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value), name


def test_resuming_before_the_first_checkpoint_is_starting(small_space, stripes, tmp_path):
    result = trained(small_space, stripes, Recipe(epochs=1, batch_size=48), tmp_path, resume=True)
    assert len(result.history) == 1


def test_another_training_does_not_go_on_from_the_checkpoint(small_space, stripes, tmp_path):
    with pytest.raises(KilledError):
        trained(small_space, stripes, PLAIN, tmp_path, kill_after=1)
    for changes, says in [
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"recipe": Recipe(epochs=5, batch_size=16)}, "recipe epochs was 4 and is 5"),
        ({"mixed_precision": "bf16"}, 'mixed precision was "no" and is "bf16"'),
        ({"text": ARCHITECTURE.replace("skip_connect~1", "avg_pool_3x3~1")}, "network was "),
    ]:
        with pytest.raises(RunError, match=says):
            recipe = changes.pop("recipe", PLAIN)
            trained(small_space, stripes, recipe, tmp_path, resume=True, **changes)
    (tmp_path / CHECKPOINT).write_bytes(b"\x80nonsense")
    with pytest.raises(RunError, match="is damaged"):
        trained(small_space, stripes, PLAIN, tmp_path, resume=True)


def test_the_best_epoch_is_kept_and_the_last_beside_it(small_space, stripes, tmp_path):
    recipe = Recipe(epochs=6, batch_size=16, lr=0.6, keep_best=True, ema=0)
    seen = []
    torch.manual_seed(0)
    network = small_space.build(small_space.parse(ARCHITECTURE))

    def on_epoch(record):
        seen.append({k: v.clone() for k, v in network.state_dict().items()})
        if record["epoch"] == 5:  # and the last one has too low a learning rate to make it good
            with torch.no_grad():
                [*network.parameters()][-2].neg_()

    result = ddpnas.train(
        network, stripes, recipe, device="cpu", folder=tmp_path, on_epoch=on_epoch
    )  # fmt: skip
    scores = [record["valid_accuracy"] for record in result.history]
    best = scores.index(max(scores))
    assert best < 5 and result.last is not None
    for name, value in result.model.state_dict().items():
        assert torch.equal(value, seen[best][name])
        assert torch.equal(result.last[name], seen[-1][name])
    assert result.evaluation.split == "test" and sum(map(sum, result.evaluation.confusion)) == 30


def test_without_progress_the_training_stops_early(small_space, stripes):
    recipe = Recipe(epochs=50, batch_size=96, lr=1e-9, ema=0, patience=2, warmup=0)
    result = trained(small_space, stripes, recipe)
    scores = [record["valid_accuracy"] for record in result.history]
    assert len(scores) < 50 and len(scores) - (scores.index(max(scores)) + 1) == 2


def test_validation_images_are_trained_on_only_where_nothing_else_needs_them(small_space, stripes):
    for recipe, steps in [(Recipe(batch_size=8), 15), (Recipe(batch_size=8, keep_best=True), 12)]:
        torch.manual_seed(0)
        network = small_space.build(small_space.parse(ARCHITECTURE))
        batches = []
        network.register_forward_pre_hook(
            lambda m, x, batches=batches: batches.append(1) if m.training else None
        )
        ddpnas.train(network, stripes, recipe, epochs=1, device="cpu")
        assert len(batches) == steps


def test_mixed_precision_trains_and_leaves_a_plain_network(small_space, stripes):
    recipe = Recipe(epochs=15, batch_size=16, lr=0.3)
    result = trained(small_space, stripes, recipe, mixed_precision="bf16")
    assert result.evaluation.accuracy > 0.7
    assert {p.dtype for p in result.model.parameters()} == {torch.float32}
    assert result.model(torch.zeros(1, 1, 8, 8)).dtype == torch.float32
    assert "forward" not in vars(result.model)


def test_a_folder_has_one_training_at_a_time(small_space, stripes, tmp_path):
    refused = []

    def on_epoch(record):
        with pytest.raises(RunError, match="in use by another process; give another folder"):
            trained(small_space, stripes, PLAIN, tmp_path)
        refused.append(record["epoch"])

    torch.manual_seed(0)
    network = small_space.build(small_space.parse(ARCHITECTURE))
    options = {"device": "cpu", "folder": tmp_path, "on_epoch": on_epoch}
    ddpnas.train(network, stripes, Recipe(epochs=2, batch_size=96), **options)
    assert refused == [1, 2]


def test_a_checkpoint_with_other_tensors_is_refused(small_space, stripes, tmp_path):
    with pytest.raises(KilledError):
        trained(small_space, stripes, PLAIN, tmp_path, kill_after=1)
    path = tmp_path / CHECKPOINT
    tensors, plain = load_checkpoint(path)
    name = next(name for name, tensor in tensors.items() if tensor.ndim == 4)
    save_checkpoint(path, {**tensors, name: tensors[name] * torch.nan}, plain)
    with pytest.raises(RunError, match=f"holds values in '{name}' that are not numbers"):
        trained(small_space, stripes, PLAIN, tmp_path, resume=True)


STRANGE = {
    "a weight": lambda tensors, plain: tensors.update({"model.0.weight": torch.ones(1)}),
    "no weight": lambda tensors, plain: tensors.pop("model.0.weight"),
    "a momentum": lambda tensors, plain: tensors.update({"optimizer.0.momentum_buffer": tensors[
        "optimizer.0.momentum_buffer"][:1].clone()}),
    "steps": lambda tensors, plain: plain.update(steps="many"),
    "no history": lambda tensors, plain: plain.update(history=[]),
    "a list": lambda tensors, plain: plain.update(optimizer=3),
    "halvings": lambda tensors, plain: plain.update(halvings=10**9),
}  # fmt: skip


@pytest.mark.parametrize("change", STRANGE.values(), ids=STRANGE)
def test_a_checkpoint_of_something_else_is_refused_in_a_sentence(
    small_space, stripes, tmp_path, change
):
    with pytest.raises(KilledError):
        trained(small_space, stripes, PLAIN, tmp_path, kill_after=1)
    tensors, plain = load_checkpoint(tmp_path / CHECKPOINT)
    change(tensors, plain)
    save_checkpoint(tmp_path / CHECKPOINT, tensors, plain)
    with pytest.raises(RunError, match=f"cannot use .*{CHECKPOINT}: "):
        trained(small_space, stripes, PLAIN, tmp_path, resume=True)


def test_a_network_that_stays_at_chance_ends_with_a_warning(caplog):
    generator = torch.Generator().manual_seed(0)
    data = ddpnas.make_data((torch.randn(200, 4, generator=generator), torch.arange(200) % 2))
    learns = ddpnas.make_data((torch.eye(2)[torch.arange(200) % 2], torch.arange(200) % 2))
    dead = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU(), torch.nn.Linear(2, 2))
    for parameter in dead.parameters():
        torch.nn.init.zeros_(parameter)
    ddpnas.train(dead, data, epochs=1, device="cpu")
    assert "no better than chance: its loss ends at 0.69" in caplog.text
    caplog.clear()
    ddpnas.train(torch.nn.Linear(2, 2), learns, epochs=3, device="cpu")
    assert "chance" not in caplog.text


class Clock:
    """A second passes with every look at it, or five while the machine is busy."""

    def __init__(self, busy=range(0)):
        self.now, self.looks, self.busy = 0.0, 0, busy

    def __call__(self):
        self.looks += 1
        self.now += 5.0 if self.looks in self.busy else 1.0
        return self.now


def test_a_training_that_takes_too_long_has_fewer_epochs_and_ends_its_schedule(
    small_space, stripes, tmp_path, monkeypatch
):
    monkeypatch.setattr("ddpnas.training.session.time.perf_counter", Clock())
    recipe = Recipe(epochs=20, batch_size=16)
    whole = trained(small_space, stripes, recipe, tmp_path / "whole", seconds=25.5)
    assert [record.get("epochs") for record in whole.history] == [8, 7, None, 6, None, None]
    assert whole.history[-1]["lr"] < 0.2 * max(record["lr"] for record in whole.history)
    with pytest.raises(KilledError):
        trained(small_space, stripes, recipe, tmp_path, kill_after=3, seconds=25.5)
    resumed = trained(small_space, stripes, recipe, tmp_path, resume=True, seconds=25.5)
    assert without_seconds(resumed.history)[:3] == without_seconds(whole.history)[:3]
    assert len(resumed.history) == len(whole.history)  # the time before counts


def test_a_history_repeats_what_the_clock_dropped_and_brought_back(
    small_space, stripes, monkeypatch
):
    clock = Clock(busy=range(4, 6))  # the first epoch is slow: fewer seem to fit than do
    monkeypatch.setattr("ddpnas.training.session.time.perf_counter", clock)
    recipe = Recipe(epochs=20, batch_size=16)
    whole = trained(small_space, stripes, recipe, seconds=40.5)
    assert [record.get("epochs") for record in whole.history] == [3, 7, 10, *[None] * 7]
    alike = trained(small_space, stripes, recipe, shortened={1: 3, 2: 7, 3: 10})
    assert without_seconds(alike.history) == without_seconds(whole.history)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(alike.model.state_dict()[name], value), name


def test_a_machine_that_is_busy_for_a_while_costs_no_epochs(small_space, stripes, monkeypatch):
    clock = Clock(busy=range(16, 23))
    monkeypatch.setattr("ddpnas.training.session.time.perf_counter", clock)
    found = trained(small_space, stripes, Recipe(epochs=20, batch_size=16), seconds=100.0)
    assert clock.now < 100 and len(found.history) == 20


def test_epochs_that_a_slow_start_seemed_to_cost_come_back(small_space, stripes, monkeypatch):
    clock = Clock(busy=range(6))
    monkeypatch.setattr("ddpnas.training.session.time.perf_counter", clock)
    found = trained(small_space, stripes, Recipe(epochs=20, batch_size=16), seconds=100.0)
    assert found.history[0]["epochs"] < 20  # the first epoch took several times as long
    assert clock.now < 100 and len(found.history) == 20


def test_the_average_spans_a_tenth_of_a_shortened_training(small_space, stripes):
    """All steps are alike but for the average, which has forgotten the first epoch at the end."""
    recipe = Recipe(batch_size=16, lr=0.05, schedule="step", decay_epochs=1000, warmup=0)
    planned = trained(small_space, stripes, recipe, epochs=10)
    short = trained(small_space, stripes, recipe, epochs=100, shortened={1: 10})
    for name, value in planned.model.state_dict().items():
        assert torch.allclose(short.model.state_dict()[name], value, atol=1e-3), name


def test_time_enough_changes_nothing(small_space, stripes):
    unhurried = trained(small_space, stripes, PLAIN)
    hurried = trained(small_space, stripes, PLAIN, seconds=1e6)
    assert without_seconds(hurried.history) == without_seconds(unhurried.history)
