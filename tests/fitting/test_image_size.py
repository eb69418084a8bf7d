"""The size of images for a network of a library follows the time, the memory and the limits."""

import numpy
import pytest
import torch

import ddpnas
from ddpnas.errors import OptionError
from ddpnas.training.networks import find_network

NETWORK = "torchvision:squeezenet1_1"  # its own images have 224 pixels a side


class _EnoughError(Exception):
    """Planning is over."""


@pytest.fixture
def photos(tmp_path):
    """Return a file of 800 images of 32 pixels a side."""
    rng = numpy.random.default_rng(0)
    images = rng.integers(0, 256, (800, 32, 32, 3), dtype=numpy.uint8)
    numpy.savez(tmp_path / "photos.npz", train_images=images, train_labels=numpy.arange(800) % 2)
    return tmp_path / "photos.npz"


@pytest.fixture
def weights(tmp_path):
    """Return a file of weights for the network."""
    torch.manual_seed(0)
    network = find_network(NETWORK).build(2, (3, 64, 64))
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


@pytest.fixture
def planned(photos, weights, monkeypatch):
    """Return a function that plans a fit and returns the pixels of its images.

    A step takes ``step`` seconds at 64 pixels a side, more or less by the number of pixels.
    """

    def plan(seconds, step=0.1, limits=None, data=photos, start=NETWORK, **options):
        def epoch_seconds(network, data, recipe, device, *, choose):
            steps = max(1, len(data.train) // 64)
            return steps * step * (data.input_shape[-1] / 64) ** 2

        def measure(network, data, *given, **named):
            sizes.append(data.input_shape[-1])
            raise _EnoughError

        sizes = []
        with monkeypatch.context() as patched:
            patched.setattr("ddpnas.fitting.image_size.epoch_seconds_by_threads", epoch_seconds)
            patched.setattr("ddpnas.fitting.started.epoch_seconds_by_threads", measure)
            with pytest.raises(_EnoughError):
                ddpnas.fit(data, limits, seconds / 60, start=start, weights=weights, **options)
        return sizes[0]

    return plan


def test_more_time_takes_larger_images_up_to_those_of_the_library(planned):
    sizes = [planned(seconds) for seconds in (4, 20, 60, 240, 24_000)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 32 and sizes[-1] == 224 and len(set(sizes)) >= 4


def test_what_is_said_of_images_is_said_once(planned, caplog):
    caplog.set_level("INFO", "ddpnas")
    assert planned(24_000) == 224
    held_out = [r for r in caplog.records if "held out to test" in r.getMessage()]
    assert len(held_out) == 1


def test_the_time_is_enough_for_the_steps_that_images_of_a_size_need(planned):
    step = 0.1
    for seconds in (20, 60, 240):
        side = planned(seconds, step)
        assert 80 * step * (side / 64) ** 2 < seconds  # steps


def test_a_limit_on_multiply_adds_bounds_the_size(planned):
    network = find_network(NETWORK).build(2, (3, 96, 96))
    macs = ddpnas.count_network(network, (3, 96, 96))["macs"]
    assert planned(24_000, limits={"macs": macs}) == 96


def test_images_stay_within_a_quarter_of_the_free_memory(planned, monkeypatch):
    monkeypatch.setattr("ddpnas.fitting.image_size.free_memory", lambda: 4 * 800 * 3 * 100**2)
    assert planned(24_000) == 96


def test_images_stay_as_they_are_where_an_estimate_was_wrong(photos, weights, monkeypatch):
    def measure(network, data, *given, **named):
        sizes.append(data.input_shape[-1])
        if len(sizes) == 2:
            raise _EnoughError
        return 1e6  # seconds of an epoch

    sizes = []
    monkeypatch.setattr(
        "ddpnas.fitting.image_size.epoch_seconds_by_threads", lambda *given, **named: 1e-3
    )
    monkeypatch.setattr("ddpnas.fitting.started.epoch_seconds_by_threads", measure)
    with pytest.raises(_EnoughError):
        ddpnas.fit(photos, None, 1.0, start=NETWORK, weights=weights)
    assert sizes == [224, 32]


def test_a_size_that_is_given_is_kept(planned):
    assert planned(24_000, image_size=40) == 40
    images = torch.zeros(40, 3, 32, 32, dtype=torch.uint8)
    assert planned(24_000, data=(images, torch.arange(40) % 2)) == 32  # no path to read again from


def test_images_that_are_not_square_are_not_cropped(planned, tmp_path):
    images = numpy.zeros((40, 32, 48, 3), dtype=numpy.uint8)
    numpy.savez(tmp_path / "wide.npz", train_images=images, train_labels=numpy.arange(40) % 2)
    assert planned(24_000, data=tmp_path / "wide.npz") == 48


SMALLEST = {"vit_b_16": 224, "inception_v3": 80, "alexnet": 64}  # that a network takes, in steps


@pytest.mark.parametrize("name", list(SMALLEST))
def test_a_network_that_takes_none_so_small_gets_the_smallest_that_it_takes(
    photos, monkeypatch, name
):
    def opened(name, *, input_shape, **options):
        sizes.append(input_shape[-1])
        raise _EnoughError

    sizes = []
    monkeypatch.setattr(
        "ddpnas.fitting.image_size.epoch_seconds_by_threads", lambda *given, **named: 1e6
    )
    monkeypatch.setattr("ddpnas.fitting.started.open_network", opened)
    with pytest.raises(_EnoughError):
        ddpnas.fit(photos, None, 1.0, start=f"torchvision:{name}")
    assert sizes == [SMALLEST[name]]


def test_a_network_that_takes_no_small_images_asks_for_more_minutes(photos, tmp_path, monkeypatch):
    torch.save(find_network("torchvision:alexnet").build(2, (3, 64, 64)).state_dict(),
               file := tmp_path / "alexnet.pth")  # fmt: skip
    monkeypatch.setattr(
        "ddpnas.fitting.image_size.epoch_seconds_by_threads", lambda *given, **named: 1e-3
    )
    monkeypatch.setattr(
        "ddpnas.fitting.started.epoch_seconds_by_threads", lambda *given, **named: 1e6
    )
    with pytest.raises(OptionError, match="too short to fine-tune .* give at least --minutes"):
        ddpnas.fit(photos, None, 1.0, start="torchvision:alexnet", weights=file)


def test_a_teacher_is_asked_about_images_as_they_are(planned, tmp_path):
    (tmp_path / "wise.py").write_text(
        "from torch import nn\n"
        "def network(num_classes=2):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))\n"
    )
    assert planned(24_000, teacher=f"{tmp_path / 'wise.py'}:network") == 32


def test_a_size_leaves_time_for_the_test(planned, tmp_path):
    """Of 4,000 images, at a third of the time of a step."""
    rng = numpy.random.default_rng(0)
    images = rng.integers(0, 256, (4_000, 32, 32, 3), dtype=numpy.uint8)
    many = {"test_images": images, "test_labels": numpy.arange(4_000) % 2}
    few = {"train_images": images[:400], "train_labels": numpy.arange(400) % 2}
    numpy.savez(tmp_path / "few.npz", **few, test_images=images[:400],
                test_labels=many["test_labels"][:400])  # fmt: skip
    numpy.savez(tmp_path / "many.npz", **few, **many)
    sizes = [planned(60, data=tmp_path / f"{name}.npz") for name in ("few", "many")]
    assert sizes[0] > sizes[1] > 32
    side = sizes[1] / 64
    assert (80 * 0.1 + 4_000 / 64 * 0.1 / 3) * side**2 < 60
