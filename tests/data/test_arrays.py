"""Arrays of images as people save them: of other layouts, names and labels."""

import numpy as np
import pytest
import torch

from ddpnas import evaluate, load_data, make_data
from ddpnas.data import load_labelled
from ddpnas.errors import DataError

from ..training.test_trained_model import model_for

RNG = np.random.default_rng(0)
LABELS = np.arange(40) % 2
NAMES = np.array(["cat", "dog"])[LABELS]


def pixels(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def saved(tmp_path, **arrays):
    np.savez(tmp_path / "x.npz", **arrays)
    return tmp_path / "x.npz"


def with_labels(labels, **arrays):
    return {"train_images": pixels(40, 8, 8), "train_labels": labels, **arrays}


def test_channels_are_found_where_they_are(tmp_path):
    last = pixels(40, 8, 10, 3)
    transparent = np.concatenate([last, pixels(40, 8, 10, 1)], axis=-1)
    expected = load_data(saved(tmp_path, train_images=last, train_labels=LABELS))
    assert expected.input_shape == (3, 8, 10)
    for images in (np.moveaxis(last, -1, 1), transparent, np.moveaxis(transparent, -1, 1)):
        data = load_data(saved(tmp_path, train_images=images, train_labels=LABELS))
        assert data.fingerprint() == expected.fingerprint()
    grey = last[..., :1]
    for images in (grey, np.moveaxis(grey, -1, 1), grey[..., 0]):
        data = load_data(saved(tmp_path, train_images=images, train_labels=LABELS))
        assert data.input_shape == (1, 8, 10)


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((40, 8, 10, 2), "40x8x10x2; it must be .* with 1, 3 or 4 channels"),
        ((40, 12, 8, 10), "40x12x8x10; it must be .* with 1, 3 or 4 channels"),
        ((40, 3, 8, 3), "channels may be first or last; give images of more than 4 pixels"),
        ((40, 64), "uint8 of shape 40x64; needed: arrays train_images"),
        ((40, 8, 8, 8, 3), "of shape 40x8x8x8x3; needed: arrays train_images"),
        ((0, 8, 8), "train_images in .* is empty, of shape 0x8x8"),
        ((40, 0, 8), "train_images in .* is empty, of shape 40x0x8"),
    ],
)
def test_images_of_another_shape_are_refused(tmp_path, shape, says):
    arrays = {"train_images": pixels(*shape), "train_labels": LABELS[: shape[0]]}
    with pytest.raises(DataError, match=says):
        load_data(saved(tmp_path, **arrays))


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (RNG.random((40, 8, 8)), r"save \(images \* 255\)\.round\(\)\.astype\('uint8'\)"),
        (pixels(40, 8, 8) > 99, r"save \(images \* 255\)"),
        (pixels(40, 8, 8).astype(float), r"from 0 to 255: save images\.round\(\)"),
        (pixels(40, 8, 8).astype(np.uint16) * 256, "scale them to that range"),
        (NAMES, "needed: arrays train_images"),
    ],
)
def test_images_of_another_type_are_refused_with_what_makes_them_uint8(tmp_path, images, says):
    with pytest.raises(DataError, match=says):
        load_data(saved(tmp_path, train_images=images, train_labels=LABELS))


@pytest.mark.parametrize("labels", [NAMES, NAMES.astype("S"), NAMES[:, None]])
def test_names_as_labels_become_classes_in_order(tmp_path, labels):
    data = load_data(saved(tmp_path, **with_labels(labels)))
    assert data.classes == ("cat", "dog")
    given = with_labels(labels, classes=np.array(["dog", "cat"]))
    for classes in (given["classes"], given["classes"].astype("S")):
        turned = load_data(saved(tmp_path, **{**given, "classes": classes}))
        assert turned.classes == ("dog", "cat")
    numbers = load_data(saved(tmp_path, **{**given, "train_labels": 1 - LABELS}))
    assert torch.equal(numbers.train.labels, turned.train.labels)


@pytest.mark.parametrize("labels", [LABELS[:, None], LABELS.astype(np.float32), LABELS == 1])
def test_whole_numbers_of_any_type_are_labels(tmp_path, labels):
    data = load_data(saved(tmp_path, **with_labels(labels)))
    plain = load_data(saved(tmp_path, **with_labels(LABELS)))
    assert data.classes == ("0", "1") and torch.equal(data.train.labels, plain.train.labels)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        (with_labels(LABELS + 0.5), "train_labels in .* has 0.5; labels are whole numbers"),
        (with_labels(np.where(LABELS, np.nan, 0)), "train_labels in .* has nan"),
        (with_labels(LABELS * 10**12), "train_labels in .* has 1000000000000"),
        (with_labels(LABELS * 10**6), "a label is 1000000, but there are only 40"),
        (with_labels(LABELS + 1), "no training images of class 0; .* without gaps"),
        (with_labels(LABELS - 1), "the train labels go from -1 to 0"),
        (with_labels(LABELS + 0j), "complex128; labels are whole numbers or names"),
        (with_labels(np.eye(2)[LABELS]), r"is 40x2; one label for each image .* argmax\(axis=1\)"),
        (with_labels(np.array(3)), "is a single value; one label for each image"),
        (with_labels(LABELS[:30]), "has 40 images and train_labels 30 labels"),
        (with_labels(LABELS, classes=np.array(["a"])), "go from 0 to 1; for 1 classes"),
        (with_labels(LABELS, classes=np.array("a")), "it must be a list of names"),
        (with_labels(LABELS, classes=np.array(["a", "a"])), "names 'a' twice"),
        (
            with_labels(NAMES, classes=np.array(["cat", "cow"])),
            "is 'dog'; the classes are cat, cow",
        ),
        (
            with_labels(NAMES, test_images=pixels(2, 8, 8), test_labels=np.array(["cat", "ant"])),
            "a label in the test labels of .* is 'ant'",
        ),
        (
            with_labels(NAMES, test_images=pixels(2, 8, 8), test_labels=LABELS[:2]),
            "the train labels in .* are names and the test labels numbers",
        ),
        (with_labels(NAMES.astype(object)), r"train_labels in .* with \.astype\(str\)"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path, arrays, says):
    with pytest.raises(DataError, match=says):
        load_data(saved(tmp_path, **arrays))


def test_arrays_go_by_the_names_of_medmnist_and_keras(tmp_path):
    parts = {"train": 20, "valid": 8, "test": 6}
    images = {split: pixels(n, 8, 8) for split, n in parts.items()}
    labels = {split: LABELS[:n, None] for split, n in parts.items()}
    expected = load_data(
        saved(
            tmp_path,
            **{f"{split}_images": images[split] for split in parts},
            **{f"{split}_labels": labels[split] for split in parts},
        )
    )
    assert [len(s) for s in (expected.train, expected.valid, expected.test)] == [20, 8, 6]
    for image, label in (("{}_images", "{}_labels"), ("x_{}", "y_{}"), ("X_{}", "y_{}")):
        arrays = {}
        for split, word in (("train", "train"), ("valid", "val"), ("test", "test")):
            arrays[image.format(word)], arrays[label.format(word)] = images[split], labels[split]
        data = load_data(saved(tmp_path, **arrays))
        assert data.fingerprint() == expected.fingerprint() and len(data.test) == 6


def test_arrays_that_would_be_left_out_are_refused(tmp_path):
    with pytest.raises(DataError, match="test_images but no test_labels; add it or leave both out"):
        load_data(saved(tmp_path, **with_labels(LABELS, test_images=pixels(4, 8, 8))))
    twice = {f"{v}_{kind}": a[:4] for v in ("val", "valid") for kind, a in (
        ("images", pixels(4, 8, 8)), ("labels", LABELS))}  # fmt: skip
    with pytest.raises(DataError, match="both valid_images and val_images; keep one"):
        load_data(saved(tmp_path, **with_labels(LABELS, **twice)))
    with pytest.raises(DataError, match="no train_images and train_labels; needed: arrays"):
        load_data(saved(tmp_path, images=pixels(4, 8, 8)))


def test_test_images_alone_are_evaluated_and_not_searched(tmp_path):
    data = load_data(saved(tmp_path, **with_labels(NAMES)))
    path = saved(tmp_path, test_images=pixels(10, 8, 8, 3), test_labels=NAMES[:10])
    scored = evaluate(model_for(data), path)
    assert (scored.split, scored.items) == ("test", 10)
    with pytest.raises(DataError, match="no train_images and train_labels"):
        load_data(path)
    path = saved(tmp_path, test_images=pixels(10, 8, 8), test_labels=LABELS[:10] - 1)
    with pytest.raises(DataError, match="is -1; the network knows 2 classes, 0 to 1"):
        load_labelled(path, data.classes, data.input_shape)


def test_names_as_labels_in_python_are_refused_with_what_to_give():
    with pytest.raises(DataError, match="not names like 'cat'; .* as classes"):
        make_data((pixels(40, 8, 8), list(NAMES)))
