"""Every registered sieve keeps the contract; what each promises beyond it."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import nn
from torch.utils.data import Dataset

from ddpnas import make_data
from ddpnas.data import Loader, SieveConfig, list_sieves
from ddpnas.data.curriculum import CurriculumSieve, FollowingSieve
from ddpnas.data.ranked_sieves import LEAST, DynamicsSieve, EntropySieve, RandomSieve, quotas
from ddpnas.data.sieve import Sieve
from ddpnas.errors import DataError, OptionError

CPU = torch.device("cpu")
EPOCHS = 10
IMBALANCED = torch.cat([torch.zeros(2000), torch.ones(20), torch.full((180,), 2)]).long()
RANKED = [name for name in list_sieves() if name not in ("all", "curriculum")]


def see(sieve, epoch, items=None):
    """Let a sieve observe an epoch of made-up outputs, the same for the same item and epoch."""
    items = sieve.kept if items is None else items
    every = torch.randn(len(sieve.labels), 3, generator=torch.Generator().manual_seed(epoch))
    outputs, labels = every[items], sieve.labels[items]
    if sieve.classes is not None:
        outputs, labels = outputs[:, sieve.classes], torch.searchsorted(sieve.classes, labels)
    sieve.observe(items, outputs, labels)


def run(sieve, first=0, last=EPOCHS):
    kept = []
    for epoch in range(first, last):
        kept.append(sieve.kept)
        see(sieve, epoch)
        sieve.end_epoch()
    return kept


def planned(share):
    return round(share * len(IMBALANCED))


@pytest.mark.parametrize("name", list_sieves())
class TestContract:
    def make(self, name, seed=0):
        return SieveConfig(name).create(IMBALANCED, EPOCHS, seed)

    def test_kept_items_are_distinct_in_order_and_of_the_split(self, name):
        for kept in run(self.make(name)):
            assert torch.equal(kept, kept.unique()) and 0 <= int(kept[0]) <= int(kept[-1]) < 2200

    def test_the_first_epoch_reads_everything(self, name):
        assert len(self.make(name).kept) == 2200

    def test_counts_are_those_planned(self, name):
        sieve = self.make(name)
        counts = [len(kept) for kept in run(sieve)]
        if name == "curriculum":
            classes = [round(3 * sieve.share(epoch)) for epoch in range(EPOCHS)]
            assert classes == [3, 3, 2, 2, 2, 2, 2, 2, 3, 3]
        else:
            assert counts == [planned(sieve.share(epoch)) for epoch in range(EPOCHS)]
        assert sieve.fewest <= min(counts)

    def test_no_class_falls_below_its_floor(self, name):
        sieve = self.make(name)
        for kept in [*run(sieve), sieve.kept]:
            of_class = IMBALANCED[kept].bincount(minlength=3)
            present = torch.arange(3) if name != "curriculum" else IMBALANCED[kept].unique()
            assert (of_class[present] >= LEAST).all()

    def test_an_interrupted_schedule_ends_as_the_unbroken_one(self, name):
        whole, resumed = self.make(name), self.make(name)
        run(whole)
        for epoch in range(EPOCHS):
            run(resumed, epoch, epoch + 1)
            saved = {key: tensor.clone() for key, tensor in resumed.state_dict().items()}
            resumed = self.make(name)
            resumed.load_state_dict(saved)
        assert torch.equal(whole.kept, resumed.kept)
        assert whole.classes is None or torch.equal(whole.classes, resumed.classes)

    def test_processes_that_observe_parts_choose_what_one_process_does(self, name):
        alone, first, second = (self.make(name) for _ in range(3))
        for epoch in range(EPOCHS):
            see(alone, epoch)
            for rank, sieve in enumerate((first, second)):
                see(sieve, epoch, sieve.kept[rank::2])
            both = first._seen + second._seen
            alone.end_epoch()
            for sieve in (first, second):
                sieve.end_epoch(lambda numbers, both=both: both)
            assert torch.equal(alone.kept, first.kept) and torch.equal(alone.kept, second.kept)

    def test_validation_items_all_score_unless_asked_otherwise(self, name):
        assert type(SieveConfig(name).of_scores(IMBALANCED, 5)) is Sieve


@pytest.mark.parametrize("name", RANKED)
def test_what_was_dropped_stays_out_and_the_end_is_the_share_asked_for(name):
    sieve = SieveConfig(name, {"keep": 0.3}).create(IMBALANCED, EPOCHS)
    kept = [set(items.tolist()) for items in run(sieve)]
    assert all(later <= before for before, later in itertools.pairwise(kept))
    assert len(kept[-1]) == planned(0.3)


@pytest.mark.parametrize("name", RANKED)
def test_the_validation_items_are_chosen_once_after_all_observations(name):
    sieve = SieveConfig(name, {"valid_keep": 0.5}).of_scores(IMBALANCED, 5, once=True)
    counts = [len(kept) for kept in run(sieve, last=9)]
    assert counts == ([1100] * 9 if name == "random" else [2200] * 5 + [1100] * 4)


@given(
    sizes=some.lists(some.integers(1, 400), min_size=1, max_size=12),
    share=some.floats(0, 1),
    floor=some.integers(0, 20),
)
@settings(max_examples=60)
def test_quotas_sum_to_the_total_and_stay_next_to_the_share(sizes, share, floor):
    sizes = torch.tensor(sizes)
    floors = sizes.clamp(max=floor)
    total = round(share * int(sizes.sum()))
    found = quotas(share * sizes.double(), sizes, total, floors)
    assert int(found.sum()) == max(total, int(floors.sum()))
    assert (found >= floors).all() and (found <= sizes).all()
    if floor == 0:
        assert ((found - share * sizes.double()).abs() < 1 + 1e-9).all()


class Guarded(Dataset):
    """Images that may be read only while they are allowed."""

    def __init__(self, n=240):
        self.allowed, self.n = None, n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if self.allowed is not None and index not in self.allowed:
            raise AssertionError(f"item {index} is outside of kept")
        return torch.full((1, 2, 2), float(index)), index % 3


@pytest.mark.parametrize("name", ["random", "curriculum"])
def test_a_streamed_pass_reads_nothing_outside_of_what_is_kept(name):
    images = Guarded()
    data = make_data(images)
    loader = Loader(data, [data.train], CPU)
    loader.sieve = SieveConfig(name).create(loader.labels, EPOCHS)
    for epoch in range(EPOCHS):
        kept = loader.sieve.kept
        images.allowed = set(data.train.indices[kept].tolist())
        read = [int(x) for batch, _ in loader.train_batches(16, epoch) for x in batch[:, 0, 0, 0]]
        assert len(read) == len(set(read)) == len(kept) // 16 * 16
        assert [len(y) for _, y in loader.eval_batches(1000)] == [len(kept)]
        see(loader.sieve, epoch)
        loader.sieve.end_epoch()
    assert len(kept) < 0.5 * len(data.train) or name == "curriculum"
    images.allowed = {0}  # the guard works
    with pytest.raises(DataError, match="outside of kept"):
        list(loader.train_batches(16, 0))


@pytest.mark.parametrize("seed", [0, 3])
def test_with_all_items_a_pass_is_the_permutation_of_its_seed(seed):
    data = make_data(Guarded())
    loader = Loader(data, [data.train], CPU)
    n = len(data.train)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[: n // 16 * 16]
    for sieve in (loader.sieve, SieveConfig("all").create(loader.labels, EPOCHS, seed=1)):
        loader.sieve = sieve
        for _ in range(2):  # before and after an epoch
            read = [loader._given[0] for _ in loader.train_batches(16, seed)]
            assert torch.equal(torch.cat(read), order)
            sieve.end_epoch()


def test_the_loader_tells_the_sieve_which_items_its_batches_hold():
    data = make_data(Guarded())
    loader = Loader(data, [data.train], CPU)
    loader.sieve = DynamicsSieve(loader.labels, EPOCHS)
    for inputs, _ in loader.train_batches(16, 0):
        right = data.train.indices[loader._given[0]]
        assert torch.equal(inputs[:, 0, 0, 0].long(), right)
        loader.observe(torch.randn(16, 3))
    assert int(loader.sieve._seen[1].sum()) == len(data.train) // 16 * 16


def test_random_keeps_the_same_share_of_each_class_and_other_seeds_other_items():
    labels = torch.arange(1000) % 4
    first, other = (RandomSieve(labels, 1, seed, warmup=0, steps=1) for seed in (0, 1))
    assert first.labels[first.kept].bincount().tolist() == [100] * 4
    assert not torch.equal(first.kept, other.kept)


@pytest.mark.parametrize(("scoring", "kept"), [(False, (100, 300)), (True, (200, 400))])
def test_dynamics_drops_what_is_always_right_and_what_is_always_wrong(scoring, kept):
    """To score, it drops everything below chance first."""
    labels = torch.arange(2).repeat_interleave(400)
    sieve = DynamicsSieve(labels, 5, keep=0.5, warmup=1)
    sieve.scoring = scoring
    logits = torch.linspace(-4, 4, 400).repeat(2)
    for epoch in range(5):
        moved = logits + 0.1 * (epoch - 2)
        sieve.observe(sieve.kept, torch.stack([moved, 0 * moved], 1)[sieve.kept], 0 * labels)
        sieve.end_epoch()
    assert sieve.kept[:200].tolist() == list(range(*kept)) and len(sieve.kept) == 400


@pytest.mark.parametrize(
    ("bin_width", "sizes"), [(0.5, (300, 60, 40)), (2.0, (300, 100)), (0.25, (150, 150, 60, 40))]
)
@pytest.mark.parametrize("rule", [1, 2, 3])
def test_entropy_draws_as_its_histogram_says(rule, bin_width, sizes):
    """One of 400 items is drawn; how often from which bin is published."""
    # Powers of ten -2.4, -2.1, -1.4 and -0.6: in four, three or two bins. By the natural logarithm
    # they are -5.5, -4.8, -3.2 and -1.4, which fall into other bins.
    powers = torch.tensor([-2.4, -2.1, -1.4, -0.6])
    entropies = (10**powers).repeat_interleave(torch.tensor([150, 150, 60, 40]))
    sizes = torch.tensor(sizes).double()
    p = {1: sizes.max() - sizes + 1, 2: torch.ones(len(sizes)), 3: 1 / sizes}[rule]
    labels, counts, n = torch.zeros(400, dtype=torch.long), torch.zeros(len(sizes)), 1000
    sieve = EntropySieve(labels, 5, rule=rule, bin_width=bin_width)
    sieve.learn(entropies)
    for seed in range(n):
        sieve.lot = torch.rand(400, generator=torch.Generator().manual_seed(seed)).double()
        first = int(sieve.ranks().argmax())
        counts[torch.bucketize(torch.tensor(first), sizes.cumsum(0), right=True)] += 1
    expected = p / p.sum()
    assert ((counts / n - expected).abs() < 4 * (expected * (1 - expected) / n).sqrt() + 1e-9).all()


def test_a_curriculum_begins_with_the_classes_that_were_learned_first():
    labels = torch.arange(600) % 6
    sieve = CurriculumSieve(labels, 8, warmup=0.25)
    for _ in range(2):  # class c is right for c + 1 of 6 of its items
        right = (torch.arange(600) // 6 % 6) <= labels
        guess = torch.where(right, labels, (labels + 1) % 6)
        sieve.observe(torch.arange(600), torch.eye(6)[guess], labels)
        sieve.end_epoch()
    assert sieve.classes.tolist() == [4, 5]
    assert (sieve.labels[sieve.kept] >= 4).all() and len(sieve.kept) == 200


def test_absent_classes_are_never_predicted_and_get_no_gradient():
    torch.manual_seed(0)
    network = nn.Linear(4, 6)
    sieve = CurriculumSieve(torch.arange(60) % 6, 8)
    sieve.classes = torch.tensor([1, 4])
    with sieve.narrowing(network):
        outputs = network(torch.randn(50, 4))
        nn.functional.cross_entropy(outputs, torch.arange(50) % 2).backward()
    assert outputs.shape == (50, 2)
    moved = network.weight.grad.abs().sum(1) > 0
    assert moved.tolist() == [False, True, False, False, True, False]
    assert network(torch.randn(1, 4)).shape == (1, 6)  # afterwards it answers for all again


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("dynamic", {}, "did you mean 'dynamics'"),
        ("random", {"keep": 0}, "keep of sieve 'random' must be"),
        ("random", {"kep": 0.4}, "did you mean 'keep'"),
        ("all", {"keep": 0.4}, "unknown option of sieve 'all'"),
        ("curriculum", {"classes": [0.5, 0.2]}, "must be shares that rise to 1"),
    ],
)
def test_wrong_settings_are_refused_with_what_to_type(name, options, says):
    with pytest.raises(OptionError, match=says):
        SieveConfig(name, options)


def test_a_curriculum_needs_validation_images_of_every_class():
    leader = SieveConfig("curriculum", {"classes": [0.5, 1]}).create(torch.arange(40) % 4, 10)
    assert len(FollowingSieve(torch.arange(6) % 3, leader).kept) == 6  # two classes have some of 3
    with pytest.raises(OptionError, match=r"has 2 of 4 classes, and 2 have no .*\(labels 1, 3\)"):
        FollowingSieve(torch.arange(6) % 2 * 2, leader)


def test_the_mean_share_is_that_of_the_schedule():
    config = SieveConfig("random", {"keep": 0.5, "warmup": 0.2, "steps": 1})
    assert math.isclose(config.mean_share, 0.6)
