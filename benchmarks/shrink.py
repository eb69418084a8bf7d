"""What does it cost to cut a network? ddpnas, random widths, uniform widths and Torch-Pruning.

All networks of a share have at most the MACs that Torch-Pruning's has, which is bisected to the
share. Random ones have 97 to 100 % of them. All are fine-tuned alike, with the given network as the
teacher. Test images are read at the end.

    pip install torch-pruning==1.6.1      # needed by this benchmark only, as ModelOpt is
    python -m benchmarks.shrink accuracy --out records/shrink/resnet20.jsonl
    python -m benchmarks.shrink limits --out records/shrink/limits.json
    python -m benchmarks.shrink time --out records/shrink/time.json
    python -m benchmarks.shrink sensitivity --out records/shrink/sensitivity.json

Rows that are in the file already are skipped, so that the command can be repeated after a stop.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import ddpnas
from benchmarks.modelopt_peer import fastnas
from benchmarks.record import write_record
from benchmarks.shrink_networks import given_lite0, given_resnet20, resnet20
from benchmarks.torch_pruning_peer import CRITERIA, pruned, pruned_to
from ddpnas.errors import InfeasibleError
from ddpnas.generation.best import sample_within
from ddpnas.shrinking import (
    find_groups,
    measure_sensitivity,
    order_channels,
    recalibrate,
    score_candidates,
    search_masks,
    uniform_widths,
)
from ddpnas.shrinking.sensitivity import Sensitivity, batches_of, mean_loss

_CPU = torch.device("cpu")
_SANDWICH = 3  # epochs of training a supernet that has the network's weights


class Rows:
    """The rows of a JSON lines file, each measured once.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def once(self, key: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the row of a key; measure and append it if it is not there."""
        for row in self.rows:
            if key.items() <= row.items():
                return row
        row = {**key, **measure()}
        with self._path.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        self.rows.append(row)
        print(json.dumps({k: v for k, v in row.items() if k != "widths"}), flush=True)
        return row


@dataclasses.dataclass
class Accuracy:
    """The comparison on one network.

    Attributes:
        model: The given network, trained.
        data: Its data.
        rows: Where results go.
        epochs: Epochs of fine-tuning.
        divisor: Numbers of channels are multiples of it.
        images: Images for scores, at most.
        also: Further methods, "pas", "search" and "modelopt".
        mask_epochs: Epochs of training masks, for "pas".
    """

    model: nn.Module
    data: ddpnas.Data
    rows: Rows
    epochs: int
    divisor: int
    images: int
    also: list[str]
    mask_epochs: int

    def run(self, shares: list[float], seeds: int, random: int) -> None:
        """Measure all rows."""
        space = self.space = ddpnas.shrinkable(
            self.model, self.data.input_shape, divisor=self.divisor
        )
        self.costs = ddpnas.count_costs(space)
        full = self.costs["macs"].cost({d.name: d.options[-1] for d in space.decisions})
        self.rows.once({"method": "given"}, lambda: {"macs": full, "accuracy": self.test()})
        for share in shares:
            target = self._peer(share, full, seeds)
            limits = {"macs": target}
            for seed in range(seeds):
                self._row("ddpnas", share, seed, functools.partial(self._ours, limits, seed))
            widths = functools.partial(uniform_widths, space, limits, self.costs)
            self._row("uniform", share, 0, widths)
            others = {"pas": self._masks, "search": self._searched}
            for name in self.also:
                if name == "modelopt":
                    self._modelopt(share, target)
                else:
                    self._row(name, share, 0, functools.partial(others[name], limits))
            near = {"macs": (0.97 * target, target)}
            for seed in range(random):
                rng = np.random.default_rng(seed)
                self._row(
                    "random",
                    share,
                    seed,
                    functools.partial(sample_within, space, near, self.costs, rng),
                )

    def _peer(self, share: float, full: float, seeds: int) -> float:
        """Return the MACs of Torch-Pruning's network: the best of its criteria.

        A seed is that of its fine-tuning.
        """

        @functools.cache
        def best() -> tuple[nn.Module, dict[str, Any]]:
            images, validation = self._batches()
            losses, networks = {}, {}
            for name in CRITERIA:
                network = pruned_to(self.model, self.data, name, share * full, images, self.divisor)
                recalibrate(network, images)
                losses[name], networks[name] = mean_loss(network, validation), network
            name = min(losses, key=lambda name: losses[name])
            return networks[name], {"criterion": name, "losses": losses}

        def tuned(seed: int) -> dict[str, Any]:
            network, about = best()
            return {**about, **self._tuned(copy.deepcopy(network), seed)}

        rows = [
            self.rows.once(
                {"method": "torch-pruning", "share": share, "seed": seed},
                functools.partial(tuned, seed),
            )
            for seed in range(seeds)
        ]
        return float(rows[0]["macs"])

    def _modelopt(self, share: float, target: float) -> None:
        """Measure the network of FastNAS within the same MACs."""

        def measure() -> dict[str, Any]:
            images, validation = self._batches()
            begun = time.process_time()
            network = fastnas(self.model, self.data, target, images, validation, self.divisor)
            searching = time.process_time() - begun
            return {"searching": searching, **self._tuned(network, 0)}

        self.rows.once({"method": "modelopt", "share": share, "seed": 0}, measure)

    def _batches(self) -> list[list[tuple[Tensor, Tensor]]]:
        """Return images for gradients or statistics, and images for scores."""
        splits = (self.data.train, self.data.valid)
        return [batches_of(self.data, split, self.images, 0, _CPU) for split in splits]

    def _order(self) -> Any:
        images, _ = self._batches()
        return order_channels(self.model, self.space.groups, "outputs", images)

    def _masks(self, limits: dict[str, float]) -> Any:
        self.space.order = self._order()
        found = search_masks(self.space, self.data, limits, self.costs, epochs=self.mask_epochs)
        _, validation = self._batches()
        prices = Sensitivity(mean_loss(self.model, validation), found.prices)
        scored = score_candidates(
            self.space, self.data, prices, limits, self.costs, images=self.images
        )
        return scored[0].architecture

    def _searched(self, limits: dict[str, float]) -> Any:
        """Return the widths that a search finds in a supernet with the network's weights."""
        self.space.order = self._order()
        training = {"training": "sandwich", "warmup_epochs": _SANDWICH, "lr": 0.01}
        found = ddpnas.search(
            self.space, self.data, "ddpnas", strategy_options={"evaluations": 100},
            evaluator_options={**training, "proxy_weight": 0.0}, device="cpu",
        )  # fmt: skip
        generated = ddpnas.generate(found.distribution, self.space, limits, self.costs)
        return generated.architecture

    def _ours(self, limits: dict[str, float], seed: int) -> Any:
        sensitivity = self._sensitivity(seed)
        found = score_candidates(
            self.space,
            self.data,
            sensitivity,
            limits,
            self.costs,
            images=self.images,
            seed=seed,
            device=_CPU,
        )
        return found[0].architecture

    @functools.cached_property
    def _known(self) -> dict[int, Any]:
        """Seed -> sensitivity and order of channels, measured once for all shares."""
        return {}

    def _sensitivity(self, seed: int) -> Any:
        if seed not in self._known:
            found = measure_sensitivity(self.space, self.data, images=self.images, seed=seed)
            self._known[seed] = found, self.space.order
        found, self.space.order = self._known[seed]
        return found

    def _row(self, method: str, share: float, seed: int, widths: Callable[[], Any]) -> None:
        def measure() -> dict[str, Any]:
            try:
                chosen = widths()
            except InfeasibleError as error:
                return {"infeasible": str(error)}
            if method in ("uniform", "random"):  # channels go in our order: only widths differ
                self.space.order = self._order()
            network = self.space.build(chosen)
            return {"widths": dict(chosen), **self._tuned(network, seed)}

        self.rows.once({"method": method, "share": share, "seed": seed}, measure)

    def _tuned(self, network: nn.Module, seed: int) -> dict[str, Any]:
        recalibrate(network, batches_of(self.data, self.data.train, self.images, seed, _CPU))
        counted = ddpnas.count_network(network, self.data.input_shape)
        cut = self.test(network)
        begun = time.process_time()
        trained = ddpnas.train(
            network, self.data, "finetune", epochs=self.epochs, seed=seed, device="cpu",
            teacher=self.model,
        )  # fmt: skip
        return {
            "macs": counted["macs"],
            "params": counted["params"],
            "cut": cut,
            "accuracy": trained.evaluation.accuracy,
            "processor_seconds": time.process_time() - begun,
        }

    def test(self, network: nn.Module | None = None) -> float:
        """Return the accuracy on the test images."""
        assert self.data.test is not None
        network = (network or self.model).eval()
        batches = batches_of(self.data, self.data.test, len(self.data.test), 0, _CPU)
        with torch.no_grad():
            right = sum(float((network(x).argmax(1) == y).sum()) for x, y in batches)
        return right / len(self.data.test)


def accuracy(options: argparse.Namespace) -> None:
    """Aim 1: accuracy at equal MACs after equal fine-tuning."""
    if options.network == "resnet20":
        model, data = given_resnet20(options.work, options.images)
    else:
        model, data = given_lite0(options.work, options.data, options.weights, options.images)
    shares = options.shares or ([0.5, 0.25, 0.1] if options.network == "resnet20" else [0.5, 0.25])
    divisor = 2 if options.network == "resnet20" else 4
    found = Accuracy(
        model, data, Rows(options.out), 3, divisor, options.score_images, options.also,
        options.mask_epochs,
    )  # fmt: skip
    found.run(shares, options.seeds, options.random)


def limits(options: argparse.Namespace) -> None:
    """Aim 2: random pairs of limits on ResNet-20; how often one is exceeded."""
    shape = (1, 28, 28)
    space = ddpnas.shrinkable(resnet20(1, 10), shape, divisor=2)
    costs = ddpnas.count_costs(space)
    least, whole = ({d.name: d.options[i] for d in space.decisions} for i in (0, -1))
    uniform = ddpnas.JointDistribution.uniform(space.decisions)
    rng = np.random.default_rng(0)
    exceeded = infeasible = 0
    shares = []
    for _ in range(100):
        # Down to below what each cost can be, so that some pairs cannot be met.
        asked = {
            name: float(np.exp(rng.uniform(np.log(0.5 * low), np.log(high))))
            for name, low, high in (
                (name, costs[name].cost(least), costs[name].cost(whole))
                for name in ("macs", "params")
            )
        }
        rises = {
            (d.name, option): -float(fall)
            for d in space.decisions
            for option, fall in zip(
                d.options[::-1], np.cumsum(rng.exponential(size=len(d.options))), strict=True
            )
        }
        try:
            found = ddpnas.generate(uniform, space, asked, costs, objective=rises)
        except InfeasibleError:
            infeasible += 1
            assert any(asked[name] < costs[name].cost(least) for name in asked), "not proven"
            continue
        counted = ddpnas.count_network(space.build(found.architecture), shape)
        exceeded += any(counted[name] > asked[name] for name in asked)
        shares.append(max(counted[name] / asked[name] for name in asked))
    record = {
        "pairs": 100, "exceeded": exceeded, "infeasible": infeasible,
        "share of the tighter limit used": {"mean": float(np.mean(shares)), "max": max(shares)},
        "torch-pruning": _peer_misses(options),
    }  # fmt: skip
    write_record(options.out, record)
    print(json.dumps(record))


def _peer_misses(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return the MACs that Torch-Pruning reaches, relative to the share that was asked for.

    "rule" prunes a share of channels of 1 - sqrt(share), as its README explains; "bisected" is the
    largest network below the share.
    """
    model, data = given_resnet20(options.work, options.images)
    full = ddpnas.count_network(model, data.input_shape)["macs"]
    found: dict[str, dict[str, float]] = {}
    for criterion in CRITERIA[:2]:  # those by magnitude
        for share in (0.5, 0.25, 0.1):
            networks = {
                "rule": pruned(model, data, criterion, 1 - share**0.5, (), 2),
                "bisected": pruned_to(model, data, criterion, share * full, (), 2),
            }
            found[f"{criterion}, {share:.0%}"] = {
                name: ddpnas.count_network(one, data.input_shape)["macs"] / (share * full)
                for name, one in networks.items()
            }
    return found


def times(options: argparse.Namespace) -> None:
    """Aim 3: processor seconds of the groups and of a generation of ResNet-50."""
    record = dict(_times())
    write_record(options.out, record)
    print(json.dumps(record))


def _times() -> Iterator[tuple[str, float]]:
    from torchvision.models import resnet50

    model = resnet50()
    begun = time.process_time()
    find_groups(model, (3, 224, 224))
    yield "groups of ResNet-50 at 224", time.process_time() - begun
    space = ddpnas.shrinkable(model, (3, 224, 224))
    begun = time.process_time()
    costs = ddpnas.count_costs(space)
    yield "costs of ResNet-50", time.process_time() - begun
    rng = np.random.default_rng(0)
    rises = {(d.name, o): -float(rng.exponential()) for d in space.decisions for o in d.options}
    uniform = ddpnas.JointDistribution.uniform(space.decisions)
    full = costs["macs"].cost({d.name: d.options[-1] for d in space.decisions})
    begun = time.process_time()
    ddpnas.generate(uniform, space, {"macs": full / 2}, costs, objective=rises)
    yield "generation at half the MACs", time.process_time() - begun


def sensitivity(options: argparse.Namespace) -> None:
    """Aim 3: seconds of the sensitivity of ResNet-18, 500 images at 64 pixels for either use."""
    from torchvision.models import resnet18

    images = torch.randint(0, 256, (2000, 3, 64, 64), dtype=torch.uint8)
    data = ddpnas.make_data((images, torch.arange(2000) % 10))
    space = ddpnas.shrinkable(resnet18(num_classes=10), (3, 64, 64))
    begun = time.process_time()
    measure_sensitivity(space, data, images=500)
    record = {"sensitivity of ResNet-18, 500 images at 64": time.process_time() - begun}
    write_record(options.out, record)
    print(json.dumps(record))


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = {
        "accuracy": accuracy, "limits": limits, "time": times, "sensitivity": sensitivity,
    }  # fmt: skip
    parser.add_argument("what", choices=commands)
    parser.add_argument("--out", type=Path, required=True, help="file for the results")
    parser.add_argument("--network", choices=("resnet20", "lite0"), default="resnet20")
    parser.add_argument("--images", type=int, default=3000, help="training images")
    parser.add_argument("--score-images", type=int, default=500, help="images for scores, at most")
    parser.add_argument("--data", type=Path, help="photographs for lite0")
    parser.add_argument("--weights", type=Path, help="file that benchmarks.lite0_weights wrote")
    parser.add_argument("--shares", type=float, nargs="+")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--random", type=int, default=5, help="random width vectors")
    parser.add_argument("--also", nargs="+", choices=("pas", "search", "modelopt"), default=[])
    parser.add_argument("--mask-epochs", type=int, default=3, help="epochs of masks, of pas")
    parser.add_argument("--work", type=Path, default=Path("runs/shrink"), help="trained networks")
    options = parser.parse_args()
    torch.set_num_threads(1)
    commands[options.what](options)


if __name__ == "__main__":
    main()
