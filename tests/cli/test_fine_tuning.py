"""`ddpnas train --start` and `--teacher` as a user types them."""

import json
import logging

import pytest
import timm
import torch
from safetensors.torch import save_file

import ddpnas
from ddpnas.cli import main

from .test_cli import images, refused

NAME = "timm:test_resnet.r160_in1k"
NET = """
from torch import nn

def network(num_classes=5, input_shape=(3, 16, 16)):
    return nn.Sequential(nn.Conv2d(input_shape[0], 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, num_classes))
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return images(tmp_path_factory.mktemp("tuned") / "photos", classes=("cat", "dog"), number=20)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, photos):
    """Return (folder of a network fine-tuned from a file of weights, that file)."""
    root = tmp_path_factory.mktemp("tuned")
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet").state_dict(), root / "weights.safetensors")
    words = ["train", "--start", NAME, "--weights", str(root / "weights.safetensors")]
    words += ["--data", photos, "--image-size", "16", "--epochs", "2", "--device", "cpu"]
    assert main([*words, "--out", str(root / "net")]) == 0
    return root / "net", root / "weights.safetensors"


def test_a_network_is_fine_tuned_and_used(tuned, photos, capsys):
    net, _ = tuned
    about = json.loads((net / "architecture.json").read_text())
    config = timm.get_pretrained_cfg("test_resnet.r160_in1k")
    assert about["network"] == NAME and about["classes"] == ["cat", "dog"]
    assert about["mean"] == list(config.mean) and about["std"] == list(config.std)
    assert about["interpolation"] == config.interpolation
    (kept,) = json.loads((net / "result.json").read_text())["networks"]
    assert kept["name"] == NAME and kept["recipe"]["name"] == "finetune"
    assert kept["costs"]["params"] == sum(
        p.numel() for p in timm.create_model("test_resnet", num_classes=2).parameters()
    )
    assert str(net.parent) not in "".join(f.read_text() for f in net.glob("*.[jmc]*[!s]"))
    card = (net / "README.md").read_text()
    assert f"- fine-tuned from `{NAME}` with the weights in `weights.safetensors`" in card
    assert main(["report", str(net)]) == 0
    page = (net / "report.html").read_text()
    assert f"<span>--start {NAME}</span> <span>--weights weights.safetensors</span>" in page
    assert f"Fine-tuned from {NAME}" in page and "from scratch" not in page
    assert main(["predict", str(net), f"{photos}/cat/0.png", "--device", "cpu", "--json"]) == 0
    assert main(["evaluate", str(net), "--data", photos, "--device", "cpu", "--json"]) == 0
    scored = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert scored["accuracy"] == kept["accuracy"]


def test_what_was_fine_tuned_starts_again_and_teaches(tuned, photos, tmp_path, capsys):
    net, _ = tuned
    words = ["train", "--start", str(net), "--data", photos, "--image-size", "16"]
    words += ["--epochs", "1", "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "again")]) == 0
    said = capsys.readouterr().out
    assert "tensors with their weights" in said and "new last layer" not in said
    student = ["--space", "toy", "--architecture"]
    space = ddpnas.create_space("toy", num_classes=2, input_shape=(3, 16, 16))
    student.append(space.format({d.name: d.options[0] for d in space.decisions}))
    words = ["train", *student, *words[3:], "--teacher", str(net), "--out", str(tmp_path / "small")]
    assert main(words) == 0
    assert ddpnas.load(tmp_path / "small").classes == ("cat", "dog")
    assert "- distilled from `net " in (tmp_path / "small" / "README.md").read_text()
    assert main(["report", str(tmp_path / "small")]) == 0
    assert "<span>--teacher net</span>" in (tmp_path / "small" / "report.html").read_text()


def test_a_network_of_a_users_file_is_named_again(photos, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(NET)
    words = ["train", "--start", f"{tmp_path / 'mine.py'}:network", "--data", photos]
    out = tmp_path / "out"
    assert main([*words, "--epochs", "1", "--device", "cpu", "--out", str(out)]) == 0
    again = f"--network {out}/mine.py:network"
    assert f"next: ddpnas predict {out} {again} IMAGE" in capsys.readouterr().out
    words = ["evaluate", str(out), "--data", photos, "--device", "cpu"]
    assert again in refused(capsys, *words)
    assert main([*words, *again.split()]) == 0


def test_what_cannot_be_started_from_is_one_sentence(photos, tmp_path, capsys, monkeypatch):
    start = ["train", "--start", NAME]
    assert "--start needs images" in refused(capsys, *start)
    for more, says in (
        (["runs/a"], "leave RUN out"),
        (["--random", "2"], "leave --random out"),
        (["--network", "mine.py:network"], "is not the folder of one; leave --network out"),
        (["--space", "mine.py:network"], "is not the folder of one; leave --space out"),
        (["--weights", str(tmp_path / "none.pth")], "there is no file of weights"),
    ):
        assert says in refused(capsys, *start, "--data", photos, *more)
    words = ["train", "--data", photos]
    assert "there is no folder 'resnet18'; give timm:" in refused(
        capsys, *words, "--start", "resnet18"
    )
    for option in ("--weights", "--network"):
        assert f"{option} belongs to --start" in refused(capsys, *words, option, "a.pth")


@pytest.mark.parametrize(
    "words",
    [["train", "--start", NAME, "--data"], ["fit", "--start", NAME], ["shrink", NAME, "--data"]],
)
def test_weights_that_cannot_be_downloaded_are_one_sentence(
    words, photos, tmp_path, capsys, monkeypatch
):
    create = timm.create_model

    def offline(name, pretrained=False, **options):
        if pretrained:
            logging.getLogger("huggingface_hub.utils").warning("Retrying in 1s")
            raise ConnectionError("no route to host " + 20 * "tomorrow ")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    if words[0] == "shrink":
        photos = f"{photos} --limit macs=50%"
    says = refused(capsys, *words, *photos.split(), "--out", str(tmp_path / "out"))
    assert "cannot be downloaded (ConnectionError: no route to host tomorrow" in says
    assert "tomorrow ...); give a file" in says and "Retrying" not in says
    assert "--weights FILE" in says and not (tmp_path / "out").exists()
