import io
import statistics
import struct

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from torch.utils.data import Dataset

from ddpnas import make_data
from ddpnas.data._images import fit_file, fit_image, reading
from ddpnas.data.data import stratified
from ddpnas.data.loader import Loader
from ddpnas.data.splits import DatasetSplit, TensorSplit
from ddpnas.errors import DataError, DdpnasError

from ..conftest import striped_images


class Listed(Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def test_a_pair_of_tensors_is_split_by_class_and_seed():
    images, labels = striped_images(90)
    pair = (torch.from_numpy(images), torch.from_numpy(labels))
    data = make_data(pair, valid_fraction=0.3, seed=1)
    assert (len(data.train), len(data.valid), data.test) == (63, 27, None)
    assert torch.bincount(data.valid.labels).tolist() == [9, 9, 9]
    again, other = (make_data(pair, valid_fraction=0.3, seed=seed) for seed in (1, 2))
    assert torch.equal(again.valid.inputs, data.valid.inputs)
    assert not torch.equal(other.valid.inputs, data.valid.inputs)
    assert data.fingerprint() == again.fingerprint() != other.fingerprint()


def test_no_item_is_in_two_splits_and_none_is_lost():
    inputs = torch.arange(100, dtype=torch.float32)[:, None]
    data = make_data((inputs, torch.arange(100) % 4), valid_fraction=0.25, test_fraction=0.2)
    seen = torch.cat([s.inputs for s in (data.train, data.valid, data.test)]).flatten()
    assert sorted(seen.tolist()) == list(range(100)) and len(data.test) == 20


def test_stratified_leaves_something_of_every_class_on_both_sides():
    labels = np.array([0] * 50 + [1] * 2 + [2])
    rest, taken = stratified(labels, np.arange(53), 0.1, np.random.default_rng(0))
    assert sorted([*rest, *taken]) == list(range(53))
    assert set(labels[rest]) == {0, 1, 2} and (labels[taken] == 1).sum() == 1


def test_limit_train_images_keeps_the_classes_balanced():
    images, labels = striped_images(90)
    data = make_data((images, labels), limit_train_images=30)
    assert len(data.train) + len(data.valid) == 30
    assert torch.bincount(data.train.labels).tolist() == [8, 8, 8]


@pytest.mark.parametrize(
    "options", [{"limit_train_images": 30}, {"valid_fraction": 0.6}, {"test_fraction": 0.6}]
)
def test_every_class_keeps_an_image_to_train_on(options):
    labels = torch.tensor([0] * 50 + [1] * 50 + [2])
    data = make_data((torch.zeros(101, 2), labels), **options)
    assert torch.bincount(data.train.labels).min() == 1


def test_a_limit_is_the_number_of_images_that_are_kept():
    labels = torch.arange(100) % 20
    data = make_data((torch.zeros(100, 2), labels), limit_train_images=50)
    kept = torch.bincount(torch.cat([data.train.labels, data.valid.labels]))
    assert sorted(kept.tolist()) == [2] * 10 + [3] * 10


@pytest.mark.parametrize(("shape", "found"), [((9, 5, 6), (1, 5, 6)), ((9, 5, 6, 3), (3, 5, 6))])
def test_image_arrays_get_their_channels_first(shape, found):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    data = make_data((images, np.arange(9) % 3), test=(images, np.arange(9) % 3))
    assert data.input_shape == found and len(data.mean) == found[0]
    channel_last = images[..., None] if images.ndim == 3 else images
    assert torch.equal(data.test.inputs[4], torch.from_numpy(channel_last[4]).permute(2, 0, 1))


def test_statistics_are_those_of_the_training_images():
    images, labels = striped_images(60)
    data = make_data((images, labels))
    scaled = data.train.inputs.double() / 255
    assert data.mean[0] == pytest.approx(scaled.mean().item(), abs=1e-6)
    assert data.std[0] == pytest.approx(scaled.std().item(), abs=1e-3)


def test_inputs_that_are_no_finite_numbers_are_refused():
    inputs, labels = torch.zeros(8, 3), torch.arange(8) % 2
    inputs[5, 1], inputs[6, 0] = torch.nan, torch.inf
    with pytest.raises(DataError, match="input 5 holds values that are no finite numbers, as do 2"):
        make_data((inputs, labels))
    with pytest.raises(DataError, match="input 0 holds values that are no finite numbers"):
        make_data((torch.full((8, 3), 1e300, dtype=torch.double), labels))


def test_float_inputs_of_any_shape_are_taken_as_they_are():
    data = make_data((torch.randn(40, 7), torch.arange(40) % 2))
    assert data.input_shape == (7,) and data.mean == ()


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_floats_of_any_precision_are_those_of_networks(kind):
    data = make_data((np.ones((8, 3), dtype=kind), np.arange(8) % 2))
    assert data.train.inputs.dtype == torch.float32
    indices = make_data((np.ones((8, 3), dtype=np.int64), np.arange(8) % 2))
    assert indices.train.inputs.dtype == torch.int64


def test_datasets_of_pil_images_become_tensors_of_one_size():
    images = [
        (Image.new(mode, size, color), i % 2)
        for i, (mode, size, color) in enumerate(
            [("RGB", (20, 10), (9, 8, 7)), ("RGBA", (8, 30), (1, 2, 3, 4)), ("L", (9, 9), 5)] * 4
        )
    ]
    data = make_data(Listed(images), image_size=6)
    assert isinstance(data.train, TensorSplit) and data.input_shape == (3, 6, 6)


def test_datasets_of_float_tensors_are_read_item_by_item():
    items = [(torch.full((2, 3), float(i)), i % 2) for i in range(20)]
    data = make_data(Listed(items), classes=["even", "odd"])
    assert isinstance(data.train, DatasetSplit) and data.input_shape == (2, 3)
    assert data.classes == ("even", "odd")


@pytest.mark.parametrize(
    ("train", "options", "says"),
    [
        (
            (torch.zeros(4, 2), torch.tensor([0, 1, 2, 5])),
            {"classes": ["a", "b", "c"]},
            "0 to 5; for 3",
        ),
        ((torch.zeros(4, 2), torch.tensor([0, 1, -1, 1])), {}, "from -1 to 1"),
        ((torch.zeros(4, 2), torch.zeros(4, dtype=torch.long)), {}, "only one class"),
        ((torch.zeros(4, 2), torch.tensor([0, 0, 2, 2])), {}, "no training images of class 1"),
        ((torch.zeros(4, 2), torch.tensor([0, 1, 0])), {}, "4 inputs do not match 3 labels"),
        ((torch.zeros(4, 2), torch.tensor([0.0, 1, 0, 1])), {}, "labels must be whole numbers"),
        (
            (torch.zeros(8, 2), torch.arange(8) % 2),
            {"valid_fraction": 1.0},
            "and below 1",
        ),
        (
            (torch.zeros(8, 2), torch.arange(8) % 2),
            {"valid_fraction": 0.0},
            "leaves no images to score .* such as 0.2, or give validation images",
        ),
        ((torch.zeros(8, 2), torch.arange(8) % 2), {"limit_train_images": 3}, "too few"),
        (7, {}, "not int"),
        ({"train": 7}, {}, "not a dictionary"),
        (
            (torch.zeros(8, 2), torch.arange(8) % 2),
            {"seed": -1},
            "from 0 to .*, not -1",
        ),
        ((np.array(["a"] * 8), torch.arange(8) % 2), {}, "uint8 images or numbers, not <U1"),
        (
            (np.zeros((8, 5, 5), np.uint16), np.arange(8) % 2),
            {},
            "uint8 images .*; got torch.uint16",
        ),
        ((torch.zeros(8, 5, 5, dtype=torch.uint8), np.arange(8) % 2), {}, "got .* of shape 8x5x5"),
        ((torch.zeros(8, 9, 9, 3, dtype=torch.uint8), np.arange(8) % 2), {}, "of shape 8x9x9x3"),
        (Listed([torch.zeros(3)] * 8), {}, "must be a pair .*, not Tensor"),
        (Listed([(torch.zeros(3), "a")] * 8), {}, "whole numbers, not names like 'a'"),
    ],
)
def test_what_is_wrong_with_the_data_is_said(train, options, says):
    with pytest.raises(DdpnasError, match=says):
        make_data(train, **options)


def test_mean_and_deviation_of_the_channels_are_exact_and_those_of_the_training_images():
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (90, 2, 7, 9), np.uint8))
    data = make_data((images, torch.arange(90) % 3), test_fraction=0.2)
    pixels = data.train.inputs.transpose(0, 1).flatten(1).tolist()
    assert data.mean == pytest.approx([sum(one) / len(one) / 255 for one in pixels], rel=1e-15)
    assert data.std == pytest.approx([statistics.stdev(one) / 255 for one in pixels], rel=1e-15)
    items = list(zip(images, (torch.arange(90) % 3).tolist(), strict=True))
    again = make_data(Listed(items), test_fraction=0.2)
    assert (again.mean, again.std) == (data.mean, data.std)
    flat = make_data((torch.full((8, 1, 2, 2), 7, dtype=torch.uint8), torch.arange(8) % 2))
    assert (flat.mean, flat.std) == ((7 / 255,), (1e-3,))


@pytest.mark.parametrize(
    "given",
    [
        np.arange(40.0)[::-1].reshape(10, 4),
        np.arange(40.0)[::-1].reshape(10, 4).astype(">f4"),
        np.asfortranarray(np.arange(40)[::-1].reshape(10, 4).astype(">i8")),
        torch.arange(39.0, -1, -1, requires_grad=True).reshape(10, 4),
        Listed(list(torch.arange(39.0, -1, -1, requires_grad=True).reshape(10, 4))),
    ],
)
def test_inputs_of_any_memory_layout_and_with_gradients(given):
    labels = torch.arange(10) % 2
    listed = isinstance(given, Listed)
    data = make_data(Listed(list(zip(given, labels, strict=True))) if listed else (given, labels))
    rows = torch.arange(39.0, -1, -1).reshape(10, 4)
    assert len(data.fingerprint()) == 16
    for split in (data.train, data.valid):
        [(inputs, found)] = Loader(data, [split], torch.device("cpu")).eval_batches(10)
        assert not inputs.requires_grad and torch.equal(found, split.labels)
        assert all((rows == row).all(dim=1).any() for row in inputs)
    if not listed:
        assert torch.equal(data.preprocessing(given).float(), rows)


@pytest.mark.parametrize("given", [np.array(["a"] * 4), np.array([None] * 4)])
def test_a_network_of_numbers_is_given_no_texts(given):
    data = make_data((torch.zeros(10, 4), torch.arange(10) % 2))
    with pytest.raises(DataError, match="inputs must be uint8 images or numbers, not"):
        data.preprocessing(given)


def test_splits_of_different_shape_are_refused():
    labels = torch.arange(8) % 2
    with pytest.raises(DataError, match="train 3, test 2, valid 3|train 3, .*test 2"):
        make_data((torch.zeros(8, 3), labels), test=(torch.zeros(8, 2), labels))


def test_fit_image_crops_the_middle_to_a_square_and_makes_transparent_white():
    image = Image.new("L", (30, 10), 0)
    image.paste(200, (10, 0, 20, 10))
    assert fit_image(image, 5, "L")[0, 1:-1, 1:-1].unique().tolist() == [200]
    transparent = Image.new("RGBA", (4, 4), (1, 2, 3, 0))
    assert fit_image(transparent, 2, "RGB")[:, 0, 0].tolist() == [255, 255, 255]


def test_a_large_photograph_is_decoded_at_a_fraction_of_its_size(tmp_path, monkeypatch):
    across = np.linspace(0, 255, 1200)[:, None] * np.linspace(0, 1, 800)
    Image.fromarray(across.astype(np.uint8)).save(tmp_path / "x.jpg", quality=95)
    decoded = []
    load = JpegImageFile.load
    monkeypatch.setattr(
        JpegImageFile, "load", lambda self: (decoded.append(self.size), load(self))[1]
    )
    small = fit_file(tmp_path / "x.jpg", 32, "L")
    assert set(decoded) == {(100, 150)}
    with Image.open(tmp_path / "x.jpg") as image:
        assert (small.int() - fit_image(image, 32, "L").int()).abs().max() <= 1


def test_images_that_were_given_keep_their_size(tmp_path):
    Image.fromarray(np.zeros((512, 512), dtype=np.uint8)).save(tmp_path / "x.jpg")
    items = [(Image.open(tmp_path / "x.jpg"), i % 2) for i in range(8)]
    data = make_data(items, image_size=16)
    data.preprocessing(items[0][0])
    assert data.input_shape == (1, 16, 16)
    assert {image.size for image, _ in items} == {(512, 512)}


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_uint8_tensors_of_other_channels_are_taken_as_they_were_in_training(channels):
    images = torch.randint(0, 256, (8, channels, 6, 6), dtype=torch.uint8)
    preprocessing = make_data((images, torch.arange(8) % 2)).preprocessing
    assert torch.equal(preprocessing(images), preprocessing.normalize(images))
    assert torch.equal(preprocessing(images[0]), preprocessing.normalize(images[:1]))
    with pytest.raises(DataError, match="an input has shape"):
        preprocessing(Image.new("RGB", (6, 6)))


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_read_as_the_camera_was_held(tmp_path, orientation, kind):
    corners = np.array([[0, 80], [160, 240]], dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(corners).save(tmp_path / f"x.{kind}", exif=exif)
    with Image.open(tmp_path / f"x.{kind}") as image:
        shown = np.asarray(ImageOps.exif_transpose(image).convert("L"))
    with Image.open(tmp_path / f"x.{kind}") as image:
        assert np.array_equal(fit_image(image, 32, "L")[0], shown)
    assert (orientation == 1) == (np.abs(shown.astype(int) - corners).max() < 20)


def test_damaged_exif_data_makes_no_image_unreadable():
    turned = struct.pack("<HHII", 0x0112, 3, 1, 6)
    resolution = struct.pack("<HHI4s", 0x011A, 2, 3, b"abc")  # a text, where Pillow wants a number
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + turned + resolution + bytes(4)
    upright = np.array([[0, 240]], dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    stream = io.BytesIO()
    Image.fromarray(np.rot90(upright)).save(stream, "JPEG", exif=exif)
    with Image.open(stream) as image:
        assert np.array_equal(fit_image(image, (16, 32), "L")[0], upright)


@pytest.mark.parametrize("exif", [b"MM\0*", b"II*\0\x08\0\0\0\x09\0", b"??", b"XX*\0" + bytes(9)])
def test_an_image_whose_exif_data_end_too_early_is_taken_as_upright(exif):
    pixels = np.array([[0, 240]], dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", dpi=(72, 72), exif=b"Exif\0\0" + exif)
    with Image.open(stream) as image:
        assert np.array_equal(fit_image(image, (16, 32), "L")[0], pixels)


@pytest.mark.parametrize("kind", [struct.error, TypeError, IndexError, KeyError, OverflowError])
def test_whatever_pillow_raises_of_a_damaged_image_names_it(kind):
    expected = pytest.raises(DataError, match=r"the image x\.tif cannot be read: .*too short")
    with expected, reading("the image x.tif"):
        raise kind("too short")


def test_splits_that_cannot_be_joined_are_refused():
    items = [(torch.zeros(3), i % 2) for i in range(8)]
    with pytest.raises(DataError, match="mix tensors and Datasets"):
        make_data(Listed(items), test=(torch.zeros(8, 3), torch.arange(8) % 2))


def test_the_splits_that_there_are_have_names():
    pair = (torch.zeros(8, 3), torch.arange(8) % 2)
    data = make_data(pair)
    assert list(data.splits) == ["train", "valid"] and data.held_out == "valid"
    data = make_data(pair, test=pair)
    assert list(data.splits) == ["train", "valid", "test"] and data.held_out == "test"
    assert data.splits["test"] is data.test and data.splits["train"] is data.train
