"""``ddpnas shrink``: an existing network, cut to limits and fine-tuned."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from jsonargparse import ArgumentParser, Namespace

from ddpnas.cli import _show as show
from ddpnas.cli._options import (
    Command,
    add_costs,
    add_json,
    add_limit,
    add_quiet,
    add_seed_and_device,
    new_parser,
    only_network,
    own_network,
)
from ddpnas.cli._run_options import refuse_of_a_search
from ddpnas.errors import OptionError
from ddpnas.generation.best import Generated
from ddpnas.generation.limits import amount
from ddpnas.report.html import write_report
from ddpnas.shrinking.controls import CONTROLS
from ddpnas.shrinking.finding import find_groups
from ddpnas.shrinking.folder import ONNX, ShrinkFolder
from ddpnas.shrinking.groups import Group
from ddpnas.shrinking.plan import Ending, Method, ShrinkSettings
from ddpnas.shrinking.shrink import resume_shrink
from ddpnas.shrinking.shrunk import Shrunk
from ddpnas.shrinking.task import ShrinkTask
from ddpnas.shrinking.width_scores import WidthScores, predicted_rise
from ddpnas.training.networks import find_network
from ddpnas.training.pretrained import (
    OpenedNetwork,
    is_trained_folder,
    load_data_for,
    open_network,
)
from ddpnas.utils.duration import duration
from ddpnas.utils.settings import Count, Epochs, MostImages, Pixels
from ddpnas.utils.shapes import Range
from ddpnas.utils.text import resume_command

__all__ = ["COMMANDS", "generate_widths", "resume"]

_PIXELS = 224  # of a network that does not say which images it takes
_LISTED = 3  # tensors that a message names


def _parser() -> ArgumentParser:
    parser = new_parser(
        "cut a network to limits, and fine-tune it",
        "ddpnas shrink torchvision:resnet18 --data photos/ --limit macs=50% --out runs/small",
    )
    parser.add_argument("network", help="timm:NAME, torchvision:NAME or FILE.py:function")
    parser.add_argument(
        "--list",
        action="store_true",
        help="only list the channels that can be cut; needs no images",
    )
    parser.add_argument("--data", help="images; see `ddpnas data`")
    add_limit(parser, shares=True)
    add_costs(parser)
    parser.add_argument(
        "--minutes",
        type=Annotated[float, Range(above=0, most=1e6)],
        default=20.0,
        help="time for everything; ddpnas estimates it first and refuses what takes longer",
    )
    parser.add_argument(
        "--method",
        type=Method,
        default="sensitivity",
        help="sensitivity: measure what each width costs in loss; pas: train a mask for each "
        "channel",
    )
    parser.add_argument(
        "--ending",
        type=Ending,
        default="exact",
        help="of pas: exact: generate the best widths by what masks say they cost; masks: take the "
        "widths that masks leave",
    )
    parser.add_argument(
        "--weights", help="file of weights (.safetensors or .pth) instead of a download"
    )
    parser.add_argument(
        "--image-size",
        type=Pixels,
        help="pixels a side; default: the size that the network was trained on",
    )
    parser.add_argument(
        "--keep",
        action="append",
        default=[],
        help="layer to keep whole, by its path; may be repeated",
    )
    parser.add_argument(
        "--divisor", type=Count, default=8, help="numbers of channels are multiples of this"
    )
    parser.add_argument(
        "--epochs",
        type=Epochs,
        help="epochs of fine-tuning; default: as many as 500 steps take, at least 10, or fewer, at "
        "least 3, if --minutes are short",
    )
    parser.add_argument(
        "--head-epochs",
        type=Epochs,
        default=5,
        help="epochs of fine-tuning before the cut, if your classes differ from the network's",
    )
    parser.add_argument(
        "--keep-head",
        action="store_true",
        help="never replace the last layer: refuse other classes",
    )
    parser.add_argument(
        "--candidates", type=Count, default=50, help="number of networks to score as a whole"
    )
    parser.add_argument(
        "--controls",
        nargs="*",
        default=list(CONTROLS),
        help="other widths to fine-tune for comparison: uniform, random, magnitude (one threshold "
        "on the L1 norm of the weights that use a channel), or none",
    )
    parser.add_argument(
        "--limit-train-images", type=MostImages, help="use at most this many training images"
    )
    parser.add_argument("--out", help="folder for the smaller network")
    add_seed_and_device(parser)
    add_json(parser)
    add_quiet(parser)
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
            f"{shlex.quote(options.network)} --data photos/ --limit macs=50% --out runs/small; "
            f"--list lists what can be cut and needs none of them"
        )
    ShrinkFolder.check_free(options.out)
    task = _planned(options)
    quiet = options.quiet or options.json
    if not options.json:
        _show_groups(task.space.groups)
    if task.is_met:
        if options.json:
            show.as_json({"networks": []}, indent=None)
        else:
            show.line("the network is within the limits already; nothing is cut and nothing saved")
        return
    if not options.json:
        _show_plan(task)
    task.check_minutes()
    own = own_network(options.network)
    try:
        with ShrinkFolder.created(options.out) as folder:
            shrunk = task.run(folder, lambda text: show.line(text, quiet=quiet))
    except KeyboardInterrupt:
        json_too = " --json" if options.json else ""
        raise KeyboardInterrupt(f"{resume_command(options.out)}{own}{json_too}") from None
    _show_shrunk(shrunk, own, as_json=options.json)


def resume(options: Namespace) -> None:
    """``ddpnas resume`` in the folder of a shrink."""
    network = only_network(options.network)
    shrunk = resume_shrink(
        options.run,
        model=network,
        data=options.data,
        on_progress=lambda text: show.line(text, quiet=options.quiet or options.json),
    )
    _show_shrunk(shrunk, own_network(network or ""), as_json=options.json)


def generate_widths(options: Namespace) -> None:
    """``ddpnas generate`` in the folder of a shrink: widths for other limits, by its scores."""
    refuse_of_a_search(options, "--limit, --top and --json")
    scores = WidthScores.read(options.run)
    found = scores.generate(options.limit, options.top)
    if options.json:
        listed = [_plain(one) for one in found]
        answer = {**listed[0], "top": listed} if len(found) > 1 else listed[0]
        show.as_json(answer)
        return
    costs = list(found[0].costs)
    rows = [
        [str(place), *(amount(one.costs[name]) for name in costs), f"{predicted_rise(one):.4f}"]
        for place, one in enumerate(found, 1)
    ]
    show.table(["network", *costs, "loss rises by"], rows)
    kept = found[0].architecture
    widths = [[g["name"], str(g["channels"]), kept.get(g["name"], "all")] for g in scores.groups]
    show.table(["channels made by", "channels", "keeps"], widths)
    show.line("the rise of the loss is a sum over groups, before any fine-tuning")


def _plain(one: Generated) -> dict[str, Any]:
    return {
        "architecture": dict(one.architecture),
        "costs": one.costs,
        "predicted": predicted_rise(one),
    }


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


def _show_plan(task: ShrinkTask) -> None:
    phases = task.followed.phases
    rows = [[name, f"{seconds / 60:.1f}"] for name, seconds in phases.items()]
    total = f"{sum(phases.values()) / 60:.1f}"
    show.table(["phase", "estimated minutes"], [*rows, ["all", total]])
    megabytes = {name: size / 1e6 for name, size in task.memory.items()}
    show.line(
        f"memory for scores, besides the network: {megabytes['weights']:.1f} MB for a copy of its "
        f"weights and {megabytes['largest group']:.1f} MB for the largest group"
    )


def _planned(options: Namespace) -> ShrinkTask:
    data = load_data_for(
        options.network, options.data, own_size=True, image_size=options.image_size,
        limit_train_images=options.limit_train_images,
    )  # fmt: skip
    opened = open_network(
        options.network,
        num_classes=len(data.classes),
        input_shape=data.input_shape,
        weights=options.weights,
        seed=options.seed,
    )
    if options.weights is not None:
        _refuse_unfit(opened)
    if opened.new_head is not None:
        if options.keep_head:
            raise OptionError(
                f"the outputs of {options.network} are not the {len(data.classes)} classes of "
                f"{data.name}; leave --keep-head out to have its last layer replaced"
            )
        show.line(
            f"new last layer ({opened.new_head}): the whole network is fine-tuned first",
            quiet=options.json,
        )
    settings = ShrinkSettings(
        minutes=options.minutes, method=options.method, ending=options.ending,
        epochs=options.epochs, divisor=options.divisor,
        head_epochs=0 if opened.new_head is None else options.head_epochs,
        keep=tuple(options.keep), candidates=options.candidates,
        controls=tuple(options.controls), seed=options.seed, device=options.device,
    )  # fmt: skip
    return ShrinkTask.plan(
        opened.model, opened.prepare(data), options.limit, settings,
        costs=options.costs, named=opened.named, weights=options.weights,
        trained=options.network if is_trained_folder(options.network) else None,
    )  # fmt: skip


def _refuse_unfit(opened: OpenedNetwork) -> None:
    """Refuse weights that leave layers untrained: nothing tells what their channels are worth."""
    own, head = opened.model.state_dict(), f"{opened.new_head}."
    lines = [(line, line.partition(":")[0]) for line in opened.not_matched]
    unfit = [line for line, name in lines if name in own and not name.startswith(head)]
    if unfit:
        more = f" and {len(unfit) - _LISTED} more" if len(unfit) > _LISTED else ""
        raise OptionError(
            f"{opened.weights} does not fit {opened.name}: {'; '.join(unfit[:_LISTED])}{more}; "
            f"only a trained network can be cut, so give weights that were saved from it"
        )


def _show_shrunk(shrunk: Shrunk, own: str, *, as_json: bool) -> None:
    report = write_report(str(shrunk.folder))
    if as_json:
        files = {"onnx": str(Path(str(shrunk.folder)) / ONNX), "report": str(report)}
        show.as_json({**shrunk.to_dict(), "files": files})
        return
    _show_accuracies(shrunk)
    out = shlex.quote(str(shrunk.folder))
    seconds = sum(shrunk.seconds.values())
    file = Path(str(shrunk.folder)) / ONNX
    show.line(f"{duration(seconds)} in all; report: {report}; file: {file}")
    show.line(f"the smaller network is in {out}; next: ddpnas evaluate {out}{own}")
    show.line(f"other limits, without new scores: ddpnas generate {out} --limit macs=30%")


def _show_accuracies(shrunk: Shrunk) -> None:
    costs = list(dict.fromkeys(("macs", "params", *shrunk.limits)))
    whole = (amount(shrunk.given_costs[name]) for name in costs)
    rows = [["as given", *whole, "-", f"{100 * shrunk.given:.2f} %"]]
    found = shrunk.networks[0]
    for one in shrunk.networks:
        spent = (amount(one.costs[name]) for name in costs)
        cut, fine_tuned = f"{100 * one.cut:.2f} %", f"{100 * one.fine_tuned:.2f} %"
        # Where few widths are within the limits, a control may be what was found.
        same = one is not found and one.architecture == found.architecture
        name = f"{one.name} widths{' (the found ones)' if same else ''}"
        rows.append([name, *spent, cut, fine_tuned])
    show.table(["network", *costs, "after cutting", "accuracy"], rows)


COMMANDS: dict[str, Command] = {
    "shrink": (_parser, run),
}
