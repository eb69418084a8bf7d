"""fit(): from images to a trained network within limits, in the minutes given."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import torch
from torch import nn

from ddpnas.costs.latency_check import check_latency, measured_here
from ddpnas.costs.network import count_network
from ddpnas.costs.table import CostTable
from ddpnas.data.data import Data
from ddpnas.data.load import DataConfig, as_data, load_data
from ddpnas.data.loader import default_batch_size
from ddpnas.data.sieves import SieveConfig
from ddpnas.errors import OptionError, RunError
from ddpnas.evaluators.continued import ContinuedEvaluator
from ddpnas.export.trained import Export
from ddpnas.fitting.baselines import baseline_network, check_baseline
from ddpnas.fitting.fitted import Candidate, Fitted
from ddpnas.fitting.following import Following
from ddpnas.fitting.plan import MORE, FitPlan
from ddpnas.fitting.planning import make_plan
from ddpnas.fitting.request import FitRequest
from ddpnas.fitting.speed import epoch_seconds
from ddpnas.fitting.started import RECIPE, Started, plan_started
from ddpnas.fitting.timed import split_limits
from ddpnas.generation.limits import Limit, Limits, parse_limits
from ddpnas.report.html import write_report
from ddpnas.runs.folder import LATENCY, PLAN, RUN, RunFolder
from ddpnas.runs.loop import Progress, search_seconds
from ddpnas.runs.run import Run
from ddpnas.runs.search import SearchResult, search
from ddpnas.space.decisions import Architecture
from ddpnas.spaces.edge import EdgeSpace
from ddpnas.spaces.registry import create_space
from ddpnas.training.out_of_memory import is_out_of_memory
from ddpnas.training.pretrained import load_data_for
from ddpnas.training.recipes import RECIPES, ClassWeights, Metric, Recipe, create_recipe
from ddpnas.training.results import Compared, Comparison, TrainResult
from ddpnas.training.saving import TrainedFolder, lock_trained
from ddpnas.training.train import train
from ddpnas.training.trained_folder import read_comparison
from ddpnas.utils.duration import duration
from ddpnas.utils.onnx import need_onnx
from ddpnas.utils.seeds import seeded
from ddpnas.utils.settings import Count, Pixels, Seed, checked, checks_arguments
from ddpnas.utils.shapes import Range

__all__ = ["fit", "resume_fit"]

Tell = Callable[[str], object]
Made = TypeVar("Made")
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
            and one thread of this machine: then a table of it is measured first. None takes
            networks that can be trained well in the time.
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
        plan: A ``plan.json`` to follow instead of making one, for the same network again.
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
    if export != "none" and out is None:
        export = "none"
    if export == "onnx":
        need_onnx("onnx", "onnxscript", "onnxruntime")
    if out is not None:
        RunFolder.check_free(out, overwrite=overwrite)
    data = _read(data, image_size, start)
    for name in baselines:
        check_baseline(name)
    followed = None if plan is None else FitPlan.read(plan)
    request = FitRequest(
        data, asked, seconds, begun, checked("seed", Seed, seed), device, export,
        report=out is not None, baselines=tuple(baselines), teacher=_text(teacher),
        sieve=sieving, tell=tell,
    )  # fmt: skip
    with (
        _threads(threads if followed is None else followed.threads),
        _folder(out) as folder,
    ):
        space: EdgeSpace | None = None
        latency: CostTable | None = None
        if followed is not None:
            made = dataclasses.replace(followed, export=export, baselines=list(baselines))
        elif start is not None:
            if baselines:
                raise OptionError(
                    "baselines go with a search: leave out either --baseline or --start"
                )
            if metric != "accuracy":
                raise OptionError(
                    f"{metric} chooses among candidates, and --start leaves none: leave one out"
                )
            made, batch_size = _within_memory(
                lambda size: plan_started(request, str(start), _text(weights), size),
                RECIPES[RECIPE].batch_size or 1, tell,
            )  # fmt: skip
            made = _trained_by(made, metric, class_weights, batch_size)
        else:
            if weights is not None:
                raise OptionError("weights belong to a network: give start too (--start timm:NAME)")
            (made, space, latency), batch_size = _within_memory(
                lambda size: make_plan(
                    request, choose_threads=threads is None, batch_size=size
                ),
                default_batch_size(len(data.train)), tell,
            )  # fmt: skip
            made = _trained_by(made, metric, class_weights, batch_size)
        opened = RunFolder.create(folder, overwrite=overwrite or out is None)
        opened.write_json(PLAN, made.to_dict())
        if latency is not None:
            opened.write_json(LATENCY, latency.to_dict())
        kept = out is not None
        if made.start is not None:
            opened.close()
            return Started(made, data, folder, kept, begun, tell).run()
        return _Fit(made, data, folder, kept, begun, tell, space).run(opened)


def resume_fit(
    folder: str | Path,
    *,
    data: Data | str | Path | None = None,
    on_progress: Tell | None = None,
) -> Fitted:
    """Go on with an interrupted fit, by its plan, to the network that it would have made.

    Args:
        folder: Its folder.
        data: Where its images are now, if they have moved.
        on_progress: See :func:`fit`.

    Raises:
        RunError: The folder holds no fit, or its images are others now.
    """
    tell = on_progress or (lambda text: None)
    path = Path(folder)
    made = FitPlan.read(path)
    begun = time.perf_counter() - made.started
    if made.start is not None:
        images = data if isinstance(data, Data) else _same_images(path, made, data)
        with _threads(made.threads):
            return Started(made, images, path, True, begun, tell).run()
    if not (path / RUN).is_file():
        raise RunError(f"the fit in {path} was interrupted before it began; start it again")
    run = Run(path)
    begun -= search_seconds(run.history)  # what a training took before is in its checkpoint
    images = data if isinstance(data, Data) else run.data(moved_to=data)
    with _threads(made.threads):
        return _Fit(made, images, path, True, begun, tell).run(None)


class _Fit(Following):
    """A fit that searches.

    Args:
        plan: What to do.
        data: The data.
        folder: Folder of the run.
        kept: Whether the folder outlives the fit.
        begun: When the fit began, by ``time.perf_counter()``.
        tell: Takes lines of text.
        space: The space of the plan, if it is there; its costs may be counted already.
    """

    def __init__(
        self,
        plan: FitPlan,
        data: Data,
        folder: Path,
        kept: bool,
        begun: float,
        tell: Tell,
        space: EdgeSpace | None = None,
    ) -> None:
        super().__init__(plan, data, folder, kept, begun, tell)
        self.space = space or cast(EdgeSpace, create_space("edge", **plan.space_options))
        self._latency: CostTable | None = None
        if (folder / LATENCY).is_file():
            self._latency = CostTable.load(folder / LATENCY)
            self._latency.check(self.space)
        self._best_score = -math.inf

    def run(self, opened: RunFolder | None) -> Fitted:
        """Race, train, test, export and report.

        Args:
            opened: The folder of a new run, which this closes; None goes on with the run in it.
        """
        plan, found = self.plan, self._race(opened)
        chosen = found.architecture
        reached = self._costs(chosen)
        self._tell(
            f"chosen: {self.space.outline(chosen)}, with {reached['macs']:,.0f} multiply-adds and "
            f"{reached['params']:,.0f} parameters"
        )
        self._compare_latency(chosen)
        kept = self.trained
        with lock_trained(kept.path):
            before = read_comparison(kept.path)
            networks = [self._found(found, before)]
            files = self.export()
            self.seconds["total"] = self.passed
            done = {} if before is None else {one.name: one for one in before.baselines}
            for name in plan.baselines:
                networks.append(
                    done[name] if name in done else self._baseline(name, reached["macs"])
                )
            if set(plan.baselines) - set(done):
                kept.save(self.space, networks, limits=self.limits)
        trained = networks[0].result
        if self.kept:
            files["report"] = write_report(self.folder)
        return Fitted(
            model=trained.model,
            architecture=chosen,
            space=self.space,
            search=found,
            trained=trained,
            costs=reached,
            limits=self.limits,
            frontier=self._frontier(found),
            baselines=tuple(networks[1:]),
            seconds=self.seconds,
            folder=self.folder if self.kept else None,
            files=files,
        )

    def _costs(self, architecture: Architecture) -> dict[str, float]:
        """Return the counted costs of a network, and its predicted milliseconds if limited."""
        with torch.device("meta"):
            network = self.space.build(architecture)
        costs = _counted(network, self.space.input_shape)
        if self._latency is not None:
            costs[self._latency.name] = self._latency.cost(architecture)
        return costs

    def _frontier(self, found: SearchResult) -> tuple[Candidate, ...]:
        """Return the networks of the race of which none is better at no more multiply-adds."""
        last: dict[Architecture, Candidate] = {}
        for record in found.history:
            one = Architecture(record["architecture"])
            last[one] = Candidate(
                self.space.format(one), self._costs(one), float(record["accuracy"]),
                float(record["epochs"]),
            )  # fmt: skip
        kept: list[Candidate] = []
        for candidate in sorted(last.values(), key=lambda c: (c.costs["macs"], -c.accuracy)):
            if not kept or candidate.accuracy > kept[-1].accuracy:
                kept.append(candidate)
        return tuple(kept)

    # The race.

    def _race(self, opened: RunFolder | None) -> SearchResult:
        plan = self.plan
        if opened is None:
            scores = [record["score"] for record in Run(self.folder).history]
            self._best_score = max(scores, default=-math.inf)
        found = search(
            self.space, self.data, "halving", out=self.folder if opened is None else opened,
            resume=opened is None, seed=plan.seed, device=plan.device,
            strategy_options=plan.strategy_options, evaluator="continued",
            evaluator_options=plan.evaluator_options, on_progress=self._tell_progress,
        )  # fmt: skip
        self.mark("race")
        return found

    def _tell_progress(self, progress: Progress) -> None:
        if progress.record is None:
            return
        record = progress.record
        by_f1 = self.plan.evaluator_options.get("metric") == "macro-f1"
        f1 = f"macro-F1 {100 * record['macro_f1']:.1f} %, accuracy " if by_f1 else ""
        self._tell(
            f"[{progress.done}/{progress.total}] {f1}{100 * record['accuracy']:.1f} % after "
            f"{record['epochs']:.1f} epochs: {self.space.outline(record['architecture'])}"
        )
        if record["score"] > self._best_score:
            self._best_score = record["score"]
            self._keep_best(Architecture(record["architecture"]))

    def _evaluator(self) -> ContinuedEvaluator:
        """Return the evaluator of the race as its last checkpoint left it."""
        run = Run(self.folder)
        found = run.evaluator(self.space, self.data, device=self.plan.device)
        return cast(ContinuedEvaluator, found)

    def _keep_best(self, architecture: Architecture) -> None:
        alone = self.plan.strategy_options.get("candidates") == 1  # after a step: not trained yet
        if self.best is None or alone or not self.best.is_due():
            return
        try:
            evaluator = self._evaluator()
            network = evaluator.network(architecture)
        except (OptionError, RunError):  # its weights are not in a checkpoint yet
            return
        self.best.keep(
            network, evaluator.recipe,
            lambda folder, result: self._save(folder, architecture, result), trained_on=False,
        )  # fmt: skip

    def _compare_latency(self, chosen: Architecture) -> None:
        """Say what the network takes next to what its table predicts, if measured here."""
        table = self._latency
        if table is not None and measured_here(table):
            found = check_latency(self.space, table, chosen)
            self._tell(
                f"predicted {found.predicted_ms:.3g} ms, measured {found.measured_ms:.3g} ms"
            )

    # The final training.

    @property
    def _images(self) -> int:
        """Images of an epoch of the final training."""
        return len(self.data.train) + (0 if self.data.test is None else len(self.data.valid))

    def _recipe(self) -> Recipe:
        return create_recipe("quick", **self.plan.recipe)

    def _found(self, found: SearchResult, before: Comparison | None) -> Compared:
        """Return the winner of the race, trained to the end, and keep it in the folder."""
        chosen = found.architecture
        if before is not None:  # it was trained to the end in a session before
            trained = dataclasses.replace(
                before.found.result, model=self.load().network, data=self.data
            )
            return dataclasses.replace(before.found, result=trained)
        trained = self._train(found)
        self.mark("training")
        return self._save(self.trained, chosen, trained)

    def _save(
        self, folder: TrainedFolder, architecture: Architecture, result: TrainResult
    ) -> Compared:
        costs = self._costs(architecture)
        one = Compared("found", self.space.format(architecture), architecture, costs, result)
        folder.save(self.space, [one], limits=self.limits)
        return one

    def _train(self, found: SearchResult) -> TrainResult:
        chosen, plan = found.architecture, self.plan
        network = self._evaluator().network(chosen)
        if plan.epochs is None:
            seen = [r for r in found.history if Architecture(r["architecture"]) == chosen]
            each = min(r["train_seconds"] / r["train_images"] for r in seen) * self._images
            each *= SieveConfig(plan.sieve, plan.sieve_options).mean_share
            self.change(plan.with_epochs(max(1, int(MORE * self.left() / each))))
        self._tell(f"training it for {duration(self.left())} more")
        return self.train(
            network, self._recipe(), "found", lambda folder, one: self._save(folder, chosen, one)
        )

    def _baseline(self, name: str, macs: float) -> Compared:
        """Return a network that was trained alone for the whole time.

        Args:
            name: Its name.
            macs: Multiply-adds of the network that was found.
        """
        plan, (counted, timed) = self.plan, split_limits(self.limits)
        if timed:  # a design is as large as the network that was found
            counted["macs"] = Limit(upper=macs)
        with seeded(plan.seed):
            network = baseline_network(name, counted, self.data)
        costs = _counted(network, self.data.input_shape)
        weights = self.plan.recipe.get("class_weights", "none")
        recipe = create_recipe("quick", class_weights=weights)
        with seeded(plan.seed):
            trial = baseline_network(name, counted, self.data)
        each = epoch_seconds(trial, self.data, recipe, plan.device)
        each *= self._images / len(self.data.train)
        epochs = max(1, int(MORE * plan.training / each))  # the clock drops those that do not fit
        self._tell(f"baseline {name}: {epochs} epochs in {duration(plan.training)}")
        result = train(
            network, self.data, recipe, epochs=epochs, seconds=plan.training, seed=plan.seed,
            device=plan.device, resume=True,
            folder=self.trained.checkpoints / "baseline" / name.replace("/", "-"),
        )  # fmt: skip
        return Compared(name, name, Architecture({}), costs, result)


def _counted(network: nn.Module, input_shape: Sequence[int]) -> dict[str, float]:
    """Return the costs that add up, as :func:`ddpnas.count_costs` has them."""
    found = count_network(network, input_shape)
    return {name: float(cost) for name, cost in found.items() if name != "peak_activation_bytes"}


def _within_memory(
    make: Callable[[int | None], Made], batch_size: int, tell: Tell
) -> tuple[Made, int | None]:
    """Return a plan, and the batch size for which there is memory; None for the usual one.

    Args:
        make: Makes the plan with a batch size, or with the usual one; it trains a few steps.
        batch_size: The usual one.
        tell: Takes lines of text.

    Raises:
        RunError: There is no memory for a single image.
    """
    halved = None
    while True:
        try:
            return make(halved), halved
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        if batch_size == 1:
            raise RunError(
                "there is not enough memory to train on a single image; give smaller images or "
                "tighter limits, or close other programs"
            )
        halved = batch_size = batch_size // 2
        tell(f"not enough memory: trying {batch_size} images a step")


def _trained_by(
    plan: FitPlan, metric: Metric, class_weights: ClassWeights, batch_size: int | None
) -> FitPlan:
    """Return the plan with what candidates are chosen by, and what all trainings have in common."""
    common: dict[str, Any] = {}
    if class_weights != "none":
        common["class_weights"] = class_weights
    if batch_size is not None:
        common["batch_size"] = batch_size
    evaluator, recipe = dict(plan.evaluator_options), {**plan.recipe, **common}
    if plan.start is None:
        evaluator |= common
    if metric != "accuracy":
        evaluator["metric"] = metric
    return dataclasses.replace(plan, evaluator_options=evaluator, recipe=recipe)


def _read(data: Any, image_size: int | None, start: str | Path | None) -> Data:
    if isinstance(data, (str, Path)):
        if start is not None:
            return load_data_for(start, data, image_size=image_size)
        return load_data(data, **({} if image_size is None else {"image_size": image_size}))
    if image_size is not None:
        raise OptionError("image_size goes with a path; these images have their size already")
    return as_data(data)


def _same_images(folder: Path, plan: FitPlan, moved_to: str | Path | None) -> Data:
    """Return the images of an interrupted fit, read again."""
    if plan.data is None:
        raise RunError(f"the data of {folder} came from Python objects; give them to resume_fit()")
    known = DataConfig(**plan.data)
    return load_data(known if moved_to is None else dataclasses.replace(known, data=str(moved_to)))


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
