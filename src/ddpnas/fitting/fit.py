"""fit(): from images to a trained network within limits, in the minutes given."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch

from ddpnas.data.data import Data
from ddpnas.data.load import DataConfig, as_data, load_data
from ddpnas.data.sieves import SieveConfig
from ddpnas.errors import OptionError, RunError
from ddpnas.export.trained import Export
from ddpnas.fitting.baselines import check_baseline, check_baselines
from ddpnas.fitting.fitted import Fitted
from ddpnas.fitting.following import Session
from ddpnas.fitting.image_size import Larger
from ddpnas.fitting.plan import FitPlan
from ddpnas.fitting.prepared import NoMemoryError, Prepared, prepare_search, prepare_start
from ddpnas.fitting.request import FitRequest
from ddpnas.fitting.searched import NoRoomError, Searched
from ddpnas.fitting.speed import teaching_seconds
from ddpnas.fitting.started import Started
from ddpnas.fitting.timed import split_limits
from ddpnas.fitting.user_files import code_of, confirmed_networks, in_files
from ddpnas.generation.limits import Limits, parse_limits
from ddpnas.runs.folder import LATENCY, PLAN, RUN, RunFolder
from ddpnas.runs.loop import search_seconds
from ddpnas.runs.run import Run
from ddpnas.training.device import pick_device
from ddpnas.training.distillation import as_teacher
from ddpnas.training.pretrained import load_data_for, refuse_own_code
from ddpnas.training.recipes import ClassWeights, Metric
from ddpnas.utils.onnx import need_onnx
from ddpnas.utils.read import checked_content
from ddpnas.utils.settings import Count, Pixels, Seed, checked, checks_arguments
from ddpnas.utils.shapes import Range

__all__ = ["fit", "resume_fit"]

Tell = Callable[[str], object]
_Minutes = Annotated[float, Range(above=0, most=1_000_000)]


@checks_arguments
def fit(
    data: Data | Any,
    limits: Limits | None = None,
    minutes: float = 10.0,
    out: str | Path | None = None,
    *,
    start: str | Path | None = None,
    weights: str | Path | None = None,
    teacher: str | Path | None = None,
    sieve: str = "all",
    sieve_options: Mapping[str, Any] | None = None,
    image_size: Pixels | None = None,
    metric: Metric = "accuracy",
    class_weights: ClassWeights = "none",
    seed: Seed = 0,
    device: str = "auto",
    threads: Count | None = None,
    baselines: Sequence[str] = (),
    export: Export = "onnx",
    plan: str | Path | None = None,
    overwrite: bool = False,
    started: float = 0.0,
    on_progress: Tell | None = None,
) -> Fitted:
    """Search and train a network for these images, within limits and minutes.

    Networks of the space ``edge``, sized by the limits, race against standard designs: all are
    trained a little, the better half of them further. The winner goes on training until the time is
    up. How the time is divided is written to ``plan.json`` before anything is trained.

    Args:
        data: See :func:`ddpnas.data.as_data`.
        limits: Cost name -> limit, such as ``{"macs": "20M", "params": "300K"}``, on costs that
            can be counted (:data:`ddpnas.spaces.edge.SIZED_BY`), or on "latency_ms" for one image
            and one thread of this machine. None takes networks that can be trained well in the
            time.
        minutes: Minutes for everything but baselines, from the call to the return.
        out: Folder for plan, run, trained network, exported file and report; None keeps nothing.
        start: A network that has weights already: "timm:NAME", "torchvision:NAME",
            ``NET.py:factory``, which is executed, or the folder of a trained network. It is
            fine-tuned for the whole time instead of a search; its last layer is replaced if the
            classes differ. It has to be within the limits as it is.
        weights: File of weights for ``start``, .safetensors or .pth, that replaces them.
        teacher: A network that knows the classes, to distil from in the final training; names as
            for ``start``.
        sieve: Which images the final training reads, a name in :func:`ddpnas.data.list_sieves`. The
            race reads all.
        sieve_options: Options of the sieve, see ``ddpnas data``.
        image_size: Pixels a side, where ``data`` is a path; see :class:`ddpnas.data.DataConfig`.
            With ``start``, None takes images as large as time, memory and limits allow, at most
            those of the library; with a teacher, they stay as they are.
        metric: What candidates are chosen by on validation images: "accuracy", or "macro-f1" for
            classes of unequal size.
        class_weights: "balanced" gives each class the same weight in every loss.
        seed: Seed for everything random.
        device: "auto", "cpu", "cuda", ...
        threads: Threads of the processor for training; None is the better of all and one, measured.
        baselines: Networks to train for the same time, after it: the designs "residual",
            "resnet-9", "mobilenet-v2" and "regnet" scaled to the limits, a network of torchvision,
            or ``NET.py:factory``, which is executed.
        export: File to write and check: "onnx", "torch" (torch.export) or "none". Needs ``out``.
        plan: A ``plan.json`` to follow instead of making one, for the same network again. It says
            everything but the images, ``baselines`` and ``export``. Name a ``start`` or ``teacher``
            that is code in a file again; no file runs because a plan names it.
        overwrite: Replace whatever run ``out`` holds.
        started: Seconds that have passed already and count, such as for loading torch.
        on_progress: Called with a line of text at each step.

    Raises:
        DdpnasError: Something does not fit; the message says what to change.

    Example:
        >>> import ddpnas
        >>> fitted = ddpnas.fit("photos/", {"macs": "20M"}, 10)  # doctest: +SKIP
        >>> fitted.costs["macs"] <= 20e6  # doctest: +SKIP
        True
    """
    begun = time.perf_counter() - started
    tell = on_progress or (lambda text: None)
    seconds = 60 * checked("minutes", _Minutes, minutes)
    export = checked("export", Export, export)
    metric = checked("metric", Metric, metric)
    class_weights = checked("class_weights", ClassWeights, class_weights)
    sieving = SieveConfig(sieve, sieve_options or {})
    asked = parse_limits(limits or {})
    split_limits(asked)  # names all costs, before images are read
    if export != "none" and out is None:
        export = "none"
    if export == "onnx":
        need_onnx("onnx", "onnxscript", "onnxruntime")
    if out is not None:
        RunFolder.check_free(out, overwrite=overwrite)
    pick_device(device)
    for name in baselines:
        check_baseline(name)
    followed = None if plan is None else FitPlan.read(plan)
    if followed is not None:
        followed = followed.named_again(Path(str(plan)), start=_text(start), teacher=_text(teacher))
        followed.refuse_others({
            "limits": ({name: str(limit) for name, limit in asked.items()}, {}),
            "minutes": (minutes, 10.0), "start": (_text(start), None),
            "weights": (_text(weights), None), "teacher": (_text(teacher), None),
            "sieve": (sieve, "all"), "sieve_options": (dict(sieve_options or {}), {}),
            "metric": (metric, "accuracy"), "class_weights": (class_weights, "none"),
            "seed": (seed, 0), "device": (device, "auto"), "threads": (threads, None),
        })  # fmt: skip
        if followed.data is not None:
            followed.refuse_others({"image_size": (image_size, None)})
            if isinstance(data, (str, Path)):
                image_size = followed.image_size
        start, teacher = followed.start, followed.teacher
    elif start is None and weights is not None:
        raise OptionError("weights belong to a network: give start too (--start timm:NAME)")
    if start is not None and baselines:
        raise OptionError("baselines go with a search: leave out either --baseline or --start")
    if start is not None and metric != "accuracy":
        raise OptionError(
            f"{metric} chooses among candidates, and --start leaves none: leave one out"
        )
    if start is not None and followed is None:
        refuse_own_code(start, "--start", weights=True)
    networks = [_text(start), _text(teacher), *baselines]
    # A teacher knows images of the size that it has learned from.
    is_free = isinstance(data, (str, Path)) and image_size is None and teacher is None
    before, read = time.perf_counter(), functools.partial(_read, data, start=start)
    data = read(image_size)
    larger = Larger(read, time.perf_counter() - before) if is_free else None
    planned = asked if followed is None else parse_limits(followed.limits)
    check_baselines(baselines, planned, data)  # not only after the fit
    request = FitRequest(
        data, asked, seconds, begun, checked("seed", Seed, seed), device, export,
        report=out is not None, baselines=tuple(baselines), teacher=_text(teacher),
        sieve=sieving, tell=tell,
    )  # fmt: skip
    with (
        _threads(threads if followed is None else followed.threads),
        _folder(out) as folder,
    ):
        if teacher is not None:  # its network is made here and again for the final training
            asked_on = pick_device(device if followed is None else followed.device)
            opened = as_teacher(teacher, data, asked_on)
            if followed is None:
                taught = teaching_seconds(opened, data, asked_on)
                request = dataclasses.replace(request, teaching=taught)
        if followed is not None:
            again = dataclasses.replace(
                followed, export=export, baselines=list(baselines), data=dict(data.source) or None,
                code=code_of(networks), images=data.fingerprint(), baseline_epochs={},
                started=time.perf_counter() - begun, took=None,
            )  # fmt: skip
            made = Prepared(again, data)
        else:
            choose = threads is None
            if start is None:
                made = prepare_search(request, choose_threads=choose)
            else:
                made = prepare_start(
                    request, str(start), _text(weights), larger, choose_threads=choose
                )
            made = made.trained_by(metric, class_weights)
        if not planned:  # only now it is known how large the designs are
            check_baselines(baselines, parse_limits(made.plan.limits), data)
        named = {name: name for name in in_files(networks)}  # by this call
        session = Session(made.data, folder, out is not None, begun, tell, named)
        return _run(made, session, overwrite=overwrite or out is None)


def _run(made: Prepared, session: Session, *, overwrite: bool) -> Fitted:
    """Follow a plan in a new folder; a race that lacks memory starts again with a smaller batch."""
    while True:
        # Closed before the next attempt, wherever this one fails.
        created = RunFolder.create(session.folder, overwrite=overwrite)
        with contextlib.closing(created) as opened:
            opened.write_json(PLAN, made.plan.to_dict())
            if made.latency is not None:
                opened.write_json(LATENCY, made.latency.to_dict())
            if made.plan.start is not None:
                opened.close()
                return Started(made.plan, session).run()
            try:
                return Searched(made.plan, session, made.space).run(opened)
            except NoRoomError as error:  # in the race; a training halves its batch itself
                if error.batch_size == 1:
                    raise NoMemoryError from None
                halved = error.batch_size // 2
        session.tell(f"not enough memory: the race starts again with {halved} images a step")
        made, overwrite = made.sharing(batch_size=halved), True


@checks_arguments
def resume_fit(
    folder: str | Path,
    *,
    data: Data | str | Path | None = None,
    networks: Sequence[str] = (),
    started: float = 0.0,
    on_progress: Tell | None = None,
) -> Fitted:
    """Go on with an interrupted fit, by its plan, to the network that it would have made.

    Args:
        folder: Its folder.
        data: Where its images are now, if they have moved.
        networks: The networks to start from, to distil from or to compare with that are code in
            your files: ``FILE.py:function`` of each once more. A file is executed only because you
            name it here.
        started: See :func:`fit`.
        on_progress: See :func:`fit`.

    Raises:
        RunError: The folder holds no fit, its images are others now, or a network in a file is
            not named or has changed.
    """
    tell = on_progress or (lambda text: None)
    path = Path(folder)
    made = FitPlan.read(path)
    named = confirmed_networks(path, made.code, made.networks, networks)
    begun = time.perf_counter() - started - made.started
    if made.start is not None:
        images = _same_images(path, made, data)
        with _threads(made.threads):
            return Started(made, Session(images, path, True, begun, tell, named)).run()
    if not (path / RUN).is_file():
        raise RunError(f"the fit in {path} was interrupted before it began; start it again")
    run = Run(path)
    begun -= search_seconds(run.history)
    images = data if isinstance(data, Data) else run.data(moved_to=data)
    with _threads(made.threads):
        return Searched(made, Session(images, path, True, begun, tell, named)).run(None)


def _read(data: Any, image_size: int | None, *, start: str | Path | None) -> Data:
    if isinstance(data, (str, Path)):
        if start is not None:
            return load_data_for(start, data, image_size=image_size)
        return load_data(data, **({} if image_size is None else {"image_size": image_size}))
    if image_size is not None:
        raise OptionError("image_size goes with a path; these images have their size already")
    return as_data(data)


def _same_images(folder: Path, plan: FitPlan, given: Data | str | Path | None) -> Data:
    """Return the images of an interrupted fit: those given, or read again, there or as before."""
    if isinstance(given, Data):
        data = given
    elif plan.data is None:
        raise RunError(f"the data of {folder} came from Python objects; give them to resume_fit()")
    else:
        known: DataConfig = checked_content(plan.data, DataConfig, folder / PLAN)
        data = load_data(known if given is None else dataclasses.replace(known, data=str(given)))
    if data.fingerprint() != plan.images:
        raise RunError(
            f"the images of the fit in {folder} are not those that it began with; give it those"
        )
    return data


def _text(name: str | Path | None) -> str | None:
    return None if name is None else str(name)


@contextlib.contextmanager
def _threads(number: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _folder(out: str | Path | None) -> Iterator[Path]:
    """Give the folder of the run; one that is removed where nothing is kept."""
    if out is not None:
        yield Path(out)
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch) / "fit"
