"""Preprocessing is that of the data, whatever form an image comes in."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import ddpnas
from ddpnas import Architecture, TrainedModel
from ddpnas.data import Loader
from ddpnas.errors import DataError, RunError

RNG = np.random.default_rng(0)


def model_for(data):
    network = nn.Sequential(nn.Flatten(), nn.LazyLinear(len(data.classes)))
    network(torch.zeros(1, *data.input_shape))
    return TrainedModel(
        network.eval(), Architecture({}), "", data.input_shape, data.classes, data.mean, data.std
    )


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Return (folder data of 12 x 12 pixels, paths of its images in order)."""
    root = tmp_path_factory.mktemp("photos")
    for label, name in enumerate(("cat", "dog")):
        (root / name).mkdir()
        for i in range(10):
            pixels = RNG.integers(0, 200, (20 + i, 30, 3)) + 40 * label
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i}.png")
    return ddpnas.load_data(root, image_size=12), root


def batch_of(data, split):
    inputs, _ = next(iter(Loader(data, [split], torch.device("cpu")).eval_batches(100)))
    return inputs


def test_image_files_become_what_the_data_makes_of_them(photos):
    data, root = photos
    model = model_for(data)
    paths = sorted(root.glob("*/*.png"))
    prepared = model.preprocess(paths)
    kept = torch.cat([batch_of(data, s) for s in (data.train, data.valid, data.test)])
    for one in kept:
        assert (prepared == one).flatten(1).all(dim=1).sum() == 1
    torch.testing.assert_close(model.preprocess([Image.open(p) for p in paths]), prepared)


def test_every_form_of_an_array_is_the_same_image(photos):
    data, _ = photos
    model = model_for(data)
    image = RNG.integers(0, 256, (12, 12, 3), dtype=np.uint8)
    tensor = torch.from_numpy(image)
    forms = [
        image, image[None], np.moveaxis(image, -1, 0)[None], tensor, tensor.permute(2, 0, 1),
        tensor.permute(2, 0, 1)[None], Image.fromarray(image), [image], [Image.fromarray(image)],
    ]  # fmt: skip
    assert model.preprocess(image).shape == (1, 3, 12, 12)
    for form in forms:
        torch.testing.assert_close(model.preprocess(form), model.preprocess(image), rtol=0, atol=0)


def test_arrays_are_resized_as_the_data_resizes_them():
    images = RNG.integers(0, 256, (8, 10, 15), dtype=np.uint8)
    small = ddpnas.data._files.resized(
        ddpnas.data.data.as_split((images, np.arange(8) % 2), None), 5
    )
    data = ddpnas.make_data(small)
    torch.testing.assert_close(
        model_for(data).preprocess(images), batch_of(data, small), rtol=0, atol=0
    )


def test_grey_and_colour_are_converted(stripes, photos):
    grey = RNG.integers(0, 256, (12, 12), dtype=np.uint8)
    data, _ = photos
    inputs = model_for(data).preprocess(grey)
    assert inputs.shape == (1, 3, 12, 12)
    torch.testing.assert_close(inputs, model_for(data).preprocess(Image.fromarray(grey)))
    colour = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    as_grey = model_for(stripes).preprocess(colour)
    assert as_grey.shape == (1, 1, 8, 8)
    by_pillow = model_for(stripes).preprocess(Image.fromarray(colour))
    assert (as_grey - by_pillow).abs().max() * stripes.std[0] * 255 < 1.01  # rounded otherwise


def test_probabilities_sum_to_one_in_any_batch_size(photos):
    data, root = photos
    model = model_for(data)
    paths = sorted(root.glob("*/*.png"))
    probabilities = model.predict(paths, batch_size=3)
    assert probabilities.shape == (20, 2)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(20))
    torch.testing.assert_close(probabilities, model.predict(paths))


def test_files_are_predicted_in_batches_as_they_are_one_by_one(photos, tmp_path):
    data, root = photos
    model = model_for(data)
    (tmp_path / "no.png").write_text("text")
    files = [*root.glob("*/*.png"), tmp_path / "no.png"]
    found = dict(model.predict_files([tmp_path, *files[:-1]], batch_size=3))
    error = found.pop(str(files.pop()))
    assert isinstance(error, DataError) and "cannot be read" in str(error)
    assert list(found) == [str(file) for file in files]
    torch.testing.assert_close(torch.stack(list(found.values())), model.predict(files))
    assert [file for file, _ in model.predict_files([root])] == [str(f) for f in sorted(files)]


def test_inputs_that_are_no_images_are_taken_as_they_are():
    data = ddpnas.make_data((torch.randn(20, 5), torch.arange(20) % 2))
    model = model_for(data)
    x = torch.randn(3, 5)
    torch.testing.assert_close(model.predict(x.double().numpy()), model.predict(x))
    assert model.preprocess(x) is x and model.predict(x).shape == (3, 2)
    with pytest.raises(DataError, match="not images"):
        model.preprocess(Image.new("L", (8, 8)))


def test_a_network_that_takes_no_images_does_not_blame_the_file(tmp_path):
    data = ddpnas.make_data((torch.randn(20, 5), torch.arange(20) % 2))
    Image.new("L", (8, 8)).save(tmp_path / "x.png")
    with pytest.raises(DataError, match="^this network takes tensors"):
        model_for(data).preprocess(tmp_path / "x.png")


@pytest.mark.parametrize(
    "wrong, says",
    [
        ([], "no image"),
        ("/no/such.png", "cannot be read"),
        (3, "not int"),
        ([[1]], "in one list"),
        (np.zeros((2, 3, 4, 5, 6), np.uint8), "uint8 images have the shape"),
        (np.zeros((12, 12, 3), np.int64), "give images as uint8, .* not torch.int64"),
        (torch.zeros(2, 3, 5, 5), r"takes \(3, 12, 12\)"),
    ],
)
def test_what_is_no_image_is_refused(photos, wrong, says):
    with pytest.raises(DataError, match=says):
        model_for(photos[0]).preprocess(wrong)


def test_the_data_is_found_again_from_the_folder(photos, tmp_path):
    data, root = photos
    space = ddpnas.create_space("toy", num_classes=2, input_shape=data.input_shape)
    trained = ddpnas.compare(
        space, space.sample(RNG), data, costs=ddpnas.count_costs(space),
        recipe=ddpnas.Recipe(epochs=1, batch_size=4), device="cpu",
    )  # fmt: skip
    ddpnas.training.save_networks(tmp_path / "net", space, trained)
    model = ddpnas.load(tmp_path / "net")
    assert model.find_data(root).fingerprint() == data.fingerprint()
    assert model.find_data("fashion-mnist-12k") is model.find_data(root / "a") is None
    assert model.load_data(root).fingerprint() == data.fingerprint()
    assert model.about["provenance"]["data"]["source"]["data"] == root.name
    with pytest.raises(RunError, match="made to be shared"):
        model.load_data()
