"""train, evaluate, predict and recipes as a user types them."""

import json

import pytest
from PIL import Image
from safetensors.torch import load_file

import ddpnas
from ddpnas.cli import _show as show
from ddpnas.cli import main

from .test_cli import SMALL, images, refused

TOY = ["--space", "toy", "--architecture"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Return (words of a training on small photographs, folder of the result)."""
    root = tmp_path_factory.mktemp("toy")
    photos = images(root / "photos", classes=("cat", "dog"), number=20)
    data = ddpnas.load_data(photos)
    space = ddpnas.create_space("toy", num_classes=2, input_shape=data.input_shape)
    text = space.format({d.name: d.options[0] for d in space.decisions})
    words = ["train", *TOY, text, "--data", photos, "--device", "cpu", "--recipe-options.ema", "0"]
    assert main([*words, "--epochs", "6", "--out", str(root / "net")]) == 0
    return words, root / "net", root / "photos"


def test_evaluate_prints_the_test_split_as_the_training_did(capsys, toy):
    _, net, photos = toy
    kept = json.loads((net / "result.json").read_text())["networks"][0]
    capsys.readouterr()
    words = ["evaluate", str(net), "--device", "cpu", "--data", str(photos)]
    assert main([*words, "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert (scored["accuracy"], scored["split"]) == (kept["accuracy"], "test")
    assert scored["confusion"] == kept["confusion"] and scored["classes"] == ["cat", "dog"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert f"accuracy {100 * kept['accuracy']:.2f} % on 8 images" in printed and "as dog" in printed
    assert "no split 'all'" in refused(capsys, *words, "--split", "all")
    assert "does not say where its images (photos) are" in refused(capsys, "evaluate", str(net))
    assert all(str(photos.parent).encode() not in file.read_bytes() for file in net.iterdir())


def test_predict_prints_the_classes_of_images(capsys, toy, tmp_path):
    _, net, photos = toy
    files = [str(photos / "cat" / "0.png"), str(photos / "dog" / "0.png")]
    assert main(["predict", str(net), *files, "--json", "--top", "2", "--device", "cpu"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert [a["image"] for a in answers] == files
    probabilities = ddpnas.load(net).predict(files)
    for answer, row in zip(answers, probabilities):
        assert [c["probability"] for c in answer["classes"]] == sorted(row.tolist(), reverse=True)
        assert {c["class"] for c in answer["classes"]} == {"cat", "dog"}
    assert main(["predict", str(net), files[0], "--device", "cpu"]) == 0
    first = answers[0]["classes"][0]
    assert f"{first['class']} {100 * first['probability']:.1f} %" in capsys.readouterr().out
    (tmp_path / "no.png").write_text("text")
    assert "cannot be read" in refused(capsys, "predict", str(net), str(tmp_path / "no.png"))
    assert "no trained network" in refused(capsys, "predict", str(photos), files[0])


def test_predict_takes_folders_and_goes_on_after_what_it_cannot_read(capsys, toy, tmp_path):
    _, net, photos = toy
    images(tmp_path / "new", classes=("x", "y"), number=2)
    (tmp_path / "new" / "x" / "1.png").write_text("text")
    (tmp_path / "new" / "notes.txt").write_text("text")
    (tmp_path / "new" / ".hidden.png").write_text("text")
    files = [str(tmp_path / "new" / name) for name in ("x/0.png", "x/1.png", "y/0.png", "y/1.png")]
    words = ["predict", str(net), str(tmp_path / "new"), str(photos / "cat" / "0.png")]
    capsys.readouterr()
    assert main([*words, "--json", "--device", "cpu"]) == 2
    printed = capsys.readouterr()
    answers = json.loads(printed.out)
    assert [a["image"] for a in answers] == [*files, words[-1]]
    assert [i for i, a in enumerate(answers) if "classes" not in a] == [1]
    assert "1.png cannot be read" in answers[1]["error"]
    assert printed.err == f"ddpnas: 1 of 5 images cannot be read: {files[1]}\n"
    assert main([*words, "--device", "cpu"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and f"the image {files[1]} cannot be read" in lines[1]
    assert main(["predict", str(net), str(tmp_path / "new" / "y"), "--device", "cpu"]) == 0
    (tmp_path / "empty").mkdir()
    assert "has no images" in refused(capsys, "predict", str(net), str(tmp_path / "empty"))


def test_a_recipe_is_printed_changed_and_used(capsys, toy, tmp_path):
    words, _, _ = toy
    capsys.readouterr()
    assert main(["recipes"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ddpnas.training.RECIPES)
    assert main(["recipes", "quick"]) == 0
    text = capsys.readouterr().out.replace("lr: 0.2", "lr: 0.07")
    (tmp_path / "mine.yaml").write_text(text.replace("name: quick", "name: mine"))
    out = tmp_path / "out"
    assert main(
        [*words, "--recipe", str(tmp_path / "mine.yaml"), "--epochs", "1", "--out", str(out),
         "--recipe-options.cutout", "2", "--baseline", "mobilenet_v2_x0.25", "--random", "1"]
    ) == 0  # fmt: skip
    assert "mobilenet_v2_x0.25" in capsys.readouterr().out
    kept = json.loads((out / "result.json").read_text())
    used = {k: kept["networks"][0]["recipe"][k] for k in ("name", "lr", "cutout", "epochs", "ema")}
    assert used == {"name": "mine", "lr": 0.07, "cutout": 2, "epochs": 1, "ema": 0.0}
    assert [n["name"] for n in kept["networks"]] == ["found", "random 1", "mobilenet_v2_x0.25"]
    assert all({"macs", "params"} <= set(n["costs"]) for n in kept["networks"])
    assert "did you mean 'lr'" in refused(capsys, *words, "--recipe-options.lrr", "1")
    assert "did you mean 'resnet18'" in refused(capsys, *words, "--baseline", "resnet_18")


def test_an_interrupted_training_is_gone_on_with_by_its_own_options(
    capsys, toy, tmp_path, monkeypatch
):
    words, _, _ = toy
    words = [*words, "--epochs", "3", "--random", "1", "--quiet"]
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    assert main([*words, "--out", str(unbroken)]) == 0

    def interrupt(self, name, record):
        if record["epoch"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(show.TrainProgress, "update", interrupt)
        assert main([*words, "--out", str(broken)]) == 130
    assert "--resume" in refused(capsys, *words, "--out", str(broken))
    assert "recipe lr was" in refused(
        capsys, *words, "--out", str(broken), "--resume", "--recipe-options.lr", "0.1"
    )
    assert main([*words, "--out", str(broken), "--resume"]) == 0
    first, second = (load_file(p / "model.safetensors") for p in (unbroken, broken))
    assert all((first[name] == second[name]).all() for name in first)
    kept = [json.loads((p / "result.json").read_text())["networks"] for p in (unbroken, broken)]
    for one, other in zip(*kept):
        assert one["confusion"] == other["confusion"]
        assert [r["loss"] for r in one["history"]] == [r["loss"] for r in other["history"]]
    assert not (broken / "training").exists()
    says = refused(capsys, *words, "--out", str(broken), "--resume")
    assert "nothing is left to resume; give another --out, or --overwrite" in says


def test_a_wider_final_network_has_to_keep_the_limits(capsys, tmp_path):
    run = str(tmp_path / "run")
    few = ["--limit-train-images", "40", "--device", "cpu"]
    quick = ["--evaluator-options.warmup-epochs", "1", "--evaluator-options.proxy-weight", "0"]
    search = [
        *("search", *SMALL, *few, *quick, "--strategy", "random"),
        *("--strategy-options.evaluations", "2", "--out", run, "--quiet"),
    ]
    assert main(search) == 0
    assert main(["generate", run, "--limit", "params=2K"]) == 0
    (tmp_path / "wide.yaml").write_text("name: wide\nnetwork: {nasbench201: {channels: 9}}\n")
    train = ["train", run, *few, "--recipe", str(tmp_path / "wide.yaml"), "--epochs", "1"]
    says = refused(capsys, *train)
    assert "over the limit params <= 2,000" in says and "--space-options.channels 2" in says
    assert main([*train, "--space-options.channels", "2"]) == 0
    about = json.loads((tmp_path / "run" / "trained" / "architecture.json").read_text())
    assert about["space_options"]["channels"] == 2 and about["limits"] == {"params": 2000}
    (tmp_path / "run" / "generated.json").unlink()
    assert main([*train, "--overwrite"]) == 0
    about = json.loads((tmp_path / "run" / "trained" / "architecture.json").read_text())
    assert about["space_options"]["channels"] == 9
    assert about["provenance"]["searched_space_options"]["channels"] == 2
    assert ddpnas.load(run).input_shape == (1, 28, 28)


@pytest.mark.parametrize("fill", [0, 255])
def test_an_image_of_any_size_is_predicted(toy, tmp_path, fill):
    Image.new("RGBA", (31, 17), (fill, fill, fill, 255)).save(tmp_path / "x.png")
    assert ddpnas.load(toy[1]).predict(tmp_path / "x.png").shape == (1, 2)
