"""shrink(): an existing network cut to your limits and fine-tuned, in the minutes that you give."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from ddpnas.costs.table import CostTable
from ddpnas.data.data import Data
from ddpnas.data.load import as_data
from ddpnas.errors import OptionError
from ddpnas.generation.limits import Limits
from ddpnas.runs.folder import SHRINK
from ddpnas.shrinking.controls import CONTROLS, Control
from ddpnas.shrinking.finding import DIVISOR, FRACTIONS, Fractions
from ddpnas.shrinking.folder import ShrinkFolder
from ddpnas.shrinking.importance import Importance
from ddpnas.shrinking.plan import Ending, Method, ShrinkSettings
from ddpnas.shrinking.shrunk import Shrunk
from ddpnas.shrinking.task import ShrinkTask
from ddpnas.training.networks import NamedNetwork, find_network
from ddpnas.utils.settings import Count, Epochs, MostImages, Seed, checks_arguments

__all__ = ["resume_shrink", "shrink"]

Tell = Callable[[str], object]


@checks_arguments
def shrink(
    model: nn.Module,
    data: Data | Any,
    limits: Limits | Iterable[str],
    *,
    costs: Sequence[CostTable | str | Path] = (),
    method: Method = "sensitivity",
    ending: Ending = "exact",
    minutes: float = 20.0,
    epochs: Epochs | None = None,
    head_epochs: int = 0,
    fractions: Fractions = FRACTIONS,
    divisor: Count = DIVISOR,
    keep: Sequence[str] = (),
    importance: Importance = "outputs",
    images: MostImages = 500,
    candidates: Count = 50,
    distil: bool = True,
    controls: Sequence[Control] = CONTROLS,
    seed: Seed = 0,
    device: str = "auto",
    out: str | Path | None = None,
    factory: str | None = None,
    on_progress: Tell | None = None,
) -> Shrunk:
    """Cut a network to limits and fine-tune it.

    It measures what each width costs in loss, generates the widths that cost least within the
    limits, scores the best of them as whole networks, and fine-tunes the best one.

    Args:
        model: The network, with one logit for each class; it is not changed.
        data: Data with inputs of the shape that the network takes, normalized as it needs them.
        limits: Cost name -> limit; see :func:`ddpnas.generate`. Or texts such as "macs=50%". The
            costs are those of :func:`ddpnas.count_costs`. "50%" is a share of the given network's.
        costs: Further cost tables of its widths, or the JSON files that hold them, as
            :func:`ddpnas.measure_latency` makes them of ``ddpnas.shrinkable(model, ...)``.
        method: How widths are judged. "sensitivity" measures what each width costs in loss. "pas"
            trains a mask for each channel, with a price on costs; see
            :func:`ddpnas.shrinking.search_masks`.
        ending: How the method "pas" ends. "exact" generates the best widths within the limits by
            the prices of the masks, and scores candidates. "masks" takes the widths that the masks
            leave, rounded to those of the groups, as the authors do. If they exceed a limit, a line
            says so, and the best widths within the limits are generated among those that are no
            wider. The limits hold by either.
        minutes: What all of it may take, by an estimate that is made first.
        epochs: Epochs of fine-tuning; by default as many as the recipe "finetune" plans, or as
            fit into the minutes, at least three.
        head_epochs: Epochs for which the whole network is fine-tuned first, as is needed if its
            last layer is new. The result counts as the given network.
        fractions: Shares of its channels that a group may keep.
        divisor: Numbers of channels are multiples of it.
        keep: Paths of layers whose channels all stay.
        importance: What tells which channels of a group go first.
        images: Number of images for measuring what widths cost, at most.
        candidates: Number of networks that are scored as a whole.
        distil: Whether the given network teaches the smaller one.
        controls: Widths of the same multiply-adds that are fine-tuned too: "uniform", "random",
            "magnitude" (see :func:`ddpnas.shrinking.magnitude_widths`). Each of them takes another
            fine-tuning. Without any, nothing tells whether the search paid.
        seed: Seed for everything random.
        device: "auto", "cpu", "cuda", ...
        out: Folder for all results; an interrupted shrink resumes from it. None keeps nothing.
        factory: Name that rebuilds the network, as for :func:`ddpnas.open_network`. Without it,
            the folder has to be loaded with the network: ``ddpnas.load(out, model=...)``.
        on_progress: Called with a line of text at each step.

    Raises:
        InfeasibleError: The limits cannot be met; the message names the lowest reachable cost and
            what cannot be cut.
        OptionError: The network has another number of outputs than the data has classes, a limit
            cannot be read, or the minutes are too short; the message names what fits. Or the limits
            are met already, so that nothing but ``head_epochs`` is left to do.
        SpaceError: The network does not take the inputs of the data, or nothing in it can be cut.
        RunError: The folder holds something already.

    Example:
        >>> import ddpnas, torch
        >>> data = ddpnas.make_data((torch.randn(80, 4), torch.arange(80) % 2))
        >>> model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> shrunk = ddpnas.shrink(model, data, {"macs": "50%"}, epochs=1, device="cpu")
        >>> shrunk.model[0], shrunk.costs["macs"]
        (Linear(in_features=4, out_features=8, bias=True), 48.0)
        >>> [network.name for network in shrunk.networks]
        ['found', 'uniform', 'random']
    """
    settings = ShrinkSettings(
        minutes=minutes, method=method, ending=ending, epochs=epochs, head_epochs=head_epochs,
        fractions=tuple(fractions), divisor=divisor, keep=tuple(keep), importance=importance,
        images=images, candidates=candidates, distil=distil, controls=tuple(controls), seed=seed,
        device=device,
    )  # fmt: skip
    named = None if factory is None else find_network(factory)
    if out is not None:
        ShrinkFolder.check_free(out)
    _check_network(model)
    data = as_data(data)
    if named is not None:
        _check_factory(named, model, data)
    task = ShrinkTask.plan(
        model, data, limits, settings, costs=costs, named=named, writes=out is not None
    )
    task.check_minutes()
    if task.is_met and head_epochs:
        raise OptionError(
            f"the network is within the limits already, so nothing is cut; fine-tune it instead of "
            f'giving head_epochs: ddpnas.train(model, data, "finetune", epochs={head_epochs})'
        )
    with _folder(out) as folder:
        return task.run(folder, on_progress, kept=out is not None)


@checks_arguments
def resume_shrink(
    folder: str | Path,
    *,
    model: nn.Module | str | None = None,
    data: Data | str | Path | None = None,
    on_progress: Tell | None = None,
) -> Shrunk:
    """Go on with an interrupted shrink, to the network that it would have made.

    Args:
        folder: Its folder.
        model: The given network, if it came from a Python program; or the ``FILE.py:function`` of
            a network in your file, which is executed.
        data: The images, if they came from a Python program, or where they are now.
        on_progress: See :func:`shrink`.

    Raises:
        RunError: The folder holds no shrink, or network or images are others now.
    """
    with ShrinkFolder.opened(folder) as (opened, plan):
        task = ShrinkTask.reopened(Path(folder), plan, model, data)
        if task.followed != plan:
            opened.write(SHRINK, task.followed.to_dict())
        return task.run(opened, on_progress, kept=True)


def _check_network(model: nn.Module) -> None:
    """Raise :class:`OptionError` if a network is wrapped, frozen, or has no numbers as weights."""
    parallel = isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel))
    inner = "module" if parallel else "_orig_mod"  # where torch.compile keeps it
    if inner in model._modules:
        raise OptionError(
            f"the network is wrapped in {type(model).__name__}, which cannot be cut; give the "
            f"network itself: model.{inner}"
        )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise OptionError(
            f"the network ({type(model).__name__}) has no parameters to fine-tune; was "
            f"requires_grad switched off? model.requires_grad_(True) switches it on"
        )
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_meta:
            raise OptionError(
                f"{name} of the network has no values (it is on the device meta); load its weights "
                f"first"
            )
        if not is_lazy(tensor) and tensor.is_floating_point() and tensor.isnan().any():
            raise OptionError(f"{name} of the network holds values that are not numbers")


def _check_factory(named: NamedNetwork, model: nn.Module, data: Data) -> None:
    """Raise :class:`OptionError` if a factory builds another network: it could not be loaded."""
    built = named.build(len(data.classes), data.input_shape).state_dict()
    theirs = {name: tuple(tensor.shape) for name, tensor in built.items()}
    ours = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name in {**ours, **theirs}:
        if ours.get(name) != theirs.get(name):
            raise OptionError(
                f"factory {named.name!r} builds another network than the given one: {name} is "
                f"{_shape(theirs.get(name))} in it and {_shape(ours.get(name))} in that one"
            )


def _shape(shape: tuple[int, ...] | None) -> str:
    if shape is None:
        return "missing"
    return " x ".join(map(str, shape)) or "one number"


@contextlib.contextmanager
def _folder(out: str | Path | None) -> Iterator[ShrinkFolder]:
    """Give the open folder; one that is removed where nothing is kept."""
    with contextlib.ExitStack() as held:
        path = held.enter_context(tempfile.TemporaryDirectory()) if out is None else out
        yield held.enter_context(ShrinkFolder.created(path))
