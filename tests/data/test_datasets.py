"""Datasets as people write them: transforms of labels, wrappers, odd items."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset
from torchvision.datasets import ImageFolder
from torchvision.transforms.v2.functional import pil_to_tensor

from ddpnas import load_data, make_data
from ddpnas.data import Loader
from ddpnas.data.splits import DatasetSplit, TensorSplit
from ddpnas.errors import DataError, DdpnasError


class Listed(Dataset):
    """Items of a list; ``targets`` as torchvision has it, which may say something else."""

    def __init__(self, items, targets=None):
        self.items = items
        if targets is not None:
            self.targets = targets

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def floats(labels):
    return [(torch.full((2, 3), float(i)), label) for i, label in enumerate(labels)]


def all_labels(data):
    """Labels by the number that is in every input."""
    found = {}
    for split in data.splits.values():
        loader = Loader(data, [split], torch.device("cpu"))
        pairs = [
            pair
            for inputs, labels in loader.eval_batches(4)
            for pair in zip(inputs.flatten(1)[:, 0].tolist(), labels.tolist(), strict=True)
        ]
        assert [label for _, label in pairs] == split.labels.tolist()
        found.update(pairs)
    return [found[number] for number in sorted(found)]


@pytest.mark.parametrize("targets", [[0] * 20, [2.7] * 20, [0, 1], list(range(99)), "abc"])
def test_labels_are_those_of_the_items_whatever_targets_says(targets):
    data = make_data(Listed(floats([i % 2 for i in range(20)]), targets))
    assert isinstance(data.train, DatasetSplit)
    assert all_labels(data) == [i % 2 for i in range(20)]


def test_a_target_transform_and_wrappers_decide_on_the_labels(tmp_path):
    for number, name in enumerate("abcd"):
        (tmp_path / name).mkdir()
        for i in range(4):
            Image.new("L", (4, 4), 60 * number + i).save(tmp_path / name / f"{i}.png")

    def folder(transform=None):
        return ImageFolder(tmp_path, transform=transform, target_transform=lambda label: label // 2)

    as_floats = folder(lambda image: pil_to_tensor(image).float())
    wrapped = ConcatDataset([Subset(as_floats, range(8)), Subset(as_floats, range(15, 7, -1))])
    for dataset in (folder(), folder(pil_to_tensor), as_floats, wrapped):
        data = make_data(dataset)
        assert data.classes == ("0", "1")
        assert sorted(all_labels(data)) == [0] * 8 + [1] * 8
    assert all_labels(make_data(wrapped)) == [0] * 8 + [1] * 8


@pytest.mark.parametrize(
    "label",
    [bool, np.uint8, np.bool_, float, torch.tensor, lambda i: torch.tensor([i]), np.float32],
)
def test_whole_numbers_of_any_type_are_labels(label):
    wanted = [i % 2 for i in range(12)]
    assert all_labels(make_data(Listed(floats(map(label, wanted))))) == wanted


@pytest.mark.parametrize(
    ("label", "says"),
    [
        (2.7, r"label of item 3 of the train dataset has 2\.7; labels are whole numbers"),
        (float("nan"), "item 3 .* has nan"),
        (torch.tensor(0.5), r"item 3 .* has 0\.5"),
        (None, "item 3 .* is of type NoneType; it must be a whole number"),
        ({"a": 1}, "item 3 .* is of type dict; it must be a whole number"),
        ("cat", "item 3 .*, not names like 'cat'"),
        (torch.tensor([0, 1, 0]), r"item 3 .* has 3 values; .*save argmax\(axis=1\)"),
        (torch.tensor([0, 1, 1]), "item 3 .* has 3 values; .* one class for each image, not sev"),
        ([], "item 3 .* has 0 values; it must be one whole number$"),
    ],
)
@pytest.mark.parametrize("kind", [torch.float32, torch.uint8])
def test_other_labels_are_refused_with_the_number_of_the_item(label, says, kind):
    items = [
        (torch.zeros(1, 4, 4, dtype=kind), label if number == 3 else number % 2)
        for number in range(8)
    ]
    with pytest.raises(DataError, match=says):
        make_data(Listed(items))


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ((torch.zeros(3, 5), 1), "item 5 .* is torch.float32 of shape 3x5 and item 0 .*2x3"),
        ((torch.zeros(2, 3, dtype=torch.float64), 1), "item 5 .* is torch.float64 of shape 2x3"),
        ((np.zeros((2, 3)), 1), "item 5 .* has a ndarray as its input"),
        ({"image": 1, "label": 2}, "item 5 .*pair .*, not dict of image, label; wrap"),
        ((torch.zeros(2, 3), 1, 0.5), "item 5 .*pair .*, not tuple of 3"),
        (torch.zeros(2, 3), "item 5 .*pair .*, not Tensor"),
    ],
)
def test_items_unlike_the_first_are_named(item, says):
    items = floats([i % 2 for i in range(8)])
    items[5] = item
    with pytest.raises(DataError, match=says):
        make_data(Listed(items))
    images = [(torch.zeros(1, 4, 4, dtype=torch.uint8), i % 2) for i in range(8)]
    images[6] = (torch.zeros(1, 5, 4, dtype=torch.uint8), 0)
    with pytest.raises(DataError, match="item 6 of the test dataset is torch.uint8 of shape 1x5x4"):
        make_data(Listed(images[:6]), test=Listed(images))


def test_an_item_with_values_that_are_no_numbers_is_named():
    items = [(torch.full((2,), torch.nan if n == 3 else 1.0), n % 2) for n in range(6)]
    with pytest.raises(DataError, match="item 3 of .* holds values that are no finite numbers"):
        make_data(Listed(items)).train.inputs.sum()


def test_an_item_that_raises_is_named_with_its_reason():
    class Broken(Listed):
        def __getitem__(self, index):
            return self.items[index] if index != 4 else {}["missing"]

    with pytest.raises(DataError, match="item 4 .* cannot be read: KeyError: 'missing'") as raised:
        make_data(Broken(floats([0, 1] * 4)))
    assert isinstance(raised.value.__cause__, KeyError)


def test_a_label_that_changes_later_is_noticed():
    items = floats([0, 1] * 4)
    data = make_data(Listed(items))
    items[int(data.train.indices[0])] = (torch.zeros(2, 3), 7)
    with pytest.raises(DataError, match="the label of item . .* is now 7"):
        list(Loader(data, [data.train], torch.device("cpu")).eval_batches(4))


def test_floats_of_a_dataset_are_those_of_networks():
    items = [(torch.zeros(3, dtype=torch.float64), i % 2) for i in range(8)]
    data = make_data(Listed(items))
    inputs, _ = next(Loader(data, [data.train], torch.device("cpu")).eval_batches(4))
    assert inputs.dtype == torch.float32


def test_channels_last_are_refused_and_of_floats_suspected(caplog):
    labels = [i % 2 for i in range(8)]
    images = torch.zeros(8, 9, 9, 3, dtype=torch.uint8)
    for data in ((images, torch.tensor(labels)), Listed(list(zip(images, labels, strict=True)))):
        with pytest.raises(DataError, match=r"of shape 8x9x9x3; put the channels first: \.permute"):
            make_data(data)
    assert make_data((images.permute(0, 3, 1, 2), labels)).input_shape == (3, 9, 9)
    assert not caplog.records
    make_data((images.float(), labels))
    assert "9x9x3 are read as 9 channels of 9x3" in caplog.text


def test_gray_images_among_colored_ones_do_not_decide():
    images = [Image.new("L", (4, 4), 50), Image.new("RGB", (4, 4), (1, 2, 3))] * 4
    data = make_data(Listed([(image, i % 2) for i, image in enumerate(images)]))
    assert isinstance(data.train, TensorSplit) and data.input_shape == (3, 4, 4)
    colors = {tuple(image[:, 0, 0].tolist()) for image in data.train.inputs}
    assert colors == {(50, 50, 50), (1, 2, 3)}


def test_random_transforms_of_images_give_the_same_data_each_time():
    class Noisy(Listed):
        def __getitem__(self, index):
            return torch.randint(0, 256, (1, 4, 4), dtype=torch.uint8), index % 2

    before = torch.get_rng_state()
    assert make_data(Noisy([0] * 8)).fingerprint() == make_data(Noisy([0] * 8)).fingerprint()
    assert torch.equal(torch.get_rng_state(), before)


class Endless(IterableDataset):
    def __len__(self):
        return 8

    def __iter__(self):
        return iter(floats([0, 1] * 4))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (Endless(), "the train dataset is an IterableDataset, .*give a map-style Dataset"),
        (DataLoader(Listed(floats([0, 1]))), r"not DataLoader; give its \.dataset"),
        (torch.nn.Sequential(torch.nn.Linear(3, 2)), "not Sequential, which is a network"),
        (torch.zeros(8, 3), "not Tensor; give the labels, too"),
        ("photos", "not str"),
        (([[1.0], [1.0, 2.0]], [0, 1]), r"input 1 has the shape \(2,\) and input 0 \(1,\)"),
        ((torch.zeros(4, 3), torch.eye(4)), r"is 4x4; one label .*save argmax\(axis=1\)"),
        ((torch.zeros(4, 3), np.ones((4, 2))), "is 4x2; .*not several labels or a share of each"),
        ((torch.zeros(4, 3), np.full((4, 2), 0.5)), "is 4x2; .*not several labels or a share"),
        ((torch.zeros(4, 3), [0, 1, [1], 1]), "is object; labels are whole numbers"),
    ],
)
def test_what_is_no_data_is_said_with_what_to_give(data, says):
    with pytest.raises(DataError, match=says):
        make_data(data)


@pytest.mark.parametrize(
    ("classes", "says"),
    [
        (["a", "a"], "classes names 'a' twice"),
        (["a", 1], r"classes of make_data\(\) must be a list of texts, not \[.a., 1\]"),
        (["a", "b\nc"], r"the name 'b\\nc', which has the character '\\n'; rename"),
        (["a", "\x1b[31mb"], r"which has the character '\\x1b'"),
        (["a", "caf\udce9"], "which is not UTF-8; rename the class"),
    ],
)
def test_names_of_classes_that_cannot_be_written_are_refused(classes, says):
    with pytest.raises(DdpnasError, match=says):
        make_data((torch.zeros(8, 3), torch.arange(8) % 2), classes=classes)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"valid_fraction": "a fifth"}, "valid_fraction"),
        ({"image_size": "big"}, "image_size"),
        ({"seed": 1.5}, "seed"),
        ({"classes": 5}, "classes .* must be a list of texts, not 5"),
    ],
)
def test_options_of_another_type_are_named(options, says):
    with pytest.raises(DdpnasError, match=says):
        make_data((torch.zeros(8, 3), torch.arange(8) % 2), **options)


def test_data_that_is_not_there_is_said():
    with pytest.raises(DataError, match="not NoneType"):
        make_data(None)
    with pytest.raises(DataError, match="name or path of the data is empty"):
        load_data("")


def test_gray_splits_become_color_next_to_one_with_colors():
    def pictures(mode):
        return [(Image.new(mode, (6, 6), 90), label % 2) for label in range(10)]

    for modes in (("RGB", "L", "L"), ("L", "L", "RGB")):
        train, valid, test = map(pictures, modes)
        data = make_data(train, valid, test)
        assert data.input_shape == (3, 6, 6) and len(data.mean) == 3
        gray = data.test if modes[2] == "L" else data.valid
        assert gray.inputs.shape == (10, 3, 6, 6) and (gray.inputs == 90).all()
    assert make_data(pictures("L"), pictures("L")).input_shape == (1, 6, 6)
