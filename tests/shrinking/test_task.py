"""A shrink with a folder: its estimate, its files, and how it goes on after an interruption."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import ddpnas
from ddpnas.errors import OptionError, RunError
from ddpnas.shrinking import (
    ShrinkTask,
    WidthScores,
    _phases,
    estimate,
    resume_shrink,
    shrink,
    width_scores,
)
from ddpnas.shrinking.plan import ShrinkPlan, ShrinkSettings
from ddpnas.training.networks import find_network
from ddpnas.utils.checksums import with_checksum

from .networks import conv

OPTIONS = {"epochs": 2, "candidates": 3, "divisor": 4, "fractions": (0.5, 1.0), "device": "cpu"}


def network(classes=3):
    layers = [conv(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 8, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))


@pytest.fixture(scope="module")
def given():
    torch.manual_seed(0)
    return network()


@pytest.fixture(scope="module")
def unbroken(given, stripes, tmp_path_factory):
    """Return what the shrink gave, its folder, and the lines that it told."""
    told = []
    folder = tmp_path_factory.mktemp("unbroken") / "small"
    options = {**OPTIONS, "head_epochs": 1, "out": folder}
    return shrink(given, stripes, {"macs": "60%"}, **options, on_progress=told.append), told


class Killed(BaseException):
    pass


def killed_at(number):
    def tell(line, told=[]):  # noqa: B006
        told.append(line)
        if len(told) == number:
            raise Killed

    return tell


def left(folder):
    scores = sorted((folder / "scores.jsonl").read_text().splitlines())
    return (folder / "trained" / "model.safetensors").read_bytes(), scores


@pytest.mark.parametrize(
    "phase",
    [
        "with 4 channels",
        "found widths: epoch 1",
        *(
            pytest.param(phase, marks=pytest.mark.slow)
            for phase in (
                "head: epoch",
                "head: ",
                "sensitivity",
                "candidates",
                "random",
                "net.onnx",
            )
        ),
    ],
)
def test_interrupted_in_any_phase_it_ends_as_the_unbroken_one(
    unbroken, given, stripes, tmp_path, phase
):
    whole, told = unbroken
    at = next(number for number, line in enumerate(told, 1) if phase in line)
    options = {**OPTIONS, "head_epochs": 1, "out": tmp_path / "it"}
    with pytest.raises(Killed):
        shrink(given, stripes, {"macs": "60%"}, **options, on_progress=killed_at(at))
    resumed = resume_shrink(tmp_path / "it", model=given, data=stripes)
    assert left(tmp_path / "it") == left(whole.folder)
    assert resumed.accuracies == whole.accuracies
    assert resumed.architecture == whole.architecture


def test_nothing_is_measured_or_trained_twice(unbroken, given, stripes, tmp_path, monkeypatch):
    def fail(*args, **options):
        raise AssertionError("this was done before")

    whole, _ = unbroken
    for name in ("train", "recalibrate"):
        monkeypatch.setattr(_phases, name, fail)
    shutil.copytree(whole.folder, tmp_path / "copy")
    lines = (tmp_path / "copy" / "scores.jsonl").read_bytes()
    (tmp_path / "copy" / "scores.jsonl").write_bytes(lines + b'{"kind": "wid')  # a torn line
    again = resume_shrink(tmp_path / "copy", model=given, data=stripes)
    assert (tmp_path / "copy" / "scores.jsonl").read_bytes() == lines
    assert again.accuracies == whole.accuracies
    torch.testing.assert_close(again.model.state_dict(), whole.model.state_dict())


def test_other_limits_need_neither_network_nor_scores(unbroken):
    whole, _ = unbroken
    scores = WidthScores.read(whole.folder)
    for share in (0.9, 0.6, 0.4):
        [found] = scores.generate({"macs": f"{100 * share:g}%"})
        assert found.costs["macs"] <= share * scores.whole["macs"]
    best = -min(c.predicted for c in whole.candidates)
    assert scores.generate(whole.limits)[0].certificate.objective == pytest.approx(best)
    assert [one.costs for one in scores.frontier()] == [one.costs for one in whole.frontier]


def test_the_folder_of_a_model_object_is_loaded_with_it_or_as_a_program(unbroken, stripes):
    whole, _ = unbroken
    loaded = ddpnas.load(whole.folder, model=network())
    inputs = torch.randn(5, 1, 8, 8)
    expected = whole.model(inputs).detach()
    torch.testing.assert_close(loaded.network(inputs), expected)
    program = torch.export.load(whole.folder / "program.pt2").module()
    torch.testing.assert_close(program(inputs), expected)
    plan = json.loads((whole.folder / "shrink.json").read_text())
    assert plan["network"] is None
    assert [*plan["phases"]] == ["head", "sensitivity", "candidates", "fine-tuning", "writing"]


def test_the_exported_file_has_the_costs_of_the_smaller_network(unbroken, stripes):
    import onnx

    whole, _ = unbroken
    kept = {p.key: p.value for p in onnx.load(whole.folder / "net.onnx").metadata_props}
    counted = ddpnas.count_network(whole.model, stripes.input_shape)
    assert int(kept["macs"]) == counted["macs"]
    assert int(kept["params"]) <= counted["params"]  # BatchNorm is part of the convolutions


def test_controls_have_the_multiply_adds_of_the_found_network(unbroken):
    found, uniform, random = unbroken[0].networks
    for control in (uniform, random):
        assert 0.9 * found.costs["macs"] <= control.costs["macs"] <= found.costs["macs"]


def test_an_estimate_counts_what_is_done_and_the_checkpoint_of_each_epoch(
    given, stripes, monkeypatch
):
    monkeypatch.setattr(
        estimate, "seconds_an_image", lambda *args, training: 0.0
    )  # an endless speed

    def phases(**options):
        settings = ShrinkSettings(**{**OPTIONS, **options})
        task = ShrinkTask.plan(given, stripes, {"macs": "60%"}, settings, writes=False)
        return task.followed.phases

    few, many = phases(epochs=2), phases(epochs=200)
    assert 0 < few["fine-tuning"] < many["fine-tuning"] / 50
    # There are four networks, so that 50 of them cannot be scored.
    assert phases(candidates=4)["candidates"] == phases(candidates=50)["candidates"]


def test_too_few_minutes_are_refused_with_a_size_that_fits(given, stripes, tmp_path):
    with pytest.raises(OptionError, match=r"more than the 1e-05 of --minutes; give --minutes \d"):
        shrink(given, stripes, {"macs": "60%"}, **OPTIONS, minutes=1e-5, out=tmp_path / "small")
    assert not (tmp_path / "small").exists()


def test_short_minutes_get_a_shorter_fine_tuning(given, stripes, monkeypatch, caplog):
    monkeypatch.setattr(estimate, "seconds_an_image", lambda *args, training: 1e-3)

    def planned(minutes, **options):
        settings = ShrinkSettings(minutes=minutes, divisor=4, device="cpu", **options)
        return ShrinkTask.plan(given, stripes, {"macs": "60%"}, settings, writes=False)

    def minutes_of(task):
        return sum(task.followed.phases.values()) / 60

    usual = planned(1000)
    assert not caplog.records
    least = planned(1e-3)
    assert least.followed.settings.epochs == 3
    with pytest.raises(OptionError, match="more than the 0.001 of --minutes"):
        least.check_minutes()
    between = (minutes_of(least) + minutes_of(usual)) / 2
    shorter = planned(between)
    shorter.check_minutes()
    epochs = shorter.followed.settings.epochs
    assert 3 < epochs < usual.followed.settings.epochs
    assert f"fine-tuning gets {epochs} epochs instead of" in caplog.text
    with pytest.raises(OptionError, match="give --minutes"):  # one more does not fit
        planned(0.89 * between, epochs=epochs + 1).check_minutes()


def seconds_by_pixels(model, shape, device, *, training):
    """Return a speed that does not depend on the machine; each image takes a while anyhow."""
    return (1 + 2 * training) * (2e-3 + 1e-6 * shape[-1] ** 2)


@pytest.mark.parametrize(
    ("minutes", "limit", "advised"),
    [
        (15, "60%", {"minutes", "image-size", "limit-train-images"}),
        (6, "60%", {"minutes", "image-size", "limit-train-images"}),
        (15, "6M", {"minutes", "limit-train-images"}),  # smaller images are within that already
        (0.5, "60%", {"minutes"}),  # some things take as long for few images
    ],
)
def test_a_plan_with_each_advice_fits(monkeypatch, minutes, limit, advised):
    monkeypatch.setattr(estimate, "seconds_an_image", seconds_by_pixels)
    settings = ShrinkSettings(candidates=4, divisor=4, epochs=5, minutes=minutes, device="cpu")

    def planned(side=128, images=1200, minutes=minutes):
        inputs = torch.zeros(1200, 1, side, side, dtype=torch.uint8)
        data = ddpnas.make_data((inputs, torch.arange(1200) % 2), limit_train_images=images)
        chosen = dataclasses.replace(settings, minutes=minutes)
        return ShrinkTask.plan(network(2), data, {"macs": limit}, chosen)

    with pytest.raises(OptionError, match="give --minutes") as refused:
        planned().check_minutes()
    found = dict(re.findall(r"(?:give|or) --([a-z-]+) (\d+)", str(refused.value)))
    assert {*found} == advised
    planned(minutes=int(found["minutes"])).check_minutes()
    if "image-size" in found:
        planned(side=int(found["image-size"])).check_minutes()
    if "limit-train-images" in found:
        planned(images=int(found["limit-train-images"])).check_minutes()


def test_a_frontier_that_cannot_be_listed_costs_no_more_than_its_figure(
    given, stripes, tmp_path, monkeypatch
):
    def too_many(*args, **options):
        raise OptionError("no frontier: too many architectures would have to be kept")

    monkeypatch.setattr(width_scores, "frontier", too_many)
    options, told = {**OPTIONS, "epochs": 1, "controls": (), "out": tmp_path / "small"}, []
    found = shrink(given, stripes, {"macs": "60%"}, **options, on_progress=told.append)
    assert found.frontier == [] and len(found.networks) == 1
    assert "no frontier: too many architectures would have to be kept" in told
    page = ddpnas.write_report(found.folder).read_text()
    assert "There is no frontier: too many architectures would have to be kept." in page
    assert "Loss by multiply-adds" not in page and "Groups of channels" in page


def test_what_does_not_fit_the_folder_is_refused(unbroken, given, stripes, tmp_path):
    folder = unbroken[0].folder
    with pytest.raises(RunError, match="holds a shrink; go on with `ddpnas resume"):
        shrink(given, stripes, {"macs": "60%"}, **OPTIONS, out=folder)
    with pytest.raises(RunError, match="came from a Python program; give it again"):
        resume_shrink(folder, data=stripes)
    with pytest.raises(RunError, match="the network of .* changed"):
        resume_shrink(folder, model=network(), data=stripes)
    with pytest.raises(RunError, match="data of .* came from Python objects"):
        resume_shrink(folder, model=given)
    (tmp_path / "other").mkdir()
    with pytest.raises(RunError, match="is not the folder of a shrink"):
        WidthScores.read(tmp_path / "other")


@pytest.mark.parametrize(("was", "now"), [(r'"0": "\d+"', '"0": "5"'), ('"given"', '"other"')])
def test_scores_of_other_networks_are_refused_in_a_sentence(unbroken, tmp_path, was, now):
    folder = shutil.copytree(unbroken[0].folder, tmp_path / "my copy")
    text = (folder / "scores.jsonl").read_text()
    lines = [with_checksum(json.loads(one)) for one in re.sub(was, now, text).splitlines()]
    (folder / "scores.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in lines))
    with pytest.raises(RunError, match=r"cannot use .*scores.jsonl"):
        ddpnas.write_report(folder)
    (folder / "scores.jsonl").write_text(text)
    assert "&#39;my" in ddpnas.write_report(folder).read_text()  # a command's name with a space


@pytest.mark.parametrize(
    ("name", "was", "advice"),
    [
        ("shrink.json", r'"seed": 0', "start again with another --out"),
        ("costs.json", r'"channels": 8', "counts the costs again"),
        ("scores.jsonl", r'"value": 0', "remove that line, and resume measures it again"),
    ],
)
def test_a_digit_that_changed_is_noticed(unbroken, given, stripes, tmp_path, name, was, advice):
    folder = shutil.copytree(unbroken[0].folder, tmp_path / "copy")
    text = (folder / name).read_text()
    changed, number = re.subn(was, lambda found: found[0][:-1] + "9", text, count=1)
    (folder / name).write_text(changed)
    assert number == 1
    with pytest.raises(RunError, match=f"{name} is not what was written .*{advice}"):
        resume_shrink(folder, model=given, data=stripes)
    with pytest.raises(RunError, match=f"{name} is not what was written"):
        ddpnas.write_report(folder)


def test_a_line_of_scores_that_was_removed_is_measured_again(unbroken, given, stripes, tmp_path):
    whole, _ = unbroken
    folder = shutil.copytree(whole.folder, tmp_path / "copy")
    first, *rest = (folder / "scores.jsonl").read_text().splitlines(keepends=True)
    (folder / "scores.jsonl").write_text("".join(rest))
    again = resume_shrink(folder, model=given, data=stripes)
    assert (folder / "scores.jsonl").read_text() == "".join([*rest, first])
    assert again.accuracies == whole.accuracies


def test_a_shrink_goes_on_from_another_folder_with_its_file_of_weights(
    given, stripes, tmp_path, monkeypatch
):
    shutil.copy(Path(__file__).parent / "tiny_network.py", tmp_path / "net.py")
    torch.save(find_network(f"{tmp_path / 'net.py'}:network").build(3, (1, 8, 8)).state_dict(),
               tmp_path / "net.pth")  # fmt: skip
    monkeypatch.chdir(tmp_path)
    opened = ddpnas.open_network("net.py:network", input_shape=(1, 8, 8), weights="net.pth")
    settings = ShrinkSettings(device="cpu")
    task = ShrinkTask.plan(
        opened.model, stripes, {"macs": "60%"}, settings, named=opened.named, weights="net.pth"
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    name = f"{tmp_path / 'net.py'}:network"
    again = ShrinkTask.reopened(tmp_path / "small", task.followed, name, stripes)
    torch.testing.assert_close(again.space.model.state_dict(), opened.model.state_dict())


def test_images_that_a_plan_cannot_mean_are_refused_in_a_sentence(tmp_path):
    kept = ShrinkPlan(ShrinkSettings(), {}, {}, "", "", data={"data": "x", "strange": 1})
    (tmp_path / "shrink.json").write_text(json.dumps(with_checksum(kept.to_dict())))
    with pytest.raises(RunError, match="shrink.json.*strange"):
        resume_shrink(tmp_path)


def test_a_measured_cost_that_may_be_above_its_limit_is_not_met(given, stripes):
    space = ddpnas.shrinkable(given, (1, 8, 8), divisor=4, fractions=(0.5, 1.0))
    terms = {((d.name, d.options[-1]),): 2.0 for d in space.decisions}
    about = {"check": {"p95_percent": 5.0}}
    table = ddpnas.CostTable("latency_ms", "ms", 1.0, terms, about)
    whole = table.cost({d.name: d.options[-1] for d in space.decisions})
    options = {**OPTIONS, "epochs": 1, "controls": ("uniform",), "costs": [table]}
    found = shrink(given, stripes, {"latency_ms": 1.02 * whole}, **options)
    assert found.costs["latency_ms"] <= 0.95 * 1.02 * whole
    assert all(one.costs["latency_ms"] <= 0.95 * 1.02 * whole for one in found.networks)
    met = shrink(given, stripes, {"latency_ms": 1.06 * whole}, **options)
    assert met.networks == ()


def test_a_measured_cost_is_a_limit_too_also_after_an_interruption(given, stripes, tmp_path):
    space = ddpnas.shrinkable(given, (1, 8, 8), divisor=4, fractions=(0.5, 1.0))
    terms = {((d.name, d.options[-1]),): 2.0 for d in space.decisions}
    ddpnas.CostTable("latency_ms", "ms", 1.0, terms).save(tmp_path / "latency.json")
    options = {**OPTIONS, "epochs": 1, "controls": (), "costs": [tmp_path / "latency.json"]}
    folder = tmp_path / "small"
    with pytest.raises(Killed):
        shrink(given, stripes, {"latency_ms": 3}, **options, out=folder, on_progress=killed_at(2))
    without = shutil.copytree(folder, tmp_path / "without")
    (without / "costs.json").unlink()
    with pytest.raises(RunError, match=r"holds no costs.json, in which the table of latency_ms"):
        resume_shrink(without, model=given, data=stripes)
    found = resume_shrink(folder, model=given, data=stripes)
    assert found.costs["latency_ms"] <= 3 and found.limits["latency_ms"].upper == 3
    assert WidthScores.read(folder).generate({"latency_ms": "20%"})[0].costs["latency_ms"] == 1
