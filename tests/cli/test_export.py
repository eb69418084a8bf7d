"""``ddpnas export`` as a user types it."""

import dataclasses

import numpy as np
import pytest
import torch

import ddpnas
from ddpnas.cli import main


def trained_folder(folder, name, data, **options):
    space = ddpnas.create_space(name, input_shape=data.input_shape, num_classes=10, **options)
    architecture = space.sample(np.random.default_rng(0))
    costs = ddpnas.count_costs(space)
    trained = ddpnas.compare(space, architecture, data, costs=costs, epochs=1, device="cpu")
    ddpnas.training.save_networks(folder, space, trained)
    return str(folder), trained[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the folder of a small trained network, and what is known of it."""
    data = ddpnas.load_data("fashion-mnist-12k", limit_train_images=100)
    folder = tmp_path_factory.mktemp("export") / "trained"
    return trained_folder(folder, "nasbench201", data, channels=2, cells_per_stage=1)


def refused(capsys, *words):
    capsys.readouterr()
    assert main(["export", *words]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("ddpnas: ") and printed.err.count("\n") == 1
    return printed.err


@pytest.mark.slow
def test_all_files_at_once_with_what_was_checked(trained, capsys, tmp_path):
    folder, known = trained
    names = {option: str(tmp_path / option) for option in ("onnx", "torch-export", "int8")}
    words = [word for option, name in names.items() for word in (f"--{option}", name)]
    assert main(["export", folder, *words, "--preprocessing"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    out = " ".join(printed.out.split())
    assert "checked on 500 test images of fashion-mnist-12k" in out
    assert out.count("same class for 500 of 500") == 2
    assert f"the {known.costs['params']:,.0f} and {known.costs['macs']:,.0f} of the network" in out
    assert "as its folder states" in out
    assert "uint8 NHWC" in out and "NOT" not in out
    assert "calibrated on 80 training images" in out
    assert f"{100 * known.evaluation.accuracy:.2f}" in out  # the float file's is the network's
    assert "int8 against float: " in out
    opened = ddpnas.export.OnnxFile(names["onnx"])
    assert opened.classes == ddpnas.load(folder).classes
    assert known.text in opened.metadata["about"]
    assert "source" not in opened.metadata["about"]  # where the images lay is nobody's business


@pytest.fixture
def mine(tmp_path):
    """Return the folder of a network trained on a file of images, and the file."""
    images = np.random.default_rng(0).integers(0, 255, (40, 9, 9, 3), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", train_images=images, train_labels=np.arange(40) % 10)
    data = ddpnas.load_data(tmp_path / "mine.npz")
    return trained_folder(tmp_path / "t", "toy", data)[0], tmp_path / "mine.npz"


@pytest.mark.slow
def test_int8_is_calibrated_on_its_own_images_and_leaves_no_float_file(mine, capsys, tmp_path):
    folder, photos = mine
    onnx = str(tmp_path / "out" / "net.onnx")
    assert main(["export", folder, "--int8", onnx, "--fixed-batch", "--data", str(photos)]) == 0
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["net.onnx"]
    assert "int8 against float" in capsys.readouterr().out


def test_its_own_images_are_needed_for_int8_and_replaced_otherwise(mine, capsys, tmp_path):
    folder, photos = mine
    photos.unlink()
    onnx = str(tmp_path / "out" / "net.onnx")
    assert main(["export", folder, "--onnx", onnx]) == 0
    out = capsys.readouterr().out
    assert "checked on 500 images of Fashion-MNIST (the training data cannot be read" in out
    assert "mine.npz" in refused(capsys, folder, "--int8", onnx)


def test_a_network_of_floats_is_not_checked_on_images(tmp_path, capsys):
    pair = (torch.rand(40, 1, 8, 8), torch.arange(40) % 10)
    folder, _ = trained_folder(tmp_path / "t", "toy", ddpnas.make_data(pair))
    images, labels = np.zeros((40, 8, 8), np.uint8), np.arange(40) % 10
    np.savez(tmp_path / "x.npz", train_images=images, train_labels=labels)
    printed = refused(capsys, folder, "--onnx", "x.onnx", "--data", str(tmp_path / "x.npz"))
    assert "takes tensors of shape (1, 8, 8) unchanged, not images" in printed


def test_timm_code_is_printed_for_mobile_networks_and_refused_for_others(trained, capsys, tmp_path):
    space = ddpnas.create_space("mobilenet-v2", input_shape=(1, 28, 28), num_classes=10, width=0.25)
    architecture = space.sample(np.random.default_rng(0))
    result = dataclasses.replace(trained[1].result, model=space.build(architecture))
    mobile = dataclasses.replace(trained[1], architecture=architecture, result=result)
    ddpnas.training.save_networks(tmp_path, space, [mobile])
    capsys.readouterr()
    assert main(["export", str(tmp_path), "--timm"]) == 0
    out = capsys.readouterr().out
    assert "arch_def = [" in out and "decode_arch_def(arch_def)" in out
    compile(out, "printed", "exec")
    assert "for mobile networks only" in refused(capsys, trained[0], "--timm")


def test_wrong_commands_are_answered_in_a_sentence(trained, capsys, tmp_path):
    assert "--onnx FILE" in refused(capsys, trained[0])
    same = ("--onnx", str(tmp_path / "a.onnx"), "--int8", f"{tmp_path}/../{tmp_path.name}/a.onnx")
    assert "two options name the same file" in refused(capsys, trained[0], *same)
    assert "two options name the same" in refused(
        capsys, trained[0], "--onnx", "b", "--torch-export", "b"
    )
    assert "holds no trained network" in refused(capsys, str(tmp_path), "--onnx", "x")
    assert "cannot be written" in refused(
        capsys, trained[0], "--onnx", f"{trained[0]}/result.json/net.onnx"
    )
