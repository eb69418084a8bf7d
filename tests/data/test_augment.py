"""Augmentation: each image by itself, the same for all processes together as for one."""

import pytest
import torch

from ddpnas.data.augment import Augmentation, Shard, crop_and_flip, cutout, resized_crop
from ddpnas.utils.seeds import seeded

IMAGES = torch.randint(0, 256, (12, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("crop", ["shift", "resized", "none"])
@pytest.mark.parametrize("processes", [2, 3])
def test_the_shards_of_a_batch_are_together_what_one_process_makes(crop, processes):
    augmentation = Augmentation(crop=crop, cutout=4)

    def augmented(shard):
        generator = rng()
        images = augmentation.of_images(shard.take(IMAGES), 12, shard, generator)
        return augmentation.of_inputs(images.float(), 12, shard, generator)

    whole = augmented(Shard())
    for index in range(processes):
        shard = Shard(index, processes)
        torch.testing.assert_close(augmented(shard), shard.take(whole), rtol=0, atol=0)
    assert not torch.equal(whole, IMAGES.float())


def test_cutout_blanks_a_square_that_may_reach_over_the_border():
    result = cutout(torch.ones(500, 1, 9, 7), 4, rng())
    areas = (result == 0).sum(dim=(1, 2, 3))
    assert set(areas.tolist()) == {r * c for r in (2, 3, 4) for c in (2, 3, 4)}
    blanked = (result == 0).float().mean(dim=(0, 1))
    assert (blanked > 0).all()
    assert (areas == 16).float().mean() == pytest.approx(6 / 9 * 4 / 7, abs=0.08)


def test_a_resized_crop_of_a_constant_image_is_constant_and_of_a_ramp_a_part_of_it():
    constant = torch.full((5, 3, 8, 8), 77).byte()
    assert torch.equal(resized_crop(constant, True, 5, Shard(), rng()), constant)
    ramp = (torch.arange(16) * 10).expand(200, 1, 16, 16).byte()
    parts = resized_crop(ramp, False, 200, Shard(), rng()).float()
    assert (parts[..., 1:] >= parts[..., :-1]).all()  # never mirrored
    spans = (parts[..., -1] - parts[..., 0])[:, 0, 0] / 150
    assert spans.min() < 0.4 and spans.max() > 0.85
    mirrored = resized_crop(ramp, True, 200, Shard(), rng()).float()
    falling = (mirrored[:, 0, 0, -1] < mirrored[:, 0, 0, 0]).float().mean()
    assert falling == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("policy", ["cifar10", "imagenet", "svhn", "rand", "trivial"])
@pytest.mark.parametrize("channels", [1, 3])
def test_policies_change_images_of_either_kind_the_same_for_a_seed(policy, channels):
    images = IMAGES[:, :channels]
    augmentation = Augmentation(crop="none", flip=False, policy=policy)

    def changed(seed):
        with seeded(seed):
            return augmentation.of_images(images, 12, Shard(), rng())

    result = changed(0)
    assert result.dtype == torch.uint8 and result.shape == images.shape
    assert torch.equal(result, changed(0)) and not torch.equal(result, images)
    assert not torch.equal(result, changed(1))


def test_erasing_makes_noise_of_a_part_the_same_for_a_seed():
    augmentation = Augmentation(erase=1.0)

    def erased():
        with seeded(3):
            return augmentation.of_inputs(torch.zeros(8, 1, 16, 16), 8, Shard(), rng())

    assert torch.equal(erased(), erased())
    assert ((erased() != 0).sum(dim=(1, 2, 3)) > 0).sum() >= 6


def test_without_a_crop_images_are_only_mirrored():
    result = crop_and_flip(IMAGES, 0, True, rng())
    same = (result == IMAGES).flatten(1).all(dim=1)
    mirrored = (result == IMAGES.flip(3)).flatten(1).all(dim=1)
    assert (same | mirrored).all() and same.any() and mirrored.any()
