"""evaluate(): the figures of a split, of the training's data or of a stranger's folder."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import ddpnas
from ddpnas import Architecture, TrainedModel
from ddpnas.errors import DataError, RunError
from ddpnas.training.results import EvaluationResult

CLASSES = ("dark", "grey", "light")


class ByBrightness(nn.Module):
    """Takes the darkest third of grey images for class 0, the lightest for class 2."""

    def forward(self, x):
        grey = x.mean(dim=(1, 2, 3))
        return -torch.stack([(grey - level).abs() for level in (0.1, 0.5, 0.9)], dim=1)


@pytest.fixture
def model():
    return TrainedModel(
        ByBrightness(), Architecture({}), "", (1, 4, 6), CLASSES, mean=(0.0,), std=(1.0,)
    )


def write(root, **levels):
    for name, values in levels.items():
        (root / name).mkdir(parents=True)
        for i, value in enumerate(values):
            Image.new("L", (12, 9), value).save(root / name / f"{i}.png")


def test_a_folder_of_class_folders_is_scored_whole(model, tmp_path):
    write(tmp_path, dark=[10, 20, 130], light=[250])
    scored = ddpnas.evaluate(model, tmp_path)
    assert (scored.split, scored.items, scored.accuracy) == ("all", 4, 0.75)
    assert scored.confusion == [[2, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert scored.per_class == [pytest.approx(2 / 3), None, 1.0]


def test_of_splits_the_one_that_was_asked_for_is_read(model, tmp_path):
    write(tmp_path / "train", dark=[10, 250])
    write(tmp_path / "test", dark=[10], grey=[120])
    assert ddpnas.evaluate(model, tmp_path).accuracy == 1.0
    assert ddpnas.evaluate(model, tmp_path, "train").accuracy == 0.5
    with pytest.raises(DataError, match="no split 'valid'; it has train, test"):
        ddpnas.evaluate(model, tmp_path, "valid")


def test_arrays_of_any_size_and_colour(model, tmp_path):
    images = np.full((3, 8, 12, 3), 250, np.uint8)
    images[0] = 5
    np.savez(tmp_path / "a.npz", train_images=images, train_labels=np.array([0, 2, 1]))
    scored = ddpnas.evaluate(model, tmp_path / "a.npz")
    assert (scored.split, scored.accuracy) == ("train", pytest.approx(2 / 3))
    np.savez(tmp_path / "b.npz", train_images=images, train_labels=np.array([0, 2, 7]))
    with pytest.raises(DataError, match="label of .* is 7; the network knows 3"):
        ddpnas.evaluate(model, tmp_path / "b.npz")


def test_unknown_classes_and_absent_data_are_refused(model, tmp_path):
    write(tmp_path, dark=[10], pink=[20])
    with pytest.raises(DataError, match="has class 'pink'"):
        ddpnas.evaluate(model, tmp_path)
    with pytest.raises(DataError, match="there is no file or folder"):
        ddpnas.evaluate(model, tmp_path / "none")
    with pytest.raises(DataError, match="the classes of fashion-mnist-12k are T-shirt"):
        ddpnas.evaluate(model, "fashion-mnist-12k")
    with pytest.raises(RunError, match="came from Python objects"):
        ddpnas.evaluate(model)


def test_labels_of_other_classes_are_refused(model):
    images = torch.full((30, 1, 4, 6), 128, dtype=torch.uint8)
    pair = (images, torch.arange(30) % 3)
    for classes in (("apple", "banana", "cherry"), CLASSES[::-1]):
        data = ddpnas.make_data(pair, classes=classes, name="fruit")
        with pytest.raises(DataError, match="the classes of fruit are .* knows dark, grey, light"):
            ddpnas.evaluate(model, data)
    numbers = dataclasses.replace(model, classes=("0", "1", "2"))
    named = ddpnas.make_data(pair, classes=CLASSES)
    for known, data in ((model, named), (model, pair), (numbers, named), (numbers, pair)):
        assert ddpnas.evaluate(known, data).accuracy == pytest.approx(1 / 3)


def test_inputs_of_another_kind_than_in_training_are_refused(model, tmp_path):
    labels = torch.arange(30) % 3
    images = torch.full((30, 1, 4, 6), 128, dtype=torch.uint8)
    unchanged = dataclasses.replace(model, mean=(), std=())
    with pytest.raises(DataError, match="holds inputs that are .* trained on uint8 images"):
        ddpnas.evaluate(model, (images / 255, labels))
    with pytest.raises(DataError, match="holds uint8 images; the network was trained on inputs"):
        ddpnas.evaluate(unchanged, (images, labels))
    write(tmp_path, dark=[10], grey=[120])
    with pytest.raises(DataError, match="takes tensors of shape .* unchanged, not images"):
        ddpnas.evaluate(unchanged, tmp_path)
    assert ddpnas.evaluate(unchanged, (images / 255, labels)).accuracy == pytest.approx(1 / 3)


def test_the_data_of_the_training_is_split_as_then(model, tmp_path, caplog):
    write(tmp_path / "i", dark=[10] * 10, grey=[120] * 10, light=[240] * 10)
    data = ddpnas.load_data(tmp_path / "i", image_size=6)
    known = dataclasses.replace(
        model,
        input_shape=(1, 6, 6),
        about={"provenance": {"data": {"source": data.source, "fingerprint": data.fingerprint()}}},
    )
    for given in (None, tmp_path / "i", str(tmp_path / "i"), tmp_path / "moved"):
        if given == tmp_path / "moved":
            (tmp_path / "i").rename(given)
        scored = ddpnas.evaluate(known, given)
        assert (scored.split, scored.items) == ("test", len(data.test)) == ("test", 6)
    with pytest.raises(RunError, match="are no longer at"):
        ddpnas.evaluate(known)
    (tmp_path / "moved").rename(tmp_path / "i")
    assert ddpnas.evaluate(known, split="train").items == len(data.train)
    assert ddpnas.evaluate(known, data, "valid").items == len(data.valid)
    with pytest.raises(DataError, match="the network takes"):
        ddpnas.evaluate(model, data)
    (tmp_path / "i" / "dark" / "0.png").unlink()
    with pytest.raises(RunError, match="are not those that this network was trained on"):
        ddpnas.evaluate(known)
    assert ddpnas.evaluate(known, tmp_path / "i").items == 29
    assert "these figures are too good" in caplog.text


def test_macro_f1_counts_classes_alike_whatever_their_size():
    found = EvaluationResult("pets", "test", 103, [[98, 2, 0], [1, 2, 0], [0, 0, 0]])
    first, second = 2 * 98 / (100 + 99), 2 * 2 / (3 + 4)
    assert found.macro_f1 == pytest.approx((first + second) / 2)  # nothing is said of the third
    assert found.to_dict()["macro_f1"] == found.macro_f1
