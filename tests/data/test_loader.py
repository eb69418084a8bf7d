import pytest
import torch
from torch.utils.data import Dataset

from ddpnas import make_data
from ddpnas.data import Loader
from ddpnas.data.augment import crop_and_flip
from ddpnas.data.splits import TensorSplit

CPU = torch.device("cpu")


class Numbers(Dataset):
    """Images whose every pixel is the item's number."""

    def __len__(self):
        return 50

    def __getitem__(self, index):
        return torch.full((1, 4, 4), float(index)), index % 2


def numbered(n=50):
    inputs = torch.arange(n, dtype=torch.float32)[:, None, None, None].expand(n, 1, 4, 4)
    return make_data((inputs.contiguous(), torch.arange(n) % 2), valid_fraction=0.2)


@pytest.mark.parametrize("data", [numbered(), make_data(Numbers())], ids=["tensors", "dataset"])
def test_batches_hold_every_item_once_with_its_label(data):
    loader = Loader(data, [data.train, data.valid], CPU)
    assert len(loader) == 50
    for batches in (loader.eval_batches(20), loader.train_batches(10, seed=3)):
        pairs = [(int(x[0, 0, 0]), int(y)) for b in batches for x, y in zip(*b)]
        assert sorted(pairs) == [(i, i % 2) for i in range(50)]


@pytest.mark.parametrize("data", [numbered(), make_data(Numbers())], ids=["tensors", "dataset"])
def test_a_training_pass_depends_on_its_seed_alone(data):
    loader = Loader(data, [data.train], CPU)

    def order(seed):
        return [int(x[0, 0, 0]) for b, _ in loader.train_batches(8, seed) for x in b]

    first, other = order(0), order(1)
    torch.manual_seed(5)
    assert order(0) == first != other
    assert len(first) == 40 == 8 * loader.steps(8)


def test_evaluation_batches_are_of_nearly_equal_size():
    data = numbered(101)
    loader = Loader(data, [data.train, data.valid], CPU)
    sizes = [len(y) for _, y in loader.eval_batches(50)]
    assert sum(sizes) == 101 and max(sizes) - min(sizes) <= 1 and max(sizes) <= 50


def test_no_batch_is_the_small_rest_of_the_others():
    data = numbered(25)
    loader = Loader(data, [data.train, data.valid], CPU)
    assert [len(y) for _, y in loader.eval_batches(4)] == [4, 4, 4, 4, 3, 3, 3]


def test_fewer_items_than_a_batch_make_one_batch():
    data = numbered(20)
    loader = Loader(data, [data.valid], CPU)
    assert [len(y) for _, y in loader.train_batches(128, 0)] == [4] and loader.steps(128) == 1


def test_images_are_normalised(stripes):
    loader = Loader(stripes, [stripes.train], CPU)
    images = torch.cat([x for x, _ in loader.eval_batches(50)])
    assert images.mean().abs() < 1e-4 and images.std() == pytest.approx(1, abs=1e-2)
    assert images.dtype == torch.float32


def test_augmentation_shifts_and_mirrors_and_nothing_else():
    generator = torch.Generator().manual_seed(0)
    image = torch.arange(1, 26, dtype=torch.uint8).view(1, 1, 5, 5)
    drawn = crop_and_flip(image.expand(300, 1, 5, 5), 2, True, generator)
    padded = torch.nn.functional.pad(image, (2, 2, 2, 2))[0, 0]
    windows = [padded[i : i + 5, j : j + 5] for i in range(5) for j in range(5)]
    allowed = {tuple(w.flatten().tolist()) for v in windows for w in (v, v.flip(1))}
    seen = {tuple(d.flatten().tolist()) for d in drawn}
    assert seen <= allowed and len(seen) > 45
    unmirrored = crop_and_flip(image.expand(300, 1, 5, 5), 2, False, generator)
    plain = {tuple(v.flatten().tolist()) for v in windows}
    assert {tuple(d.flatten().tolist()) for d in unmirrored} == plain


def test_validation_images_are_not_augmented(stripes):
    loader = Loader(stripes, [stripes.valid], CPU)
    first = torch.cat([x for x, _ in loader.eval_batches(7)])
    again = torch.cat([x for x, _ in loader.eval_batches(24)])
    assert torch.equal(first, again)


@pytest.mark.parametrize(
    ("items", "size"), [(8000, 128), (5120, 128), (1321, 32), (700, 16), (50, 16)]
)
def test_small_sets_have_smaller_batches_unless_told_otherwise(items, size):
    split = TensorSplit(torch.zeros(items, 1), torch.zeros(items, dtype=torch.long))
    loader = Loader(numbered(), [split], CPU)
    assert loader.batch_size(None) == size and loader.batch_size(7) == 7
