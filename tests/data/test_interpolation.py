"""Images are resized as the data say, wherever they come from, and so are new ones."""

import numpy as np
import pytest
import torch
from PIL import Image

import ddpnas
from ddpnas.data import Preprocessing, load_labelled
from ddpnas.data.splits import DatasetSplit


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (path / name).mkdir()
        for i in range(5):
            pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path / name / f"{i}.png")
    return path


@pytest.mark.parametrize("stream", [True, False])
def test_a_folder_is_resized_as_asked_and_new_images_alike(photos, stream):
    found = {}
    for interpolation in ("bilinear", "bicubic"):
        data = ddpnas.load_data(photos, image_size=8, interpolation=interpolation, stream=stream)
        assert data.source["interpolation"] == data.interpolation == interpolation
        split = data.train
        if isinstance(split, DatasetSplit):
            images = torch.stack([split.dataset[int(i)][0] for i in split.indices])
        else:
            images = split.inputs
        found[interpolation] = images
        of_files = [data.preprocessing.fit(file)[0] for file in photos.glob("*/*.png")]
        assert all(any(torch.equal(one, image) for one in of_files) for image in images)
        _, labelled = load_labelled(photos, data.classes, (3, 8, 8), interpolation=interpolation)
        assert any(torch.equal(images[0], one) for one in labelled.inputs)
    assert not torch.equal(found["bilinear"], found["bicubic"])


def test_arrays_and_datasets_are_resized_as_asked(photos):
    images = [Image.open(photos / "cat" / f"{i}.png").convert("RGB") for i in range(5)]
    labels = [0, 1, 0, 1, 0]
    by_pillow = [image.resize((8, 8), Image.Resampling.BICUBIC) for image in images]
    data = ddpnas.make_data(
        list(zip(images, labels)), valid_fraction=0.0, valid=list(zip(images, labels)),
        image_size=8, interpolation="bicubic",
    )  # fmt: skip
    for found, wanted in zip(data.train.inputs, by_pillow):
        assert np.array_equal(found.permute(1, 2, 0), wanted)
    array = torch.stack([torch.from_numpy(np.asarray(image).copy()) for image in images])
    fitted = Preprocessing((3, 8, 8), interpolation="bicubic").fit(array.numpy())
    gaps = fitted.permute(0, 2, 3, 1).int() - torch.from_numpy(np.stack(by_pillow)).int()
    assert gaps.abs().max() <= 1  # rounded otherwise
