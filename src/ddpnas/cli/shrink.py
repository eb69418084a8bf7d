"""``ddpnas shrink``: an existing network, cut to limits and fine-tuned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from ddpnas.cli import _show as show
from ddpnas.cli._options import Command, add_limit, add_seed_and_device, new_parser
from ddpnas.data.load import load_data
from ddpnas.errors import OptionError
from ddpnas.shrinking.finding import find_groups
from ddpnas.shrinking.groups import Group
from ddpnas.shrinking.shrunk import Shrunk, shrink
from ddpnas.training.networks import find_network
from ddpnas.training.pretrained import library_preprocessing, open_network
from ddpnas.training.train import train
from ddpnas.utils.settings import Count, Epochs, MostImages, Pixels

__all__ = ["COMMANDS"]

_PIXELS = 224  # of a network that does not say which images it takes


def _parser() -> ArgumentParser:
    parser = new_parser("cut a network that you have to your limits, and fine-tune it")
    parser.add_argument("network", help="timm:NAME, torchvision:NAME or FILE.py:function")
    parser.add_argument(
        "--list", action="store_true", help="only list the channels that can be cut; needs no data"
    )
    parser.add_argument("--data", help="images; see `ddpnas data`")
    add_limit(parser)
    parser.add_argument("--weights", help="file of weights (.safetensors or .pth), no download")
    parser.add_argument("--image-size", type=Pixels, help="pixels a side; default: the network's")
    parser.add_argument("--keep", action="append", default=[], help="path of a layer to keep whole")
    parser.add_argument("--divisor", type=Count, default=8, help="widths are multiples of it")
    parser.add_argument("--epochs", type=Epochs, help="epochs of fine-tuning")
    parser.add_argument(
        "--head-epochs",
        type=Epochs,
        default=5,
        help="epochs for which the whole network is fine-tuned first if its classes are others",
    )
    parser.add_argument(
        "--candidates", type=Count, default=50, help="networks that are scored as a whole"
    )
    parser.add_argument("--limit-train-images", type=MostImages, help="use at most this many")
    parser.add_argument("--out", help="folder for the smaller network")
    add_seed_and_device(parser)
    return parser


def run(options: Namespace) -> None:
    """Run ``ddpnas shrink``."""
    if options.list:
        _list(options)
        return
    needed = {"--data": options.data, "--limit": options.limit, "--out": options.out}
    if missing := [name for name, given in needed.items() if not given]:
        raise OptionError(
            f"ddpnas shrink needs {' and '.join(missing)}, such as: ddpnas shrink "
            f"{options.network} --data photos/ --limit macs=50% --out runs/small; --list lists "
            f"what can be cut and needs none of them"
        )
    out = Path(options.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OptionError(f"{out} is there already; give another folder with --out")
    _shrink(options, out)


def _list(options: Namespace) -> None:
    """Print the groups of channels of a network."""
    named = find_network(options.network)
    own = named.preprocessing
    channels, *_ = own.shape if own is not None else (3,)
    side = options.image_size or (own.shape[-1] if own is not None else _PIXELS)
    shape = (channels, side, side)
    groups = find_groups(
        named.build(None, shape), shape, divisor=options.divisor, keep=options.keep
    )
    _show_groups(groups)


def _show_groups(groups: Sequence[Group]) -> None:
    rows = [
        [
            group.name,
            f"{group.channels:,}",
            f"{group.widths[0]:,}",
            f"{100 * group.share:.1f} %",
            group.fixed,
        ]
        for group in groups
    ]
    show.table(["channels made by", "channels", "at least", "of the MACs", "fixed by"], rows)
    free = sum(group.is_open for group in groups)
    show.line(f"{free} of {len(groups)} groups of channels can be cut")


def _shrink(options: Namespace, out: Path) -> None:
    library = library_preprocessing(options.network)
    changes: dict[str, Any] = {"limit_train_images": options.limit_train_images}
    size = options.image_size or (library.shape[-1] if library is not None else None)
    if size is not None:
        changes["image_size"] = size
    if library is not None:
        changes["interpolation"] = library.interpolation
    data = load_data(options.data, **changes)
    opened = open_network(
        options.network,
        num_classes=len(data.classes),
        input_shape=data.input_shape,
        weights=options.weights,
        seed=options.seed,
    )
    data, model = opened.prepare(data), opened.model
    if opened.new_head is not None:
        show.line(f"new last layer ({opened.new_head}): fine-tuning the whole network first")
        model = train(
            model, data, "finetune",
            epochs=options.head_epochs, seed=options.seed, device=options.device,
        ).model  # fmt: skip
    shrunk = shrink(
        model, data, options.limit,
        epochs=options.epochs, divisor=options.divisor, keep=options.keep,
        candidates=options.candidates, seed=options.seed, device=options.device,
    )  # fmt: skip
    if not shrunk.networks:
        show.line("the network is within the limits already; nothing is cut and nothing saved")
        return
    shrunk.save(out, named=opened.named)
    _show_groups(shrunk.groups)
    _show_accuracies(shrunk)
    show.line(f"the smaller network is in {out}; next: ddpnas evaluate {out}")


def _show_accuracies(shrunk: Shrunk) -> None:
    costs = ["macs", "params", *(name for name in shrunk.limits if name not in ("macs", "params"))]
    rows = [["as given", *("-" for _ in costs), "-", f"{100 * shrunk.given:.2f} %"]]
    for one in shrunk.networks:
        spent = (f"{one.costs[name]:,.0f}" for name in costs)
        cut, fine_tuned = f"{100 * one.cut:.2f} %", f"{100 * one.fine_tuned:.2f} %"
        rows.append([f"{one.name} widths", *spent, cut, fine_tuned])
    show.table(["network", *costs, "after cutting", "accuracy"], rows)


COMMANDS: dict[str, Command] = {
    "shrink": (_parser, run),
}
